"""``alerts list`` and ``show`` where a dedup key is in several partitions, or beside a record that cannot be read."""

import argparse
import dataclasses
import json
import time
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from consumer.cli.alert_facts import Outlook, last_error, next_attempt
from consumer.cli.alerts import _list, _newest_first, _show
from consumer.cli.alerts_found import Found, Looked, not_there, of_keys
from consumer.cli.last_event import LastEvent
from consumer.events.event import violation_of
from consumer.kafka.reading import alerts_of
from providers.notification import Origin
from providers.retry import Backoff
from state.alert import LONGEST_NAME, Alert, Owed, Status, source
from state.partition_records import StateRecords
from state.records import BESIDE, CHECKPOINT_KEY, Position, encode_alert, encode_position
from state.violation import Record, Severity
from tests.support.events import encode, event

RECORD = Record("events", 0, 1, 1000, None, b"{}")
ALERT = Alert("guard:s", Status.OPEN, "s", 3, 1.0, 2.0, 2.5, Severity.HIGH, route="default")


def state(*records: tuple[bytes, bytes | None]) -> StateRecords:
    found = StateRecords()
    for offset, (key, value) in enumerate(records):
        record: Any = SimpleNamespace(key=key, value=value, offset=offset, timestamp=0)
        found.take(record)
    return found


def test_what_cannot_be_read_is_said_and_the_alert_beside_it_is_one() -> None:
    later = orjson.dumps({**orjson.loads(encode_alert(ALERT)), "v": 2})
    other, beside = replace(ALERT, dedup_key="other"), replace(ALERT, occurrences=1)
    alerts, wrong = alerts_of(
        state(
            (b"gone", encode_alert(ALERT)),
            (b"guard:s", later),
            (b"other", encode_alert(other)),
            (b"gone", None),
            (BESIDE + b"guard:s", encode_alert(beside)),
            (CHECKPOINT_KEY, encode_position(Position("events", 0, 0))),
        ),
        "topic state, partition 3",
    )
    assert sorted(alerts, key=lambda alert: alert.dedup_key) == [beside, other]
    assert wrong == ["topic state, partition 3, offset 1: state record b'guard:s': ValueError('version 2 is not 1')"]


def test_a_checkpoint_that_cannot_be_read_hides_no_alert() -> None:
    alerts, wrong = alerts_of(state((b"guard:s", encode_alert(ALERT)), (CHECKPOINT_KEY, b"[]")), "topic state")
    assert alerts == [ALERT]
    assert len(wrong) == 1
    assert wrong[0].startswith("topic state, offset 1: checkpoint record")


HERE = Found("pagerduty", 1, replace(ALERT, occurrences=7, decided=9.0, last_seen=9.0))
THERE = Found("pagerduty", 0, ALERT)


def said(arguments: dict[str, Any], found: list[Found], capsys: pytest.CaptureFixture[str]) -> str:
    options = {"status": None, "severity": None, "guard": None, "tenant": None, "limit": None, "summary": False}
    args = argparse.Namespace(**options | {"orphaned": False, "json": False} | arguments)
    named = None
    if "dedup_key" in arguments:
        key = arguments["dedup_key"]
        named = _newest_first(of_keys([key], Looked(["pagerduty"], found, 0.0))[0][key])
    assert (_list(args, found) if named is None else _show(args, named)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("found", [[HERE, THERE], [THERE, HERE]])
def test_the_answer_is_the_same_in_whatever_order_they_are_read(
    found: list[Found], capsys: pytest.CaptureFixture[str]
) -> None:
    listed = json.loads(said({"json": True}, found, capsys))
    assert [(one["partition"], one["occurrences"]) for one in listed] == [(1, 7), (0, 3)]
    shown = json.loads(said({"json": True, "dedup_key": "guard:s"}, found, capsys))
    assert (shown["partition"], shown["occurrences"]) == (1, 7)
    assert [(one["partition"], one["occurrences"]) for one in shown["others"]] == [(0, 3)]
    text = said({"json": False, "dedup_key": "guard:s"}, found, capsys)
    assert text.endswith("also in partition 0: open, seen 3 times, last at 1970-01-01T00:00:02.000Z\n")


def listed(found: list[Found], capsys: pytest.CaptureFixture[str], **arguments: Any) -> list[str]:
    return said(arguments, found, capsys).splitlines()


def test_a_list_fits_80_columns_and_breaks_no_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 7200.0 + 10)
    key = "forbidden_path:session-0123456789"
    found = [Found("pagerduty", 0, replace(ALERT, dedup_key=key, first_seen=10.0, last_seen=7200.0 - 170))]
    assert listed(found, capsys) == [
        "STATUS  SEVERITY  SEEN  SINCE  LAST  PROVIDER   DEDUP KEY",
        f"open    high         3  2h     3m    pagerduty  {key}",
        "1 alert",
    ]
    found[0] = dataclasses.replace(found[0], alert=replace(found[0].alert, dedup_key="k" * 200))
    assert f"  {'k' * 200}" in listed(found, capsys)[1], "whole, and on one line"


def test_a_list_can_be_filtered_cut_and_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    found = [
        Found("pagerduty", 0, replace(ALERT, dedup_key=f"{severity.label}{number}", highest=severity))
        for severity in (Severity.HIGH, Severity.CRITICAL)
        for number in range(3)
    ]
    found += [Found("opsgenie", 0, replace(ALERT, dedup_key="owes", owed=Owed(RECORD, Severity.HIGH, 1.0, 1, 1)))]
    lines = listed(found, capsys, limit=2)
    assert [line.split()[-1] for line in lines[1:3]] == ["critical0", "critical1"]
    assert lines[3:] == ["2 of 7 alerts, 1 of them not told yet"]
    assert [line.split()[-1] for line in listed(found, capsys, severity=["high"])[1:-1]] == [
        *("high0", "high1", "high2", "owes")
    ]
    assert [line.split() for line in listed(found, capsys, summary=True)] == [
        ["PROVIDER", "SEVERITY", "STATUS", "ALERTS"],
        ["opsgenie", "high", "open", "1"],
        ["pagerduty", "critical", "open", "3"],
        ["pagerduty", "high", "open", "3"],
        ["7", "alerts"],
    ]
    assert json.loads("\n".join(listed(found, capsys, summary=True, json=True)))[1] == {
        "provider": "pagerduty",
        "severity": "critical",
        "status": "open",
        "alerts": 3,
    }


def named(key: str, guard: str | None, tenant: str | None) -> Found:
    return Found("pagerduty", 0, replace(ALERT, dedup_key=key, source=source(guard, tenant, "events", 0)))


def test_a_list_can_be_of_guards_and_tenants(capsys: pytest.CaptureFixture[str]) -> None:
    record = replace(RECORD, value=encode(event(guard="owed", tenant="acme")))
    owing = Owed(record, Severity.HIGH, 1.0, 1, 1)
    found = [
        named("a", "one", "acme"),
        named("b", "two", "acme"),
        named("c", "two", None),
        named("d", "x" * LONGEST_NAME, "other"),
        named("told before", None, None),
        Found("pagerduty", 0, replace(ALERT, dedup_key="of old", owed=owing)),
        Found("pagerduty", 0, replace(ALERT, dedup_key="of now", owed=replace(owing, guard="owed", tenant=None))),
    ]

    def keys(**arguments: Any) -> list[str]:
        return [one["dedup_key"] for one in json.loads(said({"json": True, **arguments}, found, capsys))]

    assert keys(guard=["one", "owed"]) == ["a", "of now", "of old"]
    assert keys(tenant=["acme"]) == ["a", "b", "of old"]
    assert keys(guard=["two"], tenant=["acme"]) == ["b"]
    assert keys(guard=["x" * LONGEST_NAME]) == ["d"]
    assert len(keys()) == len(found)


def test_alerts_whose_guard_is_not_known_are_counted_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    options = {"status": None, "severity": None, "limit": None, "summary": False, "orphaned": False, "json": False}
    assert _list(argparse.Namespace(**options, guard=["one"], tenant=None), [named("a", "one", None), HERE]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "1 alert"
    assert err == "1 alert left out: an earlier release told it, and kept neither guard nor tenant\n"


BACKOFF = Backoff(1.0, 30.0, 2.0, lambda: 1.0)


@pytest.mark.parametrize(
    ("attempts", "now", "said"),
    [
        (0, 1000.0, "at its turn: not tried yet"),
        (1, 1000.5, "by 1970-01-01T00:16:41.000Z, or when its route works again"),
        (9, 1000.5, "by 1970-01-01T00:17:10.000Z, or when its route works again"),
        (9, 1031.0, "when its route works again, or at its turn"),
    ],
)
def test_when_it_is_tried_again(attempts: int, now: float, said: str) -> None:
    owed = Owed(RECORD, Severity.HIGH, 1.0, 1, 1, attempts=attempts, last_attempt=1000.0 if attempts else None)
    assert next_attempt(owed, BACKOFF, now) == said


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [(503, "down", "503 down"), (503, "HTTP 503", "HTTP 503"), (None, "no answer", "no answer"), (None, None, None)],
)
def test_what_the_last_attempt_has_met(status: int | None, error: str | None, said: str | None) -> None:
    owed = Owed(RECORD, Severity.HIGH, 1.0, 1, 1, last_status=status, last_error=error)
    assert last_error(owed) == said


def test_what_is_owed_is_shown_with_its_event_its_route_and_what_it_has_met(capsys: pytest.CaptureFixture[str]) -> None:
    owed = Owed(
        RECORD, Severity.HIGH, 1.0, 1, 1, attempts=2, last_attempt=1000.0, last_status=503, last_error="down\x1b",
    )  # fmt: skip
    says = violation_of(replace(RECORD, value=encode(event(event_id="e-1", guard="g", tenant="t", reason="r"))))
    args = argparse.Namespace(json=False)
    found = Found("pagerduty", 0, replace(ALERT, owed=owed))
    _show(args, [found], LastEvent(Origin("events", 0, 1), says), Outlook("default", BACKOFF, 1000.0))
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "guard g", "tenant t", "event id e-1", "event reason r", "event agent agent-7", "event topic events",
        "event partition 0", "event offset 1", "owed route default", "owed attempts 2",
        "owed last attempt 1970-01-01T00:16:40.000Z", "owed last error 503 down\\x1b",
        "owed next attempt by 1970-01-01T00:16:42.000Z, or when its route works again",
    ):  # fmt: skip
        assert line in said


@pytest.mark.slow
def test_ten_thousand_alerts_are_listed_in_a_moment(capsys: pytest.CaptureFixture[str]) -> None:
    found = [Found("pagerduty", 0, replace(ALERT, dedup_key=f"guard:{number}")) for number in range(10_000)]
    began = time.process_time()
    assert len(listed(found, capsys)) == 10_002
    assert time.process_time() - began < 1.0, "it took five seconds"


def test_of_a_key_that_is_not_there_the_nearest_are_named_and_where_it_was_looked() -> None:
    keys = ["forbidden_path:s1", "forbidden_path:s2", "secret_leak:s1", "egress:s1"]
    found = [Found("pagerduty", 0, replace(ALERT, dedup_key=key)) for key in keys]
    assert not_there(["forbiden_path:s1"], Looked(["pagerduty"], found, 0.0)) == [
        "there is no alert with the dedup key forbiden_path:s1 at pagerduty; "
        "the nearest: forbidden_path:s1, forbidden_path:s2"
    ]
    assert not_there(["x"], Looked(["pagerduty", "opsgenie"], [], 0.0)) == [
        "there is no alert with the dedup key x at pagerduty or opsgenie"
    ]
