"""What is said of a key that is not known: its right name, its right place, or what there is."""

from pathlib import Path

import pytest
import yaml

from consumer.cli.main import main
from consumer.config import Config, ConfigError, load_config, parse_config, without_effect
from consumer.config.known_keys import _keys, advice
from state.violation import Severity
from tests.support.stand_ins import ENVIRON as EXAMPLE_SECRETS

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
PD = ("exporters", "alerting", "pagerduty")


@pytest.mark.parametrize(
    ("location", "said"),
    [
        (("kafka", "sesion_timeout"), "`session_timeout` is meant?"),
        (
            ("kafka", "burst_size"),
            "`burst_size` belongs under `delivery.rate_limit` or `exporters.",
        ),
        ((*PD, "burst_size"), "`burst_size` belongs under `exporters.alerting.pagerduty.routes.*.rate_limit`"),
        (
            (*PD, "routes", "default", "burst_size"),
            "`burst_size` belongs under `exporters.alerting.pa",
        ),
        ((*PD, "api_key"), "`api_key` belongs under `exporters.alerting.opsgenie`"),
        (("pagerduty",), "`pagerduty` belongs under `exporters.alerting` or `webhooks`"),
        (("kafka", "topic"), "`topics` is meant?"),
        (("log", "colour"), "there is level, format"),
        (("log", "x" * 1_000_000), "there is level, format"),
        (("exporters", "alerting", "opsgenie", "responders", 3, "nmae"), "`name` is meant? there is type, "),
        ((*PD, "auto_resolve", "on_events", 0, "guards"), "`guard` is meant?"),
        (("kafka", "event_key", "x"), ""),
    ],
)
def test_of_an_unknown_key_it_is_said_what_was_meant_where_it_belongs_or_what_there_is(
    location: tuple[str | int, ...], said: str
) -> None:
    assert advice(location).startswith(said)
    assert bool(advice(location)) is bool(said)


def test_every_mapping_is_known_by_its_keys() -> None:
    assert _keys()["kafka", "security"][:2] == ["protocol", "mechanism"]
    assert _keys()[(*PD, "routes")] == ()
    assert _keys()[(*PD, "links", "*")]


def test_each_line_of_a_file_begins_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("kafka: {sesion_timeout: 3s}\nlog: {level: loud}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert str(caught.value).splitlines() == [
        f"{file}: kafka.sesion_timeout: unknown key: `session_timeout` is meant?",
        f"{file}: log.level: must be one of 'debug', 'info', 'warning' or 'error'",
    ]
    file.write_text("kafka: [\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert str(caught.value).startswith(f"{file}: line 2, column 1: not valid YAML")


# filters that let nothing, or not what they name, alert


def alerting(**settings: object) -> str:
    return yaml.safe_dump({"exporters": {"alerting": {**settings, "pagerduty": {"routing_key": "a" * 32}}}})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"include_guards": ["a", "b"], "exclude_guards": ["b", "a", "c"]},
            "nothing can ever alert: each of include_guards is in exclude_guards, too",
        ),
        (
            {"include_event_types": ["guard_block"], "exclude_event_types": ["guard_block"]},
            "nothing can ever alert: each of include_event_types is in exclude_event_types, too",
        ),
    ],
)
def test_filters_that_let_nothing_alert_are_a_mistake(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(alerting(**settings), {}, str)
    assert str(caught.value) == f"exporters.alerting: {said}"


def test_what_has_no_effect_beside_the_rest_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pagerduty = {"routing_key": "a" * 32, "routing": {"by_guard": {"b": "c" * 32, "z": "d" * 32}}}
    opsgenie = {"api_key": "0f1e2d3c-key", "routing": {"by_severity": {"low": ["team"], "critical": ["team"]}}}
    filters = {"include_guards": ["a", "b"], "exclude_guards": ["b", "c"], "exclude_event_types": ["x"]}
    file = tmp_path / "config.yaml"
    file.write_text(
        yaml.safe_dump({"exporters": {"alerting": filters | {"pagerduty": pagerduty, "opsgenie": opsgenie}}})
    )
    assert main(["check-config", str(file)]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "warning: exporters.alerting.include_guards: b is in exclude_guards, too, and never alerts",
        "warning: exporters.alerting.pagerduty.routing.by_guard.b: is never taken, since no event of this guard alerts",
        "warning: exporters.alerting.pagerduty.routing.by_guard.z: is never taken, since no event of this guard alerts",
        "warning: exporters.alerting.opsgenie.routing.by_severity.low: is never taken, since min_severity is high",
    ]


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_everything_in_our_examples_has_an_effect(file: Path) -> None:
    keys = ("PAGERDUTY_ROUTING_KEY", "PAGERDUTY_DEFAULT_KEY", "PAGERDUTY_DLP_KEY", "PAGERDUTY_NETWORK_KEY")
    environ = dict.fromkeys((*keys, "PAGERDUTY_ACME_KEY"), "a" * 32)
    environ |= {"OPSGENIE_API_KEY": "0f1e2d3c-key", "JSM_API_KEY": "0f1e2d3c-jsm", "JSM_TOKEN": "a-token"}
    environ |= {"PAGERDUTY_REST_TOKEN": "a-rest-token", "PAGERDUTY_ONCALL_KEY": "b" * 32}
    assert without_effect(load_config(file, {**environ, **EXAMPLE_SECRETS})) == []


def test_what_is_said_of_a_route_is_what_the_filter_does_with_its_events() -> None:
    """One source for both: whatever the lists are."""
    for include, exclude in ((["a"], []), ([], ["b"]), (["a", "b"], ["b"]), ([], [])):
        config = Config.model_validate(
            {
                "exporters": {
                    "alerting": {
                        "include_guards": include,
                        "exclude_guards": exclude,
                        "pagerduty": {
                            "routing_key": "a" * 32,
                            "routing": {"by_guard": {"a": "b" * 32, "b": "c" * 32}},
                        },
                    }
                }
            }
        )
        filter = config.exporters.alerting.filter
        never = {
            guard for guard in "ab" if any(f".by_guard.{guard}: is never" in one for one in without_effect(config))
        }
        assert never == {guard for guard in "ab" if not filter.passes(False, Severity.CRITICAL, guard, "guard_block")}
