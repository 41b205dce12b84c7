"""What the other side has seen: dead letters, states and the group's offsets, read from the broker."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition

from consumer.dlq.dead_letter import DeadLetter, decode
from consumer.replay.replayed import decode_mark
from providers.sandbox import JournalEntry, Sandbox
from tests.support.events import encode
from tests.support.kafka import committed_records, group_offsets, produce, running
from tests.support.service import World
from tests.support.waiting import wait_until


async def send(world: World, *events: dict[str, Any], partition: int | None = None) -> list[int]:
    """Produce these events in order; returns their offsets."""
    return await produce(world.bootstrap_servers, world.events, map(encode, events), partition=partition)


@asynccontextmanager
async def producing(world: World) -> AsyncIterator[AIOKafkaProducer]:
    """A producer, for records of any kind."""
    async with running(AIOKafkaProducer(bootstrap_servers=world.bootstrap_servers, acks="all")) as producer:
        yield producer


async def dead_letters(world: World) -> list[DeadLetter]:
    """All dead letters that are committed now; the marks of replays are none."""
    records = await committed_records(world.bootstrap_servers, world.dlq)
    return [
        decode(record.key, record.value, record.headers)
        for record in records
        if decode_mark(record.value, record.headers) is None
    ]


async def first_dead_letters(world: World, count: int, timeout: float = 15.0) -> list[DeadLetter]:
    """All dead letters, once there are so many."""

    async def found() -> list[DeadLetter] | None:
        letters = await dead_letters(world)
        return letters if len(letters) >= count else None

    letters = await wait_until(found, f"{count} dead letters", timeout=timeout, poll=0.1)
    assert letters is not None
    return letters


async def group_offset(world: World, provider: str = "pagerduty", partition: int = 0) -> int | None:
    """The offset that the provider's group has committed."""
    offsets = await group_offsets(world.bootstrap_servers, world.group(provider))
    found = offsets.get(TopicPartition(world.events, partition))
    return None if found is None else found.offset


async def group_reaches(
    world: World, offset: int, provider: str = "pagerduty", partition: int = 0, timeout: float = 15.0
) -> None:
    """Wait until the group has committed this offset."""

    async def reached() -> bool:
        return await group_offset(world, provider, partition) == offset

    await wait_until(reached, f"group {provider} is at {offset}", timeout=timeout, poll=0.1)


async def requests(sandbox: Sandbox, count: int, timeout: float = 15.0, **criteria: Any) -> list[JournalEntry]:
    """The requests that fit (`Sandbox.requests`), once so many have been answered, or have broken off."""
    await sandbox.wait_for(lambda: len(sandbox.requests(**criteria)) >= count, timeout)
    return sandbox.requests(**criteria)


def told(entries: Iterable[JournalEntry]) -> list[tuple[str, int | None]]:
    """Action and answer of each request."""
    return [(entry.action, entry.status) for entry in entries]
