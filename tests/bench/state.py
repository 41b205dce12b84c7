"""State topics as a task writes them: alerts that are open, and the position to go on from."""

import time
from collections.abc import Iterator
from typing import Any

from aiokafka import AIOKafkaProducer

from consumer.checkpoint import Checkpoint, Sink
from consumer.kafka import KafkaClients
from state.alert import Alert, Status, Told
from state.records import Position
from state.store import Cut
from state.violation import Severity
from tests.bench.load import dedup_key, session_id
from tests.bench.service import configuration
from tests.support.kafka import running
from tests.support.letterbox import large_letterbox

CHECKPOINT_ALERTS = 10_000


async def write_open_alerts(document: dict[str, Any], count: int) -> None:
    """The state of a service that has told its provider about the problems 0 to ``count``, at the input's beginning."""
    config = configuration(document)
    topics = config.kafka.topics
    producer: AIOKafkaProducer = KafkaClients(config.kafka).transactional(f"{config.kafka.group('pagerduty')}-0")
    sink = Sink(producer, config.kafka.state_topic("pagerduty"), 0, large_letterbox(topics.dlq))
    alerts = list(_open_alerts(count))
    async with running(producer):
        for start in range(0, count, CHECKPOINT_ALERTS):
            changes = tuple((alert.dedup_key, alert) for alert in alerts[start : start + CHECKPOINT_ALERTS])
            await Checkpoint(Cut(changes), (), Position(topics.events, 0, 0)).commit(sink)


def _open_alerts(count: int) -> Iterator[Alert]:
    now = time.time()
    for number in range(count):
        yield Alert(
            dedup_key=dedup_key(number),
            status=Status.OPEN,
            session_id=session_id(number),
            occurrences=3,
            first_seen=now - 1,
            last_seen=now,
            decided=now,
            highest=Severity.CRITICAL,
            route="default",
            told=Told(Severity.CRITICAL, now, now),
            has=True,
        )
