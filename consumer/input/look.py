"""Reads single records of a partition: whether anchors fit, which record is before an offset (design section 17).

Everything is read uncommitted, up to the high watermark: an aborted record is a part of its log, too.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import RecordTooLargeError

from consumer.input.beginning import Fit, Look
from consumer.kafka.clients import KafkaClients, started
from consumer.kafka.unreadable import UnreadableRecords
from consumer.kafka.watermarks import end_at_least
from state.anchors import Anchor, Anchors, anchor_of

LOOK_SECONDS = 20.0
"""The longest time for one call, in seconds."""

FETCH_BYTES = 64 * 1024
"""How many bytes are fetched at a time, as only one record is wanted. (A first batch that is larger comes whole:
KIP-74.)"""

BACK_OFFSETS = (8, 512)
"""How far before an offset the last record is looked for. Offsets in between can be those of transaction markers."""


class PartitionLook:
    """Reads single records of one partition. Each call raises KafkaError, and TimeoutError after `LOOK_SECONDS`."""

    def __init__(self, clients: KafkaClients, reader: AIOKafkaConsumer, partition: TopicPartition) -> None:
        self._clients = clients
        self._reader = reader
        self._partition = partition

    async def look(self, position: int, anchors: Anchors) -> Look:
        """How these anchors fit, and whether a record lies between the newest one and ``position``."""
        async with asyncio.timeout(LOOK_SECONDS):
            newest = anchors[0].offset + 1 if anchors else position
            first, end = await self._bounds(newest)
            # From old to new: the client goes on to fetch what follows the last one, which holds up the next fetch.
            fits = [await self._fit(anchor, first, end) for anchor in reversed(anchors)][::-1]
            follows = None
            if fits and fits[0] is Fit.FITS and newest < position:
                record = await self._first(newest, min(position, end))
                follows = record.offset if record is not None else None
            return Look(first, end, fits, follows)

    async def fits(self, anchors: Sequence[Anchor]) -> list[Fit]:
        """How each of these anchors fits."""
        async with asyncio.timeout(LOOK_SECONDS):
            first, end = await self._bounds(max(anchor.offset for anchor in anchors) + 1)
            return [await self._fit(anchor, first, end) for anchor in anchors]

    async def before(self, offset: int) -> Anchor | None:
        """The anchor of the last record before this offset; None if there is no record, or it cannot be read."""
        async with asyncio.timeout(LOOK_SECONDS):
            first, end = await self._bounds(offset)
            for back in BACK_OFFSETS:
                last, begin = None, max(first, offset - back)
                try:
                    while (found := await self._first(begin, min(offset, end))) is not None:
                        last, begin = found, found.offset + 1
                except (UnreadableRecords, RecordTooLargeError):
                    return None
                if last is not None or offset - back <= first:
                    return None if last is None else anchor_of(last)
            return None

    async def _bounds(self, reached: int) -> tuple[int, int]:
        """The first offset of the log, and its high watermark, which is asked for again a few times while it is below
        ``reached``."""

        async def high_watermark() -> int:
            return (await self._clients.watermarks(self._reader, [self._partition]))[self._partition].high

        end = await end_at_least(reached, high_watermark)
        first = (await self._reader.beginning_offsets([self._partition]))[self._partition]
        return first, max(first, end)

    async def _fit(self, anchor: Anchor, first: int, end: int) -> Fit:
        if anchor.offset < first:
            return Fit.REMOVED
        try:
            found = await self._first(anchor.offset, min(anchor.offset + 1, end))
        except (UnreadableRecords, RecordTooLargeError):
            return Fit.UNREADABLE
        if found is None:
            return Fit.ABSENT
        return Fit.FITS if anchor_of(found) == anchor else Fit.OTHER

    async def _first(self, begin: int, end: int) -> "ConsumerRecord[bytes, bytes] | None":
        """The first record at or after ``begin`` and below ``end``; None if there is none."""
        if begin >= end:
            return None
        self._reader.seek(self._partition, begin)
        self._reader.resume(self._partition)
        try:
            # The reader's position moves past transaction markers, which the offset of the last record does not.
            while await self._reader.position(self._partition) < end:
                batch = await self._reader.getmany(self._partition, timeout_ms=500, max_records=1)
                for record in batch.get(self._partition, ()):
                    return record if record.offset < end else None
            return None
        finally:
            self._reader.pause(self._partition)


@asynccontextmanager
async def looking(
    clients: KafkaClients, partitions: Sequence[TopicPartition]
) -> AsyncIterator[Sequence[PartitionLook]]:
    """Looks at these partitions, for the length of the block. Use one at a time: they share a reader."""
    reader = clients.reader(isolation_level="read_uncommitted", fetch_bytes=FETCH_BYTES)
    async with started(reader):
        reader.assign(partitions)
        for partition in partitions:
            reader.seek(partition, 0)  # with a position set, the client does not look one up
        reader.pause(*partitions)
        yield [PartitionLook(clients, reader, partition) for partition in partitions]
