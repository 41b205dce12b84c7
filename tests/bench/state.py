"""State topics as a task writes them: alerts that are open, and the position to go on from."""

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from aiokafka import AIOKafkaProducer

from consumer.kafka.clients import KafkaClients
from consumer.kafka.record_clock import RecordClock
from consumer.tasks.partition.checkpoint import Checkpoint, Sink
from consumer.timing.clock import Clock
from state.alert import Alert, Notified, Owed, Status, source
from state.records import Position
from state.store import Cut
from state.violation import Record, Severity
from tests.bench.load import dedup_key, session_id
from tests.bench.service import configuration
from tests.support.dead_letter_writer import large_dead_letter_writer
from tests.support.events import encode, event
from tests.support.kafka import running

CHECKPOINT_ALERTS = 10_000


async def write_open_alerts(document: dict[str, Any], count: int) -> None:
    """The state of a service that has told its provider about the problems 0 to ``count``, at the input's beginning."""
    await write_alerts(document, open_alerts(count))


async def write_alerts(document: dict[str, Any], alerts: Iterable[Alert], *, partition: int = 0) -> None:
    """The state of a service that knows these alerts, at the input's beginning."""
    config = configuration(document)
    topics = config.kafka.topics
    transactional_id = f"{config.kafka.group('pagerduty')}-{partition}"
    producer: AIOKafkaProducer = KafkaClients(config.kafka).transactional(transactional_id)
    sink = Sink(
        producer,
        config.kafka.state_topic("pagerduty"),
        partition,
        large_dead_letter_writer(topics.dlq),
        RecordClock(Clock.system()),
    )
    left = iter(alerts)
    async with running(producer):
        while changes := tuple((alert.dedup_key, alert) for alert in islice(left, CHECKPOINT_ALERTS)):
            await Checkpoint(Cut(changes), (), Position(topics.events, partition, 0)).commit(sink)


def open_alerts(count: int, *, session: str | None = None) -> Iterator[Alert]:
    """Alerts of which the provider knows, each of a session of its own, or all of this one."""
    now = time.time()
    for number in range(count):
        yield Alert(
            dedup_key=dedup_key(number),
            status=Status.OPEN,
            session_id=session or session_id(number),
            occurrences=3,
            first_seen=now - 1,
            last_seen=now,
            decided=now,
            highest=Severity.CRITICAL,
            route="default",
            last_notified=Notified(Severity.CRITICAL, now, now, number),
            is_at_provider=True,
            source=source("forbidden_path", "acme-corp", "clawdstrike.events", 0),
        )


def owed_alerts(topic: str, numbers: range, guards: Sequence[str]) -> Iterator[Alert]:
    """Alerts that owe their first trigger, by turns of each of these guards."""
    now = time.time()
    for index, number in enumerate(numbers):
        guard = guards[number % len(guards)]
        session = session_id(number)
        value = encode(event(session=session, guard=guard))
        record = Record(topic, 0, index, int(now * 1000), session.encode(), value)
        owed = Owed(record, Severity.CRITICAL, now, index, index, pins_offset=index, guard=guard, tenant="acme-corp")
        yield Alert(f"{guard}:{session}", Status.OPEN, session, 1, now, now, now, Severity.CRITICAL, owed=owed)
