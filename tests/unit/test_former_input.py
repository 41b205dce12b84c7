"""What a pipeline still has to decide of what its repartition stage had forwarded, and from where on."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from consumer.input import former_input
from consumer.input.commit_metadata import BEGINNING_METADATA, COMMIT_METADATA
from consumer.input.former_input import FormerInput
from consumer.input.inputs import inputs_of
from consumer.tasks.repartition.former_stage import FormerStage
from state.anchors import anchor_of
from state.records import InputPlace, Position
from state.violation import Record

EVENTS, KEYED = TopicPartition("events", 0), TopicPartition("keyed", 0)
LOG = structlog.get_logger()


def stage(*there: str) -> FormerStage:
    class Admin:
        async def describe_topics(self) -> list[dict[str, Any]]:
            return [{"topic": topic, "partitions": [{"partition": 0}]} for topic in there]

    admin: Any = Admin()
    nothing: Any = None
    return FormerStage(nothing, admin, nothing, "keyed", LOG)


async def begins(
    own: Position | None,
    of_stage: Position | None,
    committed: tuple[int, str] | None = None,
    there: Sequence[str] = ("events", "keyed"),
) -> int | None:
    """Where what was forwarded is decided from; None if nothing of it is."""

    async def group_offset_of(partition: TopicPartition) -> OffsetAndMetadata | None:
        assert partition == KEYED
        return None if committed is None else OffsetAndMetadata(*committed)

    source: Any = SimpleNamespace(partition=EVENTS, group_offset_of=group_offset_of)
    found = await stage(*there).input(source, own, of_stage, inputs_of(EVENTS, own, of_stage))
    return None if found is None else found.place.offset


OF_STAGE, COUNTED = Position("events", 0, 100), Position("events", 0, 100, hands=1)


async def test_it_goes_on_where_the_task_remembers_to_have_been() -> None:
    assert await begins(Position("keyed", 0, 7), OF_STAGE, (9, COMMIT_METADATA)) == 7
    assert await begins(Position("events", 0, 200, hands=2, inputs={"keyed": InputPlace(8)}), COUNTED) == 8
    assert await begins(Position("keyed", 0, 7), None) == 7, "the stage's own checkpoints may be gone"


async def test_a_task_that_does_not_remember_goes_on_where_its_group_has_proved_to_be() -> None:
    for own in (None, Position("events", 0, 9000)):
        assert await begins(own, COUNTED, (6, COMMIT_METADATA)) == 6
    assert await begins(Position("events", 0, 9000), OF_STAGE, (6, COMMIT_METADATA)) == 6


async def test_without_that_it_begins_at_the_beginning() -> None:
    """The stage has forwarded before the pipeline has ever written a checkpoint behind it."""
    assert await begins(Position("events", 0, 90, hands=0), COUNTED) == 0
    assert await begins(None, COUNTED, (3, BEGINNING_METADATA)) == 0


async def test_what_an_earlier_release_has_decided_before_it_let_the_stage_go_is_not_decided_again() -> None:
    assert await begins(Position("events", 0, 9000), OF_STAGE) is None


async def test_without_a_stage_there_is_nothing_to_be_decided() -> None:
    assert await begins(Position("events", 0, 9000), None) is None
    assert await begins(Position("keyed", 0, 7), OF_STAGE, there=["events"]) is None


def record(offset: int) -> Record:
    return Record("keyed", 0, offset, 0, None, b"value")


@pytest.mark.parametrize("decided", range(4))
async def test_in_the_middle_of_what_is_in_hand_the_anchors_are_of_what_is_decided(
    monkeypatch: pytest.MonkeyPatch, decided: int
) -> None:
    @asynccontextmanager
    async def started(reader: Any) -> AsyncIterator[Any]:
        yield SimpleNamespace(assign=lambda partitions: None, seek=lambda partition, offset: None)

    async def settled_end(*args: Any) -> int:
        return 9

    async def read(reader: Any, begins: Any, ends: Any) -> AsyncIterator[list[Record]]:
        if begins[KEYED] < 8:
            yield [record(5), record(6), record(7)]

    for name, value in (("started", started), ("settled_end", settled_end), ("read", read)):
        monkeypatch.setattr(former_input, name, value)
    clients: Any = SimpleNamespace(reader=lambda: None)
    former = FormerInput(clients, KEYED, InputPlace(5, (anchor_of(record(4)),), hands=1), LOG)
    async for records in former.records():
        for one in records[:decided]:
            former.passed(one)
        assert former.place.offset == 5 + decided
        assert former.place.anchors[0] == anchor_of(record(4 + decided))
        for one in records[decided:]:
            former.passed(one)
    assert former.is_decided
    assert (former.place.offset, former.place.anchors[0], former.place.hands) == (9, anchor_of(record(7)), 1)
