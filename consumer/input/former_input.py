"""The former input of a pipeline whose repartition stage has gone: the records that the stage had forwarded. They are
decided before any record of the present input (design section 17, "A stage comes or goes")."""

from bisect import bisect_left
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from operator import attrgetter
from typing import Protocol

from aiokafka import TopicPartition
from structlog.typing import FilteringBoundLogger

from consumer.events.event import FetchedRecord
from consumer.input.beginning import Log, beginning
from consumer.input.inputs import Inputs
from consumer.input.look import looking
from consumer.input.partition_input import PartitionInput
from consumer.kafka.clients import KafkaClients, started
from consumer.kafka.reading import read
from consumer.kafka.settled import settled_end
from state.anchors import with_decided
from state.records import InputPlace, Position


class StageBefore(Protocol):
    """A repartition stage that the pipeline may have had, as its tasks see it."""

    async def checkpoint(self, events: TopicPartition) -> Position | None:
        """How far the stage has forwarded this partition of the events; None if there was no stage."""
        ...

    async def input(
        self, partition_input: PartitionInput, own: Position | None, of_stage: Position | None, inputs: Inputs
    ) -> "FormerInput | None":
        """The partition that the stage has forwarded to and that has the number of ``partition_input``; None if
        nothing of it is still to be decided."""
        ...


class FormerInput:
    """One partition of the former input, which is decided up to ``place``."""

    def __init__(
        self, clients: KafkaClients, partition: TopicPartition, place: InputPlace, log: FilteringBoundLogger
    ) -> None:
        self._clients = clients
        self._partition = partition
        self._log = log
        self._offset, self._anchors, self._hands = place.offset, place.anchors, place.hands
        self._in_hand: Sequence[FetchedRecord] = ()
        self.topic = partition.topic
        self.is_decided = False
        """Whether the partition is decided to its end."""

    @property
    def place(self) -> InputPlace:
        """How far the partition is decided, which can be in the middle of the records in hand."""
        decided = bisect_left(self._in_hand, self._offset, key=attrgetter("offset"))
        return InputPlace(self._offset, with_decided(self._anchors, self._in_hand[:decided]), self._hands)

    async def find(self) -> None:
        """Find the place in the log again, in case that was truncated or created anew.

        Raises `KafkaError` or `TimeoutError` if Kafka does not answer as it should.
        """
        async with looking(self._clients, [self._partition]) as (partition,):
            look = await partition.look(self._offset, self._anchors)
        found = beginning(self._offset, self._anchors, look)
        if found.log is not Log.SAME:
            self._log.error("former_input_changed", topic=self.topic, is_now=found.log.value, begins_at=found.offset)
        self._offset, self._anchors = found.offset, found.anchors

    async def records(self) -> AsyncGenerator[Sequence[FetchedRecord], None]:
        """The records that are not decided yet, in order, some at a time. When the end is reached, it is asked for
        again.

        Raises `KafkaError` or `TimeoutError` if Kafka does not answer as it should, and `HiddenState` while an open
        transaction hides the end.
        """
        async with started(self._clients.reader()) as reader:
            while not self.is_decided:
                reader.assign([self._partition])
                reader.seek(self._partition, self._offset)
                end = await settled_end(self._clients, reader, self._partition, self._log)
                begins, ends = {self._partition: self._offset}, {self._partition: end}
                async with aclosing(read(reader, begins, ends)) as found:
                    async for records in found:
                        self._in_hand = records
                        yield records
                        self._anchors, self._in_hand = self.place.anchors, ()
                self.is_decided = self._offset >= end
                self._offset = max(self._offset, end)

    def passed(self, record: FetchedRecord) -> None:
        """This record, the next one in hand, is decided."""
        self._offset = record.offset + 1
