"""A broker that restarts, dies, freezes, in the middle of traffic: the service recovers by itself."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from providers.sandbox import Sandbox
from tests.faults.accounts import send, sessions, settled, traffic
from tests.support.broker import KafkaContainer
from tests.support.process import Service, service_process
from tests.support.service import make_world
from tests.support.waiting import wait_until

OUTAGE_SECONDS = 20
"""Several sessions, and several times what a start waits for Kafka."""

pytestmark = pytest.mark.real_kafka("a broker that can be killed")


async def _restart(kafka: KafkaContainer, service: Service) -> None:
    await asyncio.to_thread(kafka.restart)


async def _kill(kafka: KafkaContainer, service: Service) -> None:
    await asyncio.to_thread(kafka.kill)
    await asyncio.to_thread(kafka.start)


async def _freeze(kafka: KafkaContainer, service: Service) -> None:
    told = len(service.log)
    await asyncio.to_thread(kafka.pause)
    await service.said("proof_unanswered", after=told)  # longer than a session
    await asyncio.to_thread(kafka.unpause)


@pytest.mark.parametrize("strike", [_restart, _kill, _freeze], ids=["restart", "kill", "freeze"])
async def test_the_service_survives_its_broker(
    own_kafka: KafkaContainer,
    sandbox: Sandbox,
    tmp_path: Path,
    strike: Callable[[KafkaContainer, Service], Awaitable[None]],
) -> None:
    world = await make_world(own_kafka.bootstrap_servers, sandbox.url, partitions=2, kafka={"session_timeout": "4s"})
    async with service_process(world.document, tmp_path) as service:
        await service.restored(2)
        async with traffic(world, per_second=20):
            await service.said("alert_triggered", 5)
            await strike(own_kafka, service)
            told = len(service.log)
            await service.said("alert_triggered", after=told, timeout=120)
        await service.restored(2, timeout=60)
        await send(world, sessions("after", 4))
        await settled(world, sandbox, timeout=60)


async def test_an_outage_of_kafka_fails_readiness_only_and_ends_nothing(
    own_kafka: KafkaContainer, sandbox: Sandbox, tmp_path: Path
) -> None:
    kafka = {"session_timeout": "3s", "startup_timeout": "4s"}
    world = await make_world(own_kafka.bootstrap_servers, sandbox.url, kafka=kafka)
    async with service_process(world.document, tmp_path) as service:
        await service.restored()
        await asyncio.to_thread(own_kafka.stop)

        async def is_not_ready() -> bool:
            return await service.status("/readyz") == 503

        await wait_until(is_not_ready, "it is not ready", poll=0.2)
        for _ in range(OUTAGE_SECONDS):
            assert await service.status("/healthz") == 200
            assert await service.status("/readyz") == 503
            assert await service.status("/readyz/traffic") == 200
            await asyncio.sleep(1.0)
        await asyncio.to_thread(own_kafka.start)
        await service.restored(timeout=60)
        await send(world, ["after"])
        await settled(world, sandbox)


async def test_sigterm_ends_the_service_although_its_broker_is_gone(
    own_kafka: KafkaContainer, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(
        own_kafka.bootstrap_servers,
        sandbox.url,
        kafka={"session_timeout": "4s"},
        delivery={"shutdown_grace": "5s"},
    )
    async with service_process(world.document, tmp_path) as service:
        await service.restored()
        await send(world, ["before"])
        await service.said("alert_triggered")
        told = len(service.log)
        await asyncio.to_thread(own_kafka.stop)
        await service.said("proof_unanswered", after=told)
        assert await service.end(within=60) < 25
