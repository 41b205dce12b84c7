"""Which timestamp of a partition tells its time."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.newest import AHEAD_SECONDS, READ_SECONDS, last_time, newest_time
from consumer.kafka.watermarks import Watermarks
from state.occurrences import EARLIEST
from tests.support.loop import VirtualLoop

NOW = 1_790_000_000.0
TP = TopicPartition("events", 0)


@pytest.mark.parametrize(
    ("timestamps", "time"),
    [
        ([], None),
        ([int(NOW * 1000)], NOW),
        ([1000 * (int(NOW) - 5), 1000 * (int(NOW) - 7)], NOW - 7),  # the last, not the latest
        ([int(NOW * 1000), 0, -1, int(NOW)], NOW),  # none, and seconds where milliseconds are meant
        ([0, -1, int(NOW)], None),
        ([int((NOW - 30) * 1000), int((NOW + AHEAD_SECONDS + 1) * 1000)], NOW - 30),
        ([int((NOW + AHEAD_SECONDS - 1) * 1000)], NOW + AHEAD_SECONDS - 1),
    ],
)
def test_the_last_that_can_be_one(timestamps: list[int], time: float | None) -> None:
    assert last_time(timestamps, NOW) == time


@given(st.lists(st.integers(-(2**63), 2**63 - 1)), st.floats(0, 4e9))
def test_it_is_never_one_that_cannot_be(timestamps: list[int], now: float) -> None:
    found = last_time(timestamps, now)
    assert found is None or EARLIEST <= found <= now + AHEAD_SECONDS


class Reader:
    """A reader of one partition with records of these ``times`` by offset; all other offsets are markers."""

    def __init__(self, times: Mapping[int, float], end: int, first: int) -> None:
        self.times = times
        self.end = end
        self.first = first
        self.begun: list[int] = []
        self.is_closed = False
        self._at = 0
        self._is_paused = False

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        self.is_closed = True

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        assert partitions == [TP]

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._at = offset
        self.begun.append(offset)

    def pause(self, partition: TopicPartition) -> None:
        self._is_paused = True

    def resume(self, *partitions: TopicPartition) -> None:
        self._is_paused = self._is_paused and not partitions

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {TP: self.first}

    async def position(self, partition: TopicPartition) -> int:
        return self._at

    async def getmany(self, partition: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        assert not self._is_paused
        begin, self._at = self._at, self.end
        return {
            TP: [
                SimpleNamespace(offset=offset, timestamp=int(time * 1000))
                for offset, time in sorted(self.times.items())
                if offset >= begin
            ]
        }


@pytest.mark.parametrize(
    ("times", "end", "first", "newest", "begun"),
    [
        ({8: NOW - 5, 9: NOW}, 10, 0, NOW, [2]),
        ({1: NOW - 5}, 100, 0, NOW - 5, [92, 0]),  # markers in between: further back, in the same partition
        ({1: NOW - 5}, 1000, 0, None, [992, 488]),  # too far
        ({}, 0, 0, None, []),
        ({3: 0}, 5, 3, None, [3]),  # no time, and nothing before it
    ],
)
def test_it_is_looked_for_near_the_end_and_then_further_back(
    times: Mapping[int, float], end: int, first: int, newest: float | None, begun: Sequence[int]
) -> None:
    reader, levels = Reader(times, end, first), []

    def made(isolation_level: str) -> Reader:
        levels.append(isolation_level)
        return reader

    async def watermarks(reader: object, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Watermarks]:
        return {TP: Watermarks(0, end)}

    clients: Any = SimpleNamespace(reader=made, watermarks=watermarks)
    assert VirtualLoop().complete(newest_time(clients, TP, NOW), READ_SECONDS) == newest
    assert (levels, reader.is_closed) == (["read_uncommitted"], True)
    assert [offset for offset in reader.begun if offset < end] == begun
