"""All brokers come back at other addresses, and only the bootstrap address leads to them."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from consumer.demo.broker import free_port
from consumer.telemetry.health import liveness
from providers.sandbox import Delay, Fault, Sandbox
from tests.faults.accounts import send, sessions, settled
from tests.support.broker import Broker, KafkaContainer
from tests.support.process import merged, service_process
from tests.support.proxy import KafkaProxy, kafka_proxy
from tests.support.service import Member, make_world, running_member
from tests.support.waiting import wait_until


@pytest.mark.real_kafka("it has several addresses")
@pytest.mark.parametrize("leave", [KafkaProxy.cut, KafkaProxy.stall], ids=["refused", "silent"])
async def test_the_service_finds_its_brokers_at_other_addresses(
    own_kafka: KafkaContainer, sandbox: Sandbox, tmp_path: Path, leave: Callable[[KafkaProxy], None]
) -> None:
    world = await make_world(own_kafka.bootstrap_servers, sandbox.url, partitions=2)
    front = free_port()
    document = merged(world.document, kafka={"bootstrap_servers": f"127.0.0.1:{front}"})
    async with (
        kafka_proxy(front, own_kafka.behind_proxy) as bootstrap,
        kafka_proxy(own_kafka.proxy_port, own_kafka.behind_proxy) as old,
        service_process(document, tmp_path) as service,
    ):
        await service.restored(2)
        await send(world, sessions("before", 4))
        await service.said("alert_triggered", 4)
        leave(old)
        bootstrap.cut()
        await asyncio.to_thread(own_kafka.restart)
        bootstrap.broker_port = own_kafka.port  # this listener advertises another address than the old one
        bootstrap.restore()
        told = len(service.log)
        await send(world, sessions("after", 4))
        await service.said("alert_triggered", 4, after=told, timeout=120)
        assert await service.status("/healthz") == 200
        await service.restored(2)
        # Operators' commands come by another client, which has to find its way as well.
        await settled(world, sandbox)


# --- and who is not lost looks for nothing


@pytest.mark.real_kafka("a group of thirteen")
async def test_a_member_more_than_there_are_partitions_waits_and_nobody_is_disturbed(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=12)
    async with contextlib.AsyncExitStack() as stack:
        members = [await stack.enter_async_context(running_member(world.config)) for _ in range(13)]
        await wait_until(lambda: _partitions(members) == [0] + [1] * 12, "all have joined", timeout=60)
        for member in members:
            await member.restored()
        said = [_said(member) for member in members]
        await asyncio.sleep(25.0)  # four session time-outs: a standby never proves anything
        assert [_said(member) for member in members] == said
        assert _partitions(members) == [0] + [1] * 12
        for member in members:
            assert liveness([member.runners["pagerduty"].health()]) == []
            assert member.runners["pagerduty"].health().standstill == 0


@pytest.mark.real_kafka("a rebalance waits for its members")
async def test_a_member_that_drains_for_five_sessions_is_built_anew_by_nobody(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(
        broker.bootstrap_servers,
        sandbox.url,
        partitions=2,
        kafka={"rebalance_timeout": "60s"},
        delivery={"timeout_seconds": 60},
    )
    async with running_member(world.config) as draining:
        await draining.restored(2)
        sandbox.faults.add(Fault(Delay(32.0)))
        await send(world, ["slow"])
        await sandbox.wait_for(lambda: len(sandbox.requests()) == 1)
        async with running_member(world.config) as joining:
            await wait_until(lambda: _partitions([draining, joining]) == [1, 1], "both have one", timeout=60, poll=0.1)
            await draining.restored(1)
            await joining.restored(1)
            assert (_said(draining), _said(joining)) == ((2, 0), (1, 0))
    assert [incident.dedup_key for incident in sandbox.incidents()] == ["secret_leak:slow"]


def _partitions(members: Sequence[Member]) -> list[int]:
    healths = [member.runners["pagerduty"].health() for member in members if "pagerduty" in member.runners]
    return sorted(health.partitions for health in healths if health.joined)


def _said(member: Member) -> tuple[int, int]:
    """How often it was assigned partitions, and how often it was built anew."""
    text = member.output.getvalue()
    return text.count('"partitions_assigned"'), text.count('"member_failed"')
