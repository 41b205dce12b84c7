"""``alerts list`` and ``show`` where a dedup key is in several partitions, or beside a record that cannot be read."""

import argparse
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from consumer.cli.alerts import Found, _list, _show
from consumer.reading import alerts_of
from consumer.state_records import StateRecords
from state.alert import Alert, Status
from state.records import BESIDE, CHECKPOINT_KEY, Position, encode_alert, encode_position
from state.violation import Severity

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
    act = _show if "dedup_key" in arguments else _list
    assert act(argparse.Namespace(status=None, orphaned=False, **arguments), found) == 0
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
