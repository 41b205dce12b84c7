"""Fixtures of tests with faults."""

from collections.abc import AsyncIterator

import pytest

from providers.sandbox import Sandbox, running_sandbox
from tests.support.broker import Broker
from tests.support.proxy import KafkaProxy, kafka_proxy


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """The providers."""
    async with running_sandbox() as running:
        yield running


@pytest.fixture
async def other_sandbox() -> AsyncIterator[Sandbox]:
    """The providers as another member sees them, so that what each member sends can be told apart."""
    async with running_sandbox() as running:
        yield running


@pytest.fixture
async def proxy(broker: Broker) -> AsyncIterator[KafkaProxy]:
    """A proxy before the real broker: clients that bootstrap from `broker.kafka.proxied_servers` go through it."""
    async with kafka_proxy(broker.kafka.proxy_port, broker.kafka.behind_proxy) as proxy:
        yield proxy
