"""What has become of a command: by what the state topic shows behind it, and by nothing else."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from msgspec import structs

from consumer.commanded import Awaited, Stage, Watch, stage
from consumer.feedback import Kind
from state.alert import Alert, Status
from state.records import BESIDE, CHECKPOINT_KEY, Position, encode_alert, encode_position
from state.violation import Severity

OPEN = Alert("guard:s", Status.OPEN, "s", 3, 1.0, 2.0, 2.5, Severity.HIGH, route="default")
ACKNOWLEDGING = structs.replace(OPEN, acknowledging=True)
ACKNOWLEDGED = structs.replace(OPEN, status=Status.ACKNOWLEDGED)
RESOLVING = structs.replace(OPEN, status=Status.RESOLVING)
STATE = TopicPartition("state", 3)
COMMAND = Awaited(Kind.RESOLVE, STATE, "guard:s", (0, 7))


@pytest.mark.parametrize(
    ("kind", "alert", "expected"),
    [
        (Kind.RESOLVE, OPEN, Stage.UNDONE),
        (Kind.RESOLVE, ACKNOWLEDGED, Stage.UNDONE),
        (Kind.RESOLVE, RESOLVING, Stage.TAKEN),
        (Kind.RESOLVE, None, Stage.DONE),
        (Kind.ACKNOWLEDGE, OPEN, Stage.UNDONE),
        (Kind.ACKNOWLEDGE, ACKNOWLEDGING, Stage.TAKEN),
        (Kind.ACKNOWLEDGE, ACKNOWLEDGED, Stage.DONE),
        (Kind.ACKNOWLEDGE, RESOLVING, Stage.OVER),
        (Kind.ACKNOWLEDGE, None, Stage.OVER),
    ],
)
def test_a_command_that_was_taken_is_as_far_as_its_alert(kind: Kind, alert: Alert | None, expected: Stage) -> None:
    assert stage(kind, alert, is_taken=True) is expected
    assert stage(kind, alert, is_taken=False) is Stage.UNTAKEN
    assert expected.is_final is (expected is not Stage.TAKEN)


def record(key: bytes, value: bytes | None, partition: TopicPartition = STATE) -> Any:
    return SimpleNamespace(topic=partition.topic, partition=partition.partition, key=key, value=value)


def checkpoint(position: int, partition: TopicPartition = STATE) -> Any:
    return record(CHECKPOINT_KEY, encode_position(Position("events", 3, 0, {0: position})), partition)


def watch(*awaited: Awaited) -> Watch:
    return Watch(awaited or [COMMAND], {(STATE, "guard:s"): OPEN})


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
    assert watched.stage_of(COMMAND) is Stage.DONE


def test_nothing_is_said_before_it_is_known_how_it_is_now() -> None:
    under_way = replace(COMMAND, place=None)
    watched = watch(under_way)
    watched.take(record(b"guard:s", None))
    assert watched.stage_of(under_way) is Stage.UNTAKEN
    watched.take(record(b"guard:s", encode_alert(RESOLVING)))
    watched.settle(STATE)
    assert watched.stage_of(under_way) is Stage.TAKEN
    watched.take(record(b"guard:s", None))
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
    assert watched.stages() == {("state", "guard:s"): Stage.TAKEN}
    watched.take(record(b"guard:s", None, other))
    assert watched.stages() == {("state", "guard:s"): Stage.DONE}


def test_what_is_done_stays_done_when_the_problem_comes_back() -> None:
    watched = watch()
    for one in (record(b"guard:s", None), checkpoint(8), record(b"guard:s", encode_alert(OPEN)), checkpoint(8)):
        watched.take(one)
    watched.settle(STATE)
    assert watched.stage_of(COMMAND) is Stage.DONE
    watched = watch()
    for one in (checkpoint(8), record(b"guard:s", None), checkpoint(9)):
        watched.take(one)
    assert watched.stage_of(COMMAND) is Stage.UNDONE, "what came back before it was taken is not ended by it"
