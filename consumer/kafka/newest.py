"""When the newest record of a partition was written, by its own timestamp (design section 14)."""

import asyncio
from collections.abc import Sequence

from aiokafka import TopicPartition

from consumer.kafka.clients import KafkaClients, started
from consumer.kafka.reading import read
from state.occurrences import EARLIEST

AHEAD_SECONDS = 3600.0
"""A timestamp that is further ahead of this host's time is ignored."""

LAST_OFFSETS = (8, 512)
"""How many offsets before the end the search begins; the second number if the first finds no time. (The last offsets
can be those of transaction markers.)"""

READ_SECONDS = 20.0
"""Time limit for reading these records."""


async def newest_time(clients: KafkaClients, partition: TopicPartition, now: float) -> float | None:
    """The newest record's time in seconds since the epoch; None if no timestamp near the end can be a time.

    ``now`` is this host's time. Records that are not committed, or were aborted, count as well. Raises `KafkaError` or
    `TimeoutError` if Kafka does not answer as it should.
    """
    async with asyncio.timeout(READ_SECONDS), started(clients.reader(isolation_level="read_uncommitted")) as reader:
        reader.assign([partition])
        end = (await clients.watermarks(reader, [partition]))[partition].high
        beginning: int = (await reader.beginning_offsets([partition]))[partition]
        for offsets in LAST_OFFSETS:
            batches = read(reader, {partition: max(beginning, end - offsets)}, {partition: end})
            timestamps = [record.timestamp async for batch in batches for record in batch]
            if (newest := last_time(timestamps, now)) is not None or end - offsets <= beginning:
                return newest
    return None


def last_time(timestamps: Sequence[int], now: float) -> float | None:
    """The last of these timestamps (milliseconds, in the records' order) that can be a time, in seconds; else None."""
    for timestamp in reversed(timestamps):
        if EARLIEST <= timestamp / 1000 <= now + AHEAD_SECONDS:
            return timestamp / 1000
    return None
