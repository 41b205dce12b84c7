"""Reading on for those who wait for commands: the state topics, and what is handed over in the feedback topic."""

from collections.abc import AsyncGenerator, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.kafka.clients import KafkaClients, started
from consumer.kafka.reading import POLL_MS, Offsets, bounds
from consumer.kafka.watermarks import all_watermarks
from consumer.status.commanded import Course, Doubt, Watch


async def ends_of(clients: KafkaClients, partitions: Sequence[TopicPartition]) -> Offsets:
    """Where what is committed in these partitions ends now: what is written from now on stands behind it."""
    async with started(clients.reader()) as reader:
        _, ends = await bounds(reader, partitions)
        return ends


async def follow(
    clients: KafkaClients, begins: Offsets, watch: Watch, feedback: Sequence[TopicPartition]
) -> AsyncGenerator[None, None]:
    """Read the state on from there, for ever, and what is handed over in the feedback topic: something has been read
    each time. A partition of which is not said where is read from its beginning. Raises what the clients raise."""
    places = dict(begins)
    while True:
        states = sorted(watch.partitions)
        async with started(clients.reader()) as reader:
            firsts, ends = await bounds(reader, [*states, *feedback])
            for partition, first in firsts.items():
                reader.seek(partition, max(first, places.get(partition, 0)))
            reader.resume(*firsts)
            unsettled = {partition: ends[partition] for partition in states}
            asked: tuple[Offsets, Mapping[Course, Doubt]] | None = None
            while len(watch.partitions) == len(states):
                await _read_on(reader, unsettled, watch, feedback)
                asked = await _doubt(reader, watch, feedback, asked)
                yield
            places = {partition: await reader.position(partition) for partition in firsts}


async def _read_on(
    reader: AIOKafkaConsumer, unsettled: dict[TopicPartition, int], watch: Watch, feedback: Sequence[TopicPartition]
) -> None:
    for partition, records in (await reader.getmany(timeout_ms=POLL_MS)).items():
        take = watch.hear if partition in feedback else watch.take
        for record in records:
            take(record)
    for partition, end in list(unsettled.items()):
        if await reader.position(partition) >= end:
            del unsettled[partition]
            watch.settle(partition)


async def _doubt(
    reader: AIOKafkaConsumer,
    watch: Watch,
    feedback: Sequence[TopicPartition],
    asked: tuple[Offsets, Mapping[Course, Doubt]] | None,
) -> tuple[Offsets, Mapping[Course, Doubt]] | None:
    """Settle the doubts that were ``asked`` about, once the feedback topic is read as far as it reached then.

    An alert leaves its partition and is handed over in one transaction; but each partition is told by itself that it is
    committed, and what is committed in the feedback topic may be shown later. So it counts how far that is written.
    """
    if asked is not None:
        highs, doubts = asked
        if not all([await reader.position(partition) >= high for partition, high in highs.items()]):
            return asked
        watch.were_not_handed_over(doubts)
    if not (doubts := watch.doubts):
        return None
    return {one: found.high for one, found in (await all_watermarks(reader, feedback)).items()}, doubts
