"""One partition of a pipeline's input, as its task sees it: the group's offset, its records, seek, pause, resume."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from consumer.input.beginning import Look
from consumer.input.commit_metadata import BEGINNING_METADATA, START_METADATA
from consumer.input.first_start import FirstStart
from consumer.input.look import looking
from consumer.kafka.clients import KafkaClients
from consumer.kafka.group_offsets import group_offsets
from consumer.kafka.newest import newest_time
from consumer.timing.clock import Clock
from state.anchors import Anchor, Anchors

StartFrom = float | str
"""Where a pipeline begins that has never run: ``earliest``, ``latest``, or how many seconds back."""


@dataclass(frozen=True, slots=True)
class PartitionInput:
    """A partition that is assigned to this member."""

    consumer: AIOKafkaConsumer
    admin: AIOKafkaAdminClient
    group_id: str
    partition: TopicPartition
    start_from: StartFrom
    first_start: FirstStart
    clock: Clock
    suspect: Anchor | None = None
    """A record that an earlier task has decided, but that is no longer in the log: from there on it is another log."""

    async def group_offset(self) -> OffsetAndMetadata | None:
        """The group's offset with its metadata; None if there is none. Raises what `group_offsets` raises."""
        return await self.group_offset_of(self.partition)

    async def group_offset_of(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        """The group's offset of another partition, which the group may have read before. Raises what `group_offsets`
        raises."""
        return (await group_offsets(self.admin, self.group_id, [partition]))[partition]

    async def offsets_of_others(self, partitions: int) -> Sequence[OffsetAndMetadata | None]:
        """The group's offsets of all other partitions of the topic, which has so many ``partitions``. Raises what
        `group_offsets` raises."""
        topic, own = self.partition
        others = [TopicPartition(topic, number) for number in range(partitions) if number != own]
        return list((await group_offsets(self.admin, self.group_id, others)).values())

    async def start(self, clients: KafkaClients) -> OffsetAndMetadata:
        """Where to begin without an offset and without a checkpoint, with the metadata that says why.

        That is the configured start if the pipeline has never run, else the beginning of the partition.
        """
        partitions = len(self.consumer.partitions_for_topic(self.partition.topic) or ())
        if self.start_from != "earliest" and await self.first_start.counts_for(self.partition, partitions, clients):
            return OffsetAndMetadata(await self._configured_start(clients), START_METADATA)
        beginning, _ = await self._bounds()
        return OffsetAndMetadata(beginning, BEGINNING_METADATA)

    async def _configured_start(self, clients: KafkaClients) -> int:
        """The offset of the configured start.

        A number of seconds counts back from this host's time or the newest record's, whichever is earlier. So a host
        whose clock is ahead skips no events; one whose clock is behind reads some more.
        """
        beginning, end = await self._bounds()
        if self.start_from == "latest":
            return end
        now = self.clock.wall()
        newest = await self.newest_time(clients)
        until = now if newest is None else min(now, newest)
        since = max(0, int((until - float(self.start_from)) * 1000))
        found = (await self.consumer.offsets_for_times({self.partition: since}))[self.partition]
        return end if found is None else max(found.offset, beginning)

    async def newest_time(self, clients: KafkaClients) -> float | None:
        """The time of the partition's newest record; see `consumer.kafka.newest.newest_time`."""
        return await newest_time(clients, self.partition, self.clock.wall())

    async def _bounds(self) -> tuple[int, int]:
        """The first offset that the broker still has, and the end."""
        beginning = (await self.consumer.beginning_offsets([self.partition]))[self.partition]
        return beginning, (await self.consumer.end_offsets([self.partition]))[self.partition]

    async def look(self, clients: KafkaClients, position: int, anchors: Anchors) -> Look:
        """Where the log begins and ends, and how these anchors fit. Raises `KafkaError` or `TimeoutError` if Kafka does
        not answer as it should."""
        async with looking(clients, [self.partition]) as (partition,):
            return await partition.look(position, anchors)

    async def anchor_before(self, clients: KafkaClients, offset: int) -> Anchor | None:
        """The anchor of the last record before this offset; None if there is none.

        Raises `KafkaError` or `TimeoutError` if Kafka does not answer as it should.
        """
        async with looking(clients, [self.partition]) as (partition,):
            return await partition.before(offset)

    def start_at(self, offset: int) -> None:
        """Fetch from this offset on."""
        self.seek(offset)
        self.consumer.resume(self.partition)

    def seek(self, offset: int) -> None:
        """Set the offset that is fetched next. Records that are fetched already are thrown away."""
        self.consumer.seek(self.partition, offset)

    def pause(self) -> None:
        """Fetch nothing for now."""
        self.consumer.pause(self.partition)

    def resume(self) -> None:
        """Go on fetching."""
        self.consumer.resume(self.partition)
