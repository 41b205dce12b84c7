"""The configuration: what loads, what is refused, and that no secret is told (design section 11)."""

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.cli import check_config as command
from consumer.cli.main import main
from consumer.config import Config, ConfigError, load_config, needs_repartition, parse_config, secrets_of, short_secrets
from consumer.events.event import violation_of
from consumer.events.keys import KeyTemplate
from consumer.service.runner import route_limits
from providers.opsgenie.settings import OpsGenieSettings
from providers.pagerduty.provider import PagerDuty
from providers.pagerduty.settings import PagerDutySettings
from providers.rate import Rate
from state.violation import Record, Severity
from tests.support.events import encode, event
from tests.support.stand_ins import ENVIRON as EXAMPLE_SECRETS

S = TypeVar("S")

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
SECTIONS = "there is kafka, exporters, delivery, server, ingest, webhooks, history, log"
KEY = "0123456789abcdef0123456789abcdef"
DLP_KEY = "d" * 32
API_KEY = "opsgenie-api-key-1234"
ENVIRON = {
    "PAGERDUTY_ROUTING_KEY": KEY,
    "PAGERDUTY_DEFAULT_KEY": KEY,
    "PAGERDUTY_DLP_KEY": DLP_KEY,
    "PAGERDUTY_NETWORK_KEY": "e" * 32,
    "PAGERDUTY_ACME_KEY": "f" * 32,
    "PAGERDUTY_ONCALL_KEY": "c" * 32,
    "PAGERDUTY_REST_TOKEN": "y_NbAkKc66ryYTWUXYEu",
    "OPSGENIE_API_KEY": API_KEY,
    "JSM_API_KEY": API_KEY,
    "JSM_TOKEN": "an-api-token",
    **EXAMPLE_SECRETS,
}


def no_files(path: str) -> str:
    raise FileNotFoundError(2, "No such file or directory", path)


def parse(text: str, environ: Mapping[str, str] = ENVIRON, files: Mapping[str, str] | None = None) -> Config:
    def read_file(path: str) -> str:
        return files[path] if files is not None and path in files else no_files(path)

    return parse_config(text, environ, read_file)


def section_of(config: Config, name: str, kind: type[S]) -> S:
    """The section of a provider: the model of the configuration gets it from the table of the providers."""
    section = getattr(config.exporters.alerting, name)
    assert isinstance(section, kind)
    return section


def pagerduty(config: Config) -> PagerDutySettings:
    return section_of(config, "pagerduty", PagerDutySettings)


def opsgenie(config: Config) -> OpsGenieSettings:
    return section_of(config, "opsgenie", OpsGenieSettings)


def problems(text: str, environ: Mapping[str, str] = ENVIRON) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, environ)
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return str(caught.value).splitlines()


def nested(path: str, value: Any) -> dict[str, Any]:
    """The tree in which the setting at the dotted path has that value."""
    for key in reversed(path.split(".")):
        value = {key: value}
    tree: dict[str, Any] = value
    return tree


def text_of(path: str, value: Any) -> str:
    """A configuration with one setting; the provider it belongs to has its key."""
    tree = nested(path, value)
    alerting = tree.get("exporters", {}).get("alerting", {})
    for provider, key, secret in (("pagerduty", "routing_key", KEY), ("opsgenie", "api_key", API_KEY)):
        if isinstance(alerting, dict) and isinstance(alerting.get(provider), dict):
            alerting[provider].setdefault(key, secret)
    return yaml.safe_dump(tree)


PD = "exporters.alerting.pagerduty"
OG = "exporters.alerting.opsgenie"

# --- what loads


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_loads(path: Path) -> None:
    assert load_config(path, ENVIRON).pipelines


def test_the_reference_says_the_defaults() -> None:
    reference = load_config(EXAMPLES / "reference.yaml", ENVIRON)
    sections = {"pagerduty": {"routing_key": KEY}, "opsgenie": {"api_key": API_KEY}, "jsm": {"api_key": API_KEY}}
    assert reference == parse(yaml.safe_dump(nested("exporters.alerting", sections)))


def test_the_reference_names_every_setting() -> None:
    text = (EXAMPLES / "reference.yaml").read_text()

    def visit(model: Any) -> None:
        for name in type(model).model_fields:
            assert f"{name}:" in text, name
            value = getattr(model, name)
            if hasattr(type(value), "model_fields"):
                visit(value)

    visit(load_config(EXAMPLES / "reference.yaml", ENVIRON))


def test_routing_example_has_its_keys_and_teams() -> None:
    config = load_config(EXAMPLES / "both-with-routing.yaml", ENVIRON)
    alerting = config.exporters.alerting
    assert list(pagerduty(config).route_keys()) == [
        "default",
        "by_guard:secret_leak",
        "by_guard:egress_allowlist",
        "by_tenant:acme-corp",
    ]
    assert pagerduty(config).route_keys()["by_guard:secret_leak"].get_secret_value() == DLP_KEY
    assert opsgenie(config).routing.by_guard["secret_leak"] == ("dlp-team", "security-team")
    assert alerting.min_severity is Severity.MEDIUM
    assert alerting.exclude_guards == ("prompt_injection",)


def test_the_example_of_teams_gives_each_its_service_with_an_escalation_policy_of_its_own() -> None:
    section = pagerduty(load_config(EXAMPLES / "pagerduty-by-team.yaml", ENVIRON))
    provider = PagerDuty(section)
    keys = {route: key.get_secret_value() for route, key in section.route_keys().items()}
    assert len(set(keys.values())) == len(keys) == 5
    for guard, tenant, severity, route in (
        ("secret_leak", "acme-corp", Severity.CRITICAL, "by_guard:secret_leak"),
        ("egress_allowlist", None, Severity.HIGH, "by_guard:egress_allowlist"),
        ("shell_command", "acme-corp", Severity.CRITICAL, "by_tenant:acme-corp"),
        ("shell_command", "other", Severity.CRITICAL, "by_severity:critical"),
        ("shell_command", None, Severity.HIGH, "default"),
    ):
        violation = violation_of(
            Record("t", 0, 0, 0, None, encode(event(guard=guard, tenant=tenant, severity=severity.label)))
        )
        assert provider.route_of(violation) == route
    assert route_limits(load_config(EXAMPLES / "pagerduty-by-team.yaml", ENVIRON), provider)[
        "by_guard:egress_allowlist"
    ].rate == Rate(10, 100)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (f"{PD}.payload", {"summary": "{nope}"}, f"{PD}.payload.summary: unknown placeholder {{nope}}"),
        (f"{PD}.payload", {"severity": "x"}, f"{PD}.payload.severity: must be one of"),
        (f"{PD}.extra_details", {"team": "{label.team"}, f"{PD}.extra_details.team: unbalanced brace"),
        (f"{PD}.extra_details", {"labels": "x"}, f"{PD}.extra_details.labels: is one of the details"),
        (f"{PD}.rest_endpoint", "http://api.pagerduty.com", f"{PD}.rest_endpoint: must be https"),
        (f"{PD}.rest_token", "two words", f"{PD}.rest_token: must consist of visible ASCII"),
    ],
)
def test_what_is_wrong_with_the_fields_of_a_page_is_told_with_its_path(path: str, value: Any, problem: str) -> None:
    (told,) = problems(text_of(path, value))
    assert told.startswith(problem)


def test_check_config_says_what_is_told_as_a_change(capsys: pytest.CaptureFixture[str]) -> None:
    section = {
        "change_events": {"enabled": True, "categories": ["configuration", "network"]},
        "routing": {"by_guard": {"secret_leak": "R" * 32}},
    }
    assert command.check_config(parse(text_of(PD, section)), print) == 0
    told = capsys.readouterr().out
    assert "change events    allowed events of category configuration, network" in told
    assert "not through by_guard:secret_leak: a global integration key takes none" in told
    every = {**section, "routing_key": "R" * 32}
    (problem,) = problems(text_of(PD, every))
    assert problem.startswith(f"{PD}: change_events.enabled: every key is a global integration key")


def test_mappings_merge_with_their_defaults() -> None:
    config = parse(text_of(f"{PD}.severity_mapping", {"high": "critical"}))
    assert pagerduty(config).severity_mapping == {
        "critical": "critical",
        "high": "critical",
        "medium": "warning",
        "low": "info",
        "info": "info",
    }
    config = parse(text_of(f"{OG}.priority_mapping", {"low": "P5"}))
    assert opsgenie(config).priority_mapping["low"] == "P5"
    assert opsgenie(config).priority_mapping["high"] == "P2"


def test_partial_deduplication_keeps_the_providers_key() -> None:
    config = parse(text_of(f"{OG}.deduplication", {"window_seconds": 0.5}))
    assert config.sections["opsgenie"].deduplication.key_template == "clawdstrike-{guard}-{session_id}"
    assert config.sections["opsgenie"].deduplication.window_seconds == 0.5


def test_without_a_provider_or_disabled_there_are_no_pipelines() -> None:
    assert parse("kafka: {}").pipelines == []
    disabled = {"enabled": False, "pagerduty": {"routing_key": KEY}}
    assert parse(yaml.safe_dump(nested("exporters.alerting", disabled))).pipelines == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604800), ("0.05m", 3), ("12", 12), ("1.5", 1.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse(f"delivery: {{forget_after: {text}}}").delivery.forget_after == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "expected"), [("earliest", "earliest"), ("latest", "latest"), ("2h", 7200.0), ("0", 0.0)]
)
def test_start_from(text: str, expected: object) -> None:
    assert parse(f"kafka: {{start_from: {text}}}").kafka.start_from == expected


@pytest.mark.parametrize("path", [f"{PD}.api_endpoint", f"{OG}.api_endpoint"])
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://events.eu.pagerduty.com/", "https://events.eu.pagerduty.com"),
        ("https://api.atlassian.com/jsm/ops/integration/", "https://api.atlassian.com/jsm/ops/integration"),
        ("http://localhost:9999", "http://localhost:9999"),
        ("http://127.9.8.7:1/", "http://127.9.8.7:1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_endpoints(path: str, url: str, expected: str) -> None:
    (section,) = parse(text_of(path, url)).sections.values()
    assert section.endpoint() == expected


def test_recipients_are_named_as_the_api_names_them() -> None:
    responders = [
        {"type": "user", "name": "a@b.c"},
        {"type": "user", "username": "d@e.f"},
        {"type": "schedule", "id": "4711"},
        {"type": "team", "name": "no"},
    ]
    section = opsgenie(parse(text_of(f"{OG}.responders", responders)))
    assert [responder.payload() for responder in section.responders] == [
        {"type": "user", "username": "a@b.c"},
        {"type": "user", "username": "d@e.f"},
        {"type": "schedule", "id": "4711"},
        {"type": "team", "name": "no"},
    ]


def test_a_single_team_needs_no_list() -> None:
    section = opsgenie(parse(text_of(f"{OG}.routing.by_severity", {"critical": "oncall"})))
    assert section.routing.by_severity == {"critical": ("oncall",)}


def test_unquoted_scalars_are_what_the_setting_says() -> None:
    digits = "1234567890123456789012345678e123"
    text = f"""
exporters: {{alerting: {{exclude_guards: [no, 007, 1.0], pagerduty: {{routing_key: {digits}, client: 2024-01-01,
  routing: {{by_tenant: {{no: {digits}, 42: {digits}}}}}}}}}}}
"""
    config = parse(text)
    assert config.exporters.alerting.exclude_guards == ("no", "007", "1.0")
    assert pagerduty(config).routing_key.get_secret_value() == digits
    assert pagerduty(config).client == "2024-01-01"
    assert list(pagerduty(config).routing.by_tenant) == ["no", "42"]


def test_anchors_can_be_shared() -> None:
    text = "delivery: {forget_after: &long 9d, give_up_after: *long}"
    assert parse(text).delivery.give_up_after == 9 * 86400


# --- references


def test_references() -> None:
    environ = {"HOST": "kafka", "LEVEL": "debug", "EMPTY": "", "NESTED": "${HOST}"}
    text = """
kafka:
  bootstrap_servers: "${HOST}:9092, ${HOST}-2:${PORT:-9093}"
  group_id: "$${HOST}$"
  group_instance_id: ${NESTED}
server: {host: "${EMPTY:-localhost}", port: "${PORT:-8081}"}
log: {level: "${LEVEL}"}
exporters: {alerting: {enabled: "${ON:-false}", opsgenie: {api_key: "${file:/run/secrets/og}"}}}
"""
    config = parse(text, environ, {"/run/secrets/og": API_KEY + "\n"})
    assert config.kafka.bootstrap_servers == "kafka:9092,kafka-2:9093"
    assert config.kafka.group_id == "${HOST}$"
    assert config.kafka.group_instance_id == "${HOST}"
    assert (config.server.host, config.server.port) == ("localhost", 8081)
    assert config.log.level == "debug"
    assert config.exporters.alerting.enabled is False
    assert secrets_of(config) == {API_KEY}


def test_missing_references_are_told_with_their_paths_and_once() -> None:
    text = """
kafka: {session_timeout: "${TIMEOUT}", event_key: "${KEY}"}
server: {port: "${A} ${B}"}
nonsense: ${C}
exporters:
  alerting:
    pagerduty: {routing_key: "${PAGERDUTY_ROUTING_KEY}", severity_mapping: {high: "${HIGH}"}}
    opsgenie: {api_key: "${file:/none}", responders: [{type: team, name: "${TEAM}"}], tags: ["${bad name}", "${open"]}
"""
    forms = "not a reference: write ${NAME}, ${NAME:-default} or ${file:/path}; a literal ${ is written $${"
    assert sorted(problems(text, {})) == sorted(
        [
            "kafka.session_timeout: environment variable TIMEOUT is not set",
            "kafka.event_key: environment variable KEY is not set",
            "server.port: environment variable A is not set",
            "server.port: environment variable B is not set",
            "nonsense: environment variable C is not set",
            f"nonsense: unknown key: {SECTIONS}",
            f"{PD}.routing_key: environment variable PAGERDUTY_ROUTING_KEY is not set",
            f"{PD}.severity_mapping.high: environment variable HIGH is not set",
            f"{OG}.api_key: file /none cannot be read: No such file or directory",
            f"{OG}.responders.0.name: environment variable TEAM is not set",
            f"{OG}.tags.0: {forms}",
            f"{OG}.tags.1: {forms}",
        ]
    )


def test_references_are_not_read_in_keys() -> None:
    path = f"{OG}.routing.by_guard"
    assert problems(text_of(path, {"${GUARD}": "team"})) == [f"{path}.${{GUARD}}: references are not read in keys"]


# --- what is refused


def test_all_mistakes_are_told_at_once() -> None:
    text = """
kafka: {sesion_timeout: 3s, session_timeout: 2m, security: {protocol: SASL_SSL}}
exporters: {alerting: {min_severity: severe, pagerduty: {routing_key: short, api_endpoint: "http://example.com"}}}
delivery: {max_in_flight: 0, give_up_after: soon, rate_limit: {burst_size: x}}
log: []
log: {}
"""
    assert sorted(problems(text)) == sorted(
        [
            "kafka.sesion_timeout: unknown key: `session_timeout` is meant?",
            "kafka.rebalance_timeout: must not be less than session_timeout",
            "kafka.security.mechanism: is required with SASL_SSL",
            "kafka.security.username: is required with SASL_SSL",
            "kafka.security.password: is required with SASL_SSL",
            "exporters.alerting.min_severity: must be one of info, low, medium, high, critical",
            f"{PD}.routing_key: must be 32 characters",
            f"{PD}.api_endpoint: must be https, except on loopback",
            "delivery.max_in_flight: must be at least 1",
            "delivery.give_up_after: must be a duration such as 500ms, 90s, 15m, 1h, 7d, or a number of seconds",
            "delivery.rate_limit.burst_size: must be a whole number",
            "log: given twice, in lines 5 and 6",
            "log: must be a mapping",
        ]
    )


REFUSED: list[tuple[str, Any, str]] = [
    ("kafka", [], "must be a mapping"),
    ("kafka.bootstrap_servers", "kafka", "must be host:port"),
    ("kafka.bootstrap_servers", "kafka:99999", "must be host:port"),
    ("kafka.bootstrap_servers", "kafka:9092,", "must be host:port"),
    ("kafka.bootstrap_servers", "a..b:9092", "must be host:port, and one of the hosts can be no name of one"),
    ("kafka.bootstrap_servers", f"{'x' * 64}:9092", "can be no name of one"),
    ("kafka.group_id", "", "must not be empty"),
    ("kafka.group_id", ["a"], "must be text"),
    ("kafka.event_key", "session", "must be a placeholder"),
    ("kafka.event_key", "guard}:{session_id", "must be a placeholder"),
    ("kafka.event_key", "label.", "must be a placeholder"),
    ("kafka.start_from", "yesterday", "must be earliest, latest, or how far back"),
    ("kafka.start_from", "-5m", "must be earliest, latest, or how far back"),
    ("kafka.session_timeout", "0s", "must be more than 0"),
    ("kafka.session_timeout", "30d", "must be at most 2147483"),
    ("kafka.rebalance_timeout", "14s", "must not be less than session_timeout"),
    ("kafka.topics.events", "a b", "must be the name of a topic"),
    ("kafka.topics.events", "x" * 240, "must be at most"),
    ("kafka.security.protocol", "ssl", "must be one of 'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'"),
    ("kafka.security.username", "me", "has no use with PLAINTEXT"),
    ("kafka.security.ca_file", "/ca.pem", "has no use with PLAINTEXT"),
    ("exporters.alerting.min_severity", ["high"], "must be one of info, low, medium, high, critical"),
    ("exporters.alerting.include_guards", "secret_leak", "must be a list"),
    ("exporters.alerting.enabled", "maybe", "must be true or false"),
    (f"{PD}.severity_mapping.severe", "critical", "must be one of 'info', 'low', 'medium', 'high' or 'critical'"),
    (f"{PD}.severity_mapping.high", "P1", "must be one of 'critical', 'error', 'warning' or 'info'"),
    (f"{PD}.severity_mapping", None, "must be a mapping"),
    (f"{PD}.routing.by_severity.worst", KEY, "must be one of"),
    (f"{PD}.routing.by_guard.secret_leak", "short", "must be 32 characters"),
    (f"{PD}.deduplication.key_template", "{guard}{session_id}", "touch"),
    (f"{PD}.deduplication.key_template", "{guards}", "unknown placeholder {guards}"),
    (f"{PD}.deduplication.window_seconds", -1, "must be at least 0"),
    (f"{PD}.deduplication.renotify_seconds", 0, "must be more than 0"),
    (f"{PD}.deduplication.window_seconds", ".inf", "must be a number"),
    (f"{PD}.deduplication.window_seconds", "inf", "must be a number"),
    (f"{PD}.auto_resolve.after_minutes", 0, "must be more than 0"),
    (f"{PD}.auto_resolve.after_minutes", True, "must be a number"),
    (f"{PD}.client_url", "https://soc/{nothing}", "unknown placeholder {nothing}"),
    (f"{PD}.change_events.categories", ["weather"], "must be one of"),
    (f"{OG}.api_key", "", "must not be empty"),
    (f"{OG}.api_key", API_KEY + "\n", "must consist of visible ASCII characters"),
    (f"{OG}.priority_mapping.high", "P6", "must be one of"),
    (f"{OG}.actions", ["x"] * 11, "must have at most 10 items"),
    (f"{OG}.responders", [{"type": "team", "name": "a"}] * 51, "must have at most 50 items"),
    (f"{OG}.heartbeat.interval_minutes", 0, "must be more than 0"),
    ("delivery.timeout_seconds", 0, "must be more than 0"),
    ("delivery.retry.max_backoff_ms", 999, "must not be less than initial_backoff_ms"),
    ("delivery.retry.backoff_multiplier", 0.9, "must be at least 1"),
    ("delivery.commit_interval_ms", 1.5, "must be a whole number"),
    ("delivery.max_event_bytes", 9_000_000, "must be at most 8388608"),
    ("delivery.forget_after", 0, "must be more than 0"),
    ("delivery.shutdown_grace", True, "must be a duration"),
    ("delivery.give_up_after", "3651d", "must be between 0 and 3650d"),
    ("server.port", 65536, "must be at most 65535"),
    ("server.port", "http", "must be a whole number"),
    ("webhooks.opsgenie.token", "", "must not be empty"),
    ("log.level", "verbose", "must be one of"),
]


@pytest.mark.parametrize(("path", "value", "message"), REFUSED)
def test_refused(path: str, value: Any, message: str) -> None:
    (problem,) = problems(text_of(path, value))
    assert problem.startswith(f"{path}"), problem
    assert message in problem


def test_a_default_can_be_the_smaller_one() -> None:
    assert problems(text_of("delivery.retry.initial_backoff_ms", 30001)) == [
        "delivery.retry.max_backoff_ms: must not be less than initial_backoff_ms"
    ]


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ({"type": "team"}, "responders.0: needs exactly one of id or name"),
        ({"type": "team", "id": "1", "name": "a"}, "responders.0: needs exactly one of id or name"),
        ({"type": "user"}, "responders.0: needs exactly one of id or name or username"),
        ({"type": "team", "username": "a"}, "responders.0: username is for users only: use id or name"),
        ({"type": "robot", "id": "1"}, "responders.0.type: must be one of 'team', 'user', 'escalation' or 'schedule'"),
        ({"name": "a"}, "responders.0.type: is required"),
    ],
)
def test_refused_responders(item: dict[str, str], problem: str) -> None:
    assert problems(text_of(f"{OG}.responders", [item])) == [f"{OG}.{problem}"]


def test_only_teams_and_users_can_be_shown_an_alert() -> None:
    (problem,) = problems(text_of(f"{OG}.visible_to", [{"type": "schedule", "id": "1"}]))
    assert problem == f"{OG}.visible_to.0.type: must be one of 'team' or 'user'"


def test_every_bad_template_of_links_and_images_is_told() -> None:
    section = {
        "links": [{"href": "https://x/{nope}", "text": "{guard}"}, {"href": "", "text": "{"}, {"text": "t"}],
        "images": [{"src": "http://x/{guard}.png"}, {"src": "https://x/{bad}.png", "alt": "{worse}"}],
    }
    told = problems(text_of(PD, section))
    assert [line.split(":")[0].removeprefix(PD) for line in told] == [
        ".links.0.href",
        ".links.1.href",
        ".links.1.text",
        ".links.2.href",
        ".images.0.src",
        ".images.1.src",
        ".images.1.alt",
    ]


def test_an_event_rule_must_say_something() -> None:
    path = f"{PD}.auto_resolve.on_events"
    assert problems(text_of(path, [{}])) == [f"{path}.0: needs at least one of event_type, guard and allowed"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://events.pagerduty.com", "must be https, except on loopback"),
        ("http://localhost.example.com", "must be https, except on loopback"),
        ("http://127.0.0.1.example.com", "must be https, except on loopback"),
        ("http://127.0.0.1@example.com", "must not contain credentials"),
        ("https://user:hunter2@example.com", "must not contain credentials"),
        ("https://example.com/?a=b", "must not contain a query or a fragment"),
        ("ftp://example.com", "must be an address"),
        ("events.pagerduty.com", "must be an address"),
        ("https://", "must be an address"),
        ("https://exa\nmple.com", "must be an address"),
        ("https://example.com:port", "must be an address"),
        ("https://[::1", "must be an address"),
    ],
)
def test_refused_endpoints(url: str, message: str) -> None:
    (problem,) = problems(text_of(f"{PD}.api_endpoint", url))
    assert problem.startswith(f"{PD}.api_endpoint: {message}")
    assert "hunter2" not in problem


@pytest.mark.parametrize("path", [f"{PD}.api_endpoint", f"{OG}.api_endpoint"])
@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://events.pagerduty.com/v2/enqueue", "https://events.pagerduty.com"),
        ("https://events.pagerduty.com/v2/enqueue/", "https://events.pagerduty.com"),
        ("https://events.eu.pagerduty.com//V2//Enqueue//", "https://events.eu.pagerduty.com"),
        ("https://events.pagerduty.com/v2/change/enqueue", "https://events.pagerduty.com"),
        ("https://events.pagerduty.com/v2", "https://events.pagerduty.com"),
        ("https://api.opsgenie.com/v2/", "https://api.opsgenie.com"),
        ("https://api.opsgenie.com/v2/alerts", "https://api.opsgenie.com"),
        ("https://api.opsgenie.com/v2/alerts/an-alias/close", "https://api.opsgenie.com"),
        ("https://api.opsgenie.com/v2/heartbeats/clawdstrike/ping", "https://api.opsgenie.com"),
        (
            "https://api.atlassian.com/jsm/ops/integration/v2/alerts",
            "https://api.atlassian.com/jsm/ops/integration",
        ),
        ("https://proxy.example:8443/v2/alerts/x/v2/enqueue", "https://proxy.example:8443/v2/alerts/x"),
        ("http://127.0.0.1:9999/v2/alerts", "http://127.0.0.1:9999"),
    ],
)
def test_the_address_of_a_call_is_refused_with_the_base_that_is_meant(path: str, url: str, base: str) -> None:
    message = f"must be the base address, to which the path of each call is added: {base}"
    assert problems(text_of(path, url)) == [f"{path}: {message}"]
    assert parse(text_of(path, base if "/v2" not in base else "https://proxy.example/x")).pipelines


@pytest.mark.parametrize("url", ["https://proxy.example/v2/pagerduty", "https://proxy.example/v20", "https://v2"])
def test_a_prefix_of_a_proxy_may_have_a_version(url: str) -> None:
    assert parse(text_of(f"{PD}.api_endpoint", url)).pipelines == ["pagerduty"]


def test_topics_must_be_different() -> None:
    (problem,) = problems("kafka: {topics: {events: a.pagerduty, state: a}}")
    assert problem == "kafka.topics: one topic would have two purposes: a.pagerduty"


def test_a_certificate_needs_its_key() -> None:
    path = "kafka.security"
    assert problems(text_of(path, {"protocol": "SSL", "cert_file": "/c"})) == [
        f"{path}.key_file: is required with cert_file"
    ]
    assert problems(text_of(path, {"protocol": "SSL", "key_file": "/k"})) == [f"{path}.key_file: needs cert_file"]
    sasl = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "u", "password": "p", "ca_file": "/ca"}
    assert secrets_of(parse(text_of(path, sasl))) == {"p"}


JIRA = ("https://api.atlassian.com/jsm/ops/integration", "https://proxy.example/jsm/ops/x/", "https://a.atlassian.com")


@pytest.mark.parametrize("endpoint", JIRA)
def test_the_heartbeat_of_jira_service_management_is_refused(endpoint: str) -> None:
    assert problems(text_of(OG, {"api_endpoint": endpoint, "heartbeat": {"enabled": True}})) == [
        f"{OG}: heartbeat: a heartbeat of Jira Service Management is pinged through its cloud API: "
        "configure that as the provider jsm"
    ]


@pytest.mark.parametrize("endpoint", [None, "https://api.eu.opsgenie.com", "https://notatlassian.com"])
def test_the_heartbeat_of_opsgenie_is_not(endpoint: str | None) -> None:
    section = {"heartbeat": {"enabled": True}, **({"api_endpoint": endpoint} if endpoint else {})}
    assert parse(text_of(OG, section)).pipelines == ["opsgenie"]
    assert parse(text_of(OG, {"api_endpoint": JIRA[0], "heartbeat": {"enabled": False}})).pipelines == ["opsgenie"]


@pytest.mark.parametrize(("written", "verify"), [("first", "first"), ("true", True), ("false", False)])
def test_verify_is_first_or_a_truth_value(written: str, verify: str | bool) -> None:
    text = f"exporters: {{alerting: {{opsgenie: {{api_key: {API_KEY}, verify: {written}}}}}}}"
    assert opsgenie(parse(text)).verify == verify
    assert len(problems(text.replace(f"verify: {written}", "verify: second"))) >= 1


def test_an_address_that_is_none_is_told_beside_its_heartbeat() -> None:
    told = problems(text_of(OG, {"api_endpoint": "https://[", "heartbeat": {"enabled": True}}))
    assert told == [f"{OG}.api_endpoint: must be an address such as https://api.example.com"]


# --- the text itself


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "(top level): must be a mapping, such as `exporters: …`"),
        ("# nothing", "(top level): must be a mapping, such as `exporters: …`"),
        ("- a", "(top level): must be a mapping, such as `exporters: …`"),
        ("kafka: {}\n---\nkafka: {}", "line 2, column 1: a second document begins: the configuration is one"),
        ("kafka: !!python/object:os.system {}", "line 1, column 8: a tag (!): there are none in a configuration"),
        ("kafka: *a", "line 1, column 8: an alias (*) of nothing: quote a text that begins with *"),
        ("kafka: &a [*a]", "line 1, column 12: an alias (*) of nothing: quote a text that begins with *"),
        ("? [a]\n: b", "line 1, column 3: a key must be text"),
        ("kafka: " + "[" * 500, "line 1, column 40: nested more than 32 deep"),
        ("a: \x00", "(top level): not valid YAML: it has a character that YAML does not allow"),
        ("a: \ud800", "(top level): not valid YAML: it has a character that YAML does not allow"),
        ("a: " + "x" * (1 << 20), "(top level): the file is larger than 1048576 characters"),
        ("<<: {}", f"<<: unknown key: {SECTIONS}"),
        ('"a\\n\\e[0m": 1', f"a\\n\\x1b[0m: unknown key: {SECTIONS}"),
    ],
)
def test_text_that_is_no_configuration(text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_a_syntax_error_says_where() -> None:
    (problem,) = problems("kafka:\n  group_id: [a\nlog: {}\n")
    assert problem.startswith("line 3, column 4: not valid YAML: ")


def test_aliases_of_aliases_are_bounded() -> None:
    bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    bomb += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert problems("\n".join(bomb)) == ["(top level): the file has more than 100000 values"]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    def problem(path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            load_config(path, {})
        return str(caught.value)

    assert problem(tmp_path / "none.yaml") == f"{tmp_path}/none.yaml: cannot be read: No such file or directory"
    assert problem(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\xfe\xfa")
    assert problem(tmp_path / "latin.yaml") == f"{tmp_path}/latin.yaml: cannot be read: it is not UTF-8"
    (tmp_path / "large.yaml").write_bytes(b"#" * ((1 << 20) + 1))
    assert problem(tmp_path / "large.yaml").endswith("cannot be read: the file is larger than 1 MiB")


def test_secrets_come_from_mounted_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    (tmp_path / "config.yaml").write_text(text_of(f"{PD}.routing_key", f"${{file:{tmp_path}/key}}"))
    assert secrets_of(load_config(tmp_path / "config.yaml", {})) == {KEY}


# --- secrets


def test_secrets_do_not_print() -> None:
    config = load_config(EXAMPLES / "both-with-routing.yaml", ENVIRON)
    secrets = secrets_of(config)
    assert secrets == {KEY, DLP_KEY, "e" * 32, "f" * 32, API_KEY}
    for shown in (repr(config), str(config), str(config.model_dump()), config.model_dump_json()):
        assert not [secret for secret in secrets if secret in shown]


def test_secrets_that_are_too_short_to_be_looked_for_in_the_log_are_named() -> None:
    config = load_config(EXAMPLES / "both-with-routing.yaml", ENVIRON)
    assert short_secrets(config) == []
    sasl = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "u", "password": "1234567"}
    assert short_secrets(parse(text_of("kafka.security", sasl))) == ["kafka.security.password"]


HUNTER = "hunter2"


@pytest.mark.parametrize(
    "before", ["", "*", "!", "!!", "&a !", "%", "@", "`", "|", "[", "{", '"', "'", "- ", "? ", "a: "]
)
@pytest.mark.parametrize("after", ["", '"', "'", ": b", " ]", "}", "${", "${hunter 2}", "\t"])
@pytest.mark.parametrize(
    "setting", [f"{PD}.routing_key", f"{PD}.routing.by_guard.g", f"{OG}.api_key", "kafka.security.password"]
)
def test_no_problem_tells_a_secret(before: str, after: str, setting: str) -> None:
    lines = [f"{'  ' * depth}{key}:" for depth, key in enumerate(setting.split("."))]
    text = "\n".join(lines) + f" {before}{HUNTER}{after}\n"
    try:
        config = parse(text)
    except ConfigError as error:
        shown = "".join(traceback.format_exception(error)) + repr(error.__context__) + repr(error.__cause__)
        assert HUNTER not in shown, text
    else:
        assert HUNTER not in repr(config)


# --- whatever the text

NASTY = {
    "NaN": ".nan",
    "infinity": "-.inf",
    "a huge number": "1e999",
    "a huge integer": "9" * 5000,
    "a huge hexadecimal": "0x" + "f" * 5000,
    "a base-60 integer": "1:" * 3000 + "1",
    "a date": "9999-12-31",
    "no date": "2001-99-99",
    "a time of 1 ns": "1970-01-01T00:00:00.000000001Z",
    "a time out of reach": "9999-12-31T23:59:59-23:59",
    "a lone surrogate": r'"\ud800"',
    "a null byte": r'"\0"',
    "an escape": r'"\e[2J"',
    "1 MB": "x" * 1_000_000,
    "deep": "[" * 30 + "]" * 30,
    "too deep": "[" * 100_000,
    "deep mappings": "{a: " * 30 + "}" * 30,
    "a key twice": "{a: 1, a: 2}",
    "a list as key": "{[1]: 2}",
    "a mapping as key": "{? {a: 1} : 2}",
    "a merge of no mapping": "{<<: 3}",
    "bytes": '!!binary "/w=="',
    "bytes that are none": '!!binary "x"',
    "an integer that is none": "!!int x",
    "a number that is none": "!!float x",
    "a truth that is none": "!!bool x",
    "a set": "!!set {a}",
    "pairs": "!!pairs [a: 1]",
    "an object": "!!python/object/apply:os.getcwd []",
}


@pytest.mark.parametrize("nasty", NASTY.values(), ids=NASTY)
@pytest.mark.parametrize(
    "setting",
    ["kafka", "kafka.bootstrap_servers", "kafka.session_timeout", "delivery.max_event_bytes", "delivery.retry"]
    + [f"{PD}.{name}" for name in ("routing_key", "enabled", "min_severity", "custom_details", "routing.by_guard.g")]
    + [f"{PD}.deduplication.key_template", f"{PD}.auto_resolve.after_minutes", f"{OG}.tags", f"{OG}.responders", "nt"],
)
def test_a_nasty_value_is_taken_or_told_in_one_line(setting: str, nasty: str) -> None:
    lines = [f"{'  ' * depth}{key}:" for depth, key in enumerate(setting.split("."))]
    told = ["nothing"]
    try:
        parse("\n".join(lines) + f" {nasty}\n", {})
    except ConfigError as error:
        told = [str(problem) for problem in error.problems]
    assert told
    assert all(problem.isprintable() and len(problem) < 500 for problem in told)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "cp037", "shift-jis"])
def test_a_file_of_another_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "c.yaml").write_bytes("exporters: {alerting: {enabled: ja}}  # ¶é".encode(encoding, "replace"))
    with pytest.raises(ConfigError) as raised:
        load_config(tmp_path / "c.yaml", {})
    assert all(str(problem).isprintable() for problem in raised.value.problems)


_scalars = st.sampled_from(
    ["1", "high", "true", "~", "''", "${A}", "${file:/x}", "*a", "&a b", "!t x", "5m", "\x85", *NASTY.values()]
)
_SECTIONS = ["kafka", "exporters", "alerting", "pagerduty", "opsgenie", "delivery", "topics", "routing", "auto_resolve"]
_SETTINGS = ["port", "tags", "routing_key", "api_key", "by_guard", "links", "responders", "on_events", "key_template"]
_keys = st.sampled_from([*_SECTIONS, *_SETTINGS])
_yaml_like = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(_keys, inner), max_size=4).map(lambda p: f"{{{', '.join(f'{k}: {v}' for k, v in p)}}}")
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.one_of(st.text(), st.text("{}[]:,-&*!|>'\"%@` \n\tab${}~"), _yaml_like))
def test_any_text_is_a_configuration_or_a_configuration_error(text: str) -> None:
    try:
        parse(text, {})
    except ConfigError as error:
        told = error
    else:
        return
    assert told.problems
    assert len(str(told).splitlines()) == len(told.problems)


# --- keys and partitions


@pytest.mark.parametrize(
    ("template", "event_key", "needed"),
    [
        ("{guard}:{session_id}", "session_id", False),
        ("{guard}:{tenant_id}:{resource}", "session_id", True),
        ("{guard}:{tenant_id}", "tenant_id", False),
        ("{guard}:{label.team}", "label.team", False),
        ("{guard}:{session_id}", "none", True),
        ("everything", "session_id", True),
    ],
)
def test_needs_repartition(template: str, event_key: str, needed: bool) -> None:
    config = parse(f"kafka: {{event_key: {event_key}}}")
    assert needs_repartition(KeyTemplate.parse(template), config.kafka.event_key) is needed


# --- check-config


def run_check(path: Path) -> int:
    return main(["check-config", str(path)])


def test_check_config_says_what_would_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    assert run_check(EXAMPLES / "both-with-routing.yaml") == 0
    out, err = capsys.readouterr()
    assert err == ""
    for told in (
        "clawdstrike-alerting.pagerduty",
        "clawdstrike.alerting.state.opsgenie",
        "default, by_guard:secret_leak, by_guard:egress_allowlist, by_tenant:acme-corp",
        "secret_leak: dlp-team, security-team",
        "not needed: the dedup key contains {session_id}",
    ):
        assert told in out
    own = [secret for name, secret in ENVIRON.items() if name not in EXAMPLE_SECRETS]
    assert not [secret for secret in own if secret in out]


def test_check_config_says_that_the_repartition_stage_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.check_config(load_config(EXAMPLES / "pagerduty-only.yaml", ENVIRON), print) == 0
    out = capsys.readouterr().out
    assert "needed: the dedup key lacks {session_id}, kafka.event_key" in out
    assert "group clawdstrike-alerting.pagerduty-repartition" in out
    assert "on_session_end is ignored" in out


def test_check_config_says_what_becomes_of_addresses_that_begin_with_a_placeholder() -> None:
    section = {
        "links": [{"href": "https://x.example/{guard}"}, {"href": "{label.runbook_url}"}],
        "images": [{"src": "{label.graph}", "href": "{label.board}/{guard}"}],
        "client_url": "{label.console}",
    }
    said: list[str] = []
    command.check_config(parse(text_of(PD, section)), said.append)
    told = [line.split(maxsplit=1) for line in said if "as the event has it" in line]
    condition = "as the event has it, if that makes an absolute https address, else no"
    assert told == [
        ["links.1.href", f"{{label.runbook_url}}: {condition} link"],
        ["images.0.src", f"{{label.graph}}: {condition} image"],
        ["images.0.href", f"{{label.board}}/{{guard}}: {condition} link"],
        ["client_url", f"{{label.console}}: {condition} link"],
    ]


def test_check_config_tells_problems_on_stderr(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("kafka: {a: 1, b: 2}")
    assert run_check(tmp_path / "bad.yaml") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(": ")[:3] for line in err.splitlines()] == [
        [str(tmp_path / "bad.yaml"), f"kafka.{key}", "unknown key"] for key in ("a", "b")
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("kafka: {}", "no provider is configured"), ("exporters: {alerting: {enabled: no}}", "alerting is not enabled")],
)
def test_check_config_without_a_pipeline(text: str, reason: str) -> None:
    said: list[str] = []
    assert command.check_config(parse(text), said.append) == 0
    assert said == [f"valid, but {reason}: `run` would say so and exit"]
