"""Kafka in a few words, for tests: topics, records, groups, members."""

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    OffsetAndMetadata,
    TopicPartition,
)
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code

from tests.support.waiting import wait_until

COMPACTED = {"cleanup.policy": "compact"}

_numbers = itertools.count(1)


def unique(name: str = "t") -> str:
    """A name for a topic, group or transactional id that nothing else has."""
    return f"{name}-{next(_numbers)}-{uuid.uuid4().hex[:8]}"


@contextlib.asynccontextmanager
async def admin(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client for the length of the block."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def create_topic(
    bootstrap_servers: str,
    name: str | None = None,
    *,
    partitions: int = 1,
    replication_factor: int = 1,
    configs: Mapping[str, str] | None = None,
) -> str:
    """Create a topic (a new name without one) and wait until its partitions have leaders; returns the name."""
    name = name or unique()
    async with admin(bootstrap_servers) as client:
        topic = NewTopic(name, partitions, replication_factor, topic_configs=dict(configs or {}))
        response = await client.create_topics([topic])
        for _, code, *message in response.topic_errors:
            if code:
                raise for_code(code)(f"{name}: {message}")

        async def has_leaders() -> bool:
            described = await client.describe_topics([name])
            found = described[0]["partitions"] if described and not described[0]["error_code"] else []
            return len(found) == partitions and all(p["leader"] >= 0 for p in found)

        await wait_until(has_leaders, f"topic {name} has leaders")
    return name


async def produce(
    bootstrap_servers: str,
    topic: str,
    values: Iterable[bytes | None],
    *,
    key: bytes | None = None,
    partition: int | None = None,
    headers: Iterable[tuple[str, bytes]] = (),
) -> list[int]:
    """Write these values in order, each acknowledged; returns their offsets."""
    async with running(AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")) as producer:
        sent = [
            await producer.send(topic, value, key=key, partition=partition, headers=list(headers)) for value in values
        ]
        return [(await future).offset for future in sent]


async def committed_records(
    bootstrap_servers: str, topic: str, partition: int | None = None
) -> list[ConsumerRecord[bytes, bytes]]:
    """All records that a `read_committed` reader sees now, from the beginning to the end, per partition in order."""
    if partition is None:
        async with admin(bootstrap_servers) as client:
            (described,) = await client.describe_topics([topic])
            numbers = sorted(found["partition"] for found in described["partitions"])
    else:
        numbers = [partition]
    partitions = [TopicPartition(topic, number) for number in numbers]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, isolation_level="read_committed", enable_auto_commit=False
    )
    async with running(consumer):
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        found: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]] = {tp: [] for tp in partitions}
        async with asyncio.timeout(30):
            while [tp for tp in partitions if await consumer.position(tp) < ends[tp]]:
                for tp, records in (await consumer.getmany(timeout_ms=50)).items():
                    found[tp] += [record for record in records if record.offset < ends[tp]]
        return [record for tp in partitions for record in found[tp]]


async def group_offsets(bootstrap_servers: str, group: str) -> dict[TopicPartition, OffsetAndMetadata]:
    """What a group has committed, with the metadata that `consumer.committed()` does not tell."""
    async with admin(bootstrap_servers) as client:
        offsets: dict[TopicPartition, OffsetAndMetadata] = await client.list_consumer_group_offsets(group)
        return offsets


async def groups(bootstrap_servers: str, prefix: str) -> list[str]:
    """The names of the groups that begin like this."""
    async with admin(bootstrap_servers) as client:
        return sorted(name for name, *_ in await client.list_consumer_groups() if name.startswith(prefix))


class Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Remembers what a member was assigned and what was revoked, and runs the test's callbacks in the callbacks."""

    def __init__(self) -> None:
        self.assigned: list[set[TopicPartition]] = []
        self.revoked: list[set[TopicPartition]] = []
        self.when_assigned: Callable[[set[TopicPartition]], Awaitable[Any]] | None = None
        self.when_revoked: Callable[[set[TopicPartition]], Awaitable[Any]] | None = None
        self.errors: list[Exception] = []

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Called by the consumer, which would swallow an error: it is kept in `errors`."""
        try:
            if self.when_assigned is not None:
                await self.when_assigned(set(assigned))
        except Exception as error:
            self.errors.append(error)
        self.assigned.append(set(assigned))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Called by the consumer, which would swallow an error: it is kept in `errors`."""
        try:
            if self.when_revoked is not None:
                await self.when_revoked(set(revoked))
        except Exception as error:
            self.errors.append(error)
        self.revoked.append(set(revoked))


def member(
    bootstrap_servers: str,
    topic: str,
    group: str,
    *,
    listener: Rebalances | None = None,
    session_ms: int = 6000,
    heartbeat_ms: int = 300,
    **options: Any,
) -> AIOKafkaConsumer:
    """A consumer of a group, as the service makes them: no auto-commit, `read_committed`. Not started."""
    consumer: AIOKafkaConsumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=group,
        enable_auto_commit=False,
        isolation_level="read_committed",
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=heartbeat_ms,
        **{"auto_offset_reset": "earliest", "rebalance_timeout_ms": 10_000, "fetch_max_wait_ms": 100, **options},
    )
    consumer.subscribe([topic], listener=listener)
    return consumer


def transactional(bootstrap_servers: str, transactional_id: str, **options: Any) -> AIOKafkaProducer:
    """A producer of transactions. Not started; starting it fences the earlier ones of its id."""
    producer: AIOKafkaProducer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, transactional_id=transactional_id, **options
    )
    return producer


@contextlib.asynccontextmanager
async def running(client: Any) -> AsyncIterator[Any]:
    """Start a consumer or producer for the length of the block."""
    try:
        await client.start()
        yield client
    finally:
        await client.stop()
