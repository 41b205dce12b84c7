"""What has become of a command: by what the state topic shows behind it, and by nothing else."""

import time
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from msgspec import structs

from consumer.feedback.moves import HandOver, MovingTask, encode_move
from consumer.feedback.records import FeedbackKind
from consumer.kafka.partitioning import Scheme
from consumer.status.commanded import Awaited, Stage, Watch, stage
from state.alert import Alert, Owed, Status
from state.counts import Counts, counts_of
from state.records import BESIDE, CHECKPOINT_KEY, Position, encode_alert, encode_position
from state.seen import News, seen_of
from state.violation import Record, Severity

OPEN = Alert("guard:s", Status.OPEN, "s", 3, 1.0, 2.0, 2.5, Severity.HIGH, route="default", begun=1.0)
ACKNOWLEDGING = structs.replace(OPEN, acknowledging=True)
ACKNOWLEDGED = structs.replace(OPEN, status=Status.ACKNOWLEDGED)
AGAIN = structs.replace(OPEN, begun=3.0)
RESOLVING = structs.replace(OPEN, status=Status.RESOLVING)
STATE = TopicPartition("state", 3)
COMMAND = Awaited(FeedbackKind.RESOLVE, STATE, "guard:s", (0, 7), 2.0, [seen_of(OPEN)])
TOPICS = {("pagerduty", "group.pagerduty"): "state"}


@pytest.mark.parametrize(
    ("kind", "alert", "expected"),
    [
        (FeedbackKind.RESOLVE, OPEN, Stage.UNDONE),
        (FeedbackKind.RESOLVE, ACKNOWLEDGED, Stage.UNDONE),
        (FeedbackKind.RESOLVE, RESOLVING, Stage.TAKEN),
        (FeedbackKind.RESOLVE, None, Stage.DONE),
        (FeedbackKind.ACKNOWLEDGE, OPEN, Stage.UNDONE),
        (FeedbackKind.ACKNOWLEDGE, ACKNOWLEDGING, Stage.TAKEN),
        (FeedbackKind.ACKNOWLEDGE, ACKNOWLEDGED, Stage.DONE),
        (FeedbackKind.ACKNOWLEDGE, RESOLVING, Stage.OVER),
        (FeedbackKind.ACKNOWLEDGE, None, Stage.OVER),
    ],
)
def test_a_command_that_was_taken_is_as_far_as_its_alert(
    kind: FeedbackKind, alert: Alert | None, expected: Stage
) -> None:
    assert stage(kind, alert, is_taken=True) is expected
    assert stage(kind, alert, is_taken=False) is Stage.UNTAKEN
    assert expected.is_final is (expected is not Stage.TAKEN)


@pytest.mark.parametrize("news", News)
def test_a_command_that_was_not_about_the_alert_as_it_is_says_why(news: News) -> None:
    for kind in (FeedbackKind.RESOLVE, FeedbackKind.ACKNOWLEDGE):
        found = stage(kind, OPEN, is_taken=True, news=news)
        assert (found.value, found.is_final) == (news.value, True)
        assert stage(kind, OPEN, is_taken=False, news=news) is Stage.UNTAKEN
    assert stage(FeedbackKind.RESOLVE, RESOLVING, is_taken=True, news=news) is Stage.TAKEN
    assert stage(FeedbackKind.ACKNOWLEDGE, ACKNOWLEDGED, is_taken=True, news=news) is Stage.DONE


def record(key: bytes, value: bytes | None, partition: TopicPartition = STATE) -> Any:
    return SimpleNamespace(topic=partition.topic, partition=partition.partition, key=key, value=value)


def checkpoint(
    position: int,
    partition: TopicPartition = STATE,
    moves: int | None = None,
    counts: Mapping[str, Counts] | None = None,
) -> Any:
    homes = None if moves is None else {"taken": {"0": moves}}
    written = Position("events", partition.partition, 0, {0: position}, homes=homes)
    return record(CHECKPOINT_KEY, encode_position(written, counts), partition)


def watch(*awaited: Awaited) -> Watch:
    return Watch(awaited or [COMMAND], {(STATE, "guard:s"): OPEN}, TOPICS)


def read_on(watched: Watch) -> None:
    """All is read that stands in the feedback topic now."""
    watched.were_not_handed_over(watched.doubts)


def hand_over(offset: int, *, to: int, by: int = 3, alert: Alert | None = OPEN, group: str = "group.pagerduty") -> Any:
    sender = MovingTask("pagerduty", by, Scheme(6), group=group)
    key, value, headers = encode_move(HandOver(sender, to, "guard:s", alert, None if alert else 1.0, b"s"))
    return SimpleNamespace(partition=0, offset=offset, key=key, value=value, headers=headers)


def test_it_is_taken_when_a_checkpoint_of_its_partition_is_beyond_it() -> None:
    watched = watch()
    watched.settle(STATE)
    watched.take(checkpoint(7))
    watched.take(checkpoint(9, TopicPartition("state", 2)))
    watched.take(record(b"guard:s", None))
    assert watched.stage_of(COMMAND) is Stage.UNTAKEN, "what became of it before is something else"
    watched.take(record(b"guard:s", encode_alert(RESOLVING)))
    watched.take(checkpoint(8))
    assert watched.stage_of(COMMAND) is Stage.TAKEN
    watched.take(record(b"guard:other", None))
    assert watched.stage_of(COMMAND) is Stage.TAKEN
    watched.take(record(b"guard:s", None))
    watched.take(checkpoint(8))
    assert (watched.stage_of(COMMAND), watched.is_over) == (Stage.LEFT, False)
    read_on(watched)
    assert (watched.stage_of(COMMAND), watched.is_over) == (Stage.DONE, True)


def test_nothing_is_said_before_it_is_known_how_it_is_now() -> None:
    under_way = replace(COMMAND, place=None)
    watched = watch(under_way)
    watched.take(record(b"guard:s", None))
    assert watched.stage_of(under_way) is Stage.UNTAKEN
    watched.take(record(b"guard:s", encode_alert(RESOLVING)))
    watched.settle(STATE)
    assert watched.stage_of(under_way) is Stage.TAKEN
    watched.take(record(b"guard:s", None))
    watched.take(checkpoint(0))
    read_on(watched)
    assert watched.stage_of(under_way) is Stage.DONE


def test_what_cannot_be_read_changes_nothing_and_what_is_beside_it_counts() -> None:
    watched = watch()
    watched.settle(STATE)
    watched.take(record(b"guard:s", b"{}"))
    watched.take(record(CHECKPOINT_KEY, b"[]"))
    watched.take(checkpoint(8))
    assert watched.stage_of(COMMAND) is Stage.UNDONE
    watched = watch()
    watched.settle(STATE)
    watched.take(record(BESIDE + b"guard:s", encode_alert(RESOLVING)))
    watched.take(checkpoint(8))
    assert watched.stage_of(COMMAND) is Stage.TAKEN
    watched.take(record(BESIDE + b"guard:s", None))
    watched.take(checkpoint(8))
    read_on(watched)
    assert watched.stage_of(COMMAND) is Stage.DONE


def test_a_record_that_becomes_one_with_what_is_beside_it_is_not_gone() -> None:
    watched = watch()
    watched.settle(STATE)
    watched.take(record(b"guard:s", encode_alert(RESOLVING)))
    watched.take(record(BESIDE + b"guard:s", None))
    watched.take(checkpoint(8))
    assert watched.stage_of(COMMAND) is Stage.TAKEN


def test_a_key_in_several_partitions_is_as_far_as_the_last_of_them() -> None:
    other = TopicPartition("state", 4)
    both = [COMMAND, replace(COMMAND, partition=other)]
    watched = Watch(both, {(STATE, "guard:s"): OPEN, (other, "guard:s"): OPEN})
    for partition in (STATE, other):
        watched.settle(partition)
        watched.take(record(b"guard:s", encode_alert(RESOLVING), partition))
        watched.take(checkpoint(8, partition))
    watched.take(record(b"guard:s", None))
    watched.take(checkpoint(8))
    read_on(watched)
    assert watched.stages() == {("state", "guard:s"): Stage.TAKEN}
    assert list(watched.ended()) == []
    watched.take(record(b"guard:s", None, other))
    watched.take(checkpoint(8, other))
    read_on(watched)
    assert watched.stages() == {("state", "guard:s"): Stage.DONE}
    assert list(watched.ended()) == [(("state", "guard:s"), Stage.DONE)]
    assert list(watched.ended()) == [], "each once"


def test_what_is_done_stays_done_when_the_problem_comes_back() -> None:
    watched = watch()
    for one in (record(b"guard:s", None), checkpoint(8), record(b"guard:s", encode_alert(AGAIN)), checkpoint(8)):
        watched.take(one)
    assert watched.stage_of(COMMAND) is Stage.LEFT
    read_on(watched)
    assert watched.stage_of(COMMAND) is Stage.DONE


def test_what_came_back_before_the_command_was_taken_is_not_ended_by_it() -> None:
    watched = watch()
    for one in (checkpoint(6), record(b"guard:s", None), checkpoint(7)):
        watched.take(one)
    read_on(watched)
    assert watched.stage_of(COMMAND) is Stage.UNTAKEN
    for one in (record(b"guard:s", encode_alert(AGAIN)), checkpoint(8)):
        watched.take(one)
    assert watched.stage_of(COMMAND) is Stage.CAME_BACK


def test_what_got_worse_is_said_also_where_only_its_counts_are_written() -> None:
    record_ = Record("events", 3, 1, 1, None, b"v" * 5000)
    owing = structs.replace(OPEN, owed=Owed(record_, Severity.CRITICAL, 1.0, 1, 1))
    one = replace(COMMAND, kind=FeedbackKind.ACKNOWLEDGE, seen=[seen_of(owing)])
    watched = Watch([one], {(STATE, "guard:s"): owing})
    worse = replace(counts_of(owing), highest=Severity.CRITICAL)
    watched.take(checkpoint(8, counts={"guard:s": worse}))
    assert watched.stage_of(one) is Stage.GOT_WORSE


# alerts that are handed over to another partition

THERE = TopicPartition("state", 9)


def test_an_alert_that_is_handed_over_is_not_done_and_is_awaited_where_it_goes() -> None:
    watched = watch()
    watched.take(record(b"guard:s", None))
    watched.take(checkpoint(8))
    assert watched.stage_of(COMMAND) is Stage.LEFT
    watched.hear(hand_over(20, to=9))
    assert (watched.stage_of(COMMAND), watched.partitions) == (Stage.MOVING, {STATE, THERE})
    read_on(watched)
    watched.take(checkpoint(30, THERE, moves=20))
    assert watched.stage_of(COMMAND) is Stage.MOVING, "it has not come yet"
    watched.take(record(b"guard:s", encode_alert(RESOLVING), THERE))
    watched.take(checkpoint(30, THERE, moves=21))
    assert watched.stage_of(COMMAND) is Stage.TAKEN
    watched.take(record(b"guard:s", None, THERE))
    watched.take(checkpoint(30, THERE))
    read_on(watched)
    assert watched.stage_of(COMMAND) is Stage.DONE


def test_its_hand_over_may_be_seen_before_it_is_seen_to_have_left() -> None:
    watched = watch()
    watched.hear(hand_over(5, to=9))
    assert watched.stage_of(COMMAND) is Stage.UNTAKEN
    watched.take(record(b"guard:s", None))
    watched.take(checkpoint(7))
    assert watched.stage_of(COMMAND) is Stage.MOVING
    watched.take(record(b"guard:s", encode_alert(OPEN), THERE))
    watched.take(checkpoint(6, THERE))
    assert watched.stage_of(COMMAND) is Stage.UNTAKEN, "nor has the command been taken there"
    watched.take(record(b"guard:s", encode_alert(RESOLVING), THERE))
    watched.take(checkpoint(8, THERE))
    assert watched.stage_of(COMMAND) is Stage.TAKEN


def test_it_may_be_handed_on_and_one_that_is_being_resolved_already_may_be_handed_over() -> None:
    under_way = replace(COMMAND, place=None)
    watched = watch(under_way)
    watched.take(record(b"guard:s", encode_alert(RESOLVING)))
    watched.settle(STATE)
    watched.take(record(b"guard:s", None))
    watched.take(checkpoint(0))
    watched.hear(hand_over(5, to=9))
    watched.hear(hand_over(8, to=4, by=9))
    watched.take(checkpoint(6, THERE))
    assert watched.stage_of(under_way) is Stage.MOVING
    last = TopicPartition("state", 4)
    watched.take(record(b"guard:s", encode_alert(RESOLVING), last))
    watched.take(checkpoint(9, last))
    assert watched.stage_of(under_way) is Stage.TAKEN


def test_what_others_hand_over_is_nothing_to_it() -> None:
    watched = watch()
    watched.take(record(b"guard:s", None))
    watched.take(checkpoint(8))
    mine = hand_over(5, to=9)
    watched.hear(hand_over(5, to=9, group="other.pagerduty"))
    watched.hear(hand_over(5, to=9, by=2))
    watched.hear(hand_over(5, to=9, alert=None))
    watched.hear(SimpleNamespace(**{**vars(mine), "key": b"guard:other"}))
    watched.hear(SimpleNamespace(**{**vars(mine), "headers": mine.headers[:-1]}))
    watched.hear(SimpleNamespace(**{**vars(mine), "value": b"{}"}))
    read_on(watched)
    assert watched.stage_of(COMMAND) is Stage.DONE


def test_a_doubt_that_came_up_later_is_not_settled_by_what_was_read_before() -> None:
    watched = watch()
    for one in (record(b"guard:s", None), checkpoint(7)):
        watched.take(one)
    earlier = watched.doubts
    watched.take(record(b"guard:s", encode_alert(OPEN)))
    watched.take(checkpoint(7))
    for one in (record(b"guard:s", None), checkpoint(8)):
        watched.take(one)
    watched.were_not_handed_over(earlier)
    assert watched.stage_of(COMMAND) is Stage.LEFT
    read_on(watched)
    assert watched.stage_of(COMMAND) is Stage.DONE


@pytest.mark.slow
def test_a_record_costs_as_much_as_what_it_is_about_however_many_are_awaited() -> None:
    awaited = [Awaited(FeedbackKind.RESOLVE, STATE, f"k{number}", (0, number)) for number in range(100_000)]
    watched = Watch(awaited, {(STATE, one.dedup_key): OPEN for one in awaited})
    watched.settle(STATE)
    began = time.process_time()
    for _ in range(200):
        watched.take(checkpoint(0))
        assert (list(watched.ended()), watched.is_over) == ([], False)
    assert time.process_time() - began < 0.2, "each took half a second"
    for one in awaited:
        watched.take(record(one.dedup_key.encode(), None))
    watched.take(checkpoint(100_000))
    read_on(watched)
    assert watched.is_over
    assert len(list(watched.ended())) == 100_000
