"""The fixtures that the other tests stand on."""

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError

from tests.support.broker import Broker, KafkaContainer
from tests.support.kafka import admin, committed_records, create_topic, produce
from tests.support.proxy import KafkaProxy


async def test_the_broker_of_the_run_keeps_records_of_all_partitions(broker: Broker) -> None:
    topic = await create_topic(broker.bootstrap_servers, partitions=2)
    await produce(broker.bootstrap_servers, topic, [b"0", b"1"], partition=0)
    assert await produce(broker.bootstrap_servers, topic, [b"2"], partition=1, headers=[("h", b"v")]) == [0]
    records = await committed_records(broker.bootstrap_servers, topic)
    assert [(record.partition, record.value) for record in records] == [(0, b"0"), (0, b"1"), (1, b"2")]
    assert list(records[-1].headers) == [("h", b"v")]


@pytest.mark.real_kafka("the embedded broker is not killed by tests")
async def test_a_killed_kafka_comes_back_at_its_address_with_its_records(own_kafka: KafkaContainer) -> None:
    topic = await create_topic(own_kafka.bootstrap_servers)
    await produce(own_kafka.bootstrap_servers, topic, [b"kept"])
    await asyncio.to_thread(own_kafka.kill)
    await asyncio.to_thread(own_kafka.start)
    assert [record.value for record in await committed_records(own_kafka.bootstrap_servers, topic)] == [b"kept"]


@pytest.mark.real_kafka("only a listener of its own can advertise the proxy")
async def test_a_client_behind_the_proxy_is_cut_off_and_comes_back(broker: Broker, proxy: KafkaProxy) -> None:
    topic = await create_topic(broker.kafka.proxied_servers)
    proxy.cut()
    with pytest.raises(KafkaConnectionError):
        async with admin(broker.kafka.proxied_servers):
            pass
    proxy.restore()
    proxy.delay_seconds = 0.01
    assert await produce(broker.kafka.proxied_servers, topic, [b"."]) == [0]
