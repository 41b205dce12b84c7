"""When a phase is quiet: what is refused for ever may be owed, and nothing else may be left."""

from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from consumer.replay.replayed import encode_mark
from state.alert import Alert, Owed, Status
from state.violation import Record, Severity
from tests.chaos.reader import Reader
from tests.support.dead_letters import letter
from tests.support.service import World

END = 90


def reader(*, decided: int, holds: int | None) -> Reader:
    """One partition with 90 records, decided so far; an alert of the session `p-1` owes what holds that offset."""
    world = World("", 1, {"kafka": {"topics": {"events": "events"}}})
    found = Reader(world, ["pagerduty"])
    found.ends = {TopicPartition("events", 0): END}
    found.decided["pagerduty"] = {0: decided}
    if holds is not None:
        record = Record("events", 0, holds, 0, None, b"{}", ())
        owed = Owed(record, Severity.HIGH, 1.0, holds, holds, pins_offset=holds)
        alert = Alert("g:p-1", Status.OPEN, "p-1", 1, 1.0, 1.0, 1.0, Severity.HIGH, owed=owed)
        found.history["pagerduty"]["g:p-1"] = [alert]
        found.homes["pagerduty"]["g:p-1"] = 0
    return found


def test_it_is_quiet_when_all_is_decided_and_committed_but_for_what_is_refused() -> None:
    assert reader(decided=END, holds=None).undone("pagerduty", {0: END}) is None
    assert reader(decided=END, holds=40).undone("pagerduty", {0: 40}, {"p-1"}) is None
    assert "owes" in str(reader(decided=END, holds=40).undone("pagerduty", {0: 40}))
    assert "committed" in str(reader(decided=END, holds=None).undone("pagerduty", {0: 80}))
    assert "committed" in str(reader(decided=END, holds=40).undone("pagerduty", {0: 30}, {"p-1"}))


def test_a_refused_alert_that_holds_the_groups_offset_does_not_hide_what_is_not_decided_yet() -> None:
    assert "decided up to 80" in str(reader(decided=80, holds=40).undone("pagerduty", {0: 40}, {"p-1"}))


def test_a_mark_that_letters_were_replayed_is_no_dead_letter() -> None:
    found = reader(decided=END, holds=None)
    dlq = World("", 1, {}).config.kafka.topics.dlq
    for key, value, headers in (encode_mark({0: (0, 3)}), letter().encode()):
        record: Any = SimpleNamespace(topic=dlq, partition=0, offset=1, key=key, value=value, headers=headers)
        found._take(record)
    assert [one.event_id for one in found.dead_letters] == ["e"]
