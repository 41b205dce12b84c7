"""Reading a task's state back (design sections 6.2 and 17, "Versions")."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition
from structlog.typing import FilteringBoundLogger

from consumer.kafka.clients import KafkaClients, started
from consumer.kafka.foreign import foreign_group
from consumer.kafka.settled import HiddenState, settled_end
from state.counts import Counts
from state.partition_records import Found, StateRecords
from state.records import CorruptState, Position, decode_counts, decode_position

TELL_RECORDS = 100_000
"""How many records are read between two log lines about the progress."""

SILENT_SECONDS = 30.0
"""Seconds after which a state partition that gives no record counts as not answering. Its task then fails, which frees
its place among the tasks that restore, and is built again later."""

READ_RECORDS = 1000
"""How many records are fetched at a time. With four partitions being restored at once, the event loop is free again
after 20 ms at most."""


class StateRefused(Exception):
    """No task can go on from what the state topic holds. The text names topic, partition and reason."""


def unreadable(checkpoint: str, error: CorruptState) -> StateRefused:
    """The error for a checkpoint that cannot be read; ``checkpoint`` says where it stands."""
    return StateRefused(
        f"{checkpoint} cannot be read, so a later release has written it, or somebody else: run that release ({error})"
    )


def accept(checkpointed: Position | None, group_id: str, topic: str) -> None:
    """Refuse a checkpoint that another group has written: its alerts are not this group's to resolve.

    Raises `StateRefused` if it is of another group.
    """
    if checkpointed is not None and (problem := foreign_group(checkpointed, group_id, topic)) is not None:
        raise StateRefused(problem)


@dataclass(frozen=True, slots=True)
class Restored:
    """What the last checkpoint held: the alerts, and the position (None: there has been no checkpoint).

    ``found`` can be gone through once: each alert is decoded when its turn comes, and its record is freed then, so that
    alerts and records are never all in memory together. ``counts`` are the counters that the checkpoint held of alerts
    with older records; the alerts in ``found`` have them already. ``written_at`` is when the checkpoint was written, in
    seconds since the epoch by the clock of its owner; None if there is none. ``beginning`` and ``end`` are the bounds
    of the state partition.
    """

    found: Iterable[Found]
    position: Position | None
    written_at: float | None = None
    counts: Mapping[str, Counts] = field(default_factory=dict)
    beginning: int = 0
    end: int = 0


async def restore(clients: KafkaClients, topic: str, partition: int, log: FilteringBoundLogger) -> Restored:
    """Read a state partition from its beginning to its end.

    Call it after the task's producer was initialised: then no earlier owner has an open transaction, and the end that
    is found is the real one.

    Raises `StateRefused` if the checkpoint cannot be read, and `TimeoutError` if the partition does not answer, or if
    another producer's open transaction hides its end. Raises `KafkaError` if the consumer does.
    """
    async with started(clients.reader()) as reader:
        records, beginning, end = await _read(clients, reader, TopicPartition(topic, partition), log)
    checkpoint = records.take_checkpoint()
    if checkpoint is None:
        return Restored(records.found({}), None, records.written_at, {}, beginning, end)
    offset, value = checkpoint
    try:
        position, counts = decode_position(value), decode_counts(value)
    except CorruptState as error:
        raise unreadable(f"topic {topic}, partition {partition}: the checkpoint at offset {offset}", error) from error
    return Restored(records.found(counts), position, records.written_at, counts, beginning, end)


async def _read(
    clients: KafkaClients, reader: AIOKafkaConsumer, partition: TopicPartition, log: FilteringBoundLogger
) -> tuple[StateRecords, int, int]:
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
    records = StateRecords()
    told = position = furthest = beginning
    clock = asyncio.get_running_loop().time
    heard_at = clock()
    # The position passes over transaction markers and aborted records; the offset of the last record does not.
    while (position := await reader.position(partition)) < end:
        for record in (await reader.getmany(partition, timeout_ms=500, max_records=READ_RECORDS)).get(partition, ()):
            records.take(record)
        if position > furthest:
            furthest, heard_at = position, clock()
        elif clock() - heard_at > SILENT_SECONDS:
            raise _silent(partition, f"it is read up to {position} of {end}")
        if position - told >= TELL_RECORDS:
            told = position
            log.info("partition_restoring", done=position - beginning, of=end - beginning)
        await asyncio.sleep(0)  # `getmany` does not wait while fetched records are left
    return records, beginning, end


def _silent(partition: TopicPartition, where: str) -> TimeoutError:
    name = f"{partition.topic}-{partition.partition}"
    return TimeoutError(f"{name} has given nothing for {SILENT_SECONDS:g} s: {where}")
