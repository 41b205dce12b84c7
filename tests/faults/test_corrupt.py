"""A bad disk: one flipped bit in a batch is the trouble of its partition, and of nobody else."""

import asyncio
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from providers.sandbox import Sandbox
from tests.support.broker import KafkaContainer
from tests.support.events import encode, event
from tests.support.kafka import admin, produce
from tests.support.process import Service, service_process
from tests.support.service import World, make_world
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_kafka("its logs are damaged")


def _event(session: str) -> bytes:
    return encode(event(session=session, guard="secret_leak"))


async def _send(world: World, partition: int, *names: str) -> None:
    for name in names:  # each in a batch of its own
        await produce(world.bootstrap_servers, world.events, [_event(name)], partition=partition)


async def _damage(kafka: KafkaContainer, topic: str, partition: int, value: bytes) -> None:
    await asyncio.to_thread(kafka.stop)
    await asyncio.to_thread(kafka.flip_bit, topic, partition, value)
    await asyncio.to_thread(kafka.start)


async def _told(sandbox: Sandbox, *names: str, timeout: float = 30.0) -> None:
    wanted = {f"secret_leak:{name}" for name in names}
    await sandbox.wait_for(lambda: wanted <= {one.dedup_key for one in sandbox.incidents()}, timeout)


async def _reasons(service: Service) -> list[str]:
    status, health = await service.health()
    return list(health["reasons"]) if status == 503 else []


async def test_a_flipped_bit_stops_its_partition_only(
    own_kafka: KafkaContainer, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(own_kafka.bootstrap_servers, sandbox.url, partitions=2)
    await _send(world, 0, "before", "also-before", "damaged", "behind")
    await _send(world, 1, "other")
    await _damage(own_kafka, world.events, 0, b"damaged")
    async with service_process(world.document, tmp_path) as service:
        await _told(sandbox, "before", "also-before", "other")  # what lies before it in the same fetch is told too
        line = await service.said("partition_unreadable", level="error", partition=0, offset=2)
        assert "CRC" in line["error"]
        (reason,) = await wait_until(lambda: _reasons(service), "it is not ready", poll=0.2)
        assert reason.startswith("pagerduty: partition 0: the records from offset 2 on cannot be read: ")
        for number in range(4):  # a second apart, so that the corrupt batch has time to disturb
            await _send(world, 1, f"other-{number}")
            await _told(sandbox, f"other-{number}", timeout=2.0)
            await asyncio.sleep(1.0)
        assert len(service.lines("partitions_assigned")) == 1, "the member stays in its group"
        assert not service.lines("task_trouble")
        # A log that is mended, here: whose damaged part was removed.
        await _delete_records(world, 3)
        await _told(sandbox, "behind", timeout=45.0)
        await service.restored(2)
    assert sandbox.extra_incidents() == []


async def test_a_flipped_bit_in_the_state_stops_the_task_of_that_partition_only(
    own_kafka: KafkaContainer, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(own_kafka.bootstrap_servers, sandbox.url, partitions=2)
    async with service_process(world.document, tmp_path, "before") as before:
        await before.restored(2)
        await _send(world, 0, "zero")
        await _send(world, 1, "one")
        await _told(sandbox, "zero", "one")
    await _damage(own_kafka, world.state(), 0, b"zero")
    async with service_process(world.document, tmp_path) as service:
        await service.said("task_trouble", 3, level="error", partition=0)
        await service.said("partition_restored", partition=1, alerts=1)
        (restored, task) = await wait_until(lambda: _reasons(service), "it is not ready", poll=0.2)
        assert task.startswith("pagerduty: partition 0: its task failed: UnreadableRecords(")
        assert f"{world.state()}-0 at offset " in task
        assert restored == "pagerduty: 1 of 2 partitions are restored"
        await _send(world, 1, "another")
        await _told(sandbox, "another", timeout=2.0)
        assert len(service.lines("partitions_assigned")) == 1
        assert not service.lines("partition_restored", partition=0)
    assert sandbox.extra_incidents() == []


async def _delete_records(world: World, before: int) -> None:
    async with admin(world.bootstrap_servers) as client:
        await client.delete_records({TopicPartition(world.events, 0): RecordsToDelete(before_offset=before)})
