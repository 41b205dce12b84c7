"""Reads events back from where they stand, some at a time, for alerts that keep only the place of an event."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass, field
from math import inf
from typing import Final

from aiokafka.errors import KafkaError

from consumer.kafka.reading import Place
from providers.errors import text_of
from state.violation import Record

ReadRecords = Callable[[Collection[Place]], AsyncGenerator[Record, None]]
"""Reads the records at these places; none of those that are not there (any more). Raises `KafkaError` or `OSError` if
Kafka does not answer as it should."""

AT_A_TIME: Final = 200
"""How many events are read back before a checkpoint at most, so that none waits for long."""

BYTES_AT_A_TIME: Final = 8 * 1024 * 1024
"""Once so many bytes are read back, no more are read."""

READ_SECONDS: Final = 5.0
"""How many seconds events are read back at most, because a checkpoint waits for that."""


@dataclass(slots=True)
class ReadBack:
    """What was found: the record at each place, None where there is none (any more). A place is missing if there was no
    time for it, or no room; ``error`` says why reading has ended, if it has failed."""

    records: dict[Place, Record | None] = field(default_factory=dict)
    error: str | None = None


async def read_back(read: ReadRecords, places: Collection[Place]) -> ReadBack:
    """Read the records at these places, as far as `READ_SECONDS` and `BYTES_AT_A_TIME` allow."""
    found = ReadBack()
    if not places:
        return found
    size = 0
    try:
        async with asyncio.timeout(READ_SECONDS), aclosing(read(places)) as records:
            async for record in records:
                found.records[record.topic, record.partition, record.offset] = record
                size += record.size
                if size > BYTES_AT_A_TIME:
                    return found
    except (KafkaError, OSError, TimeoutError) as error:
        found.error = text_of(error, "no answer")
        return found
    for place in places:
        found.records.setdefault(place, None)
    return found


class Unread:
    """For how long places were tried that cannot be read: each by itself, as others can be read meanwhile; or as long
    as nothing of its partition could be, so that very many that wait for their turn do not wait one after another."""

    def __init__(self) -> None:
        self._places: dict[Place, float] = {}
        self._partitions: dict[tuple[str, int], float] = {}
        self._tried = -inf

    def given_up(self, found: ReadBack, places: Collection[Place], now: float, seconds: float) -> Collection[Place]:
        """Those of the ``places`` that could not be read for so many ``seconds``, at the last with what was ``found``.
        ``now`` is by the monotonic clock."""
        if found.error is None or now - self._tried >= seconds:  # that was another trouble
            self._places.clear()
            self._partitions.clear()
        self._tried = now
        if found.error is None:
            return ()
        read = {place[:2] for place in found.records}
        unread = {place[:2] for place in places} - read
        self._partitions = {one: self._partitions.get(one, now) for one in unread}
        self._places = {place: self._places.get(place, now) for place in places if place not in found.records}
        return [
            place
            for place, since in self._places.items()
            if now - min(since, self._partitions.get(place[:2], since)) >= seconds
        ]
