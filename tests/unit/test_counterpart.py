"""What is known of who may have read the events before: by its checkpoint, else by where its group was to begin."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupLoadInProgressError
from aiokafka.structs import OffsetAndMetadata

from consumer.input.commit_metadata import COMMIT_METADATA, ORDER_METADATA, START_METADATA
from consumer.tasks.partition.restore import StateRefused
from consumer.tasks.repartition import counterpart
from consumer.tasks.repartition.counterpart import Counterpart
from state.records import Position, encode_position

OF_STAGE = Position("events", 0, 7, group="group", hands=1)


class World:
    """A topic with the checkpoint of one task, and what its group has committed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, value: bytes | None, *committed: tuple[int, str]) -> None:
        self.value = value
        self.offsets: Mapping[TopicPartition, OffsetAndMetadata] = {
            TopicPartition("events", number): OffsetAndMetadata(*one) for number, one in enumerate(committed)
        }
        self.said: list[str] = []
        self.fenced: list[str] = []

        @asynccontextmanager
        async def started(reader: Any) -> AsyncIterator[Any]:
            yield None

        async def last_checkpoint_values(reader: Any, wanted: Sequence[TopicPartition]) -> dict[TopicPartition, Any]:
            return dict.fromkeys(wanted, self.value)

        async def start_producer(transactional_id: str) -> None:
            self.fenced.append(transactional_id)

        async def close_producer(transactional_id: str) -> None:
            self.said.append("closed")

        for each in (started, last_checkpoint_values, start_producer, close_producer):
            monkeypatch.setattr(counterpart, each.__name__, each)

    async def describe_topics(self) -> list[dict[str, Any]]:
        return [{"topic": "positions", "partitions": [{"partition": 0}]}]

    async def list_consumer_group_offsets(self, group: str, partitions: Any) -> Any:
        assert group == "group"
        return {one: self.offsets[one] for one in partitions if one in self.offsets}

    async def asked(self, partition: int = 0, *, is_gone: bool = False) -> Position | None:
        clients: Any = SimpleNamespace(reader=lambda: None, transactional=lambda name: name)
        log: Any = SimpleNamespace(warning=lambda event, **fields: self.said.append(event))
        admin: Any = self
        stage = Counterpart(clients, admin, topic="positions", group_id="group", is_gone=is_gone, log=log)
        return await stage.checkpoint(partition, of_input="events")


async def test_its_last_checkpoint_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, encode_position(OF_STAGE))
    assert await world.asked() == OF_STAGE
    assert world.fenced == []


async def test_one_that_is_not_to_run_any_more_is_fenced_first(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, encode_position(OF_STAGE))
    assert await world.asked(is_gone=True) == OF_STAGE
    assert (world.fenced, world.said) == (["group-0"], ["closed"])


async def test_what_is_not_there_has_never_been(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, encode_position(OF_STAGE))
    assert await world.asked(1, is_gone=True) is None
    assert world.fenced == []


@pytest.mark.parametrize("mark", [COMMIT_METADATA, START_METADATA])
async def test_without_a_checkpoint_its_group_says_where_it_was_to_begin(
    monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    """It was ended before it had written one: what came since must not be skipped."""
    world = World(monkeypatch, None, (3, mark))
    assert await world.asked() == Position("events", 0, 3)


@pytest.mark.parametrize("committed", [(-1, ""), (3, ""), (3, ORDER_METADATA)])
async def test_an_offset_of_somebody_else_does_not(monkeypatch: pytest.MonkeyPatch, committed: tuple[int, str]) -> None:
    assert await World(monkeypatch, None, committed).asked() is None


async def test_a_coordinator_that_does_not_answer_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GroupLoadInProgressError):
        await World(monkeypatch, None).asked()


async def test_a_checkpoint_of_another_service_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Position("events", 0, 7, group="other")
    world = World(monkeypatch, encode_position(other), (-1, ""))
    assert await world.asked() is None
    assert world.said == ["checkpoint_of_another_service"]


async def test_one_that_cannot_be_read_is_not_taken_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StateRefused, match="topic positions, partition 0: the checkpoint cannot be read"):
        await World(monkeypatch, b'{"v": 2}').asked()
