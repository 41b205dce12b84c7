"""Facts about Apache Kafka and aiokafka that no other test shows. No code of the service is in here."""

import asyncio
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError

from tests.support.broker import Broker, kafka_container
from tests.support.kafka import Rebalances, admin, committed_records, create_topic, member, running, unique
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_kafka("these are facts of Apache Kafka, and the embedded broker is another program")

SESSION_MS = 2000
DAY_MS = 86_400_000


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


async def test_a_record_that_is_older_than_the_retention_is_removed_however_late_it_was_written() -> None:
    """So the time of a host that is far behind is no time for a record, unless the broker gives its own."""
    with kafka_container(log_retention_check_interval_ms="1000", log_initial_task_delay_ms="1000") as kafka:
        servers = kafka.bootstrap_servers
        by_producer = await create_topic(servers, configs={"retention.ms": str(30 * DAY_MS)})
        by_broker = await create_topic(
            servers, configs={"retention.ms": str(30 * DAY_MS), "message.timestamp.type": "LogAppendTime"}
        )
        async with running(AIOKafkaProducer(bootstrap_servers=servers)) as producer:
            for topic in (by_broker, by_producer):
                await producer.send_and_wait(topic, b"", timestamp_ms=int(time.time() * 1000) - 365 * DAY_MS)

        async def is_removed() -> bool:
            async with running(AIOKafkaConsumer(bootstrap_servers=servers)) as consumer:
                first = await consumer.beginning_offsets([TopicPartition(by_producer, 0)])
            return bool(first[TopicPartition(by_producer, 0)] == 1)

        await wait_until(is_removed, "the record is removed")
        (kept,) = await committed_records(servers, by_broker)
        assert abs(kept.timestamp / 1000 - time.time()) < 300
