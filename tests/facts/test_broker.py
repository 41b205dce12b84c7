"""Facts about Apache Kafka and aiokafka that no other test shows. No code of the service is in here."""

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError

from tests.support.broker import Broker
from tests.support.kafka import Rebalances, admin, create_topic, member, unique
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_kafka("these are facts of Apache Kafka, and the embedded broker is another program")

SESSION_MS = 2000


async def test_no_heartbeat_is_sent_while_the_assigned_callback_runs(broker: Broker) -> None:
    topic, group = await create_topic(broker.bootstrap_servers), unique("g")
    listener = Rebalances()
    is_let_go = asyncio.Event()

    async def linger(assigned: set[TopicPartition]) -> None:
        await is_let_go.wait()

    listener.when_assigned = linger
    consumer = member(broker.bootstrap_servers, topic, group, listener=listener, session_ms=SESSION_MS)
    async with admin(broker.bootstrap_servers) as client:

        async def state() -> str:
            try:
                (response,) = await client.describe_consumer_groups([group])
            except GroupCoordinatorNotAvailableError:  # a broker that has had no group yet makes their topic first
                return ""
            said: str = response.groups[0][2]
            return said

        async def is_empty() -> bool:
            return await state() == "Empty"

        async def has_a_member() -> bool:
            return await state() == "Stable"

        starting = asyncio.create_task(consumer.start())
        try:
            await wait_until(has_a_member, "the group has its member")
            await wait_until(is_empty, "the member has lost its session", timeout=10 * SESSION_MS / 1000)
        finally:
            is_let_go.set()
            await starting
            await consumer.stop()
