"""When the newest record of a partition was written, by its own timestamp (design section 14)."""

import asyncio
from collections.abc import Sequence

from aiokafka import TopicPartition

from consumer.kafka.clients import KafkaClients, started
from state.alert import EARLIEST

AHEAD_SECONDS = 3600.0
"""A timestamp that is further ahead of this host is none that anything could follow from."""

LAST_OFFSETS = (8, 512)
"""How far from the end a time is looked for. The last offsets can be those of transaction markers."""

READ_SECONDS = 20.0
"""For reading these."""


async def newest_time(clients: KafkaClients, partition: TopicPartition, now: float) -> float | None:
    """In seconds since the epoch; None if no timestamp near the end can be one. ``now`` is this host's time.

    What is not committed, or was aborted, tells the time as well. Raises KafkaError and TimeoutError.
    """
    async with asyncio.timeout(READ_SECONDS), started(clients.reader(isolation_level="read_uncommitted")) as reader:
        reader.assign([partition])
        end = (await clients.watermarks(reader, [partition]))[partition].high
        beginning: int = (await reader.beginning_offsets([partition]))[partition]
        for offsets in LAST_OFFSETS:
            reader.seek(partition, max(beginning, end - offsets))
            timestamps: list[int] = []
            # The position passes over transaction markers; the offset of the last record does not.
            while await reader.position(partition) < end:
                batch = (await reader.getmany(partition, timeout_ms=500)).get(partition, ())
                timestamps += [record.timestamp for record in batch]
            if (newest := last_time(timestamps, now)) is not None or end - offsets <= beginning:
                return newest
    return None


def last_time(timestamps: Sequence[int], now: float) -> float | None:
    """The last of these (milliseconds, in the order of their records) that can be a time, in seconds."""
    for timestamp in reversed(timestamps):
        if EARLIEST <= timestamp / 1000 <= now + AHEAD_SECONDS:
            return timestamp / 1000
    return None
