"""The references: bare loops over the same libraries with the same settings, without any of the service's promises."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from consumer.kafka.clients import KafkaClients
from providers.http import create_session
from tests.bench.child import Meter
from tests.bench.load import dedup_key
from tests.bench.service import configuration
from tests.bench.setting import ROUTING_KEY
from tests.support.kafka import running

READ_TIMEOUT_MS = 1000


class _FromTheBeginning(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self.assigned = asyncio.Event()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        pass

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        for partition in assigned:
            self._consumer.seek(partition, 0)
        self.assigned.set()


async def consume(meter: Meter, *, document: dict[str, Any], count: int, suppressed: int) -> None:
    """Parse every event, look whether it was allowed, count those that were not."""
    config = configuration(document)
    consumer = KafkaClients(config.kafka).member(config.kafka.group("pagerduty"))
    listener = _FromTheBeginning(consumer)
    consumer.subscribe([config.kafka.topics.events], listener=listener)
    async with running(consumer):
        await listener.assigned.wait()
        meter.start()
        seen = denied = 0
        while seen < count:
            for records in (await consumer.getmany(timeout_ms=READ_TIMEOUT_MS)).values():
                for record in records:
                    if not orjson.loads(record.value)["decision"]["allowed"]:
                        denied += 1
                seen += len(records)
        meter.stop()
    assert (seen, denied) == (count, suppressed), (seen, denied)


async def read(meter: Meter, *, document: dict[str, Any], count: int, **_: Any) -> None:
    """Read a state topic to its end, parse every record, keep the last of each key."""
    config = configuration(document)
    reader = KafkaClients(config.kafka).reader()
    partition = TopicPartition(config.kafka.state_topic("pagerduty"), 0)
    meter.start()
    async with running(reader):
        reader.assign([partition])
        end = (await reader.end_offsets([partition]))[partition]
        reader.seek(partition, 0)
        found: dict[bytes, Any] = {}
        while await reader.position(partition) < end:
            for record in (await reader.getmany(timeout_ms=READ_TIMEOUT_MS)).get(partition, ()):
                found[record.key] = orjson.loads(record.value)
    meter.stop()
    assert len(found) == count + 1, len(found)  # and the checkpoint


async def post(meter: Meter, *, endpoint: str, count: int, max_in_flight: int) -> None:
    """Post so many triggers, so many at a time."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            async with session.post(url, data=_trigger(dedup_key(number))) as response:
                await response.read()
                assert response.status == 202, response.status

    url = f"{endpoint}/v2/enqueue"
    async with create_session(max_in_flight) as session:
        meter.start()
        async with asyncio.TaskGroup() as group:
            for _ in range(max_in_flight):
                group.create_task(work())
        meter.stop()


async def forward(meter: Meter, *, document: dict[str, Any], count: int) -> None:
    """Post every event as soon as it is read."""
    config = configuration(document)
    consumer = KafkaClients(config.kafka).member(config.kafka.group("pagerduty"))
    listener = _FromTheBeginning(consumer)
    consumer.subscribe([config.kafka.topics.events], listener=listener)
    url = f"{document['exporters']['alerting']['pagerduty']['api_endpoint']}/v2/enqueue"

    async def tell(value: bytes) -> None:
        event = orjson.loads(value)
        key = f"{event['decision']['guard']}:{event['session']['id']}"
        async with session.post(url, data=_trigger(key)) as response:
            await response.read()
            assert response.status == 202, response.status

    async with running(consumer), create_session(config.delivery.max_in_flight) as session:
        await listener.assigned.wait()
        meter.start()
        async with asyncio.TaskGroup() as group:
            seen = 0
            while seen < count:
                for records in (await consumer.getmany(timeout_ms=READ_TIMEOUT_MS)).values():
                    for record in records:
                        group.create_task(tell(record.value))
                    seen += len(records)
        meter.stop()


def _trigger(key: str) -> bytes:
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    payload = {
        "summary": "[forbidden_path] Access to forbidden path: /etc/shadow",
        "source": "clawdstrike-agent-7",
        "severity": "critical",
        "timestamp": moment,
        "custom_details": {"facts": "x" * 500},
    }
    return orjson.dumps({"routing_key": ROUTING_KEY, "event_action": "trigger", "dedup_key": key, "payload": payload})
