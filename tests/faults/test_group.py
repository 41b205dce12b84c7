"""Members that come and go, an operator who resets the position, records that the broker no longer has."""

import asyncio
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from consumer.input.commit_metadata import COMMIT_METADATA
from providers.sandbox import Delay, Fault, Sandbox
from tests.faults.accounts import (
    alerts_in_state,
    assert_one_incident_each,
    keys,
    send,
    sessions,
    settled,
    traffic,
)
from tests.support.broker import Broker
from tests.support.kafka import admin, group_offsets
from tests.support.process import service_process, towards
from tests.support.service import World, make_world
from tests.support.waiting import wait_until


@pytest.mark.real_kafka("a member that is killed is missed")
async def test_members_that_join_leave_and_die_while_traffic_flows_lose_and_double_nothing(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=6, kafka={"session_timeout": "4s"})
    async with traffic(world, per_second=40), service_process(world.document, tmp_path, "one") as one:
        await one.restored(6)
        async with service_process(world.document, tmp_path, "two") as two:
            await two.restored(3)
            await one.restored(3)
            async with service_process(world.document, tmp_path, "three") as three:
                await three.restored(2)
                await two.restored(2)
                await one.end()
                await three.restored(3)
                await three.kill()
            await two.restored(6)
            async with service_process(world.document, tmp_path, "four") as four:
                await four.restored(3)
                await two.restored(3)
    async with service_process(world.document, tmp_path, "five"):
        await settled(world, sandbox)


@pytest.mark.real_kafka("a rebalance waits for its members")
async def test_a_member_that_is_replaced_while_it_drains_finishes_what_it_has_on_the_wire_and_ends(
    broker: Broker, sandbox: Sandbox, other_sandbox: Sandbox, tmp_path: Path
) -> None:
    """A rolling update: the new member joins while the old one waits for its answers."""
    delivery = {"timeout_seconds": 20, "shutdown_grace": "20s"}
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2, delivery=delivery)
    sandbox.faults.add(Fault(Delay(8.0)))
    async with service_process(world.document, tmp_path, "old") as old:
        await old.restored(2)
        await send(world, sessions("s", 6))
        await sandbox.wait_for(lambda: len(sandbox.requests()) == 6)
        old.ask_to_end()
        async with service_process(towards(world.document, other_sandbox.url), tmp_path, "new") as new:
            assert await old.ended(within=20) == 0
            assert len(sandbox.requests(status=202)) == 6
            await new.restored(2)
            await settled(world, sandbox, other_sandbox)
    assert other_sandbox.requests() == []


@pytest.mark.real_kafka("its tool resets the position")
async def test_a_position_reset_by_an_operator_is_obeyed_and_opens_no_second_incident(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with service_process(world.document, tmp_path, "before") as before:
        await before.restored()
        await send(world, sessions("s", 5))
        await before.said("alert_triggered", 5)
    await settled(world, sandbox)
    told = len(sandbox.requests())
    reset = ["--group", world.group(), "--topic", world.events, "--reset-offsets", "--to-earliest", "--execute"]
    await asyncio.to_thread(broker.kafka.exec, "kafka-consumer-groups", *reset)
    assert await _group_offset(world) == (0, "")
    async with service_process(world.document, tmp_path, "after") as after:
        await after.said("position_set_by_operator", position=0)
        await after.said("partition_restored", position=0, alerts=5)

        async def is_ours_again() -> bool:
            return await _group_offset(world) == (5, COMMIT_METADATA)

        await wait_until(is_ours_again, "the commits carry the mark again", poll=0.2)
        assert await after.metric("events_total", outcome="suppressed") == 5
    assert {alert.occurrences for alert in (await alerts_in_state(world)).values()} == {2}
    assert len(sandbox.requests()) == told
    assert_one_incident_each(keys(sessions("s", 5)), sandbox)
    async with service_process(world.document, tmp_path, "again") as again:
        await again.said("partition_restored", position=5)
        assert not again.lines("position_set_by_operator")


async def test_a_position_that_the_broker_no_longer_has_is_the_earliest_loudly(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with service_process(world.document, tmp_path, "before") as before:
        await before.restored()
        await send(world, sessions("before", 3))
        await before.said("alert_triggered", 3)
    await send(world, sessions("gone", 4))
    await send(world, sessions("left", 3))
    await _delete_records(world, 7)
    async with service_process(world.document, tmp_path, "after") as after:
        await after.restored()
        await after.said("position_lost", level="error", position=3, beginning=7, end=10)
        assert await after.metric("positions_lost_total", pipeline="pagerduty") == 1
        await after.said("alert_triggered", 3)
    assert_one_incident_each(keys([*sessions("before", 3), *sessions("left", 3)]), sandbox)


@pytest.mark.real_kafka("it deletes records under a reader")
async def test_records_deleted_ahead_of_a_running_member_are_noticed_loudly(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    kafka = {"session_timeout": "30s", "rebalance_timeout": "60s"}
    world = await make_world(broker.bootstrap_servers, sandbox.url, kafka=kafka)
    async with service_process(world.document, tmp_path) as service:
        await service.restored()
        await send(world, sessions("before", 3))
        await service.said("alert_triggered", 3)
        service.freeze()  # for less than a session
        await send(world, sessions("gone", 4))
        await _delete_records(world, 7)
        await send(world, sessions("left", 3))
        service.wake()
        # What it has already on its socket it may still decide; what it asks for is gone.
        await wait_until(
            lambda: {incident.dedup_key for incident in sandbox.incidents()} >= set(keys(sessions("left", 3))),
            "what is left is told",
            timeout=30,
        )
        if "secret_leak:gone-0" not in {incident.dedup_key for incident in sandbox.incidents()}:
            assert service.lines("position_out_of_range")
            assert service.lines("position_lost")
            assert await service.metric("positions_lost_total", pipeline="pagerduty") == 1
    assert sandbox.extra_incidents() == []


async def _group_offset(world: World) -> tuple[int, str]:
    (offset,) = (await group_offsets(world.bootstrap_servers, world.group())).values()
    return offset.offset, offset.metadata


async def _delete_records(world: World, before: int) -> None:
    async with admin(world.bootstrap_servers) as client:
        await client.delete_records({TopicPartition(world.events, 0): RecordsToDelete(before_offset=before)})
