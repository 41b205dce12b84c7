"""A writer of dead letters for tests in which every dead letter fits."""

import structlog

from consumer.dlq.dead_letter_writer import DeadLetterWriter
from consumer.kafka.record_clock import RecordClock
from consumer.timing.clock import Clock
from consumer.timing.turns import Turns


def large_dead_letter_writer(topic: str) -> DeadLetterWriter:
    """The topic takes two megabytes, and nobody tells its limit."""

    async def untold() -> None:
        return None

    clock = Clock.system()
    return DeadLetterWriter(
        topic,
        2 << 20,
        ask_limit=untold,
        record_clock=RecordClock(clock),
        turns=Turns(),
        clock=clock,
        log=structlog.get_logger(),
    )
