"""Keys that are retired: what the configuration refuses, what `check-config` says of them and of the open alerts."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer.cli import standings
from consumer.cli.main import main
from consumer.config import ConfigError, parse_config, secrets_of
from providers.belonging import CHANGED, Standing

KEY, OLD, OLDER, GUARD = "d" * 32, "o" * 32, "p" * 32, "g" * 32


def text(provider: str = "pagerduty", **settings: Any) -> str:
    key = {"routing_key": KEY} if provider == "pagerduty" else {"api_key": "key-of-opsgenie"}
    return yaml.safe_dump({"exporters": {"alerting": {provider: {**key, **settings}}}})


def refused(given: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(given, {}, lambda path: "")
    return str(caught.value)


def test_a_retired_key_is_a_secret_as_any_other() -> None:
    config = parse_config(text(retired_routing_keys=[OLD, OLDER]), {}, lambda path: "")
    assert {OLD, OLDER} <= secrets_of(config)
    assert OLD not in repr(config)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (text(retired_routing_keys=[OLD, KEY]), "pagerduty: retired_routing_keys.1: is the key of route default"),
        (
            text(routing={"by_guard": {"x": GUARD}}, retired_routing_keys=[GUARD]),
            "pagerduty: retired_routing_keys.0: is the key of route by_guard:x",
        ),
        (text(retired_routing_keys=[OLD, OLD]), "retired_routing_keys.1: is the same key as retired_routing_keys.0"),
        (text(retired_routing_keys=["short"]), "retired_routing_keys.0: must be 32 characters"),
        (text("opsgenie", retired_api_keys=["key-of-opsgenie"]), "opsgenie: retired_api_keys.0: is the key of route"),
    ],
)
def test_a_retired_key_that_cannot_be_one_is_refused_with_its_place(given: str, said: str) -> None:
    message = refused(given)
    assert said in message
    assert not [key for key in (KEY, OLD, GUARD, "key-of-opsgenie") if key in message]


def test_check_config_says_how_many_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text(retired_routing_keys=[OLD, OLDER]))
    assert main(["check-config", str(path)]) == 0
    out = capsys.readouterr().out
    assert "retired keys     2, for acknowledges and resolves of what was opened by them" in out
    assert "  routes           default\n" in out, "they are no routes of anybody"
    assert OLD not in out


def test_json_is_of_the_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text())
    assert main(["check-config", str(path), "--json"]) == 2
    assert capsys.readouterr().err == "--json: only with --state\n"


def test_of_the_open_alerts_each_kind_of_change_is_told_with_what_it_means() -> None:
    counts = Counter({standing: number for number, standing in enumerate(CHANGED, 1)})
    lines = standings._lines(counts)
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4"]
    assert "alerts list --orphaned" in lines[2]
    assert standings._facts(counts) == {"open": 10, "renamed": 1, "retired": 2, "orphaned": 3, "owed": 4}


def test_where_no_alert_is_concerned_it_says_so() -> None:
    counts = Counter({Standing.THE_SAME: 7})
    assert standings._lines(counts) == ["none that this configuration concerns"]
    assert standings._facts(counts) == {"open": 7, "renamed": 0, "retired": 0, "orphaned": 0, "owed": 0}
