"""Clients that are closed while Kafka does not answer: nothing of them may be left behind."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from consumer.config import Config
from consumer.kafka.clients import KafkaClients, close_producer, started, stop_consumer
from tests.support.broker import Broker
from tests.support.kafka import create_topic, unique
from tests.support.proxy import KafkaProxy

Trouble = Callable[[KafkaProxy], None]

TROUBLE: dict[str, Trouble] = {"stalled": KafkaProxy.stall, "cut off": KafkaProxy.cut}


def of_the_client() -> list[str]:
    """The tasks that the Kafka library has left running in this loop."""
    return [text for task in asyncio.all_tasks() if "site-packages/aiokafka" in (text := repr(task))]


async def before_the_commit(producer: AIOKafkaProducer, topic: str) -> None:
    """Something is sent, and not answered."""
    await producer.send(topic, b"value", partition=0)
    await producer.send(topic, b"value", partition=1)


async def in_the_commit(producer: AIOKafkaProducer, topic: str) -> None:
    """The end of a transaction is asked for, and not answered."""
    await before_the_commit(producer, topic)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(producer.commit_transaction(), 0.3)


@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE)
@pytest.mark.parametrize("use", [before_the_commit, in_the_commit])
@pytest.mark.parametrize("waited", [0.0, 0.5])
async def test_a_producer_that_is_given_up_leaves_no_tasks(
    broker: Broker,
    proxy: KafkaProxy,
    trouble: Trouble,
    use: Callable[[AIOKafkaProducer, str], Awaitable[None]],
    waited: float,
) -> None:
    topic = unique("given-up")
    await create_topic(broker.bootstrap_servers, topic, partitions=2)
    config = Config.model_validate({"kafka": {"bootstrap_servers": broker.kafka.proxied_servers}})
    producer = KafkaClients(config.kafka).transactional(unique("id"))
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(topic, b"one that is answered", partition=0)
    trouble(proxy)
    await use(producer, topic)
    await asyncio.sleep(waited)  # in which the client comes to ask for new metadata
    await close_producer(producer, timeout=0.3)
    assert of_the_client() == []


@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE)
@pytest.mark.parametrize("waited", [0.0, 3.0])
async def test_a_group_member_that_is_given_up_leaves_no_tasks(
    broker: Broker, proxy: KafkaProxy, trouble: Trouble, waited: float
) -> None:
    topic = unique("given-up")
    await create_topic(broker.bootstrap_servers, topic, partitions=2)
    config = Config.model_validate(
        {"kafka": {"bootstrap_servers": broker.kafka.proxied_servers, "session_timeout": "2s"}}
    )
    consumer = KafkaClients(config.kafka).member(unique("group"))
    consumer.subscribe([topic])
    await consumer.start()
    while not consumer.assignment():
        await consumer.getmany(timeout_ms=100)
    trouble(proxy)
    with contextlib.suppress(TimeoutError, KafkaError):
        await asyncio.wait_for(consumer.getmany(timeout_ms=100), waited)
    await asyncio.sleep(waited)  # in which its session ends
    with contextlib.suppress(TimeoutError, KafkaError):
        await stop_consumer(consumer, timeout=0.3)
    assert of_the_client() == []


async def test_a_reader_whose_broker_is_gone_ends_without_ending_who_reads(broker: Broker, proxy: KafkaProxy) -> None:
    """aiokafka waits for tasks that it has cancelled; the cancellation is theirs, not ours."""
    topic = unique("gone")
    await create_topic(broker.bootstrap_servers, topic)
    config = Config.model_validate({"kafka": {"bootstrap_servers": broker.kafka.proxied_servers}})
    for waited in (0.05, 0.1, 0.15, 0.2):  # the client sleeps between two attempts to fetch
        proxy.restore()

        async def read(waited: float = waited) -> str:
            async with started(KafkaClients(config.kafka).reader()) as reader:
                reader.assign([TopicPartition(topic, 0)])
                await reader.seek_to_beginning()
                await reader.getmany(timeout_ms=100)
                proxy.cut()
                await asyncio.sleep(waited)
            return "goes on"

        reading = asyncio.create_task(read())
        await asyncio.wait([reading])
        assert not reading.cancelled()
        assert reading.result() == "goes on"
        assert of_the_client() == []
