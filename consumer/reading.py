"""Reading topics from one offset to another, outside any group."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from consumer.kafka import KafkaClients
from consumer.startup import StartupError
from consumer.watermarks import all_watermarks
from state.alert import Alert
from state.counts import Counts, up_to_date
from state.records import CHECKPOINT_KEY, CorruptState, decode_alert, decode_counts

Records = Sequence["ConsumerRecord[bytes, bytes]"]
Offsets = Mapping[TopicPartition, int]

POLL_MS = 500

OPEN_SECONDS = 2.0
"""A transaction that is open for longer is none of the service's own, which are committed at once."""

OPEN_POLL_SECONDS = 0.1


async def partitions_of(admin: AIOKafkaAdminClient, topics: Iterable[str]) -> Mapping[str, Sequence[TopicPartition]]:
    """The partitions of each of these topics. Raises `StartupError` for one that is not there.

    All topics are listed: a question that names a topic can create it (``auto.create.topics.enable``).
    """
    there = {found["topic"]: found["partitions"] for found in await admin.describe_topics()}
    if missing := [topic for topic in topics if not there.get(topic)]:
        raise StartupError(
            f"topic {missing[0]} does not exist, or this user may not see it: "
            "run `clawdstrike-alerting topics create --config …`"
        )
    return {
        topic: sorted(TopicPartition(topic, partition["partition"]) for partition in there[topic]) for topic in topics
    }


async def bounds(reader: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> tuple[Offsets, Offsets]:
    """Where these partitions begin, and where what is committed ends. To be called before `read`."""
    reader.assign(partitions)
    for partition in partitions:
        reader.seek(partition, 0)  # a position that is set is never looked up
    reader.pause(*partitions)
    return await reader.beginning_offsets(partitions), await reader.end_offsets(partitions)


async def read(reader: AIOKafkaConsumer, begins: Offsets, ends: Offsets) -> AsyncGenerator[Records, None]:
    """The committed records between these offsets, per partition in order, some of one partition at a time."""
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


async def hidden_ends(reader: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> AsyncIterator[str]:
    """Of each partition whose end an open transaction hides, a sentence that says so. Raises KafkaError."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + OPEN_SECONDS
    wanted = found = await all_watermarks(reader, partitions)
    while any(found[one].stable < wanted[one].high for one in partitions) and loop.time() < deadline:
        await asyncio.sleep(OPEN_POLL_SECONDS)
        found = await all_watermarks(reader, partitions)
    for one in partitions:
        if (stable := found[one].stable) < wanted[one].high:
            yield (
                f"topic {one.topic}, partition {one.partition}: another producer's transaction is open at offset "
                f"{stable}, and what has changed since is not shown"
            )


async def read_alerts(clients: KafkaClients, partitions: Sequence[TopicPartition]) -> tuple[list[Alert], list[str]]:
    """All alerts of a state topic; and what is wrong: records that are none, and what cannot be seen."""
    values: dict[bytes, bytes | None] = {}
    checkpoints: dict[int, bytes] = {}
    reader = clients.reader()
    await reader.start()
    try:
        begins, _ = await bounds(reader, partitions)
        hidden = [one async for one in hidden_ends(reader, partitions)]
        _, ends = await bounds(reader, partitions)
        async for records in read(reader, begins, ends):
            for record in records:
                if record.key == CHECKPOINT_KEY:
                    checkpoints[record.partition] = record.value
                else:
                    values[record.key] = record.value
    finally:
        await reader.stop()
    alerts: list[Alert] = []
    wrong = hidden
    counts: dict[str, Counts] = {}
    for checkpoint in checkpoints.values():
        with _noting(wrong):
            counts |= decode_counts(checkpoint)
    for key, value in values.items():
        if value is not None:
            with _noting(wrong):
                alerts.append(up_to_date(decode_alert(key, value), counts))
    return alerts, wrong


@contextmanager
def _noting(wrong: list[str]) -> Iterator[None]:
    try:
        yield
    except CorruptState as error:
        wrong.append(str(error))
