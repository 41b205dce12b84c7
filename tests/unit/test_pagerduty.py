"""PagerDuty: the payloads, the routes and the meaning of answers (Events API v2; design sections 8 and 9)."""

from datetime import datetime
from typing import Any, get_type_hints
from urllib.parse import urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields, replace
from pydantic import ValidationError

from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.notification import Acknowledge, AlertSummary, Notification, Origin, Resolve, Trigger
from providers.pagerduty.payload import REQUEST_LIMIT
from providers.pagerduty.provider import PagerDuty
from providers.pagerduty.settings import OWN_DETAILS, PagerDutySettings
from state.violation import Severity, Violation
from tests.support.pagerduty_schema import check_schema

DEFAULT_KEY = "0" * 32
GUARD_KEY = "a" * 32
TENANT_KEY = "b" * 32
SEVERITY_KEY = "c" * 32
NOW = 1_779_285_600.0  # 2026-05-20T14:00:00Z


def violation(**facts: Any) -> Violation:
    given_facts: dict[str, Any] = {
        "event_id": "0196ee5c-0000-7000-8000-000000000001",
        "event_type": "forbidden_path",
        "timestamp": "2026-05-20T14:00:00.123456789Z",
        "guard": "forbidden_path",
        "severity": Severity.CRITICAL,
        "reason": "Access to forbidden path: /etc/shadow",
        "allowed": False,
        "agent_id": "agent-7",
        "session_id": "sess-1",
        "resource_type": "file",
        "resource_name": "/etc/shadow",
        **facts,
    }
    return Violation(**given_facts)


def full_violation() -> Violation:
    """A violation that lacks nothing that an event can have, also what is added to `Violation` later."""
    kinds = get_type_hints(Violation)
    optional = [one.name for one in fields(Violation) if not one.required]
    texts = {name: name for name in optional if kinds[name] == str | None}
    return violation(**texts, resource_port=22, labels={"a": "b"})


def trigger(of: Violation | None = None, **facts: Any) -> Trigger:
    of = of or violation()
    alert_summary = AlertSummary(1, NOW, NOW, of.severity)
    return Trigger(
        "forbidden_path:sess-1",
        of,
        facts.pop("severity", of.severity),
        facts.pop("alert_summary", alert_summary),
        **facts,
    )


def pagerduty(**settings: Any) -> PagerDuty:
    return PagerDuty(PagerDutySettings.model_validate({"routing_key": DEFAULT_KEY, **settings}), now=lambda: NOW)


def routed() -> PagerDuty:
    by = {
        "by_guard": {"secret_leak": GUARD_KEY},
        "by_tenant": {"acme": TENANT_KEY, "None": "d" * 32},
        "by_severity": {"critical": SEVERITY_KEY},
    }
    return pagerduty(routing=by)


def routed_with_changes(**settings: Any) -> PagerDuty:
    changes = {"enabled": True, "categories": ["configuration", "network"]}
    return pagerduty(**{"routing": {"by_guard": {"secret_leak": GUARD_KEY}}, "change_events": changes, **settings})


def body_of(provider: PagerDuty, notification: Notification, route: str = "default") -> dict[str, Any]:
    (request,) = provider.requests(route, notification)
    assert request.body is not None
    decoded: dict[str, Any] = orjson.loads(orjson.dumps(request.body))
    return decoded


def check_rules(body: dict[str, Any]) -> None:
    """PagerDuty's own description of a request, and the rules of the API page, written by hand."""
    check_schema("/enqueue", body)
    assert len(orjson.dumps(body)) <= 512_000
    assert len(body["routing_key"]) == 32
    assert body["event_action"] in ("trigger", "acknowledge", "resolve")
    assert len(body["dedup_key"]) <= 255
    if body["event_action"] != "trigger":
        assert set(body) == {"routing_key", "event_action", "dedup_key"}
        return
    payload = body["payload"]
    assert 0 < len(payload["summary"]) <= 1024
    assert payload["severity"] in ("critical", "error", "warning", "info")
    assert payload["summary"].strip()
    assert payload["source"].strip()
    for name in ("summary", "source", "component", "group", "class"):
        assert isinstance(payload[name], str)
        assert "\n" not in payload[name]
        assert "\0" not in payload[name]
    if "timestamp" in payload:
        datetime.fromisoformat(payload["timestamp"])
    assert isinstance(payload.get("custom_details", {}), dict)
    assert all(link["href"] for link in body.get("links", []))
    assert all(image["src"].startswith("https://") for image in body.get("images", []))


def test_trigger_field_by_field() -> None:
    settings = {
        "links": [{"href": "https://console.example.com/s/{session_id}?e={event_id}", "text": "Session {session_id}"}],
        "images": [{"src": "https://img.example.com/{guard}.png", "alt": "{guard}"}],
        "client_url": "https://console.example.com/{tenant_id}",
    }
    facts = {"user_id": "u-1", "tenant_id": "acme", "resource_path": "/etc/shadow", "resource_host": "h1"}
    of = violation(session_id="a/b c", policy_hash="sha256:ab", ruleset="strict", **facts)
    body = body_of(pagerduty(**settings), trigger(of))
    check_rules(body)
    assert body == {
        "routing_key": DEFAULT_KEY,
        "event_action": "trigger",
        "dedup_key": "forbidden_path:sess-1",
        "client": "Clawdstrike",
        "client_url": "https://console.example.com/acme",
        "links": [
            {
                "href": "https://console.example.com/s/a%2Fb%20c?e=0196ee5c-0000-7000-8000-000000000001",
                "text": "Session a/b c",
            }
        ],
        "images": [{"src": "https://img.example.com/forbidden_path.png", "alt": "forbidden_path"}],
        "payload": {
            "summary": "[forbidden_path] Access to forbidden path: /etc/shadow",
            "source": "clawdstrike-agent-7",
            "severity": "critical",
            "timestamp": "2026-05-20T14:00:00.123456Z",
            "component": "forbidden_path",
            "group": "acme",
            "class": "forbidden_path",
            "custom_details": {
                "event_id": "0196ee5c-0000-7000-8000-000000000001",
                "event_type": "forbidden_path",
                "session_id": "a/b c",
                "user_id": "u-1",
                "resource_type": "file",
                "resource_name": "/etc/shadow",
                "resource_path": "/etc/shadow",
                "resource_host": "h1",
                "allowed": False,
                "policy_hash": "sha256:ab",
                "ruleset": "strict",
            },
        },
    }


def test_what_the_event_lacks_is_left_out_and_no_tenant_is_default() -> None:
    payload = body_of(pagerduty(), trigger())["payload"]
    assert payload["group"] == "default"
    assert set(payload["custom_details"]) == {
        "event_id",
        "event_type",
        "session_id",
        "resource_type",
        "resource_name",
        "allowed",
    }


def test_the_details_say_where_in_kafka_the_event_stands() -> None:
    details = body_of(pagerduty(), trigger(origin=Origin("clawdstrike.events", 3, 41)))["payload"]["custom_details"]
    assert (details["topic"], details["partition"], details["offset"]) == ("clawdstrike.events", 3, 41)


def test_custom_details_can_be_switched_off() -> None:
    assert "custom_details" not in body_of(pagerduty(custom_details=False), trigger(again=True))["payload"]


def test_labels_are_told_within_bounds() -> None:
    of = violation(labels={"team": "payments\n", "note": "x" * 2000, "": "n" * 3})
    details = body_of(pagerduty(), trigger(of))["payload"]["custom_details"]
    assert details["labels"] == {"team": "payments", "note": "x" * 1023 + "…", "": "nnn"}
    many = violation(labels={f"label-{number}": "v" for number in range(53)})
    labels = body_of(pagerduty(), trigger(many))["payload"]["custom_details"]["labels"]
    assert len(labels) == 51
    assert labels["…"] == "3 more"


TEMPLATES = {
    "payload": {
        "summary": "{severity}: {reason} ({label.team})",
        "source": "{resource_host}",
        "component": "{resource_type} {resource}",
        "group": "{environment}",
        "class": "{guard}/{event_type}",
    },
    "extra_details": {"team": "{label.team}", "runbook": "https://wiki.example/{guard}", "plain": "as it is"},
}


def test_fields_of_the_payload_are_templates_and_details_come_with_more() -> None:
    of = violation(resource_host="h1", environment="production", labels={"team": "payments"})
    body = body_of(pagerduty(**TEMPLATES), trigger(of))
    check_rules(body)
    assert body == {
        "routing_key": DEFAULT_KEY,
        "event_action": "trigger",
        "dedup_key": "forbidden_path:sess-1",
        "client": "Clawdstrike",
        "payload": {
            "summary": "critical: Access to forbidden path: /etc/shadow (payments)",
            "source": "h1",
            "severity": "critical",
            "timestamp": "2026-05-20T14:00:00.123456Z",
            "component": "file /etc/shadow",
            "group": "production",
            "class": "forbidden_path/forbidden_path",
            "custom_details": {
                "event_id": "0196ee5c-0000-7000-8000-000000000001",
                "event_type": "forbidden_path",
                "session_id": "sess-1",
                "resource_type": "file",
                "resource_name": "/etc/shadow",
                "resource_host": "h1",
                "allowed": False,
                "labels": {"team": "payments"},
                "team": "payments",
                "runbook": "https://wiki.example/forbidden_path",
                "plain": "as it is",
            },
        },
    }


def test_extra_details_are_told_also_without_our_own() -> None:
    body = body_of(pagerduty(custom_details=False, extra_details={"who": "{user_id}"}), trigger())
    assert body["payload"]["custom_details"] == {"who": "default"}


def test_a_template_that_says_nothing_for_an_event_gives_way_to_the_default() -> None:
    blank = pagerduty(payload={"summary": "{reason}", "source": "{user_id}"})
    payload = body_of(blank, trigger(violation(reason="\n\0", user_id="\u2028")))["payload"]
    assert payload["summary"] == "[forbidden_path] "
    assert payload["source"] == "clawdstrike-agent-7"


def test_a_field_by_a_template_is_cut_like_the_default() -> None:
    provider = pagerduty(payload={"summary": "{reason}{reason}", "class": "{reason}"})
    payload = body_of(provider, trigger(violation(reason="x" * 1000)))["payload"]
    assert payload["summary"] == "x" * 1023 + "…"
    assert payload["class"] == "x" * 1000


@pytest.mark.parametrize(
    ("settings", "at", "error"),
    [
        ({"payload": {"summary": "{nope}"}}, "payload.summary", "unknown placeholder {nope}"),
        ({"payload": {"class": "{guard"}}, "payload.class", "unbalanced brace"),
        ({"payload": {"severity": "x"}}, "payload.severity.[key]", "Input should be"),
        ({"extra_details": {"x": "{label.}"}}, "extra_details.x", "unknown placeholder {label.}"),
        ({"extra_details": {"event_id": "x"}}, "extra_details.event_id.[key]", "is one of the details"),
    ],
)
def test_a_wrong_template_is_found_at_start_and_named(settings: dict[str, Any], at: str, error: str) -> None:
    with pytest.raises(ValidationError) as found:
        pagerduty(**settings)
    (mistake,) = found.value.errors()
    assert ".".join(map(str, mistake["loc"])) == at
    assert error in mistake["msg"]


def test_the_details_of_our_own_are_all_reserved() -> None:
    body = body_of(pagerduty(), trigger(full_violation(), again=True, origin=Origin("t", 0, 1)))
    assert {*body["payload"]["custom_details"], "cut"} == set(OWN_DETAILS)


def test_a_change_event_field_by_field() -> None:
    settings = {"links": [{"href": "https://console.example.com/{session_id}", "text": "Session"}]}
    provider = routed_with_changes(**settings)
    of = violation(
        event_type="policy_allow", guard="secret_leak", reason="Policy was reloaded", allowed=True, labels={"a": "b"}
    )
    request = provider.change(of)
    assert request is not None
    assert (request.method, request.url) == ("POST", "https://events.pagerduty.com/v2/change/enqueue")
    assert request.body == {
        "routing_key": GUARD_KEY,
        "payload": {
            "summary": "[secret_leak] Policy was reloaded",
            "source": "clawdstrike-agent-7",
            "timestamp": "2026-05-20T14:00:00.123456Z",
            "custom_details": {
                "event_id": "0196ee5c-0000-7000-8000-000000000001",
                "event_type": "policy_allow",
                "session_id": "sess-1",
                "resource_type": "file",
                "resource_name": "/etc/shadow",
                "allowed": True,
                "labels": {"a": "b"},
            },
        },
        "links": [{"href": "https://console.example.com/sess-1", "text": "Session"}],
    }


def test_a_global_integration_key_pages_and_takes_no_change_events() -> None:
    provider = routed_with_changes(routing={"by_guard": {"secret_leak": "R" * 32}})
    assert provider.change(violation(guard="secret_leak", allowed=True)) is None
    assert body_of(provider, trigger(violation(guard="secret_leak")), "by_guard:secret_leak")["routing_key"] == "R" * 32
    assert provider.change(violation(allowed=True)) is not None
    with pytest.raises(ValidationError, match="every key is a global integration key"):
        pagerduty(routing_key="R" * 32, change_events={"enabled": True})


def test_without_the_setting_there_are_no_change_events() -> None:
    assert pagerduty().changes == frozenset()
    assert routed_with_changes().changes == {"configuration", "network"}


@pytest.mark.parametrize(
    ("severity", "expected"),
    [
        (Severity.CRITICAL, "critical"),
        (Severity.HIGH, "error"),
        (Severity.MEDIUM, "info"),
        (Severity.LOW, "info"),
        (Severity.INFO, "info"),
    ],
)
def test_severity_is_mapped_from_the_highest_that_is_owed(severity: Severity, expected: str) -> None:
    provider = pagerduty(severity_mapping={"medium": "info"})
    sent = trigger(violation(severity=Severity.INFO), severity=severity)
    assert body_of(provider, sent)["payload"]["severity"] == expected


@pytest.mark.parametrize(
    "facts", [{"again": True}, {"alert_summary": AlertSummary(3, NOW, NOW + 90.25, Severity.HIGH)}]
)
def test_the_alert_summary_is_told_when_there_is_one(facts: dict[str, Any]) -> None:
    told = {"alert_summary": AlertSummary(3, NOW, NOW + 90.25, Severity.HIGH), **facts}
    details = body_of(pagerduty(), trigger(**told))["payload"]["custom_details"]
    assert details["occurrences"] == 3
    assert details["first_seen"] == "2026-05-20T14:00:00.000Z"
    assert details["last_seen"] == "2026-05-20T14:01:30.250Z"
    assert details["highest_severity"] == "high"


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("2026-05-20T14:00:00Z", "2026-05-20T14:00:00Z"),
        ("2026-05-20t14:00:00.5z", "2026-05-20T14:00:00.5Z"),
        ("2026-05-20T14:00:00.123456789+02:00", "2026-05-20T14:00:00.123456+02:00"),
        ("2026-02-30T14:00:00Z", None),
        ("2026-05-20T14:00:00Z\n", None),
        ("[REDACTED]", None),
        ("", None),
    ],
)
def test_a_timestamp_that_is_none_is_left_out(given_text: str, expected: str | None) -> None:
    payload = body_of(pagerduty(), trigger(violation(timestamp=given_text)))["payload"]
    assert payload.get("timestamp") == expected


@pytest.mark.parametrize(("notification", "action"), [(Acknowledge("k"), "acknowledge"), (Resolve("k"), "resolve")])
def test_acknowledge_and_resolve_go_through_the_route_that_triggered(notification: Notification, action: str) -> None:
    body = body_of(routed(), notification, "by_tenant:acme")
    assert body == {"routing_key": TENANT_KEY, "event_action": action, "dedup_key": "k"}


def test_a_text_that_is_too_long_ends_in_an_ellipsis_and_splits_no_character() -> None:
    summary = body_of(pagerduty(), trigger(violation(reason="x" * 2000)))["payload"]["summary"]
    assert len(summary) == 1024
    assert summary.endswith("x…")
    for padding in range(4):
        summary = body_of(pagerduty(), trigger(violation(reason="x" * padding + "👩‍💻" * 900)))["payload"]["summary"]
        assert len(summary.encode("utf-16-le")) // 2 <= 1024
        assert not summary.removesuffix("…").endswith("\u200d")


def test_line_breaks_control_characters_and_bidirectional_overrides_become_spaces() -> None:
    summary = body_of(pagerduty(), trigger(violation(reason="a\r\n\0b\u202ec\ud800d\x85e")))["payload"]["summary"]
    assert summary == "[forbidden_path] a b c d e"


def test_a_request_that_is_too_large_loses_the_ends_of_its_longest_details() -> None:
    of = violation(resource_name="\\" * 400_000, resource_path="☠" * 400_000, reason="r" * 400_000, user_id="u" * 300)
    body = body_of(pagerduty(), trigger(of, again=True))
    check_rules(body)
    details = body["payload"]["custom_details"]
    assert details["user_id"] == "u" * 300
    assert details["resource_name"].endswith("\\…")
    assert details["resource_path"].endswith("☠…")
    assert details["occurrences"] == 1
    assert len(orjson.dumps(body)) > REQUEST_LIMIT // 3


def test_what_cannot_be_cut_is_left_out_and_named() -> None:
    endless = "https://x.example/" + "{reason}" * 150
    provider = pagerduty(
        links=[{"href": endless}] * 2,
        client_url="https://x.example/",
        extra_details={f"detail-{number}": "{reason}" for number in range(400)},
    )
    of = violation(reason="☠" * 1024, labels={f"{number}" * 64: "☠" * 1024 for number in range(10, 90)})
    body = body_of(provider, trigger(of))
    check_rules(body)
    details = body["payload"]["custom_details"]
    assert details["cut"] == "links, labels"
    assert "labels" not in details
    assert details["detail-399"].endswith("☠…")
    assert details["event_id"] == of.event_id
    assert body["client_url"] == "https://x.example/"


@pytest.mark.parametrize(
    ("facts", "route", "key"),
    [
        ({"guard": "secret_leak", "tenant_id": "acme"}, "by_guard:secret_leak", GUARD_KEY),
        ({"tenant_id": "acme"}, "by_tenant:acme", TENANT_KEY),
        ({}, "by_severity:critical", SEVERITY_KEY),
        ({"severity": Severity.HIGH}, "default", DEFAULT_KEY),
        ({"severity": Severity.HIGH, "tenant_id": "other"}, "default", DEFAULT_KEY),
        ({"severity": Severity.HIGH, "tenant_id": None}, "default", DEFAULT_KEY),
    ],
)
def test_a_route_is_of_the_guard_else_the_tenant_else_the_severity(facts: dict[str, Any], route: str, key: str) -> None:
    provider, of = routed(), violation(**facts)
    assert provider.route_of(of) == route
    assert provider.knows(route)
    assert body_of(provider, trigger(of), route)["routing_key"] == key


def test_routes_begin_with_the_default() -> None:
    expected = ("default", "by_guard:secret_leak", "by_tenant:acme", "by_tenant:None", "by_severity:critical")
    assert tuple(routed().routes) == expected


def test_a_route_that_is_no_longer_configured_means_the_default() -> None:
    assert not pagerduty().knows("by_guard:secret_leak")
    assert body_of(pagerduty(), Resolve("k"), "by_guard:secret_leak")["routing_key"] == DEFAULT_KEY


def test_the_address_of_the_eu_works_with_and_without_a_slash() -> None:
    for endpoint in ("https://events.eu.pagerduty.com", "https://events.eu.pagerduty.com/"):
        (request,) = pagerduty(api_endpoint=endpoint).requests("default", Resolve("k"))
        assert (request.method, request.url) == ("POST", "https://events.eu.pagerduty.com/v2/enqueue")


def test_a_request_does_not_show_its_key() -> None:
    assert DEFAULT_KEY not in repr(pagerduty().requests("default", trigger()))
    assert DEFAULT_KEY not in repr(pagerduty())


def test_an_unknown_placeholder_is_an_error_at_start() -> None:
    for href in ("https://x.example/{nope}", "https://x.example/{guard"):
        with pytest.raises(ValueError, match=r"placeholder|brace"):
            pagerduty(links=[{"href": href}])


RUNBOOK = "https://wiki.example/run?a=1&b=%20#step-2"
PICTURE = "https://img.example/x.png"


def addresses(label: str | None) -> Any:
    """The links, images and client_url of a page whose addresses begin with this label."""
    provider = pagerduty(
        links=[{"href": "{label.url}", "text": "Runbook"}, {"href": "{label.url}/{reason}"}],
        images=[
            {"src": "{label.url}", "href": "{label.url}", "alt": "a"},
            {"src": PICTURE, "href": "{label.url}"},
        ],
        client_url="{label.url}",
    )
    labels = {} if label is None else {"url": label}
    body = body_of(provider, trigger(violation(reason="a/b c", labels=labels)))
    check_rules(body)
    return {name: body[name] for name in ("links", "images", "client_url") if name in body}


def test_an_address_that_begins_with_a_placeholder_is_taken_as_it_is() -> None:
    assert addresses(RUNBOOK) == {
        "links": [{"href": RUNBOOK, "text": "Runbook"}, {"href": f"{RUNBOOK}/a%2Fb%20c"}],
        "images": [{"src": RUNBOOK, "href": RUNBOOK, "alt": "a"}, {"src": PICTURE, "href": RUNBOOK}],
        "client_url": RUNBOOK,
    }


@pytest.mark.parametrize(
    "label",
    [
        None,
        "",
        "default",
        "/run",
        "//wiki.example/run",
        "http://wiki.example/run",
        "javascript:alert(1)//https://wiki.example",
        "javascript:https://wiki.example/",
        "data:text/html,x",
        " https://wiki.example/run",
        "https://wiki.example/run\n",
        "https://wiki.example/\x00",
        "https://wiki.example/\u202egnp.exe",
        "https://wiki.example/a b",
        "https://wiki.example/<script>",
        'https://wiki.example/"onclick="x',
        "https://evil.example\\@wiki.example/run",
        "https://wiki.example@evil.example/",
        "https://user:secret@wiki.example/",
        "https://",
        "https:///run",
        "https://?a",
        "https://wiki.example:port/",
        "https://wik\u0456.example/",
        "https://wiki.example/%zz",
        "https://wiki.example/a#b#c",
        "https://wiki.example/" + "a" * 3000,
        "https://wiki.example/" + "\u00e4" * 1000,
        "https://wiki.example/\ud800",
    ],
)
def test_without_an_https_address_there_is_no_link(label: str | None) -> None:
    assert addresses(label) == {"images": [{"src": PICTURE}]}


def test_letters_beyond_ascii_are_encoded_in_such_an_address() -> None:
    assert addresses("https://wiki.example/\u00dcberblick?q=\u00e4")["client_url"] == (
        "https://wiki.example/%C3%9Cberblick?q=%C3%A4"
    )


def test_only_what_an_address_begins_with_is_taken_as_it_is() -> None:
    provider = pagerduty(links=[{"href": "{label.url}{label.url}"}, {"href": "https://x.example/{label.url}"}])
    body = body_of(provider, trigger(violation(labels={"url": "https://wiki.example/"})))
    encoded = "https%3A%2F%2Fwiki.example%2F"
    assert body["links"] == [
        {"href": f"https://wiki.example/{encoded}"},
        {"href": f"https://x.example/{encoded}"},
    ]


@given(st.text() | st.text().map("https://".__add__) | st.text().map("https://a.example/".__add__))
def test_any_label_makes_a_plain_https_address_or_none(label: str) -> None:
    address = addresses(label).get("client_url")
    if address is None:
        return
    parts = urlsplit(address)
    assert address.isascii()
    assert address.isprintable()
    assert len(address) <= 2048
    assert (parts.scheme, parts.username, parts.password) == ("https", None, None)
    assert parts.hostname


NO_KEY = b"Invalid routing key"
BAD_KEY = (
    b'{"status":"invalid event","message":"Event object is invalid",'
    b'"errors":["Length of \'routing_key\' is incorrect (should be 32 characters)"]}'
)
BAD_EVENT = b'{"status":"invalid event","message":"Event object is invalid","errors":["\'summary\' is missing"]}'


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (202, b"{}", Accepted()),
        (202, b"\xff not json", Accepted()),
        (200, b"", Unavailable(200, "HTTP 200 is not a documented answer")),
        (204, b"", Unavailable(204, "HTTP 204 is not a documented answer")),
        (302, b"", Unavailable(302, "HTTP 302")),
        (400, BAD_EVENT, Rejected(400, "Event object is invalid; 'summary' is missing")),
        (400, b"", Rejected(400, "HTTP 400")),
        (400, NO_KEY, RouteRefused(400, "Invalid routing key")),
        (
            400,
            BAD_KEY,
            RouteRefused(
                400, "Event object is invalid; Length of 'routing_key' is incorrect (should be 32 characters)"
            ),
        ),
        (413, b"too large", Rejected(413, "too large")),
        (422, b"no", Rejected(422, "no")),
        (418, b"teapot", Rejected(418, "teapot")),
        *((status, b"who?", Rejected(status, "who?")) for status in (401, 402, 403, 404, 405)),
        (408, b"", Unavailable(408, "HTTP 408", unknown=True)),
        (425, b"", Unavailable(425, "HTTP 425")),
        (429, b"slow down", Throttled("slow down")),
        (500, b"oops", Unavailable(500, "oops")),
        (503, b"", Unavailable(503, "HTTP 503")),
        (504, b"", Unavailable(504, "HTTP 504", unknown=True)),
        (599, b"", Unavailable(599, "HTTP 599")),
        (999, b"", Unavailable(999, "HTTP 999")),
    ],
)
def test_what_an_answer_means(status: int, body: bytes, expected: Answer) -> None:
    assert pagerduty().classify(status, {}, body) == expected


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"retry-after": " 7.5 "}, 7.5),
        ({"Retry-After": "-3"}, 0),
        ({"Retry-After": "9" * 400}, 3600),
        ({"Retry-After": "Wed, 20 May 2026 14:01:00 GMT"}, 60),
        ({"Retry-After": "Wed, 20 May 2026 14:01:00 GMT", "Date": "Wed, 20 May 2026 14:00:50 GMT"}, 10),
        ({"Retry-After": "Wed, 20 May 2026 13:00:00 GMT"}, 0),
        ({"Retry-After": "Wed, 20 May 2099 14:00:00 GMT"}, 3600),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Wed, 99 May 2026 99:99:99 GMT"}, None),
        ({"Retry-After": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(headers: dict[str, str], seconds: float | None) -> None:
    assert pagerduty().classify(503, headers, b"") == Unavailable(503, "HTTP 503", retry_after=seconds)


def test_an_accepted_answer_tells_the_providers_clock() -> None:
    provider = pagerduty()
    assert provider.classify(202, {"Date": "Wed, 20 May 2026 14:00:00 GMT"}, b"") == Accepted(NOW)
    assert provider.classify(202, {"date": "Wed, 20 May 2026 14:00:00 GMT"}, b"") == Accepted(NOW)
    assert provider.classify(202, {"Date": "yesterday"}, b"") == Accepted(None)


@pytest.mark.parametrize("shown", [GUARD_KEY, GUARD_KEY.upper(), f"key={TENANT_KEY}&", "x" * 490 + SEVERITY_KEY])
def test_a_reason_is_bounded_and_without_secrets(shown: str) -> None:
    answer = routed().classify(400, {}, shown.encode() + b"\n\x1b[31m" + b"y" * 1000)
    assert isinstance(answer, Rejected)
    assert len(answer.reason) <= 500
    assert answer.reason.isprintable()
    for secret in (DEFAULT_KEY, GUARD_KEY, TENANT_KEY, SEVERITY_KEY):
        assert secret[:8] not in answer.reason.lower()


TEXT = st.text() | st.text(st.characters()) | st.builds(str.__mul__, st.text(min_size=1, max_size=3), st.just(3000))
VIOLATIONS = st.builds(
    Violation,
    **dict.fromkeys(
        (
            "event_id",
            "event_type",
            "timestamp",
            "guard",
            "reason",
            "agent_id",
            "session_id",
            "resource_type",
            "resource_name",
        ),
        TEXT,
    ),
    severity=st.sampled_from(Severity),
    allowed=st.booleans(),
    **dict.fromkeys(
        ("user_id", "tenant_id", "environment", "policy_hash", "ruleset", "resource_path", "resource_host"),
        st.none() | TEXT,
    ),
    labels=st.dictionaries(TEXT, TEXT, max_size=3),
)
SUMMARIES = st.builds(AlertSummary, st.integers(1, 10**9), st.floats(), st.floats(), st.sampled_from(Severity))


@given(VIOLATIONS, SUMMARIES, st.booleans())
def test_any_violation_makes_a_payload_within_the_rules(
    of: Violation, alert_summary: AlertSummary, again: bool
) -> None:
    provider = pagerduty(
        links=[{"href": "https://x.example/{resource}/{label.team}", "text": "{reason}"}],
        images=[{"src": "https://x.example/{guard}.png", "href": "https://x.example/{user_id}", "alt": "{ruleset}"}],
        client_url="https://x.example/{session_id}",
        payload=dict.fromkeys(("summary", "source", "component", "group", "class"), "{reason}{label.team}"),
        extra_details={"why": "{reason}{reason}{reason}"},
        change_events={"enabled": True},
    )
    request = provider.change(of)
    assert request is not None
    assert orjson.loads(orjson.dumps(request.body))["payload"]["summary"].strip()
    check_schema("/change/enqueue", request.body)
    assert provider.route_of(of) == "default"
    body = body_of(provider, trigger(of, alert_summary=alert_summary, again=again))
    check_rules(body)
    assert all(address.isascii() for address in (body["client_url"], body["links"][0]["href"]))


@given(VIOLATIONS)
def test_a_violation_with_lone_surrogates_still_pages(of: Violation) -> None:
    hostile = replace(of, reason=of.reason + "\ud800", session_id="\udfff", timestamp="\ud800")
    check_rules(body_of(pagerduty(client_url="https://x.example/{session_id}"), trigger(hostile)))


@given(st.integers(100, 999), st.binary(), st.dictionaries(st.sampled_from(["Retry-After", "Date"]), st.text()))
def test_any_answer_has_a_meaning(status: int, body: bytes, headers: dict[str, str]) -> None:
    answer = pagerduty().classify(status, headers, body)
    assert isinstance(answer, Accepted) == (status == 202)


def test_the_agent_that_really_acted_is_told_where_it_is_known() -> None:
    provider = pagerduty(payload={"summary": "{guard} by {runtime_agent_kind}"})
    acted = violation(runtime_agent_id="sub-1", runtime_agent_kind="browser")
    (request,) = provider.requests("default", trigger(acted))
    assert request.body is not None
    payload = request.body["payload"]
    assert payload["summary"] == "forbidden_path by browser"
    assert (payload["custom_details"]["runtime_agent_id"], payload["custom_details"]["runtime_agent_kind"]) == (
        "sub-1",
        "browser",
    )
    (plain,) = provider.requests("default", trigger())
    assert plain.body is not None
    assert "runtime_agent_id" not in plain.body["payload"]["custom_details"]
