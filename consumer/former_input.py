"""What stands in a topic that was a pipeline's input before, and is decided before anything of its input now: what its
repartition stage had forwarded when that went (design section 17, "A stage comes or goes")."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from structlog.typing import FilteringBoundLogger

from consumer.beginning import Log, beginning
from consumer.kafka import KafkaClients, started
from consumer.look import looking
from consumer.pipeline import FetchedRecord
from consumer.reading import last_checkpoints, read
from consumer.settled import settled_end
from state.anchors import with_decided
from state.records import InputPlace, Position


class FormerInput:
    """One partition of it. ``place`` is how far it has been decided: None if it never was."""

    def __init__(
        self, clients: KafkaClients, partition: TopicPartition, place: InputPlace | None, log: FilteringBoundLogger
    ) -> None:
        self._clients = clients
        self._partition = partition
        self._log = log
        self.topic = partition.topic
        self.place = place or InputPlace(0)
        self.is_decided = False
        """Whether it has been decided to its end."""

    async def find(self) -> None:
        """Find the place again, if the log is another than it was. Raises KafkaError and TimeoutError."""
        place = self.place
        async with looking(self._clients, [self._partition]) as (partition,):
            look = await partition.look(place.offset, place.anchors)
        found = beginning(place.offset, place.anchors, look)
        if found.log is not Log.SAME:
            self._log.error("former_input_changed", topic=self.topic, is_now=found.log.value, begins_at=found.offset)
        self.place = InputPlace(found.offset, found.anchors, place.hands)

    async def records(self) -> AsyncGenerator[Sequence[FetchedRecord], None]:
        """What is not decided yet, in order, some at a time; the end is asked for again once that is reached.

        Raises KafkaError, TimeoutError, and `HiddenState` while an open transaction hides the end.
        """
        async with started(self._clients.reader()) as reader:
            while not self.is_decided:
                reader.assign([self._partition])
                reader.seek(self._partition, self.place.offset)
                end = await settled_end(self._clients, reader, self._partition, self._log)
                begins, ends = {self._partition: self.place.offset}, {self._partition: end}
                async with aclosing(read(reader, begins, ends)) as found:
                    async for records in found:
                        yield records
                self.is_decided = self.place.offset >= end
                self.place = replace(self.place, offset=max(self.place.offset, end))

    def passed(self, record: FetchedRecord) -> None:
        """This record is decided."""
        self.place = replace(self.place, offset=record.offset + 1)

    def decided(self, records: Sequence[FetchedRecord]) -> None:
        """All of these are."""
        self.place = replace(self.place, anchors=with_decided(self.place.anchors, records))


class FormerStage:
    """The repartition stage that a pipeline without one may have had: its topics, as far as they are there."""

    def __init__(
        self,
        clients: KafkaClients,
        admin: AIOKafkaAdminClient,
        positions_topic: str,
        keyed_topic: str,
        log: FilteringBoundLogger,
    ) -> None:
        self._clients = clients
        self._admin = admin
        self._positions_topic = positions_topic
        self._keyed_topic = keyed_topic
        self._log = log
        self._found: Mapping[str, int] | None = None
        self._asking = asyncio.Lock()

    async def checkpoint(self, partition: int) -> Position | None:
        """How far the stage has forwarded this partition of the events; None if there was none."""
        if partition >= (await self._partitions()).get(self._positions_topic, 0):
            return None
        async with started(self._clients.reader()) as reader:
            found = await last_checkpoints(reader, [TopicPartition(self._positions_topic, partition)])
        return next(iter(found), None)

    async def input(self, partition: int, places: Mapping[str, InputPlace]) -> FormerInput | None:
        """What it had forwarded to this partition; None if there is no such topic."""
        if partition >= (await self._partitions()).get(self._keyed_topic, 0):
            return None
        place = places.get(self._keyed_topic)
        return FormerInput(self._clients, TopicPartition(self._keyed_topic, partition), place, self._log)

    async def _partitions(self) -> Mapping[str, int]:
        # All topics are listed: a question that names a topic can create it.
        async with self._asking:
            if self._found is None:
                topics = {self._positions_topic, self._keyed_topic}
                described = await self._admin.describe_topics()
                self._found = {one["topic"]: len(one["partitions"]) for one in described if one["topic"] in topics}
            return self._found
