"""``silences``: what is refused before Kafka is asked (design section 22)."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from consumer.cli.main import main
from consumer.cli.silences import refuse_others
from consumer.silences.known import KnownSilences
from consumer.silences.records import from_json
from consumer.silences.silence import Match
from providers.errors import Mistake

CONFIG = """
kafka: {bootstrap_servers: "127.0.0.1:1", startup_timeout: 1s}
exporters: {alerting: {pagerduty: {routing_key: 0123456789abcdef0123456789abcdef, api_endpoint: "http://127.0.0.1:1"}}}
"""
GOOD = {"--guard": "x", "--for": "2h", "--reason": "why"}


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return str(path)


def run(config: str, *arguments: str) -> int:
    return main(["silences", arguments[0], "--config", config, *arguments[1:]])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"--for": None}, "one of the arguments --for --until is required"),
        ({"--for": "8d"}, "--for: must lie within 7 days of its start"),
        ({"--for": "0"}, "must be more than 0"),
        ({"--for": "soon"}, "must be a duration such as"),
        ({"--for": None, "--until": "2020-01-01T00:00:00Z"}, "--until: the silence would be over already"),
        ({"--for": None, "--until": "2h"}, "must be RFC 3339"),
        ({"--for": None, "--until": "2999-01-01T00:00:00Z"}, "--until: must lie within 7 days of its start"),
        ({"--guard": None}, "--guard: matches everything"),
        ({"--guard": "*"}, "--guard: matches everything"),
        ({"--guard": None, "--severity": "high"}, "--guard: matches everything"),
        ({"--reason": None}, "the following arguments are required: --reason"),
        ({"--reason": " "}, "--reason: must have 1 to 1024 characters"),
        ({"--severity": "critical"}, "--severity critical: needs --include-critical"),
        ({"--label": "team"}, "--label team: must be NAME=TEXT"),
        ({"--provider": "opsgenie"}, "exporters.alerting.opsgenie: is not configured"),
        ({"--id": "a\nb"}, "--id: has a character that does not print"),
    ],
)
def test_what_is_no_silence_is_refused_in_one_line(
    config: str, capsys: pytest.CaptureFixture[str], given: dict[str, str | None], said: str
) -> None:
    options = {name: text for name, text in {**GOOD, **given}.items() if text is not None}
    arguments = [part for pair in options.items() for part in pair]
    assert run(config, "add", *arguments, "--yes") == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in last


ONE = {
    "id": "a",
    "scope": "all",
    "match": {"guard": "x"},
    "reason": "why",
    "created_by": "ana",
    "created_at": "2999-01-01T00:00:00Z",
    "starts_at": "2999-01-01T00:00:00Z",
    "expires_at": "2999-01-02T00:00:00Z",
    "status": "active",
}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "silences.json: not JSON"),
        ("{}", "silences.json: must be a list of silences"),
        (json.dumps([ONE, ONE]), "silences.json: [1].id: a is there twice"),
        (json.dumps([ONE, {**ONE, "id": "b", "match": {}}]), "silences.json: [1].match: matches everything"),
        (json.dumps([{**ONE, "scope": "opsgenie"}]), "silences.json: [0].scope: opsgenie is no provider"),
        (json.dumps([{**ONE, "expires_at": "2999-01-09T00:00:00Z"}]), "silences.json: [0].expires_at: must lie within"),
        (
            json.dumps([{**ONE, "starts_at": "2020-01-01T00:00:00Z", "expires_at": "2020-01-02T00:00:00Z"}]),
            "silences.json: [0].expires_at: lies in the past",
        ),
        (json.dumps([7]), "silences.json: [0]: no silence: not an object"),
    ],
)
def test_an_import_that_is_none_says_where(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str
) -> None:
    file = tmp_path / "silences.json"
    file.write_text(content)
    assert run(config, "import", str(file), "--yes") == 2
    assert said in capsys.readouterr().err


def test_where_nobody_can_be_asked_it_must_be_said(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "expire", "a") == 2
    assert "--yes: is needed where nobody can be asked" in capsys.readouterr().err


def test_an_import_refuses_the_id_of_another_silence() -> None:
    there = from_json(ONE)
    known = KnownSilences([there])
    refuse_others([there, replace(there, expires_at=there.expires_at + 60), replace(there, id="b")], known)
    for other in (
        replace(there, match=Match({"guard": "y"})),
        replace(there, scope="pagerduty"),
        replace(there, include_critical=True),
        replace(there, starts_at=there.expires_at + 1, expires_at=there.expires_at + 2),
    ):
        with pytest.raises(Mistake, match="there is a silence a already"):
            refuse_others([other], known)
