"""Reading topics from one offset to another, outside any group."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from consumer.kafka.clients import KafkaClients, start_client, started
from consumer.kafka.startup import StartupError, close_admin
from consumer.kafka.topics_there import topics_there
from consumer.kafka.watermarks import all_watermarks
from state.alert import Alert
from state.counts import Counts
from state.partition_records import Reunited, StateRecords, Unreadable
from state.records import CHECKPOINT_KEY, CorruptState, Position, decode_counts, decode_position
from state.violation import Record

Records = Sequence["ConsumerRecord[bytes, bytes]"]
Offsets = Mapping[TopicPartition, int]
Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""

POLL_MS = 500

OPEN_SECONDS = 2.0
"""How long an open transaction is waited for. The service commits its own at once, so a longer one is another's."""

OPEN_POLL_SECONDS = 0.1

RECORD_SECONDS = 5.0
"""Time limit for reading one record: a person waits for it, and for the rest of the answer."""

READ_OVER = 64
"""If at most so many unwanted records are between two wanted ones, they are read as well: to begin anew takes
longer."""

RECORD_BYTES = 64 * 1024
"""How much a fetch asks for where one record is wanted. A larger record comes whole all the same (KIP-74)."""

LAST_OFFSETS = (8, 512)
"""How many offsets before the end the search for a checkpoint begins, before the whole partition is read: a checkpoint
is the last record of its transaction, but aborted transactions may follow it."""


async def partitions_of(
    admin: AIOKafkaAdminClient, topics: Iterable[str], optional: Iterable[str] = ()
) -> Mapping[str, Sequence[TopicPartition]]:
    """The partitions of each of these ``topics``, and of those ``optional`` topics that exist.

    Raises `StartupError` if one of ``topics`` does not exist.
    """
    there = await topics_there(admin)
    wanted = list(topics)
    if missing := [topic for topic in wanted if not there.get(topic)]:
        raise StartupError(
            f"topic {missing[0]} does not exist, or this user may not see it: "
            "run `clawdstrike-alerting topics create --config …`"
        )
    return {
        topic: sorted(TopicPartition(topic, partition["partition"]) for partition in there[topic])
        for topic in (*wanted, *(topic for topic in optional if there.get(topic)))
    }


async def bounds(reader: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> tuple[Offsets, Offsets]:
    """The first offset of each partition, and the end of what is committed there. Call this before `read`."""
    reader.assign(partitions)
    for partition in partitions:
        reader.seek(partition, 0)  # a position that is set is never looked up
    reader.pause(*partitions)
    return await reader.beginning_offsets(partitions), await reader.end_offsets(partitions)


async def read(reader: AIOKafkaConsumer, begins: Offsets, ends: Offsets) -> AsyncGenerator[Records, None]:
    """The committed records between these offsets. Yields some records of one partition at a time, in their order."""
    for partition, begin in begins.items():
        reader.seek(partition, begin)
    left = {partition for partition, begin in begins.items() if begin < ends[partition]}
    reader.resume(*left)
    while left:
        for partition, records in (await reader.getmany(*left, timeout_ms=POLL_MS)).items():
            if wanted := [record for record in records if record.offset < ends[partition]]:
                yield wanted
        # The position passes over transaction markers and aborted records; the offset of the last record does not.
        for partition in sorted(left):
            if await reader.position(partition) >= ends[partition]:
                left.discard(partition)
                reader.pause(partition)


async def read_record(clients: KafkaClients, topic: str, partition: int, offset: int) -> Record | None:
    """The committed record at this place; None if there is none, or if the topic does not exist any more.

    Raises `KafkaError` or `OSError` if Kafka does not answer as it should, and `TimeoutError` after `RECORD_SECONDS`.
    """
    async with (
        asyncio.timeout(RECORD_SECONDS),
        aclosing(read_records(clients, [(topic, partition, offset)])) as records,
    ):
        async for record in records:
            return record
    return None


async def read_records(clients: KafkaClients, places: Collection[Place]) -> AsyncGenerator[Record, None]:
    """The committed records at these places, in no order; none of those that are not there (any more).

    Raises `KafkaError` or `OSError` if Kafka does not answer as it should. The caller limits the time.
    """
    there = await _partitions_there(clients, {topic for topic, _, _ in places})
    wanted: dict[TopicPartition, set[int]] = {}
    for topic, partition, offset in places:
        if TopicPartition(topic, partition) in there:
            wanted.setdefault(TopicPartition(topic, partition), set()).add(offset)
    if not wanted:
        return
    async with started(clients.reader(fetch_bytes=RECORD_BYTES)) as reader:
        begins, ends = await bounds(reader, list(wanted))
        for one, offsets in wanted.items():
            inside = sorted(offset for offset in offsets if begins[one] <= offset < ends[one])
            for first, last in _ranges(inside):
                async for records in read(reader, {one: first}, {one: last + 1}):
                    for found in records:
                        if found.offset in offsets:
                            yield Record(
                                one.topic, one.partition, found.offset, found.timestamp, found.key, found.value,
                                tuple(found.headers),
                            )  # fmt: skip


def _ranges(offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """From where to where these offsets, in their order, are read in one go: between two there are few others."""
    first = last = None
    for offset in offsets:
        if first is None or last is None:
            first = offset
        elif offset - last > READ_OVER:
            yield first, last
            first = offset
        last = offset
    if first is not None and last is not None:
        yield first, last


async def _partitions_there(clients: KafkaClients, topics: Collection[str]) -> Collection[TopicPartition]:
    admin = clients.admin()
    try:
        await start_client(admin.start())
        there = await topics_there(admin)
        return {TopicPartition(topic, one["partition"]) for topic in topics for one in there.get(topic, ())}
    finally:
        await close_admin(admin)


async def hidden_ends(reader: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> list[str]:
    """A sentence for each partition whose end an open transaction hides. Raises `KafkaError` if Kafka does not answer
    as it should.

    In the other partitions, a ``read_committed`` reader is from now on shown all that was there at the call.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + OPEN_SECONDS
    wanted = found = await all_watermarks(reader, partitions)
    while any(found[one].stable < wanted[one].high for one in partitions) and loop.time() < deadline:
        await asyncio.sleep(OPEN_POLL_SECONDS)
        found = await all_watermarks(reader, partitions)
    return [
        f"topic {one.topic}, partition {one.partition}: another producer's transaction is open at offset "
        f"{found[one].stable}, and what has changed since is not shown"
        for one in partitions
        if found[one].stable < wanted[one].high
    ]


async def last_checkpoints(reader: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> list[Position]:
    """The last checkpoint of each of these partitions, as far as there is one that can be read.

    (A checkpoint that cannot be read stops its task, and that task reports it.)
    """
    found = []
    for value in (await last_checkpoint_values(reader, partitions)).values():
        try:
            found += [decode_position(value)] if value is not None else []
        except CorruptState:
            continue
    return found


async def decided_positions(
    clients: KafkaClients, state_topic: str, input_topic: str, partitions: Collection[int]
) -> Mapping[int, int]:
    """The offset up to which each of these input partitions is decided, by its last checkpoint. Raises `KafkaError` if
    Kafka does not answer as it should."""
    wanted = [TopicPartition(state_topic, partition) for partition in partitions]
    async with started(clients.reader()) as reader:
        found = await last_checkpoints(reader, wanted)
    return {position.partition: position.offset for position in found if position.topic == input_topic}


async def last_checkpoint_values(
    reader: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
) -> Mapping[TopicPartition, bytes | None]:
    """The value of the last checkpoint of each of these partitions; None without one."""
    checkpoints: dict[TopicPartition, bytes | None] = {}
    for back in (*LAST_OFFSETS, None):
        if not (missing := [one for one in partitions if one not in checkpoints]):
            break
        begins, ends = await bounds(reader, missing)
        nearer = {one: begin if back is None else max(begin, ends[one] - back) for one, begin in begins.items()}
        async for records in read(reader, nearer, ends):
            for record in records:
                if record.key == CHECKPOINT_KEY:
                    checkpoints[TopicPartition(record.topic, record.partition)] = record.value
        checkpoints.update((one, None) for one in missing if nearer[one] == begins[one] and one not in checkpoints)
    return checkpoints


async def read_alerts(
    clients: KafkaClients, partitions: Sequence[TopicPartition]
) -> tuple[list[tuple[int, Alert]], list[str]]:
    """All alerts of a state topic, each with its partition; and a sentence for each record that cannot be read and for
    each partition whose end is hidden.

    A dedup key can be in several partitions (its records moved when topics grew, or have other keys than
    ``kafka.event_key`` says): these are several alerts.
    """
    states = {partition.partition: StateRecords() for partition in partitions}
    reader = clients.reader()
    await reader.start()
    try:
        begins, _ = await bounds(reader, partitions)
        wrong = await hidden_ends(reader, partitions)
        _, ends = await bounds(reader, partitions)
        async for records in read(reader, begins, ends):
            for record in records:
                states[record.partition].take(record)
    finally:
        await reader.stop()
    alerts: list[tuple[int, Alert]] = []
    for partition, state in sorted(states.items()):
        found, unreadable = alerts_of(state, f"topic {partitions[0].topic}, partition {partition}")
        alerts += [(partition, alert) for alert in found]
        wrong += unreadable
    return alerts, wrong


def alerts_of(state: StateRecords, name: str) -> tuple[list[Alert], list[str]]:
    """The alerts of one state partition, and a sentence for each of its records that cannot be read."""
    alerts: list[Alert] = []
    wrong: list[str] = []
    counts: Mapping[str, Counts] = {}
    if (checkpoint := state.take_checkpoint()) is not None:
        try:
            counts = decode_counts(checkpoint[1])
        except CorruptState as error:
            wrong.append(f"{name}, offset {checkpoint[0]}: {error}")
    for found in state.found(counts):
        if isinstance(found, Unreadable):
            wrong.append(f"{name}, offset {found.offset}: {found.reason}")
            if found.beside is not None:
                alerts.append(found.beside)
        else:
            alerts.append(found.alert if isinstance(found, Reunited) else found)
    return alerts, wrong
