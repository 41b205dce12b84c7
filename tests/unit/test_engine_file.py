"""The engine daemon's file as a configuration of this service: what is translated, what is named, what is wrong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from consumer.cli.main import main
from consumer.config import Config, ConfigError, load_config, parse_config, without_effect
from consumer.config.engine import KEY_TEMPLATE
from consumer.events.event import Decoder, SecurityEvent
from consumer.events.filter import Filter
from consumer.events.keys import KeyTemplate
from state.violation import Record, Severity
from tests.support.events import encode, event

FILE = Path(__file__).parents[1] / "data" / "hushd.yaml"
ENVIRON = {"PAGERDUTY_ROUTING_KEY": "0123456789abcdef0123456789abcdef", "OPSGENIE_API_KEY": "5a1b2c3d-opsgenie-key"}
PAGERDUTY = {"routing_key": "${PAGERDUTY_ROUTING_KEY}"}
OPSGENIE = {"api_key": "${OPSGENIE_API_KEY}"}


def parse(alerting: Mapping[str, Any], siem: Mapping[str, Any] | None = None, **beside: Any) -> Config:
    section = {"enabled": True, "pagerduty": PAGERDUTY, **alerting}
    document = {"siem": {"enabled": True, "exporters": {"alerting": section}, **(siem or {})}, **beside}
    return parse_config(yaml.safe_dump(document), ENVIRON, lambda path: f"{'f' * 32}\n")


def problems(alerting: Mapping[str, Any], **beside: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(alerting, **beside)
    return str(caught.value).splitlines()


def pagerduty(config: Config) -> Any:
    return config.sections["pagerduty"]


def test_the_daemons_file_as_it_is() -> None:
    config = load_config(FILE, ENVIRON)
    alerting = config.exporters.alerting
    assert config.pipelines == ["pagerduty", "opsgenie"]
    assert alerting.min_severity is Severity.HIGH
    assert (alerting.exclude_guards, alerting.exclude_event_types) == (("posture",), ("guard_warn",))
    section, other = pagerduty(config), config.sections["opsgenie"]
    assert section.deduplication.key_template == "{guard}:{session_id}:{tenant}"
    assert other.deduplication.key_template == KEY_TEMPLATE
    assert section.severity_mapping["high"] == "critical"
    assert section.severity_mapping["low"] == "warning", "the daemon's default"
    assert (section.auto_resolve.enabled, section.auto_resolve.after_minutes) == (True, 20)
    assert not other.auto_resolve.enabled
    delivery = config.delivery
    assert delivery.timeout_seconds == 15
    assert (delivery.retry.initial_backoff_ms, delivery.retry.max_backoff_ms) == (500, 60_000)
    assert (delivery.rate_limit.requests_per_second, delivery.rate_limit.burst_size) == (2, 10)


def test_each_setting_of_the_file_is_translated_or_named() -> None:
    config = load_config(FILE, ENVIRON)
    named = "\n".join(without_effect(config))
    for setting in (
        "listen", "ruleset", "log_level", "siem.environment", "siem.tenant_id", "siem.labels", "siem.privacy",
        "siem.exporters.splunk", "siem.exporters.alerting.dlq", "siem.exporters.alerting.queue_capacity",
        "siem.exporters.alerting.runtime.batch_size", "siem.exporters.alerting.runtime.flush_interval_ms",
        "siem.exporters.alerting.runtime.retry.max_retries",
    ):  # fmt: skip
        assert setting in named
    assert all(": " in sentence for sentence in config.notes)


def test_the_commands_take_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    assert main(["check-config", str(FILE)]) == 0
    told = capsys.readouterr()
    assert "dedup key        {guard}:{session_id}:{tenant}" in told.out
    assert "warning: siem.exporters.alerting.dlq: without meaning here: " in told.err


def test_the_daemons_defaults_hold() -> None:
    config = parse({"opsgenie": OPSGENIE})
    assert config.exporters.alerting.min_severity is Severity.INFO
    section = pagerduty(config)
    assert section.deduplication.key_template == KEY_TEMPLATE
    assert (section.custom_details, section.auto_resolve.enabled) == (False, False)
    assert section.severity_mapping["high"] == "error"


@pytest.mark.parametrize(
    ("siem", "alerting"), [({"enabled": False}, {}), ({}, {"enabled": False}), ({"enabled": None}, {})]
)
def test_what_is_off_there_is_off_here(siem: Mapping[str, Any], alerting: Mapping[str, Any]) -> None:
    document = {"siem": {"exporters": {"alerting": {"pagerduty": PAGERDUTY, **alerting}}, **siem}}
    assert parse_config(yaml.safe_dump(document), ENVIRON, lambda path: "").pipelines == []


@pytest.mark.parametrize(("one", "other", "expected"), [
    (None, None, "info"), ("high", None, "high"), (None, "low", "low"), ("low", "critical", "critical"),
    ("critical", "low", "critical"),
])  # fmt: skip
def test_an_event_has_to_pass_both_filters(one: str | None, other: str | None, expected: str) -> None:
    alerting: dict[str, Any] = {"filter": {} if other is None else {"min_severity": other}}
    if one is not None:
        alerting["min_severity"] = one
    assert parse(alerting).exporters.alerting.min_severity.label == expected


def test_lists_of_both_filters() -> None:
    found = parse({
        "include_guards": ["a", "b"], "exclude_guards": ["x"],
        "filter": {"include_guards": ["b", "c"], "exclude_guards": ["y"], "include_types": ["guard_block"]},
    }).exporters.alerting  # fmt: skip
    assert (found.include_guards, found.exclude_guards) == (("b",), ("x", "y"))
    assert found.include_event_types == ("guard_block",)
    assert problems({"include_guards": ["a"], "filter": {"include_guards": ["b"]}}) == [
        "siem.exporters.alerting.filter.include_guards: nothing can ever alert: it has nothing in common with "
        "include_guards beside it"
    ]


@pytest.mark.parametrize("reference", ["file:/run/key", "@/run/key", "${file:/run/key}"])
def test_a_secret_in_a_file(reference: str) -> None:
    config = parse({"pagerduty": {"routing_key": reference}})
    assert pagerduty(config).routing_key.get_secret_value() == "f" * 32


def test_secrets_of_others_need_not_be_here() -> None:
    siem = {"exporters": {"alerting": {"enabled": True, "pagerduty": PAGERDUTY}, "elastic": {"auth": "${NOT_SET}"}}}
    assert parse({}, siem, other="${NOT_SET}").pipelines == ["pagerduty"]


def test_sections_of_ours_beside_it_are_read_and_go_before() -> None:
    config = parse(
        {"timeout_ms": 5000, "runtime": {"retry": {"initial_backoff_ms": 10}}},
        kafka={"bootstrap_servers": "kafka-1:9092"},
        delivery={"timeout_seconds": 7},
    )
    assert config.kafka.bootstrap_servers == "kafka-1:9092"
    assert (config.delivery.timeout_seconds, config.delivery.retry.initial_backoff_ms) == (7, 10)


@pytest.mark.parametrize(
    ("alerting", "said"),
    [
        ({"min_severity": "urgent"}, "siem.exporters.alerting.min_severity: must be one of info, "),
        ({"timeout_ms": "soon"}, "siem.exporters.alerting.timeout_ms: must be a number"),
        ({"runtime": {"retry": {"max_backoff_ms": "x"}}}, "siem.exporters.alerting.runtime.retry.max_backoff_ms: must"),
        ({"runtime": {"retries": 3}}, "siem.exporters.alerting.runtime.retries: unknown key"),
        ({"filter": {"labels": {}}}, "siem.exporters.alerting.filter.labels: unknown key"),
        ({"filter": []}, "siem.exporters.alerting.filter: must be a mapping"),
        ({"pagerduty": {}}, "siem.exporters.alerting.pagerduty.routing_key: is required"),
        (
            {"pagerduty": {"routing_key": "${NO}"}},
            "siem.exporters.alerting.pagerduty.routing_key: environment variable",
        ),
        (
            {"pagerduty": {**PAGERDUTY, "dedup_key_template": "{nobody}"}},
            "siem.exporters.alerting.pagerduty.dedup_key_template: unknown placeholder {nobody}",
        ),
        (
            {"exclude_guards": ["posture"], "filter": {"exclude_guards": "shell_command"}},
            "siem.exporters.alerting.filter.exclude_guards: must be a list",
        ),
        ({"filter": {"include_types": 7}}, "siem.exporters.alerting.filter.include_types: must be a list"),
        ({"min_severity": ["high"]}, "siem.exporters.alerting.min_severity: must be one of"),
        ({"pager": {}}, "siem.exporters.alerting.pager: unknown key"),
        ({"enabled": "perhaps"}, "siem.exporters.alerting.enabled: must be true or false"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_in_the_file(alerting: Mapping[str, Any], said: str) -> None:
    (problem,) = problems(alerting)
    assert problem.startswith(said)


def read(text: str) -> tuple[Config | None, list[str]]:
    """The configuration, or what is wrong with it."""
    try:
        return parse_config(text, ENVIRON, lambda path: ""), []
    except ConfigError as error:
        return None, str(error).splitlines()


@pytest.mark.parametrize("siem", [None, [], "text", {"exporters": []}, {"exporters": {"alerting": "x"}}])
def test_a_file_of_another_shape_is_told_or_runs_nothing(siem: Any) -> None:
    text = yaml.safe_dump({"siem": siem})
    config, told = read(text)
    assert config is None or config.pipelines == []
    assert all("must be a mapping" in problem for problem in told)


TREES = st.recursive(
    st.none() | st.sampled_from(["true", "1", "x", "high", "${NO}"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
        st.sampled_from(["enabled", "filter", "runtime", "retry", "pagerduty", "routing_key", "exclude_guards", "x"]),
        inner, max_size=3,
    ),
    max_leaves=8,
)  # fmt: skip


@given(TREES)
def test_whatever_stands_there_is_read_or_told(alerting: Any) -> None:
    text = yaml.safe_dump({"siem": {"enabled": "true", "exporters": {"alerting": alerting}}})
    _, told = read(text)
    assert all(problem.startswith("siem") for problem in told)


# the daemon's placeholder


def rendered(template: str, **fields: Any) -> str:
    decoded = Decoder(Filter(), None, 10_000).decode(Record("t", 0, 0, 0, None, encode(event(**fields))))
    assert isinstance(decoded, SecurityEvent)
    return KeyTemplate.parse(template).render(decoded)


def test_a_tenant_that_is_missing_is_empty() -> None:
    assert rendered("{guard}:{tenant}", tenant="acme") == "forbidden_path:acme"
    assert rendered("{guard}:{tenant}", tenant=None) == "forbidden_path:"
    assert rendered("{guard}:{tenant_id}", tenant=None) == "forbidden_path:default"
    assert rendered("{tenant}", tenant=None) == "default", "a key is never empty"


def test_it_is_the_same_field_by_another_name() -> None:
    assert KeyTemplate.parse("{guard}:{tenant}").fields == {"guard", "tenant_id"}
