"""Reading a task's state back (design sections 6.2 and 17, "Versions")."""

import asyncio
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from aiokafka import AIOKafkaConsumer, TopicPartition
from structlog.typing import FilteringBoundLogger

from consumer.kafka import KafkaClients, started
from consumer.settled import HiddenState, settled_end
from state.alert import Alert
from state.beside import joined
from state.counts import Counts, up_to_date
from state.pieces import Pieces
from state.records import (
    BESIDE,
    CHECKPOINT_KEY,
    CorruptState,
    Position,
    decode_alert,
    decode_counts,
    decode_position,
)

TELL_RECORDS = 100_000
"""How many records are read between two lines about the progress."""

SILENT_SECONDS = 30.0
"""A state partition that gives nothing for so long does not answer. Its task gives up its place among those that are
restored, and tries again later."""

READ_RECORDS = 1000
"""At a time: four partitions that are restored at once give others a turn every 20 ms."""


_OFFSET = struct.Struct(">q")
"""Where a record stands, before its value: beside it, a million whole numbers would take as much as the values."""


class StateRefused(Exception):
    """A task cannot go on from what its state topic holds, whoever tries: topic, partition and reason are named."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record of the state that this release cannot read: it is left as it is.

    ``beside`` is the alert that was written beside it, if its dedup key has had an event since.
    """

    key: bytes
    offset: int
    reason: str
    beside: Alert | None = None


@dataclass(frozen=True, slots=True)
class Reunited:
    """An alert that was written beside a record which can be read now, or is gone: it is one with that."""

    alert: Alert


Found = Alert | Unreadable | Reunited


@dataclass(frozen=True, slots=True)
class Restored:
    """What the last checkpoint held: the alerts, and the position (None: there has been no checkpoint).

    What was found can be gone through once: each is decoded when its turn comes, and its record is forgotten, so that
    there are never all alerts and all records in memory. ``counts`` are those that the checkpoint held of alerts with
    older records; the alerts have them already.
    ``written_at`` is when that was written, in seconds since the epoch by the clock of its owner; None if nothing was.
    """

    found: Iterable[Found]
    position: Position | None
    written_at: float | None = None
    counts: Mapping[str, Counts] = field(default_factory=dict)


async def restore(clients: KafkaClients, topic: str, partition: int, log: FilteringBoundLogger) -> Restored:
    """Read a state partition from its beginning to its end.

    To be called after the task's producer was initialised: no transaction of an owner is open then, and the end is the
    real one. Raises `StateRefused` if the checkpoint cannot be read, TimeoutError if the partition does not answer or
    its end is hidden, and what the consumer raises.
    """
    async with started(clients.reader()) as reader:
        read = await _read(clients, reader, TopicPartition(topic, partition), log)
    checkpoint = read.values.pop(CHECKPOINT_KEY)
    if checkpoint is None:
        return Restored(_decoded(read, {}), None, read.written_at)
    offset, value = _split(checkpoint)
    try:
        position, counts = decode_position(value), decode_counts(value)
    except CorruptState as error:
        raise StateRefused(
            f"topic {topic}, partition {partition}: the checkpoint at offset {offset} cannot be read, so a later "
            f"release has written it, or somebody else: run that release ({error})"
        ) from error
    return Restored(_decoded(read, counts), position, read.written_at, counts)


@dataclass(slots=True)
class _Read:
    """The last record of each key, its offset before its value; ``besides`` are those that stand beside others.

    ``written_at`` is when the last checkpoint was written. Only these values are ever decoded.
    """

    values: Pieces[bytes, bytes] = field(default_factory=Pieces)
    besides: Pieces[bytes, bytes] = field(default_factory=Pieces)
    written_at: float | None = None


def _split(record: bytes) -> tuple[int, bytes]:
    (offset,) = _OFFSET.unpack_from(record)
    return offset, record[_OFFSET.size :]


def _decoded(read: _Read, counts: Mapping[str, Counts]) -> Iterator[Found]:
    besides, are_any = read.besides, len(read.besides) > 0
    for key, record in read.values.taken():
        if are_any and (beside := besides.pop(BESIDE + key)) is not None:
            yield from _together(_decode(key, record, {}), _decode(key, beside, counts))
        else:
            yield _decode(key, record, counts)
    for key, record in besides.taken():
        found = _decode(key.removeprefix(BESIDE), record, counts)
        yield Reunited(found) if isinstance(found, Alert) else found


def _together(own: Alert | Unreadable, beside: Alert | Unreadable) -> Iterator[Found]:
    if isinstance(beside, Unreadable):
        yield own
        yield beside
    elif isinstance(own, Unreadable):
        yield replace(own, beside=beside)
    else:
        yield Reunited(joined(own, beside))


def _decode(key: bytes, record: bytes, counts: Mapping[str, Counts]) -> Alert | Unreadable:
    offset, value = _split(record)
    try:
        alert = decode_alert(key, value)
    except CorruptState as error:
        return Unreadable(key, offset, str(error))
    return up_to_date(alert, counts) if counts else alert


async def _read(
    clients: KafkaClients, reader: AIOKafkaConsumer, partition: TopicPartition, log: FilteringBoundLogger
) -> _Read:
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
    read = _Read()
    told = position = furthest = beginning
    clock = asyncio.get_running_loop().time
    heard_at = clock()
    # The position passes over transaction markers and aborted records; the offset of the last record does not.
    while (position := await reader.position(partition)) < end:
        for record in (await reader.getmany(partition, timeout_ms=500, max_records=READ_RECORDS)).get(partition, ()):
            values = read.besides if record.key and record.key.startswith(BESIDE) else read.values
            if record.value is None:
                values.pop(record.key)
            else:
                values[record.key] = _OFFSET.pack(record.offset) + record.value
            if record.key == CHECKPOINT_KEY:
                read.written_at = record.timestamp / 1000
        if position > furthest:
            furthest, heard_at = position, clock()
        elif clock() - heard_at > SILENT_SECONDS:
            raise _silent(partition, f"it is read up to {position} of {end}")
        if position - told >= TELL_RECORDS:
            told = position
            log.info("partition_restoring", done=position - beginning, of=end - beginning)
        await asyncio.sleep(0)  # what was fetched already is given out without a wait
    return read


def _silent(partition: TopicPartition, where: str) -> TimeoutError:
    name = f"{partition.topic}-{partition.partition}"
    return TimeoutError(f"{name} has given nothing for {SILENT_SECONDS:g} s: {where}")
