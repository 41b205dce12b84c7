"""The producer of the way in, as far as it is used: what a test puts another in the place of."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import InvalidTimestampError, KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from consumer.kafka.clients import KafkaClients, close_producer, start_producer
from consumer.kafka.newest import newest_time
from consumer.kafka.partitioning import Partitioner
from consumer.kafka.record_clock import RecordClock
from consumer.posts.limits import Limits

Headers = Sequence[tuple[str, bytes | None]]
Newest = Callable[[], Awaitable[float | None]]
"""When the newest record of the topic was written, as far as that is found."""

MOST_ASKED = 16
"""Partitions, for the time of their newest record."""


class Producer(Protocol):
    """Writes records, each exactly once however often it has to try, and acknowledged by all replicas in sync."""

    async def start(self) -> None:
        """Connect. Raises KafkaError or OSError."""
        ...

    async def send(self, topic: str, value: bytes, key: bytes | None, headers: Headers) -> "asyncio.Future[Any]":
        """Hand a record over, in the order of the calls; the future is done when Kafka has it, or will not.

        It waits while a batch for the partition is full. Cancelled then, nothing is written. Raises KafkaError.
        """
        ...

    async def close(self, seconds: float) -> None:
        """Let what was handed over go out, within so many seconds, and close, whatever has become of it."""
        ...


class KafkaProducer:
    """aiokafka's, idempotent, with the partitioner that the other producers have.

    What Kafka refuses for its time or its size is refused again, however often it is sent, so that is learned: the next
    producer writes otherwise. (There must be another one: aiokafka counts a refused batch, and the broker does not.)
    """

    def __init__(
        self, producer: AIOKafkaProducer, partitioner: Partitioner, limits: Limits, clock: RecordClock, newest: Newest
    ) -> None:
        self._producer = producer
        self._partitioner = partitioner
        self._limits = limits
        self._clock = clock
        self._newest = newest
        self._has_learned = False

    async def start(self) -> None:
        """Connect. If the host's clock was refused, find out how late it is in the topic."""
        await start_producer(self._producer)
        if self._clock.is_refused and self._clock.newest() is None and (newest := await self._newest()) is not None:
            self._clock.saw(int(newest * 1000))

    async def send(self, topic: str, value: bytes, key: bytes | None, headers: Headers) -> "asyncio.Future[Any]":
        """Hand a record over. One without a key goes anywhere."""
        partition = None if key is None else self._partitioner.partition_of(key, await self._partitions(topic))
        size = len(value) + len(key or b"")
        try:
            sent: asyncio.Future[Any] = await self._producer.send(
                topic, value, key=key, partition=partition, timestamp_ms=self._clock.now(), headers=list(headers)
            )
        except KafkaError as error:
            self._learn(topic, size, error)
            raise
        sent.add_done_callback(partial(self._sent, topic, size))
        return sent

    async def close(self, seconds: float) -> None:
        """Close."""
        await close_producer(self._producer, seconds)

    def _sent(self, topic: str, size: int, sent: "asyncio.Future[Any]") -> None:
        if not sent.cancelled() and (error := sent.exception()) is not None:
            self._learn(topic, size, error)

    def _learn(self, topic: str, size: int, error: BaseException) -> None:
        """Once: each record of a batch is refused with it."""
        if self._has_learned:
            return
        if isinstance(error, InvalidTimestampError):
            self._has_learned = True
            self._clock.refused()
        elif isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
            self._has_learned = True
            self._limits.refused(topic, size)

    async def _partitions(self, topic: str) -> int:
        known = self._producer.client.cluster.partitions_for_topic(topic)
        return len(known or await self._producer.partitions_for(topic))


def kafka_producer(clients: KafkaClients, topic: str, limits: Limits, clock: RecordClock) -> Producer:
    """A producer for a cluster, not started. A batch is as ``limits`` say, unless a record alone is larger.

    ``topic`` is where the newest record says how late it is, should the host's clock be refused."""
    # While it is to be found out, murmur2 is believed in (`consumer.kafka.partitioning`).
    chosen = clients.config.partitioner
    partitioner = Partitioner.CRC32 if chosen == "crc32" else Partitioner.MURMUR2
    producer = clients.producer(batch_bytes=limits.batch)

    async def newest() -> float | None:
        partitions = sorted(await producer.partitions_for(topic))[:MOST_ASKED]
        asked = [await newest_time(clients, TopicPartition(topic, number), time.time()) for number in partitions]
        return max((one for one in asked if one is not None), default=None)

    return KafkaProducer(producer, partitioner, limits, clock, newest)
