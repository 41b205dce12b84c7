"""OpsGenie: the requests and the meaning of answers (Alert API v2; design sections 8 and 9)."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.notification import Acknowledge, AlertSummary, Notification, Origin, Resolve, Trigger
from providers.opsgenie.provider import OpsGenie
from providers.opsgenie.settings import OpsGenieSettings
from providers.provider import Request
from state.violation import Severity, Violation

API_KEY = "0f1e2d3c-opsgenie-key"
NOW = 1_779_285_600.0  # 2026-05-20T14:00:00Z
BASE = "https://api.opsgenie.com/v2/alerts"


def violation(**facts: Any) -> Violation:
    given_facts: dict[str, Any] = {
        "event_id": "0196ee5c-0000-7000-8000-000000000001",
        "event_type": "secret_detected",
        "timestamp": "2026-05-20T14:00:00.5Z",
        "guard": "secret_leak",
        "severity": Severity.HIGH,
        "reason": "Potential secrets detected: aws_access_key",
        "allowed": False,
        "agent_id": "agent-7",
        "session_id": "sess-1",
        "resource_type": "file",
        "resource_name": "config.yaml",
        **facts,
    }
    return Violation(**given_facts)


def trigger(of: Violation | None = None, **facts: Any) -> Trigger:
    of = of or violation()
    alert_summary = AlertSummary(4, NOW, NOW + 90, Severity.CRITICAL)
    key = facts.pop("dedup_key", "clawdstrike-secret_leak-sess-1")
    return Trigger(key, of, facts.pop("severity", of.severity), facts.pop("alert_summary", alert_summary), **facts)


def opsgenie(**settings: Any) -> OpsGenie:
    return OpsGenie(OpsGenieSettings.model_validate({"api_key": API_KEY, **settings}), now=lambda: NOW)


def body_of(request: Request) -> dict[str, Any]:
    assert request.body is not None
    decoded: dict[str, Any] = orjson.loads(orjson.dumps(request.body))
    return decoded


def create(provider: OpsGenie, sent: Trigger) -> dict[str, Any]:
    return body_of(provider.requests("default", sent)[0])


def calls(provider: OpsGenie, notification: Notification) -> list[str]:
    return [f"{request.method} {request.url}" for request in provider.requests("default", notification)]


def check_rules(body: dict[str, Any]) -> None:
    """The limits of the API page, written by hand."""
    assert 0 < len(body["message"]) <= 130
    assert len(body["alias"]) <= 512
    assert len(body["description"]) <= 15_000
    assert len(body.get("responders", [])) <= 50
    assert all(
        recipient["type"] in ("team", "user", "escalation", "schedule") for recipient in body.get("responders", [])
    )
    assert len(body.get("visibleTo", [])) <= 50
    assert len(body["tags"]) <= 20
    assert all(len(tag) <= 50 for tag in body["tags"])
    assert all(isinstance(value, str) for value in body["details"].values())
    assert sum(len(name) + len(value) for name, value in body["details"].items()) <= 8_000
    assert len(body["entity"]) <= 512
    assert len(body["source"]) <= 100
    assert 0 < len(body["user"]) <= 100
    assert len(body.get("note", "")) <= 25_000
    assert body["priority"] in ("P1", "P2", "P3", "P4", "P5")


def test_create_field_by_field() -> None:
    provider = opsgenie(
        responders=[{"type": "team", "name": "security"}, {"type": "user", "username": "a@example.com"}],
        visible_to=[{"type": "team", "id": "t-1"}],
        actions=["isolate"],
        tags=["env:prod"],
        note="Runbook: https://wiki.example/agents",
    )
    of = violation(user_id="u-1", tenant_id="acme", environment="prod", resource_path="/srv/config.yaml")
    (request,) = provider.requests("default", trigger(of))
    assert (request.method, request.url) == ("POST", BASE)
    assert request.headers == {"Authorization": f"GenieKey {API_KEY}"}
    body = body_of(request)
    check_rules(body)
    description = body.pop("description")
    assert body == {
        "message": "[secret_leak] Potential secrets detected: aws_access_key",
        "alias": "clawdstrike-secret_leak-sess-1",
        "responders": [{"type": "team", "name": "security"}, {"type": "user", "username": "a@example.com"}],
        "visibleTo": [{"type": "team", "id": "t-1"}],
        "actions": ["isolate"],
        "tags": ["guard:secret_leak", "severity:high", "event_type:secret_detected", "env:prod"],
        "details": {
            "event_id": "0196ee5c-0000-7000-8000-000000000001",
            "event_type": "secret_detected",
            "session_id": "sess-1",
            "user_id": "u-1",
            "resource_type": "file",
            "resource_name": "config.yaml",
            "resource_path": "/srv/config.yaml",
            "allowed": "false",
            "occurrences": "4",
            "first_seen": "2026-05-20T14:00:00.000Z",
            "last_seen": "2026-05-20T14:01:30.000Z",
            "highest_severity": "critical",
        },
        "entity": "config.yaml",
        "source": "clawdstrike-agent-7",
        "priority": "P2",
        "user": "clawdstrike-alerting",
        "note": "Runbook: https://wiki.example/agents",
    }
    expected = """\
## Security Violation Details

**Guard:** secret_leak
**Severity:** high
**Reason:** Potential secrets detected: aws_access_key

### Session Context
- **Session ID:** sess-1
- **User ID:** u-1
- **Tenant:** acme
- **Environment:** prod

### Resource
- **Type:** file
- **Name:** config.yaml
- **Path:** /srv/config.yaml
- **Host:** N/A

### Policy
- **Ruleset:** N/A
- **Policy Hash:** N/A

---
*Generated by Clawdstrike at 2026-05-20T14:00:00.5Z*"""
    assert description == expected


def test_the_details_say_where_in_kafka_the_event_stands() -> None:
    body = create(opsgenie(), trigger(origin=Origin("clawdstrike.events", 3, 41)))
    assert [body["details"][name] for name in ("topic", "partition", "offset")] == ["clawdstrike.events", "3", "41"]


def test_what_the_event_lacks_is_empty_in_details() -> None:
    body = create(opsgenie(), trigger())
    assert body["details"]["user_id"] == body["details"]["resource_path"] == ""
    assert "responders" not in body
    assert "visibleTo" not in body
    assert "actions" not in body


def test_a_value_cannot_forge_a_line_of_the_description() -> None:
    reason = "x\n## Resolved\r\n\u2028- **Session ID:** other\x0b---"
    description = create(opsgenie(), trigger(violation(reason=reason)))["description"]
    assert "**Reason:** x ## Resolved - **Session ID:** other ---\n" in description
    assert [line for line in description.splitlines() if line.startswith("## ")] == ["## Security Violation Details"]


def test_braces_in_values_are_only_text() -> None:
    assert (
        "**Reason:** {0.__class__} {}\n"
        in create(opsgenie(), trigger(violation(reason="{0.__class__} {}")))["description"]
    )


def test_long_values_leave_the_rest_of_the_description_and_the_details_whole() -> None:
    of = violation(reason="r" * 30_000, resource_name="n" * 30_000)
    body = create(opsgenie(), trigger(of))
    check_rules(body)
    assert body["description"].endswith("*Generated by Clawdstrike at 2026-05-20T14:00:00.5Z*")
    assert len(body["description"]) > 14_900
    assert body["details"]["event_id"] == of.event_id
    assert body["details"]["resource_name"].endswith("n…")
    assert body["message"].endswith("r…")
    assert len(body["message"]) == 130
    assert body["entity"].endswith("n…")


def test_configured_tags_go_last_and_drop_first() -> None:
    body = create(opsgenie(tags=[f"tag-{number}" for number in range(30)]), trigger(violation(guard="g" * 80)))
    tags = body["tags"]
    assert len(tags) == 20
    assert tags[0] == "guard:" + "g" * 43 + "…"
    assert tags[-1] == "tag-16"


@pytest.mark.parametrize(
    ("severity", "expected"),
    [
        (Severity.CRITICAL, "P1"),
        (Severity.HIGH, "P1"),
        (Severity.MEDIUM, "P3"),
        (Severity.LOW, "P4"),
        (Severity.INFO, "P5"),
    ],
)
def test_priority_is_mapped_from_the_highest_severity_that_is_owed(severity: Severity, expected: str) -> None:
    body = create(opsgenie(priority_mapping={"high": "P1"}), trigger(severity=severity))
    assert body["priority"] == expected
    assert f"severity:{severity.label}" in body["tags"]


ROUTING = {
    "by_guard": {"secret_leak": ["dlp", "security"]},
    "by_severity": {"critical": ["oncall", "security"]},
    "by_tag": {
        "env:prod": ["prod"],
        "team:payments": ["payments"],
        "severity:critical": ["critical-tag"],
        "other": ["nobody"],
    },
}


def test_responders_are_added_up_without_duplicates() -> None:
    provider = opsgenie(
        responders=[{"type": "team", "name": "security"}, {"type": "escalation", "name": "security"}],
        tags=["env:prod"],
        routing=ROUTING,
    )
    of = violation(severity=Severity.CRITICAL, labels={"team": "payments"})
    responders = [(responder["type"], responder["name"]) for responder in create(provider, trigger(of))["responders"]]
    assert responders == [
        ("team", "security"),
        ("escalation", "security"),
        ("team", "dlp"),
        ("team", "oncall"),
        ("team", "prod"),
        ("team", "payments"),
        ("team", "critical-tag"),
    ]


def test_a_configured_tag_routes_even_where_a_limit_drops_it() -> None:
    long = "x" * 60
    provider = opsgenie(tags=[*(f"t{number}" for number in range(20)), long], routing={"by_tag": {long: ["team"]}})
    assert create(provider, trigger())["responders"] == [{"type": "team", "name": "team"}]


def test_only_the_first_fifty_responders_are_named() -> None:
    teams = [f"team-{number}" for number in range(80)]
    body = create(opsgenie(routing={"by_guard": {"secret_leak": teams}}), trigger())
    assert [responder["name"] for responder in body["responders"]] == teams[:50]


ALIAS = f"{BASE}/clawdstrike-secret_leak-sess-1"


@pytest.mark.parametrize(
    ("notification", "expected"),
    [
        (trigger(), [f"POST {BASE}"]),
        (trigger(raised=True), [f"POST {BASE}"]),
        (trigger(again=True), [f"POST {BASE}", f"POST {ALIAS}/notes?identifierType=alias"]),
        (
            trigger(again=True, raised=True),
            [
                f"POST {BASE}",
                f"PUT {ALIAS}/priority?identifierType=alias",
                f"POST {ALIAS}/tags?identifierType=alias",
                f"POST {ALIAS}/notes?identifierType=alias",
            ],
        ),
        (
            Acknowledge("clawdstrike-secret_leak-sess-1"),
            [f"POST {ALIAS}/acknowledge?identifierType=alias"],
        ),
        (Resolve("clawdstrike-secret_leak-sess-1"), [f"POST {ALIAS}/close?identifierType=alias"]),
    ],
)
def test_the_requests_of_a_notification(notification: Notification, expected: list[str]) -> None:
    assert calls(opsgenie(), notification) == expected


def test_a_raised_severity_sets_the_priority_and_tells_it_in_a_note() -> None:
    sent = trigger(violation(reason="a\nb"), severity=Severity.CRITICAL, again=True, raised=True)
    _, priority, tags, note = map(body_of, opsgenie().requests("default", sent))
    assert priority == {"priority": "P1"}
    assert tags == {
        "tags": ["severity:critical"],
        "user": "clawdstrike-alerting",
        "source": "clawdstrike-alerting",
    }
    assert set(note) == {"user", "source", "note"}
    assert note["note"] == (
        "Severity raised to critical, priority P1.\n"
        "[secret_leak] a b (event 0196ee5c-0000-7000-8000-000000000001)\n"
        "Occurrences: 4\n"
        "First seen: 2026-05-20T14:00:00.000Z\n"
        "Last seen: 2026-05-20T14:01:30.000Z\n"
        "Highest severity: critical"
    )


def test_actions_say_who_acts_and_why() -> None:
    (close,) = opsgenie().requests("default", Resolve("k"))
    assert body_of(close) == {
        "user": "clawdstrike-alerting",
        "source": "clawdstrike-alerting",
        "note": "Resolved by clawdstrike-alerting",
    }
    (acknowledge,) = opsgenie().requests("default", Acknowledge("k"))
    assert body_of(acknowledge)["note"] == "Acknowledged by clawdstrike-alerting"
    (close,) = opsgenie(user="soc-bot").requests("default", Resolve("k"))
    assert body_of(close) == {"user": "soc-bot", "source": "soc-bot", "note": "Resolved by soc-bot"}
    assert create(opsgenie(user="soc-bot"), trigger())["user"] == "soc-bot"


@pytest.mark.parametrize(
    ("alias", "segment"),
    [
        ("a/b?c#d", "a%2Fb%3Fc%23d"),
        ("100%2F", "100%252F"),
        ("ä b", "%C3%A4%20b"),
        ("..", "%2E%2E"),
        ("a..b", "a..b"),
    ],
)
def test_an_alias_is_one_segment_of_the_path(alias: str, segment: str) -> None:
    assert calls(opsgenie(), Resolve(alias)) == [f"POST {BASE}/{segment}/close?identifierType=alias"]


def test_jira_service_management_keeps_its_path_and_has_no_priority_call() -> None:
    provider = opsgenie(api_endpoint="https://api.atlassian.com/jsm/ops/integration/")
    base = "https://api.atlassian.com/jsm/ops/integration/v2/alerts"
    alias = f"{base}/clawdstrike-secret_leak-sess-1"
    assert calls(provider, trigger(again=True, raised=True)) == [
        f"POST {base}",
        f"POST {alias}/notes?identifierType=alias",
    ]
    assert calls(provider, Resolve("k")) == [f"POST {base}/k/close?identifierType=alias"]


def test_there_is_one_route() -> None:
    provider = opsgenie()
    assert tuple(provider.routes) == ("default",)
    assert provider.route_of(violation()) == "default"
    assert provider.knows("default")
    assert not provider.knows("by_guard:secret_leak")


def test_a_request_does_not_show_its_key() -> None:
    provider = opsgenie()
    assert API_KEY not in repr(provider.requests("default", trigger(again=True, raised=True)))
    assert API_KEY not in repr(provider)


KEY_FORMAT = b'{"message":"Key format is not valid!","took":0.001,"requestId":"1"}'
QUOTED = b'{"message":"Request body is not processable","errors":{"message":"Key format is not valid!"}}'
FIELDS = b'{"message":"Request body is not processable","errors":{"message":"must not be empty"},"took":0.1}'


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (202, b'{"result":"Request will be processed"}', Accepted()),
        (202, b"<html>", Accepted()),
        (200, b"{}", Unavailable(200, "HTTP 200 is not a documented answer")),
        (301, b"", Unavailable(301, "HTTP 301")),
        (400, b"Invalid routing key", Rejected(400, "Invalid routing key")),
        (422, FIELDS, Rejected(422, "Request body is not processable; message: must not be empty")),
        *((status, b"", Rejected(status, f"HTTP {status}")) for status in (406, 409, 410, 413, 415)),
        (401, b'{"message":"no"}', RouteRefused(401, "no")),
        *((status, KEY_FORMAT, RouteRefused(status, "Key format is not valid!")) for status in (400, 401, 403, 422)),
        (422, QUOTED, Rejected(422, "Request body is not processable; message: Key format is not valid!")),
        *((status, b'{"message":"no"}', Rejected(status, "no")) for status in (402, 403, 404, 405)),
        (408, b"", Unavailable(408, "HTTP 408", unknown=True)),
        (429, b"", Throttled("HTTP 429")),
        (500, b"[1]", Unavailable(500, "[1]")),
        (504, b"", Unavailable(504, "HTTP 504", unknown=True)),
    ],
)
def test_what_an_answer_means(status: int, body: bytes, expected: Answer) -> None:
    assert opsgenie().classify(status, {}, body) == expected


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"X-RateLimit-Period-In-Sec": "60"}, 60),
        ({"x-ratelimit-period-in-sec": "1"}, 1),
        ({"X-RateLimit-Period-In-Sec": "60", "Retry-After": "5"}, 5),
        ({"X-RateLimit-Period-In-Sec": "many"}, None),
        ({"X-RateLimit-Period-In-Sec": "999999"}, 3600),
    ],
)
def test_a_throttled_answer_says_when_to_come_back(headers: dict[str, str], seconds: float | None) -> None:
    assert opsgenie().classify(429, headers, b"") == Throttled("HTTP 429", retry_after=seconds)


def test_a_reason_never_repeats_the_key() -> None:
    for body in (f"key {API_KEY} is wrong".encode(), b'{"message":"%s"}' % API_KEY.encode()):
        answer = opsgenie().classify(403, {}, body)
        assert isinstance(answer, Rejected)
        assert API_KEY not in answer.reason
        assert "[secret]" in answer.reason


TEXT = st.text() | st.text(st.characters()) | st.builds(str.__mul__, st.text(min_size=1, max_size=3), st.just(6000))
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
    labels=st.dictionaries(st.text(), TEXT, max_size=3),
)
SUMMARIES = st.builds(AlertSummary, st.integers(1, 10**9), st.floats(), st.floats(), st.sampled_from(Severity))


@given(VIOLATIONS, SUMMARIES, st.booleans())
def test_any_violation_makes_requests_within_the_limits(
    of: Violation, alert_summary: AlertSummary, raised: bool
) -> None:
    provider = opsgenie(
        responders=[{"type": "schedule", "id": "s"}], tags=["env:prod"], routing={"by_tag": {"env:prod": ["prod"]}}
    )
    hostile = replace(of, reason=of.reason + "\ud800")
    sent = trigger(hostile, alert_summary=alert_summary, again=True, raised=raised)
    bodies = list(map(body_of, provider.requests("default", sent)))
    check_rules(bodies[0])
    assert bodies[0]["description"].count("\n") == 23
    assert len(bodies[-1]["note"]) <= 25_000
    assert bodies[-1]["note"].count("\n") == 5


@given(st.text(min_size=1, max_size=512))
def test_any_alias_stays_within_its_segment(alias: str) -> None:
    (call,) = calls(opsgenie(), Resolve(alias))
    segment = call.removeprefix(f"POST {BASE}/").removesuffix("/close?identifierType=alias")
    assert segment.isascii()
    assert not set(segment) & set("/?# ")
    assert segment.strip(".")


def test_the_agent_that_really_acted_is_told_where_it_is_known() -> None:
    acted = violation(runtime_agent_id="sub-1", runtime_agent_kind="browser")
    details = body_of(opsgenie().requests("default", trigger(acted))[0])["details"]
    assert (details["runtime_agent_id"], details["runtime_agent_kind"]) == ("sub-1", "browser")
    assert "runtime_agent_id" not in body_of(opsgenie().requests("default", trigger())[0])["details"]
