"""``config reference|schema``: what is printed is what the service takes."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from consumer.cli.main import main
from consumer.config import ConfigError, parse_config
from consumer.config.json_schema import json_schema

ROOT = Path(__file__).parents[2]
FILES = [*sorted((ROOT / "deploy" / "examples").glob("*.yaml")), ROOT / "deploy" / "compose-config.yaml"]
KEY = "a" * 32
PD = {"exporters": {"alerting": {"pagerduty": {"routing_key": KEY}}}}


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    made = json_schema()
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


def test_the_reference_is_printed_as_it_ships(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "reference"]) == 0
    printed = capsys.readouterr().out
    assert printed == (ROOT / "deploy" / "examples" / "reference.yaml").read_text()
    environ = {"PAGERDUTY_ROUTING_KEY": KEY, "OPSGENIE_API_KEY": "0f1e2d3c-key", "JSM_API_KEY": "0f1e2d3c-jsm"}
    assert parse_config(printed, environ, lambda path: path).pipelines


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_file_of_ours_is_valid(file: Path, schema: jsonschema.Draft202012Validator) -> None:
    assert [error.message for error in schema.iter_errors(yaml.safe_load(file.read_text()))] == []


@pytest.mark.parametrize(
    ("document", "is_valid"),
    [
        ({"kafka": {"start_from": "earliest"}}, True),
        ({"kafka": {"start_from": "15m"}}, True),
        ({"kafka": {"start_from": 900}}, True),
        ({"kafka": {"start_from": "soon"}}, False),
        ({"delivery": {"give_up_after": "1.5h"}}, True),
        ({"delivery": {"give_up_after": "1 hour"}}, False),
        ({"delivery": {"max_in_flight": 64}}, True),
        ({"delivery": {"max_in_flight": 0}}, False),
        ({"delivery": {"max_inflight": 64}}, False),
        ({"kafka": 7}, False),
        ({"exporters": {"alerting": {**PD["exporters"]["alerting"], "min_severity": "medium"}}}, True),
        ({"exporters": {"alerting": {**PD["exporters"]["alerting"], "min_severity": "medium-high"}}}, False),
        ({"exporters": {"alerting": {**PD["exporters"]["alerting"], "min_severity": 3}}}, False),
    ],
    ids=str,
)
def test_an_editor_finds_what_the_service_finds(
    document: dict[str, Any], is_valid: bool, schema: jsonschema.Draft202012Validator
) -> None:
    assert schema.is_valid(document) is is_valid
    try:
        parse_config(yaml.safe_dump(document), {}, lambda path: path)
    except ConfigError:
        assert not is_valid
    else:
        assert is_valid


@pytest.mark.parametrize(
    "document",
    [
        {"delivery": {"max_in_flight": "${IN_FLIGHT:-64}"}},
        {"delivery": {"give_up_after": "${HOURS}h"}},
        {"exporters": {"alerting": {"enabled": "${ON}", "min_severity": "${SEVERITY:-high}"}}},
        {"exporters": {"alerting": {"pagerduty": {"routing_key": "${file:/run/secrets/key}"}}}},
    ],
    ids=str,
)
def test_any_value_may_come_from_the_environment(
    document: dict[str, Any], schema: jsonschema.Draft202012Validator
) -> None:
    assert schema.is_valid(document)
