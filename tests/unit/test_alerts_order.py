"""``alerts ack|resolve``: which commands follow, what is said of them, and that nothing is written halfway."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from consumer.cli.alerts_found import Found, Looked, of_keys
from consumer.cli.alerts_order import check_usage, command, not_done, orders
from consumer.cli.main import _parser
from consumer.cli.with_configuration import UsageError
from consumer.config import load_config
from consumer.feedback.records import FeedbackKind
from consumer.kafka.clients import KafkaClients
from consumer.status.commanded import Stage
from state.alert import Alert, Status
from state.violation import Severity
from tests.unit.test_dlq_cli import CONFIG

ALERT = Alert("guard:s", Status.OPEN, "s", 3, 1.0, 2.0, 2.5, Severity.HIGH, route="default")


def found(key: str, status: Status = Status.OPEN, provider: str = "pagerduty", **fields: Any) -> Found:
    return Found(provider, 0, structs.replace(ALERT, dedup_key=key, status=status, **fields))


def looked(*alerts: Found) -> Looked:
    return Looked(["pagerduty", "opsgenie"], alerts, 100.0)


def test_each_key_is_one_order_and_says_whether_it_is_needed() -> None:
    alerts = [found("a"), found("b", Status.ACKNOWLEDGED), found("c", Status.RESOLVING), found("a")]
    resolve = orders(FeedbackKind.RESOLVE, alerts)
    assert [(order.dedup_key, len(order.found)) for order in resolve] == [("a", 2), ("b", 1), ("c", 1)]
    assert [order.needless for order in resolve] == [None, None, "the alert is being resolved already"]
    assert [order.needless for order in orders(FeedbackKind.ACKNOWLEDGE, alerts)] == [
        None,
        "the alert is acknowledged already",
        "the alert is being resolved already",
    ]
    half = [found("a", Status.ACKNOWLEDGED), found("a")]
    assert [order.needless for order in orders(FeedbackKind.ACKNOWLEDGE, half)] == [None], "one of the two is open"


def test_keys_are_taken_in_their_order_and_each_that_is_not_there_is_said() -> None:
    alerts = looked(found("a"), found("b"), found("c"))
    assert list(of_keys(["c", "a", "c"], alerts)[0]) == ["c", "a"]
    meant, missing = of_keys(["a", "aa", "zzz"], alerts)
    assert {key: len(found) for key, found in meant.items()} == {"a": 1, "aa": 0, "zzz": 0}
    assert missing == [
        "there is no alert with the dedup key aa at pagerduty or opsgenie; the nearest: a",
        "there is no alert with the dedup key zzz at pagerduty or opsgenie",
    ]


def test_a_key_of_both_providers_has_to_say_which() -> None:
    with pytest.raises(UsageError, match="--provider: both providers have an alert with the dedup key a"):
        of_keys(["a"], looked(found("a"), found("a", provider="opsgenie")))


def test_what_is_not_done_in_time_is_one_line() -> None:
    undone = {f"k{number}": Stage.UNTAKEN for number in range(5)} | {"other": Stage.TAKEN}
    assert not_done(undone, 5.0) == (
        "not done within 5 s: k0, k1, k2 and 2 more (no member has taken it), other (the provider has not taken it yet)"
    )


# the command, where nothing is written


async def run(
    arguments: list[str], alerts: Looked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bool | None = None
) -> int:
    """The exit code; Kafka is out of reach."""
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    config = load_config(file)

    async def agreed(what: str) -> bool:
        assert answer is not None, "nobody is to be asked"
        return answer

    monkeypatch.setattr("consumer.cli.alerts_order.agreed", agreed)
    given = ["alerts", *arguments, "--config", str(file)]
    args: argparse.Namespace = _parser(given).parse_args(given)
    return await command(args, config, KafkaClients(config.kafka), alerts, {})


async def test_nothing_is_written_about_any_key_when_one_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(["resolve", "a", "x"], looked(found("a")), tmp_path, monkeypatch) == 1
    assert capsys.readouterr() == (
        "",
        "there is no alert with the dedup key x at pagerduty or opsgenie; nothing was written about the others\n",
    )


async def test_a_filter_shows_what_is_meant_and_a_no_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alerts = looked(
        found("a", highest=Severity.LOW),
        found("b", highest=Severity.LOW, status=Status.RESOLVING),
        found("c"),
    )
    assert await run(["resolve", "--severity", "low"], alerts, tmp_path, monkeypatch, answer=False) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "STATUS  SEVERITY  SEEN  SINCE  LAST  PROVIDER   DEDUP KEY",
        "open    low          3  1m     1m    pagerduty  a",
        "1 alert to resolve, and nothing to do about 1 more",
    ]
    assert err == "nothing was written\n"
    assert await run(["resolve", "--severity", "low", "--dry-run"], alerts, tmp_path, monkeypatch) == 0


async def test_for_programs_it_is_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alerts = looked(found("a"), found("b", Status.RESOLVING))
    assert await run(["resolve", "a", "b", "--dry-run", "--json", "--wait", "1"], alerts, tmp_path, monkeypatch) == 0
    assert json.loads(capsys.readouterr().out) == {
        "action": "resolve",
        "dry_run": True,
        "alerts": [
            {"dedup_key": "a", "provider": "pagerduty", "written": False},
            {
                "dedup_key": "b",
                "provider": "pagerduty",
                "written": False,
                "nothing_to_do": "the alert is being resolved already",
            },
        ],
    }


async def test_where_nothing_is_to_be_done_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(["ack", "--status", "acknowledged"], looked(found("a")), tmp_path, monkeypatch) == 0
    assert capsys.readouterr().out == "0 alerts to ack\n"
    acknowledged = looked(found("a", Status.ACKNOWLEDGED), found("b", Status.RESOLVING))
    assert await run(["ack", "a", "b"], acknowledged, tmp_path, monkeypatch) == 0
    assert capsys.readouterr().out == (
        "nothing to do about a: the alert is acknowledged already\n"
        "nothing to do about b: the alert is being resolved already\n"
    )


def test_a_filter_needs_somebody_who_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["alerts", "resolve", "--severity", "low", "--config", "c"]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    check_usage(_parser(given).parse_args(given))
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    check_usage(_parser(given).parse_args([*given, "--yes"]))
    with pytest.raises(UsageError, match="--yes: is needed"):
        check_usage(_parser(given).parse_args(given))
