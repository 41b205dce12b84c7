"""Whether a pipeline starts for the first time: only then ``start_from`` counts (design section 17).

In a pipeline that has run before, a partition without an offset was added, or its topic was created anew. It begins at
its beginning; else events that came while the service was down would be lost.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import aclosing

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from consumer.input.commit_metadata import COMMIT_METADATA, START_METADATA, is_ours
from consumer.kafka.clients import KafkaClients, started
from consumer.kafka.group_offsets import group_offsets
from consumer.kafka.reading import bounds, read
from consumer.kafka.topics_there import topics_there

READ_SECONDS = 20.0
"""The longest time to find out whether there is a checkpoint, in seconds."""


class FirstStart:
    """Finds out whether a pipeline starts for the first time, for the partitions of one member.

    ``checkpoints`` is the topic with the checkpoints of its tasks. ``before`` is a group that may have read the input
    before this one: if it has, this is no first start.
    """

    def __init__(self, admin: AIOKafkaAdminClient, group_id: str, checkpoints: str, before: str | None = None) -> None:
        self._admin = admin
        self._before = before
        self._group_id = group_id
        self._checkpoints = checkpoints
        self._asking = asyncio.Lock()
        self._first = 0  # the configured start counts for partitions below this number

    async def counts_for(self, partition: TopicPartition, partitions: int, clients: KafkaClients) -> bool:
        """Whether the configured start counts for this partition, which has no offset. The topic has so many
        ``partitions``.

        Once the answer was yes, it stays yes for all of them: some tasks may commit a checkpoint before others begin.

        Raises `KafkaError` or `TimeoutError` if Kafka does not answer as it should.
        """
        async with self._asking:
            if partition.partition >= self._first and await self._is_first(partition.topic, partitions, clients):
                self._first = partitions
        return bool(partition.partition < self._first)

    async def _is_first(self, topic: str, partitions: int, clients: KafkaClients) -> bool:
        wanted = [TopicPartition(topic, number) for number in range(partitions)]
        if self._before is not None and any(map(is_ours, await self._offsets(self._before, wanted))):
            return False
        known = has_begun(await self._offsets(self._group_id, wanted))
        return not known if known is not None else not await self._has_checkpoint(clients)

    async def _offsets(self, group_id: str, wanted: Sequence[TopicPartition]) -> Iterable[OffsetAndMetadata]:
        offsets = await group_offsets(self._admin, group_id, wanted)
        return [offset for offset in offsets.values() if offset is not None]

    async def _has_checkpoint(self, clients: KafkaClients) -> bool:
        """Whether the topic has any committed record: each transaction of a task has a checkpoint."""
        there = (await topics_there(self._admin)).get(self._checkpoints, ())
        partitions = [TopicPartition(self._checkpoints, found["partition"]) for found in there]
        async with asyncio.timeout(READ_SECONDS), started(clients.reader()) as reader:
            begins, ends = await bounds(reader, partitions)
            async with aclosing(read(reader, begins, ends)) as found:
                async for _ in found:
                    return True
        return False


def has_begun(offsets: Iterable[OffsetAndMetadata]) -> bool | None:
    """Whether a pipeline has run before, as the offsets of its group tell; None if they do not tell.

    While one of them is still a configured start, the pipeline is just beginning, whatever other tasks have committed
    since.
    """
    marks = {found.metadata for found in offsets if found.offset >= 0}
    if START_METADATA in marks:
        return False
    return True if COMMIT_METADATA in marks else None
