"""``exporters.alerting.http``: what loads, what is refused and where, and the provider that comes of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer.cli.check_config import check_config
from consumer.cli.main import main
from consumer.config import Config, ConfigError, parse_config, secrets_of, short_secrets, without_effect
from consumer.kafka.topic_specs import topics_of
from consumer.service.build import build_pipelines
from consumer.service.runner import route_limits
from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.configured.settings import ConfiguredSettings
from providers.notification import Acknowledge, Resolve
from providers.table import PROVIDERS, build
from state.violation import Severity
from tests.unit.test_described_examples import trigger, violation

REFERENCE = Path(__file__).parents[2] / "consumer" / "config" / "reference.yaml"
AT = "exporters.alerting.http"
SECRET, OTHER, RETIRED = "default-secret-1", "dlp-secret-number-2", "retired-secret-3"
BODY = {"what": "{guard}", "key": "{dedup_key}"}
SECTION: dict[str, Any] = {
    "address": "https://pager.example/v1/events",
    "headers": {"X-Token": "Token {secret}"},
    "secret": SECRET,
    "trigger": {"body": BODY},
    "resolve": {"body": {"what": "end", "key": "{dedup_key}"}},
}


def parse(section: dict[str, Any], name: str = "pager", **others: Any) -> Config:
    document = {**others, "exporters": {"alerting": {"http": {name: section}}}}
    return parse_config(yaml.safe_dump(document), {}, lambda path: "")


def problems(section: dict[str, Any], name: str = "pager", **others: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(section, name, **others)
    return str(caught.value).splitlines()


def provider_of(**settings: Any) -> Any:
    config = parse({**SECTION, **settings})
    return build("pager", config.sections["pager"])


# --- what is refused, and where


@pytest.mark.parametrize(
    ("settings", "place", "why"),
    [
        ({"address": "http://pager.example/"}, "address", "must be https, except on loopback"),
        ({"address": "https://pager.example/{guard}"}, "address", "{guard} is not known here"),
        ({"address": None}, "address", "must be text"),
        ({"method": "TRACE"}, "method", "must be one of"),
        ({"headers": {"X-Token": "{guard}"}}, "headers.X-Token", "{guard} is not known here"),
        ({"headers": {"X-Token": "a\nb"}}, "headers.X-Token", "must be visible ASCII"),
        ({"headers": {"X Token": "a"}}, "headers.X Token", "must be the name of a header"),
        ({"headers": {"content-Type": "text/plain"}}, "headers.content-Type", "is set by the service itself"),
        ({"secret": None}, "headers.X-Token", "{secret}: the setting secret is not given"),
        ({"trigger": {"body": {"a": [{"b": "{nobody}"}]}}}, "trigger.body.a.0.b", "unknown placeholder {nobody}"),
        ({"trigger": {"body": "text"}}, "trigger.body", "must be a mapping"),
        ({"trigger": "none"}, "trigger", "must be a mapping"),
        ({"resolve": {"body": {"a": "{reason}"}}}, "resolve.body.a", "{reason} is not known here"),
        ({"resolve": {"address": "https://pager.example/{severity}"}}, "resolve.address", "{severity} is not known"),
        ({"key": "as-is"}, "key", "must be one of"),
        ({"key_limit": 10}, "key_limit", "must be at least 64"),
        ({"severity_mapping": {"critical": "{severity}"}}, "severity_mapping.critical", "is not known here"),
        ({"severity_mapping": {"worst": "P1"}}, "severity_mapping.worst", "must be one of"),
        ({"answers": {"accepted": ["2xx"], "later": [202]}}, "answers", "202 is in accepted and in later"),
        ({"answers": {"accepted": ["ok"]}}, "answers.accepted", "must be statuses such as"),
        ({"retired_secrets": [SECRET]}, "", "retired_secrets.0: is the key of route default, which is in use"),
        (
            {"secret": None, "headers": {}, "routing": {"by_guard": {"g": OTHER}}},
            "",
            "secret: is required where routes",
        ),
        ({"resolve": "none", "check": "resolve"}, "", "check: is the resolve of an alert"),
        ({"heartbeat": {"address": "https://pager.example/{dedup_key}"}}, "heartbeat.address", "is not known here"),
        ({"surprise": 1}, "surprise", "unknown key"),
        ({"routes": {"by_guard:g": {"route_check": "5m"}}}, "", "routes: there is no route by_guard:g"),
    ],
    ids=lambda it: it[:30] if isinstance(it, str) else "",
)
def test_a_mistake_is_told_at_its_place(settings: dict[str, Any], place: str, why: str) -> None:
    said = problems({**SECTION, **settings})
    where = f"{AT}.pager.{place}" if place else f"{AT}.pager"
    assert any(line.startswith(f"{where}: ") or line.startswith(f"{where}.") for line in said), said
    assert any(why in line for line in said), said
    assert not any(SECRET in line or OTHER in line for line in said)


@pytest.mark.parametrize("missing", ["address", "trigger", "resolve"])
def test_what_is_required(missing: str) -> None:
    section = {name: value for name, value in SECTION.items() if name != missing}
    assert problems(section) == [f"{AT}.pager.{missing}: is required"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *((taken, "is the name of another provider") for taken in (*PROVIDERS, "http")),
        ("a.positions", "must be part of the names of topics"),
        ("a b", "must be part of the names of topics"),
        ("-a", "must be part of the names of topics"),
        ("ä", "must be part of the names of topics"),
        ("a" * 49, "must be part of the names of topics"),
        ("pagerduty-repartition", "must not end in -repartition"),
    ],
)
def test_a_name_that_no_pipeline_can_have(name: str, why: str) -> None:
    (said,) = problems(SECTION, name)
    assert said.startswith(f"{AT}.{name}: {why}")


@pytest.mark.parametrize(
    ("name", "topics", "topic"),
    [
        ("events", {"events": "clawdstrike.alerting.state.events"}, "clawdstrike.alerting.state.events"),
        ("one", {"dlq": "clawdstrike.alerting.keyed.one"}, "clawdstrike.alerting.keyed.one"),
        ("one", {"keyed": "clawdstrike.alerting.state"}, "clawdstrike.alerting.state.one"),
        ("pagerduty_positions", {}, "clawdstrike.alerting.keyed.pagerduty_positions"),
    ],
)
def test_a_topic_has_one_purpose(name: str, topics: dict[str, str], topic: str) -> None:
    said = problems(SECTION, name, kafka={"topics": topics})
    assert any(line.startswith(f"{AT}.{name}: the topic {topic} would have two purposes") for line in said) or any(
        line.startswith("kafka.topics: one topic would have two purposes") for line in said
    )


def test_a_topic_that_would_be_too_long() -> None:
    (said,) = problems(SECTION, "a" * 48, kafka={"topics": {"keyed": "k" * 220}})
    assert said.startswith(f"{AT}.{'a' * 48}: a topic of this name would be kkkk")


def test_all_mistakes_are_told_at_once() -> None:
    section = {**SECTION, "address": "ftp://x/", "trigger": {"body": {"a": "{x}", "b": "{y}"}}}
    assert [line.partition(": ")[0] for line in problems(section)] == [
        f"{AT}.pager.trigger.body.a",
        f"{AT}.pager.trigger.body.b",
        f"{AT}.pager.address",
    ]


# --- a pipeline of its own


def test_all_names_follow_from_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    config = parse({**SECTION, "deduplication": {"key_template": "{guard}"}})
    assert config.pipelines == ["pager"]
    (pipeline,) = build_pipelines(config)
    assert pipeline.provider.name == "pager"
    assert pipeline.group_id == "clawdstrike-alerting.pager"
    assert pipeline.state_topic == "clawdstrike.alerting.state.pager"
    assert pipeline.input_topic == "clawdstrike.alerting.keyed.pager"
    assert {"clawdstrike.alerting.state.pager", "clawdstrike.alerting.keyed.pager.positions"} <= {
        spec.name for spec in topics_of(config)
    }
    check_config(config, print)
    said = capsys.readouterr().out
    assert "pipeline pager" in said
    assert "endpoint         POST https://pager.example\n" in said


def test_several_of_them_beside_one_of_ours() -> None:
    sections = {"one": SECTION, "two": {**SECTION, "deduplication": {"window_seconds": 5}}}
    document = {"exporters": {"alerting": {"pagerduty": {"routing_key": "k" * 32}, "http": sections}}}
    config = parse_config(yaml.safe_dump(document), {}, lambda path: "")
    assert [pipeline.provider.name for pipeline in build_pipelines(config)] == ["pagerduty", "one", "two"]
    assert [pipeline.policy.window_seconds for pipeline in build_pipelines(config)] == [300, 300, 5]


def test_a_route_that_no_alert_takes_is_named() -> None:
    config = parse({**SECTION, "routing": {"by_severity": {"low": OTHER}}})
    (said,) = without_effect(config)
    assert said.startswith(f"{AT}.pager.routing.by_severity.low: is never taken")


# --- no secret is seen


HIDDEN: dict[str, Any] = {
    "address": "https://hooks.example/services/T0001/B00000001/XyzzyXyzzyXyzzy?token=q1w2e3r4t5",
    "headers": {"Authorization": "Bearer header-token-77", "Accept": "application/json"},
    "secret": None,
    "secrets": {"other": "named-secret-value"},
    "retired_secrets": [],
}


def test_whatever_may_be_secret_is_known_as_such() -> None:
    config = parse({**SECTION, **HIDDEN})
    known = secrets_of(config)
    assert {"XyzzyXyzzyXyzzy", "B00000001", "q1w2e3r4t5", "header-token-77", "named-secret-value"} <= known
    assert not known & {"services", "Bearer", "application/json", "hooks.example"}
    assert short_secrets(config) == []
    shown = repr(config) + repr(config.sections["pager"].endpoint()) + repr(list(config.sections["pager"].described()))
    for secret in ("Xyzzy", "q1w2e3", "header-token", "named-secret"):
        assert secret not in shown


def test_no_secret_is_in_a_request_s_repr_or_in_a_reason() -> None:
    provider = provider_of(**HIDDEN)
    (request,) = provider.requests("default", trigger())
    assert request.headers["Authorization"] == "Bearer header-token-77"
    assert "Xyzzy" not in repr(request)
    said = b"no service at /services/T0001/B00000001/XyzzyXyzzyXyzzy for Bearer header-token-77"
    answer = provider.classify(404, {}, said)
    assert isinstance(answer, Rejected)
    assert answer.reason == "no service at /services/T0001/[secret]/[secret] for Bearer [secret]"


# --- requests


def body_of(provider: Any, notification: Any, route: str = "default") -> Any:
    (request,) = provider.requests(route, notification)
    return request.body


def test_a_request_whole() -> None:
    provider = provider_of(method="PUT")
    (request,) = provider.requests("default", trigger())
    assert (request.method, request.url) == ("PUT", "https://pager.example/v1/events")
    assert request.headers == {"X-Token": f"Token {SECRET}"}
    assert request.body == {"what": "forbidden_path", "key": "forbidden_path:sess-1"}


def test_an_update_is_as_a_trigger_or_its_own_or_nothing() -> None:
    update = trigger(again=True)
    assert body_of(provider_of(), update) == body_of(provider_of(), trigger())
    assert body_of(provider_of(update={"body": {"n": "{occurrences}"}}), update) == {"n": 4}
    assert provider_of(update="none").requests("default", update) == ()
    assert len(provider_of(update="none").requests("default", trigger())) == 1


def test_what_the_provider_may_not_have_any_more_is_triggered() -> None:
    anew = trigger(again=True, reopens=True)
    assert body_of(provider_of(update={"body": {"n": "{occurrences}"}}), anew) == body_of(provider_of(), trigger())
    assert len(provider_of(update="none").requests("default", anew)) == 1


def test_what_is_not_told_makes_no_request() -> None:
    assert provider_of().requests("default", Acknowledge("k")) == ()
    assert provider_of(resolve="none").requests("default", Resolve("k")) == ()
    assert body_of(provider_of(acknowledge={"body": {"key": "{dedup_key}"}}), Acknowledge("k")) == {"key": "k"}


def test_a_call_of_its_own_without_a_body() -> None:
    provider = provider_of(resolve={"method": "DELETE", "address": "https://pager.example/v1/alerts/{dedup_key}"})
    (request,) = provider.requests("default", Resolve("a/../b"))
    assert (request.method, request.url) == ("DELETE", "https://pager.example/v1/alerts/a%2F..%2Fb")
    assert request.body is None


def test_the_key_is_written_one_way_in_all_of_them() -> None:
    provider = provider_of(key="lower_case_safe", acknowledge={"body": {"key": "{dedup_key}"}})
    written = [body_of(provider, it)["key"] for it in (trigger("Key"), Acknowledge("Key"), Resolve("Key"))]
    assert written == ["^key"] * 3


def test_the_severity_is_mapped_and_may_be_a_number() -> None:
    provider = provider_of(
        trigger={"body": {"level": "{mapped_severity}"}}, severity_mapping={"critical": "{1}", "high": "urgent"}
    )
    assert body_of(provider, trigger(severity=Severity.CRITICAL)) == {"level": 1}
    assert body_of(provider, trigger(severity=Severity.HIGH)) == {"level": "urgent"}
    assert body_of(provider, trigger(severity=Severity.LOW)) == {"level": "low"}


ROUTING = {
    "by_guard": {"secret_leak": OTHER},
    "by_tenant": {"acme-corp": "tenant-secret-9"},
    "by_severity": {"critical": "severity-secret-9"},
}


@pytest.mark.parametrize(
    ("facts", "route", "secret"),
    [
        ({}, "default", SECRET),
        ({"guard": "secret_leak", "tenant_id": "acme-corp"}, "by_guard:secret_leak", OTHER),
        ({"tenant_id": "acme-corp", "severity": Severity.CRITICAL}, "by_tenant:acme-corp", "tenant-secret-9"),
        ({"severity": Severity.CRITICAL}, "by_severity:critical", "severity-secret-9"),
    ],
)
def test_what_differs_by_route_is_the_secret(facts: dict[str, Any], route: str, secret: str) -> None:
    provider = provider_of(routing=ROUTING)
    of = violation(**facts)
    assert provider.route_of(of) == route
    (request,) = provider.requests(route, trigger(of=of))
    assert request.headers == {"X-Token": f"Token {secret}"}


def test_a_retired_secret_still_ends_what_it_opened() -> None:
    provider = provider_of(retired_secrets=[RETIRED])
    (retired,) = provider.retired_routes
    assert not provider.knows(retired)
    (request,) = provider.requests(retired, Resolve("k"))
    assert request.headers == {"X-Token": f"Token {RETIRED}"}
    assert len({provider.integration_of(route) for route in provider.routes}) == 2


def test_without_a_secret_the_address_is_what_an_integration_is_known_by() -> None:
    one, other = (provider_of(secret=None, headers={}, address=f"https://hooks.example/{n}") for n in ("a", "b"))
    assert one.integration_of("default") != other.integration_of("default")


# --- the check, the rate, the heartbeat


def test_the_check_is_a_resolve_of_nobody_s_alert() -> None:
    provider = provider_of()
    one, other = provider.check("default"), provider.check("default")
    assert one.body["key"].startswith("clawdstrike-alerting-check-")
    assert one.body["key"] != other.body["key"]


@pytest.mark.parametrize(
    ("settings", "interval"), [({}, 3600.0), ({"check": "none"}, 0.0), ({"resolve": "none"}, 0.0)], ids=str
)
def test_where_there_is_no_check_none_is_asked_for(settings: dict[str, Any], interval: float) -> None:
    config = parse({**SECTION, **settings})
    limits = route_limits(config, build("pager", config.sections["pager"]))
    assert limits["default"].check_interval == interval


def test_a_check_can_be_a_call_of_its_own() -> None:
    request = provider_of(check={"method": "GET", "address": "https://pager.example/v1/me"}).check("default")
    assert (request.method, request.url, request.body) == ("GET", "https://pager.example/v1/me", None)
    assert request.headers == {"X-Token": f"Token {SECRET}"}


def test_the_heartbeat() -> None:
    beat = {"address": "https://pager.example/beat/{secret}", "interval_minutes": 0.5, "method": "POST", "status": 204}
    calls = provider_of(heartbeat=beat).heartbeat
    assert (calls.name, calls.interval, calls.ping_status, calls.exists) == ("pager", 30.0, 204, None)
    assert (calls.ping.method, calls.ping.url) == ("POST", f"https://pager.example/beat/{SECRET}")
    assert provider_of(heartbeat={**beat, "enabled": False}).heartbeat is None


# --- answers


@pytest.mark.parametrize(
    ("answers", "status", "kind"),
    [
        ({}, 200, Accepted),
        ({}, 204, Accepted),
        ({}, 302, Unavailable),
        ({}, 400, Rejected),
        ({}, 401, RouteRefused),
        ({}, 403, RouteRefused),
        ({}, 404, Rejected),
        ({}, 408, Unavailable),
        ({}, 429, Throttled),
        ({}, 500, Unavailable),
        ({"accepted": 202}, 200, Unavailable),
        ({"accepted": ["202", "409"]}, 409, Accepted),
        ({"rejected": ["401-403"]}, 403, Rejected),
        ({"rejected": "5xx"}, 500, Rejected),
        ({"refused": [404]}, 404, RouteRefused),
        ({"refused": [404]}, 401, Rejected),
        ({"later": ["400", "409"]}, 409, Unavailable),
        ({"later": ["400"]}, 429, Throttled),
        ({"later": ["429"]}, 429, Throttled),
        ({"later": ["200"]}, 200, Unavailable),
        ({"rejected": ["429"]}, 429, Rejected),
    ],
    ids=str,
)
def test_what_a_status_means(answers: dict[str, Any], status: int, kind: type[Answer]) -> None:
    provider = provider_of(answers=answers)
    assert isinstance(provider.classify(status, {}, b"{}"), kind)


def test_later_heeds_when() -> None:
    provider = provider_of(answers={"later": ["409", "429"]})
    assert provider.classify(409, {"Retry-After": "7"}, b"").retry_after == 7.0
    assert provider.classify(429, {"Retry-After": "7"}, b"").retry_after == 7.0


def test_the_reference_has_every_setting_and_its_default() -> None:
    lines = REFERENCE.read_text().splitlines()
    begin = lines.index("    # http:")
    block = [line.replace("    # ", "    ", 1) for line in lines[begin : lines.index("", begin)]]
    tree = yaml.safe_load("\n".join(["exporters:", "  alerting:", *block]))
    written = tree["exporters"]["alerting"]["http"]["pager"]
    environ = {"PAGER_TOKEN": SECRET}
    section = parse_config(yaml.safe_dump(tree), environ, lambda path: "").sections["pager"]
    assert set(written) == set(type(section).model_fields)
    assert isinstance(section, ConfiguredSettings)
    assert set(written["trigger"]) == set(type(section.trigger).model_fields)
    assert set(written["answers"]) == set(type(section.answers).model_fields)
    assert section.heartbeat is not None
    assert set(written["heartbeat"]) == set(type(section.heartbeat).model_fields)
    example = {"address", "headers", "secret", "trigger", "resolve", "check", "heartbeat"}
    plain = parse({name: written[name] for name in ("address", "trigger", "resolve")}).sections["pager"]
    for name in set(written) - example:
        assert getattr(section, name) == getattr(plain, name), name


def test_a_test_of_what_is_not_told_says_that_nothing_was_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"exporters": {"alerting": {"http": {"pager": {**SECTION, "resolve": "none"}}}}}))
    assert main(["send-test", "--config", str(file), "--provider", "pager", "--resolve"]) == 1
    assert capsys.readouterr().err == "pager, route default: is not told of resolves: nothing was sent\n"
