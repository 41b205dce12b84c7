"""Transactions of another producer in the events topic: what comes behind an open one is hidden until it ends."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.chaos.faults import Scene
from tests.chaos.happened import Hidden
from tests.support.events import encode, event
from tests.support.kafka import transactional

TRANSACTION_MS = 900_000
"""The longest that a broker lets a transaction stay open, by default."""
TRY_SECONDS, LAST_TRY_SECONDS = 20.0, 300.0
"""For one try, and after which none is begun any more: several restarts of a broker, one after the other."""


@contextlib.asynccontextmanager
async def transaction(scene: Scene, name: str, partition: int) -> AsyncIterator[None]:
    """A transaction of somebody else, open for the length of the block, with one record that is about nothing.

    At its end it is committed or aborted. If the broker has another idea of it, the next initialisation of its name,
    behind which nothing of it is open, ends it.
    """
    begun, commits = time.time(), scene.chance.random() < 0.5
    value = encode(event(allowed=True, severity="info"))

    async def open_one(producer: AIOKafkaProducer) -> None:
        await producer.begin_transaction()
        await producer.send_and_wait(scene.setting.world.events, value, partition=partition)

    async def nothing(producer: AIOKafkaProducer) -> None:
        pass

    try:
        async with _initialised(scene, name, open_one) as producer:
            yield
            with contextlib.suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(TRY_SECONDS):
                    await (producer.commit_transaction if commits else producer.abort_transaction)()
    finally:
        async with _initialised(scene, name, nothing):
            scene.happened.hidden.append(Hidden(partition, begun, time.time()))


@contextlib.asynccontextmanager
async def _initialised(
    scene: Scene, name: str, then: Callable[[AIOKafkaProducer], Awaitable[None]]
) -> AsyncIterator[AIOKafkaProducer]:
    """A transactional producer that has done something; tried again with another one while a broker is away."""
    servers, end = scene.setting.world.bootstrap_servers, time.monotonic() + LAST_TRY_SECONDS
    while True:
        producer = transactional(servers, name, transaction_timeout_ms=TRANSACTION_MS)
        try:
            async with asyncio.timeout(TRY_SECONDS):
                await producer.start()
                await then(producer)
            break
        except (KafkaError, TimeoutError):
            await _stopped(producer)
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.2)
        except BaseException:
            await _stopped(producer)
            raise
    try:
        yield producer
    finally:
        await _stopped(producer)


async def _stopped(producer: AIOKafkaProducer) -> None:
    with contextlib.suppress(KafkaError, TimeoutError):
        async with asyncio.timeout(TRY_SECONDS):
            await producer.stop()
