"""A state topic, a dead-letter topic and transactions, in memory, for one partition: what a task needs of Kafka.

A commit waits until the test says what comes of it. Nothing of a transaction is seen before that, and all of it after.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import OffsetAndMetadata, RecordMetadata

from consumer.dlq.dead_letter import DeadLetter, decode
from consumer.history.step import Step
from consumer.history.step import decode as step_in
from consumer.input.beginning import Fit, Look
from consumer.kafka.watermarks import Watermarks
from state.anchors import Anchor, Anchors, anchor_of

HISTORY = "history"


class Outcome(Enum):
    """What comes of a commit: it is applied and said so, it fails, or it is applied and the answer is lost."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Sent:
    """One record of a transaction. ``offset`` is that in the state topic."""

    offset: int
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Kafka:
    """What is committed: the last value of every key of the state topic, and the dead letters."""

    def __init__(self, state_topic: str, now: Callable[[], float] = lambda: 0.0) -> None:
        self.state_topic = state_topic
        self.now = now
        self.written_at = 0.0
        self.state: dict[bytes, bytes | None] = {}
        self.offsets: dict[bytes, int] = {}
        self.end = 0
        self.dead_letters: list[DeadLetter] = []
        self.steps: list[Step] = []  # of the topic `HISTORY`
        self.waiting: tuple[Producer, asyncio.Future[None]] | None = None
        self.producer: Producer | None = None

    def apply(self, sent: Sequence[Sent]) -> None:
        """All of a transaction at once."""
        self.written_at = self.now()
        for record in sent:
            if record.topic == self.state_topic:
                assert record.key is not None
                self.state[record.key] = record.value
                self.offsets[record.key] = record.offset
            elif record.topic == HISTORY:
                self.steps.append(step_in(record.value))
            else:
                self.dead_letters.append(decode(record.key, record.value, record.headers))

    def conclude(self, outcome: Outcome) -> bool:
        """Say what has come of the commit that waits; False if none does."""
        if self.waiting is None:
            return False
        producer, answer = self.waiting
        self.waiting = None
        if outcome is not Outcome.FAILED:
            self.apply(producer.sent)
        if outcome is Outcome.DONE:
            answer.set_result(None)
        else:
            answer.set_exception(KafkaError(outcome.value))
        return True

    # the factory of clients, as a task sees it

    def transactional(self, transactional_id: str, *, batch_bytes: int) -> "Producer":
        return Producer(self)

    def reader(self) -> "Reader":
        return Reader(self)

    async def watermarks(
        self, reader: "Reader", partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, Watermarks]:
        return {partition: Watermarks(reader.end, reader.end) for partition in partitions}


class Producer:
    """A transactional producer; a later one fences it."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._is_open = False
        self.sent: list[Sent] = []

    async def start(self) -> None:
        self._kafka.producer = self
        self._kafka.waiting = None

    async def stop(self) -> None:
        pass

    async def begin_transaction(self) -> None:
        self._check()
        assert not self._is_open
        self._is_open, self.sent = True, []

    async def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> "asyncio.Future[RecordMetadata]":
        assert self._is_open
        offset, self._kafka.end = self._kafka.end, self._kafka.end + 1
        self.sent.append(Sent(offset, topic, key, value, headers))
        done: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        done.set_result(RecordMetadata(topic, 0, TopicPartition(topic, 0), offset, None, 0, 0))
        return done

    async def partitions_for(self, topic: str) -> set[int]:
        return {0}

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(1 << 19, 0)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> "asyncio.Future[RecordMetadata]":
        records = list(MemoryRecords(bytes(batch._build())).next_batch())
        sent = [await self.send(topic, one.value, one.key, partition, one.headers) for one in records]
        return sent[0]  # as the client does

    async def commit_transaction(self) -> None:
        self._check()
        assert self._is_open
        self._is_open = False
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._kafka.waiting = (self, answer)
        try:
            await answer
        finally:
            if self._kafka.waiting is not None and self._kafka.waiting[1] is answer:
                self._kafka.waiting = None

    def _check(self) -> None:
        if self._kafka.producer is not self:
            raise KafkaError("fenced")


class Reader:
    """A consumer that reads the state partition from its beginning to its end."""

    def __init__(self, kafka: Kafka) -> None:
        self._records = [
            SimpleNamespace(
                key=key, value=value, timestamp=int(kafka.written_at * 1000), offset=kafka.offsets.get(key, 0)
            )
            for key, value in kafka.state.items()
        ]
        self._records.sort(key=lambda record: record.offset)
        self.end = max(kafka.end, len(self._records))
        self._position = 0

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        pass

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._position = offset

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0}

    async def position(self, partition: TopicPartition) -> int:
        return self._position

    async def getmany(
        self, partition: TopicPartition, timeout_ms: int, max_records: int | None = None
    ) -> dict[TopicPartition, list[Any]]:
        begin, self._position = self._position, self.end
        return {partition: [record for record in self._records if record.offset >= begin]}


class Input:
    """One partition of the input, as its task sees it (`PartitionInput`); ``records`` are what is in it."""

    def __init__(self, topic: str, mark: str) -> None:
        self.partition = TopicPartition(topic, 0)
        self.records: list[Any] = []
        self.next = 0
        self.suspect: Anchor | None = None
        self.committed = OffsetAndMetadata(0, mark)

    async def group_offset(self) -> OffsetAndMetadata:
        return self.committed

    async def look(self, clients: object, position: int, anchors: Anchors) -> Look:
        fits = [self._fit(anchor) for anchor in anchors]
        return Look(0, len(self.records), fits)

    def _fit(self, anchor: Anchor) -> Fit:
        if anchor.offset >= len(self.records):
            return Fit.ABSENT
        return Fit.FITS if anchor_of(self.records[anchor.offset]) == anchor else Fit.OTHER

    async def anchor_before(self, clients: object, offset: int) -> Anchor | None:
        return anchor_of(self.records[offset - 1]) if 0 < offset <= len(self.records) else None

    def start_at(self, offset: int) -> None:
        self.next = offset

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass


class Proofs:
    """Ownership, by the test's word."""

    def __init__(self) -> None:
        self.is_valid = True

    async def prove(self, offsets: object) -> None:
        pass
