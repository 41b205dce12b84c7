"""The producer of ingest: the protocol that the writer needs, which tests can replace, and aiokafka's."""

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
from consumer.receivers.posts.limits import Limits

Headers = Sequence[tuple[str, bytes | None]]
Newest = Callable[[], Awaitable[float | None]]
"""Returns the time of the topic's newest record in seconds since the epoch; None if none is found."""

MOST_ASKED = 16
"""How many partitions are asked for the time of their newest record."""


class Producer(Protocol):
    """Writes records, each exactly once however often it retries, and acknowledged by all in-sync replicas."""

    async def start(self) -> None:
        """Connect. Raises `KafkaError` or `OSError` if Kafka cannot be reached."""
        ...

    async def send(self, topic: str, value: bytes, key: bytes | None, headers: Headers) -> "asyncio.Future[Any]":
        """Hand a record over, in the order of the calls. The future is done when Kafka has the record or refuses it.

        This waits while the batch for the partition is full; if it is cancelled then, nothing is written.

        Raises `KafkaError` if the record cannot be handed over.
        """
        ...

    async def close(self, seconds: float) -> None:
        """Wait up to ``seconds`` for records that were handed over, then close in any case."""
        ...


class KafkaProducer:
    """aiokafka's idempotent producer, with the partitioner of the other producers.

    A record that Kafka refuses for its timestamp or its size is refused however often it is sent. So the reason is kept
    (`Limits`, `RecordClock`), and the next producer writes differently. (There must be a new producer: aiokafka counts
    a refused batch in its sequence numbers, and the broker does not.)
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
        """Connect. If the host's clock was refused, look up the time of the topic's newest record.

        Raises `KafkaError` or `OSError` if Kafka cannot be reached.
        """
        await start_producer(self._producer)
        if self._clock.is_refused and self._clock.newest() is None and (newest := await self._newest()) is not None:
            self._clock.saw(int(newest * 1000))

    async def send(self, topic: str, value: bytes, key: bytes | None, headers: Headers) -> "asyncio.Future[Any]":
        """Hand a record over, as `Producer.send`. A record without a key goes to any partition. Raises `KafkaError` if
        the record cannot be handed over."""
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
        """Close, as `Producer.close`."""
        await close_producer(self._producer, seconds)

    def _sent(self, topic: str, size: int, sent: "asyncio.Future[Any]") -> None:
        if not sent.cancelled() and (error := sent.exception()) is not None:
            self._learn(topic, size, error)

    def _learn(self, topic: str, size: int, error: BaseException) -> None:
        """Keep the reason of a refusal, once: all records of a refused batch get the same error."""
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
