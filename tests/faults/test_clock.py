"""A member whose wall clock is a year off (design section 14).

A broker takes no timestamp that is an hour ahead, and removes a record that is older than its topic keeps records.
"""

import re
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from providers.sandbox import Fault, FaultyAnswer, Sandbox
from tests.support.broker import Broker
from tests.support.events import encode, event, session_end
from tests.support.kafka import admin, committed_records
from tests.support.process import Service, service_process
from tests.support.seen import first_dead_letters, group_reaches, producing
from tests.support.service import World, incidents, make_world

YEAR = 365 * 24 * 3600.0
KEY = b"forbidden_path:s-1"

pytestmark = pytest.mark.real_kafka("it refuses timestamps")


async def make_strict_world(broker: Broker, sandbox: Sandbox) -> World:
    """What the service writes is taken up to an hour ahead of the broker's clock, as is Kafka's default."""
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    hour = {"message.timestamp.after.max.ms": "3600000"}
    topics = {world.events: hour, world.state(): {**hour, "cleanup.policy": "compact"}, world.dlq: hour}
    async with admin(world.bootstrap_servers) as client:
        for topic, settings in topics.items():
            (response,) = await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, settings)])
            assert [code for code, *_ in response.resources] == [0]
    return world


def off(world: World, folder: Path, name: str, seconds: float) -> AbstractAsyncContextManager[Service]:
    return service_process(
        world.document, folder, name, module="tests.chaos.skewed", environment={"CHAOS_SKEW_SECONDS": str(seconds)}
    )


def a_year_ahead(world: World, folder: Path, name: str) -> AbstractAsyncContextManager[Service]:
    return off(world, folder, name, YEAR)


async def produce(world: World, *values: bytes) -> None:
    async with producing(world) as producer:
        for value in values:
            await producer.send_and_wait(world.events, value, b"s-1")


async def written(world: World, topic: str) -> Sequence[ConsumerRecord[Any, Any]]:
    """The records of a topic, none of which is of next year or of last year."""
    records = await committed_records(world.bootstrap_servers, topic)
    assert records
    assert all(abs(record.timestamp / 1000 - time.time()) < 300 for record in records)
    return records


def goes_on(service: Service) -> bool:
    """It has not been built again, and a broker has refused its clock once."""
    assert service.lines("task_trouble") == []
    assert len(service.lines("clock_refused")) == 1
    assert len(service.lines("checkpoint_refused")) == 1
    return True


async def test_a_page_comes_and_is_resolved_and_nothing_is_built_again(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_strict_world(broker, sandbox)
    async with a_year_ahead(world, tmp_path, "first") as service:
        await service.restored()
        await produce(world, b"\xff", encode(event(session="s-1")))
        await incidents(sandbox, 1)
        await first_dead_letters(world, 1)
        await group_reaches(world, 2)
        outage = sandbox.faults.add(Fault(FaultyAnswer(status=503)))
        await produce(world, encode(session_end("s-1")))
        await group_reaches(world, 3)
        assert goes_on(service)
    outage.remove()
    # The next one reads no record of the input before it has something to write: the resolve is owed.
    async with a_year_ahead(world, tmp_path, "second") as service:
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 30)
        await service.said("checkpoint")
        assert goes_on(service)
    assert len(sandbox.requests(action="trigger")) == 1
    (letter,) = await written(world, world.dlq)
    assert letter.value == b"\xff"
    alert = [record.value for record in await written(world, world.state()) if record.key == KEY]
    assert alert[-1] is None, "the alert is gone"


async def test_what_a_member_writes_that_is_a_year_behind_is_kept(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_strict_world(broker, sandbox)
    async with off(world, tmp_path, "first", -YEAR) as service:
        await service.restored()
        await produce(world, b"\xff", encode(event(session="s-1")))
        await incidents(sandbox, 1)
        await first_dead_letters(world, 1)
        await group_reaches(world, 2)
        sandbox.faults.add(Fault(FaultyAnswer(status=503)))
        await produce(world, encode(event(session="s-2")))
        await service.said("checkpoint", position=3)
    assert await written(world, world.history)
    sandbox.faults.clear()
    sandbox.faults.add(Fault(FaultyAnswer(status=400), dedup_key_pattern=re.compile("s-2")))
    # The next one reads no record of the input before it has something to write: what is owed is refused.
    async with off(world, tmp_path, "second", -YEAR):
        await first_dead_letters(world, 2, timeout=60)
    poison, refused = await written(world, world.dlq)
    assert (poison.value, refused.key) == (b"\xff", b"s-1")
