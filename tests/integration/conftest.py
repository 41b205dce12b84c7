"""Fixtures of tests against a broker."""

from collections.abc import AsyncIterator

import pytest

from providers.sandbox import Sandbox, running_sandbox
from tests.support.broker import Broker
from tests.support.proxy import KafkaProxy, kafka_proxy


@pytest.fixture
async def proxy(broker: Broker) -> AsyncIterator[KafkaProxy]:
    """A proxy before the real broker: clients that bootstrap from `broker.kafka.proxied_servers` go through it."""
    async with kafka_proxy(broker.kafka.proxy_port, broker.kafka.behind_proxy) as proxy:
        yield proxy


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Both providers, of this test alone; every key of the right form is known."""
    async with running_sandbox() as running:
        yield running
