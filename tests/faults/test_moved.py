"""All brokers come back at other addresses, and only the bootstrap address leads to them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from consumer.demo.broker import free_port
from providers.sandbox import Sandbox
from tests.faults.accounts import send, sessions, settled
from tests.support.broker import KafkaContainer
from tests.support.process import merged, service_process
from tests.support.proxy import KafkaProxy, kafka_proxy
from tests.support.service import make_world

pytestmark = pytest.mark.real_kafka("it has several addresses")


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
