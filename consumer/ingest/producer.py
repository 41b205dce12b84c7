"""The producer of the way in, as far as it is used: what a test puts another in the place of."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer

from consumer.kafka.clients import KafkaClients, close_producer, start_producer
from consumer.kafka.partitioning import Partitioner

Headers = Sequence[tuple[str, bytes | None]]


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
    """aiokafka's, idempotent, with the partitioner that the other producers have."""

    def __init__(self, producer: AIOKafkaProducer, partitioner: Partitioner) -> None:
        self._producer = producer
        self._partitioner = partitioner

    async def start(self) -> None:
        """Connect."""
        await start_producer(self._producer)

    async def send(self, topic: str, value: bytes, key: bytes | None, headers: Headers) -> "asyncio.Future[Any]":
        """Hand a record over. One without a key goes anywhere."""
        partition = None if key is None else self._partitioner.partition_of(key, await self._partitions(topic))
        sent: asyncio.Future[Any] = await self._producer.send(
            topic, value, key=key, partition=partition, headers=list(headers)
        )
        return sent

    async def close(self, seconds: float) -> None:
        """Close."""
        await close_producer(self._producer, seconds)

    async def _partitions(self, topic: str) -> int:
        known = self._producer.client.cluster.partitions_for_topic(topic)
        return len(known or await self._producer.partitions_for(topic))


def kafka_producer(clients: KafkaClients, batch_bytes: int) -> Producer:
    """A producer for a cluster, not started. A batch is at most ``batch_bytes``, unless a record alone is larger."""
    # While it is to be found out, murmur2 is believed in (`consumer.kafka.partitioning`).
    chosen = clients.config.partitioner
    partitioner = Partitioner.CRC32 if chosen == "crc32" else Partitioner.MURMUR2
    return KafkaProducer(clients.producer(batch_bytes=batch_bytes), partitioner)
