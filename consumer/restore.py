"""Reading a task's state back (design section 6.2)."""

from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from structlog.typing import FilteringBoundLogger

from consumer.kafka import KafkaClients, started
from consumer.settled import settled_end
from state.alert import Alert
from state.records import CHECKPOINT_KEY, Position, decode_alert, decode_position

TELL_RECORDS = 100_000
"""How many records are read between two lines about the progress."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What the last checkpoint held: the alerts, and the position (None: there has been no checkpoint)."""

    alerts: list[Alert]
    position: Position | None


async def restore(clients: KafkaClients, topic: str, partition: int, log: FilteringBoundLogger) -> Restored:
    """Read a state partition from its beginning to its end.

    To be called after the task's producer was initialised: no transaction of an owner is open then, and the end is the
    real one. Raises `CorruptState`, what `settled_end` and what the consumer raises.
    """
    async with started(clients.reader()) as reader:
        values = await _read(clients, reader, TopicPartition(topic, partition), log)
    position = values.pop(CHECKPOINT_KEY, None)
    return Restored(
        [decode_alert(key, value) for key, value in values.items()],
        decode_position(position) if position is not None else None,
    )


async def _read(
    clients: KafkaClients, reader: AIOKafkaConsumer, partition: TopicPartition, log: FilteringBoundLogger
) -> dict[bytes, bytes]:
    """The last value of each key; only these are ever decoded."""
    reader.assign([partition])
    end = await settled_end(clients, reader, partition, log)
    beginning = (await reader.beginning_offsets([partition]))[partition]
    reader.seek(partition, beginning)
    values: dict[bytes, bytes] = {}
    told = position = beginning
    # The position passes over transaction markers and aborted records; the offset of the last record does not.
    while (position := await reader.position(partition)) < end:
        for record in (await reader.getmany(partition, timeout_ms=500)).get(partition, ()):
            if record.value is None:
                values.pop(record.key, None)
            else:
                values[record.key] = record.value
        if position - told >= TELL_RECORDS:
            told = position
            log.info("partition_restoring", done=position - beginning, of=end - beginning)
    return values
