"""Reads the state topics, and hand-overs in the feedback topic, on and on for a command line that waits for
commands."""

from collections.abc import AsyncGenerator, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.kafka.clients import KafkaClients, started
from consumer.kafka.reading import POLL_MS, Offsets, bounds
from consumer.kafka.watermarks import all_watermarks
from consumer.status.commanded import Course, Doubt, Watch


async def ends_of(clients: KafkaClients, partitions: Sequence[TopicPartition]) -> Offsets:
    """The end of what is committed in each of these partitions now: later records are written behind it."""
    async with started(clients.reader()) as reader:
        _, ends = await bounds(reader, partitions)
        return ends


async def follow(
    clients: KafkaClients, begins: Offsets, watch: Watch, feedback: Sequence[TopicPartition]
) -> AsyncGenerator[None, None]:
    """Read the state from ``begins`` on, for ever, and the hand-overs in the feedback topic; yields after each fetch.

    A partition that is not in ``begins`` is read from its beginning. Raises what the clients raise if Kafka does not
    answer as it should.
    """
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
    """Settle the doubts in ``asked``, once the feedback topic is read to the high watermark that it had at that time.

    An alert leaves its partition and is handed over in one transaction. But each partition gets its own commit marker,
    so the feedback topic may show the hand-over later than the state shows that the alert has left. The high watermark
    counts the hand-over even before it is shown.
    """
    if asked is not None:
        highs, doubts = asked
        if not all([await reader.position(partition) >= high for partition, high in highs.items()]):
            return asked
        watch.were_not_handed_over(doubts)
    if not (doubts := watch.doubts):
        return None
    return {one: found.high for one, found in (await all_watermarks(reader, feedback)).items()}, doubts
