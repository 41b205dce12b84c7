"""Recorded events as they stand in Kafka. It joins no group, and writes nothing."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.kafka.clients import KafkaClients, started
from consumer.kafka.reading import POLL_MS, bounds
from consumer.tuning.order import InOrder, Timed, Times


@dataclass(frozen=True, slots=True)
class Span:
    """What is read of a partition: from one offset up to another."""

    partition: TopicPartition
    begin: int
    end: int


async def _spans(reader: AIOKafkaConsumer, partitions: Sequence[TopicPartition], since: float) -> list[Span]:
    begins, ends = await bounds(reader, partitions)
    found = await reader.offsets_for_times(dict.fromkeys(partitions, max(0, int(since * 1000))))
    return [
        Span(one, ends[one] if (at := found[one]) is None else max(at.offset, begins[one]), ends[one])
        for one in partitions
    ]


async def records_since(
    clients: KafkaClients,
    partitions: Sequence[TopicPartition],
    since: float,
    times: Times,
    read: Callable[[int, int], None] = lambda done, total: None,
) -> AsyncGenerator[Sequence[Timed], None]:
    """The committed records of these partitions since a moment (seconds since the epoch), up to where they end now, in
    the order of their times.

    ``read`` is told how many offsets have been passed, and of how many. Raises `KafkaError` if Kafka does not answer as
    it should.
    """
    async with started(clients.reader()) as reader:
        spans = {one.partition: one for one in await _spans(reader, partitions, since) if one.begin < one.end}
        total = sum(one.end - one.begin for one in spans.values())
        order = InOrder((one.partition for one in spans), times)
        left = {partition: span.begin for partition, span in spans.items()}
        for partition, span in spans.items():
            reader.seek(partition, span.begin)
        reader.resume(*spans)
        done = 0
        while left:
            wanted = [partition for partition in left if order.wants(partition.partition)]
            for partition, records in (await reader.getmany(*wanted, timeout_ms=POLL_MS)).items():
                end = spans[partition].end
                order.take([record for record in records if record.offset < end])
            # The position passes over transaction markers and aborted records; the offset of the last record does not.
            for partition in wanted:
                position, end = await reader.position(partition), spans[partition].end
                done += min(position, end) - left[partition]
                left[partition] = min(position, end)
                if position >= end:
                    del left[partition]
                    order.end(partition.partition)
                    reader.pause(partition)
            read(done, total)
            if ready := order.ready():
                yield ready
