"""Whether the configured start counts: only in a pipeline that has never been."""

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupLoadInProgressError
from aiokafka.structs import OffsetAndMetadata

from consumer.input.commit_metadata import BEGINNING_METADATA, COMMIT_METADATA, ORDER_METADATA, START_METADATA
from consumer.input.first_start import FirstStart, has_begun
from consumer.input.partition_input import PartitionInput
from consumer.timing.clock import Clock

TOPIC, STATE = "events", "state"


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ([], None),
        ([BEGINNING_METADATA], None),
        ([""], None),
        ([ORDER_METADATA], None),
        ([COMMIT_METADATA], True),
        (["", COMMIT_METADATA], True),
        ([START_METADATA], False),
        ([START_METADATA, COMMIT_METADATA], False),  # it is just beginning
    ],
)
def test_what_the_groups_offsets_say(marks: Sequence[str], expected: bool | None) -> None:
    assert has_begun([OffsetAndMetadata(3, mark) for mark in marks]) is expected
    assert has_begun([OffsetAndMetadata(-1, COMMIT_METADATA)]) is None


class Kafka:
    """A group's offsets and a state topic of two partitions; ``records`` are how many each has committed."""

    def __init__(self, offsets: Mapping[int, str], records: Sequence[int] = (0, 0)) -> None:
        self.offsets = dict(offsets)
        self.records = records
        self.silent: set[int] = set()
        self.asked = 0
        self._left: dict[TopicPartition, int] = {}

    async def list_consumer_group_offsets(
        self, group: str, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        self.asked += 1
        return {
            tp: OffsetAndMetadata(5, self.offsets[tp.partition])
            if tp.partition in self.offsets
            else OffsetAndMetadata(-1, "")
            for tp in partitions
            if tp.partition not in self.silent
        }

    async def describe_topics(self) -> list[dict[str, Any]]:
        return [
            {"topic": TOPIC, "partitions": [{"partition": 0}]},
            {"topic": STATE, "partitions": [{"partition": number} for number in range(len(self.records))]},
        ]

    # the reader

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self._left = {tp: self.records[tp.partition] for tp in partitions}

    def pause(self, *partitions: TopicPartition) -> None:
        pass

    resume = pause

    def seek(self, partition: TopicPartition, offset: int) -> None:
        pass

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 2)  # all of them have an aborted transaction

    async def getmany(self, *partitions: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        return {tp: [SimpleNamespace(offset=0)] for tp in partitions if self._left[tp]}

    async def position(self, partition: TopicPartition) -> int:
        return 2


def first_start(kafka: Kafka) -> tuple[FirstStart, Any]:
    return FirstStart(kafka, "group", STATE), SimpleNamespace(reader=lambda: kafka)


async def _counts(kafka: Kafka, partition: int = 1, partitions: int = 2) -> bool:
    first, clients = first_start(kafka)
    return await first.counts_for(TopicPartition(TOPIC, partition), partitions, clients)


async def test_without_an_offset_and_without_a_checkpoint_it_counts() -> None:
    assert await _counts(Kafka({}))


async def test_not_if_another_partition_has_an_offset_of_ours() -> None:
    assert not await _counts(Kafka({0: COMMIT_METADATA}))


async def test_not_if_another_partition_has_a_checkpoint() -> None:
    """A topic that is deleted takes the group's offsets with it."""
    assert not await _counts(Kafka({}, records=[1, 0]))


async def test_an_offset_of_somebody_else_is_none_of_ours() -> None:
    assert await _counts(Kafka({0: ""}))
    assert not await _counts(Kafka({0: ""}, records=[0, 1]))


async def test_a_coordinator_that_says_nothing_of_some_is_not_believed() -> None:
    kafka = Kafka({0: COMMIT_METADATA})
    kafka.silent = {0}
    with pytest.raises(GroupLoadInProgressError):
        await _counts(kafka)


async def test_what_was_first_is_for_all_partitions_that_there_were() -> None:
    """Some tasks have committed checkpoints before others begin; a partition that is added later is no first one."""
    kafka = Kafka({})
    first, clients = first_start(kafka)
    assert await first.counts_for(TopicPartition(TOPIC, 0), 2, clients)
    kafka.offsets, kafka.records = {0: COMMIT_METADATA}, [1, 0]
    assert await first.counts_for(TopicPartition(TOPIC, 1), 2, clients)
    assert kafka.asked == 1
    assert not await first.counts_for(TopicPartition(TOPIC, 2), 3, clients)


async def test_tasks_that_begin_together_ask_once() -> None:
    kafka = Kafka({})
    first, clients = first_start(kafka)
    asking = [first.counts_for(TopicPartition(TOPIC, number), 8, clients) for number in range(8)]
    assert await asyncio.gather(*asking) == [True] * 8
    assert kafka.asked == 1


# where a partition begins


class _Consumer:
    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0, 1}

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 3)

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 9)


@pytest.mark.parametrize(
    ("start_from", "others", "expected", "asked"),
    [
        ("latest", {}, OffsetAndMetadata(9, START_METADATA), 1),
        ("latest", {0: COMMIT_METADATA}, OffsetAndMetadata(3, BEGINNING_METADATA), 1),
        ("earliest", {}, OffsetAndMetadata(3, BEGINNING_METADATA), 0),
        ("earliest", {0: COMMIT_METADATA}, OffsetAndMetadata(3, BEGINNING_METADATA), 0),
    ],
)
async def test_without_an_offset_a_partition_begins_where_its_pipeline_allows(
    start_from: str, others: Mapping[int, str], expected: OffsetAndMetadata, asked: int
) -> None:
    kafka = Kafka(others)
    first, clients = first_start(kafka)
    source = PartitionInput(
        _Consumer(),
        kafka,
        "group",
        TopicPartition(TOPIC, 1),
        start_from,
        first,
        Clock.system(),
    )
    assert await source.start(clients) == expected
    assert kafka.asked == asked


class AfterAnother(Kafka):
    """A group without an offset, and one that has read the topic before it."""

    async def list_consumer_group_offsets(
        self, group: str, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        found = await super().list_consumer_group_offsets(group, partitions)
        return found if group == "before" else dict.fromkeys(found, OffsetAndMetadata(-1, ""))


@pytest.mark.parametrize(
    ("offsets", "expected"), [({}, True), ({0: ""}, True), ({0: START_METADATA}, False), ({0: COMMIT_METADATA}, False)]
)
async def test_not_where_the_group_before_has_been(offsets: Mapping[int, str], expected: bool) -> None:
    """A repartition stage is new, and the pipeline behind it has read the events until now."""
    kafka: Any = AfterAnother(offsets)
    clients: Any = SimpleNamespace(reader=lambda: kafka)
    first = FirstStart(kafka, "group", STATE, "before")
    assert await first.counts_for(TopicPartition(TOPIC, 1), 2, clients) is expected
