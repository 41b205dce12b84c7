"""Reading a task's state back (design section 6.2)."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from structlog.typing import FilteringBoundLogger

from consumer.kafka import KafkaClients, started
from consumer.settled import HiddenState, settled_end
from state.alert import Alert
from state.records import CHECKPOINT_KEY, Position, decode_alert, decode_position

TELL_RECORDS = 100_000
"""How many records are read between two lines about the progress."""

SILENT_SECONDS = 30.0
"""A state partition that gives nothing for so long does not answer. Its task gives up its place among those that are
restored, and tries again later."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What the last checkpoint held: the alerts, and the position (None: there has been no checkpoint).

    ``written_at`` is when that was written, in seconds since the epoch by the clock of its owner; None if nothing was.
    """

    alerts: Iterable[Alert]
    position: Position | None
    written_at: float | None = None


async def restore(clients: KafkaClients, topic: str, partition: int, log: FilteringBoundLogger) -> Restored:
    """Read a state partition from its beginning to its end.

    To be called after the task's producer was initialised: no transaction of an owner is open then, and the end is the
    real one. Raises `CorruptState`, TimeoutError if the partition does not answer or its end is hidden, and what the
    consumer raises.
    """
    async with started(clients.reader()) as reader:
        values, written_at = await _read(clients, reader, TopicPartition(topic, partition), log)
    position = values.pop(CHECKPOINT_KEY, None)
    return Restored(
        [decode_alert(key, value) for key, value in values.items()],
        decode_position(position) if position is not None else None,
        written_at,
    )


async def _read(
    clients: KafkaClients, reader: AIOKafkaConsumer, partition: TopicPartition, log: FilteringBoundLogger
) -> tuple[dict[bytes, bytes], float | None]:
    """The last value of each key, and when the last checkpoint was written; only these values are ever decoded."""
    reader.assign([partition])
    try:
        async with asyncio.timeout(SILENT_SECONDS):
            end = await settled_end(clients, reader, partition, log)
            beginning = (await reader.beginning_offsets([partition]))[partition]
    except HiddenState:
        raise
    except TimeoutError:
        raise _silent(partition, "its bounds are unknown") from None
    reader.seek(partition, beginning)
    values: dict[bytes, bytes] = {}
    written_at = None
    told = position = furthest = beginning
    clock = asyncio.get_running_loop().time
    heard_at = clock()
    # The position passes over transaction markers and aborted records; the offset of the last record does not.
    while (position := await reader.position(partition)) < end:
        for record in (await reader.getmany(partition, timeout_ms=500)).get(partition, ()):
            if record.value is None:
                values.pop(record.key, None)
            else:
                values[record.key] = record.value
            if record.key == CHECKPOINT_KEY:
                written_at = record.timestamp / 1000
        if position > furthest:
            furthest, heard_at = position, clock()
        elif clock() - heard_at > SILENT_SECONDS:
            raise _silent(partition, f"it is read up to {position} of {end}")
        if position - told >= TELL_RECORDS:
            told = position
            log.info("partition_restoring", done=position - beginning, of=end - beginning)
    return values, written_at


def _silent(partition: TopicPartition, where: str) -> TimeoutError:
    name = f"{partition.topic}-{partition.partition}"
    return TimeoutError(f"{name} has given nothing for {SILENT_SECONDS:g} s: {where}")
