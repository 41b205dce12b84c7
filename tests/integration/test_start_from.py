"""Where a pipeline begins that has never been, if it is to begin some time back (design section 14)."""

import time

import pytest
from aiokafka import AIOKafkaProducer

from consumer.timing.clock import Clock
from providers.sandbox import Sandbox
from tests.support.broker import Broker
from tests.support.events import encode, event
from tests.support.kafka import running
from tests.support.seen import group_reaches, send
from tests.support.service import World, incidents, make_world, running_member

HOUR, YEAR = 3600.0, 365 * 24 * 3600.0


async def _write(world: World, session: str, timestamp_ms: int) -> None:
    async with running(AIOKafkaProducer(bootstrap_servers=world.bootstrap_servers)) as producer:
        await producer.send_and_wait(
            world.events, encode(event(session=session)), partition=0, timestamp_ms=timestamp_ms
        )


@pytest.mark.parametrize("ahead", [0.0, YEAR, -0.5 * HOUR])
async def test_a_host_whose_clock_is_wrong_skips_no_events(broker: Broker, sandbox: Sandbox, ahead: float) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, kafka={"start_from": "15m"})
    now, system = time.time(), Clock.system()
    await _write(world, "yesterday", int((now - 24 * HOUR) * 1000))
    await _write(world, "just-now", int((now - 60) * 1000))
    await _write(world, "newest", int(now * 1000))
    async with running_member(world.config, clock=Clock(lambda: system.wall() + ahead, system.monotonic)):
        await incidents(sandbox, 2)
        await group_reaches(world, 3)
    assert {one.dedup_key for one in sandbox.incidents()} == {"forbidden_path:just-now", "forbidden_path:newest"}


async def test_timestamps_that_cannot_be_one_are_no_time_of_the_topic(broker: Broker, sandbox: Sandbox) -> None:
    """Seconds where milliseconds are meant would begin in 1970."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, kafka={"start_from": "15m"})
    now = time.time()
    await _write(world, "yesterday", int((now - 24 * HOUR) * 1000))
    await _write(world, "newest", int(now * 1000))
    for _ in range(20):
        await _write(world, "seconds", int(now))
    async with running_member(world.config) as member:
        await incidents(sandbox, 2)
        await member.restored()
        await group_reaches(world, 22)
    assert {one.dedup_key for one in sandbox.incidents()} == {"forbidden_path:newest", "forbidden_path:seconds"}


async def test_an_empty_topic_is_begun_at_its_end(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, kafka={"start_from": "15m"})
    async with running_member(world.config) as member:
        await member.restored()
        await send(world, event())
        await incidents(sandbox, 1)
