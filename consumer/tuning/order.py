"""The records of several partitions in the order of their times; those of one partition stay as they are."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from math import inf
from typing import Final

from consumer.events.event import FetchedRecord
from state.occurrences import EARLIEST

Timed = tuple[float, int, FetchedRecord]
"""When it was decided: the time of the record, in seconds since the epoch, that never runs back in its partition; the
partition; the record."""


class Times:
    """When each record would have been decided by a service that was not behind: when it was written.

    A timestamp that cannot be one (before 2015, or later than ``latest``) says nothing: then it is the time of the one
    before, in its partition.
    """

    def __init__(self, latest: float) -> None:
        self._latest = latest
        self._last: dict[int, float] = {}

    def of(self, record: FetchedRecord) -> float:
        """The time of the next record of its partition."""
        partition, at = record.partition, record.timestamp / 1000
        last = self._last.get(partition, EARLIEST)
        if not last < at <= self._latest:
            return last
        self._last[partition] = at
        return at


ENOUGH: Final = 5_000
"""Records of one partition that wait for those of others; then it is read no further."""


class InOrder:
    """Takes the records of partitions as they come, and gives them in the order of their times."""

    def __init__(self, partitions: Iterable[int], times: Times) -> None:
        self._times = times
        self._waiting: dict[int, list[Timed]] = {partition: [] for partition in partitions}
        self._ended: set[int] = set()

    def take(self, records: Iterable[FetchedRecord]) -> None:
        """The next records of one partition."""
        of = self._times.of
        for record in records:
            self._waiting[record.partition].append((of(record), record.partition, record))

    def end(self, partition: int) -> None:
        """Of this partition there are no more."""
        self._ended.add(partition)

    def wants(self, partition: int) -> bool:
        """Whether more of this partition may be taken before there is more of others."""
        return partition not in self._ended and len(self._waiting[partition]) < ENOUGH

    def ready(self) -> Sequence[Timed]:
        """What no record that may still come is earlier than."""
        waiting = self._waiting
        upper = inf
        for partition, records in waiting.items():
            if partition not in self._ended:
                if not records:
                    return ()
                upper = min(upper, records[-1][0])
        found: list[Timed] = []
        for partition, records in waiting.items():
            count = bisect_right(records, upper, key=_time)
            found += records[:count]
            waiting[partition] = records[count:]
        found.sort(key=_by_time)
        return found


def _time(one: Timed) -> float:
    return one[0]


def _by_time(one: Timed) -> tuple[float, int]:
    return one[0], one[1]
