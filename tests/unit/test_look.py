"""Looking at single records: anchors that fit or do not, with markers, retention and batches that cannot be read."""

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from consumer.input import look
from consumer.input.beginning import Fit, Look
from consumer.input.look import PartitionLook
from consumer.kafka.unreadable import UnreadableRecords
from consumer.kafka.watermarks import Watermarks
from state.anchors import Anchor, anchor_of
from state.violation import Record
from tests.support.loop import VirtualLoop

TP = TopicPartition("events", 0)


def record(offset: int, value: bytes = b"v") -> Record:
    return Record("events", 0, offset, 1_700_000_000_000, b"k", value)


def anchor(offset: int, value: bytes = b"v") -> Anchor:
    return anchor_of(record(offset, value))


class Reader:
    """A reader of one partition: records by offset, what is missing is a marker, None cannot be read."""

    def __init__(self, records: Mapping[int, Record | None], end: int, first: int = 0) -> None:
        self.records = records
        self.ends = [end]
        self.first = first
        self.at = 0
        self.is_paused = True
        self.fetches = 0

    async def watermarks(self, reader: object, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Any]:
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        return {TP: Watermarks(end, end)}

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {TP: self.first}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.at = offset

    def pause(self, partition: TopicPartition) -> None:
        self.is_paused = True

    def resume(self, partition: TopicPartition) -> None:
        self.is_paused = False

    async def position(self, partition: TopicPartition) -> int:
        return self.at

    async def getmany(
        self, partition: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Record]]:
        assert not self.is_paused
        assert max_records == 1
        self.fetches += 1
        while self.at < self.ends[-1] and self.at not in self.records:
            self.at += 1
        if self.at >= self.ends[-1]:
            return {}
        found = self.records[self.at]
        if found is None:
            raise UnreadableRecords(TP, self.at, "Invalid CRC")
        self.at += 1
        return {TP: [found]}


def looked(reader: Reader, position: int, *anchors: Anchor) -> Look:
    return VirtualLoop().complete(_look(reader).look(position, anchors), 30)


def _look(reader: Reader) -> PartitionLook:
    return PartitionLook(SimpleNamespace(watermarks=reader.watermarks), reader, TP)  # type: ignore[arg-type]


def test_what_there_is_at_each_anchor() -> None:
    records = {2: record(2), 3: None, 4: record(4, b"other"), 6: record(6)}
    reader = Reader(records, end=8, first=2)
    found = looked(reader, 7, anchor(6), anchor(5), anchor(4), anchor(3), anchor(2), anchor(1))
    assert found.fits == [Fit.FITS, Fit.ABSENT, Fit.OTHER, Fit.UNREADABLE, Fit.FITS, Fit.REMOVED]
    assert (found.beginning, found.end) == (2, 8)
    assert reader.is_paused


def test_a_record_with_another_time_is_another_one() -> None:
    reader = Reader({0: record(0)}, end=1)
    later = Anchor(0, 1_700_000_000_001, anchor(0).digest)
    assert looked(reader, 1, later).fits == [Fit.OTHER]


def test_behind_the_end_there_is_no_record() -> None:
    # A record at or above the high watermark is not told even if a fetch has it.
    reader = Reader({0: record(0), 1: record(1)}, end=1)
    assert looked(reader, 2, anchor(1), anchor(0)).fits == [Fit.ABSENT, Fit.FITS]


def test_an_end_that_is_stale_is_asked_for_again() -> None:
    reader = Reader({0: record(0), 1: record(1)}, end=2)
    reader.ends = [1, 1, 2]
    assert looked(reader, 2, anchor(1)).fits == [Fit.FITS]


@pytest.mark.parametrize(
    ("records", "position", "end", "follows"),
    [
        ({0: record(0)}, 1, 1, None),
        ({0: record(0)}, 3, 3, None),  # two markers
        ({0: record(0), 2: record(2)}, 3, 3, 2),
        ({0: record(0), 2: record(2)}, 2, 3, None),  # a marker; the record is not decided yet
        ({0: record(0)}, 3, 1, None),  # the markers are gone
    ],
)
def test_what_follows_upon_the_newest(
    records: Mapping[int, Record], position: int, end: int, follows: int | None
) -> None:
    assert looked(Reader(records, end), position, anchor(0)).follows == follows


def test_without_anchors_there_are_only_bounds() -> None:
    reader = Reader({}, end=5, first=3)
    assert looked(reader, 4) == Look(3, 5, [])
    assert reader.fetches == 0


@pytest.mark.parametrize(
    ("records", "offset", "first", "expected"),
    [
        ({3: record(3), 4: record(4)}, 5, 0, 4),
        ({3: record(3), 5: record(5)}, 5, 0, 3),  # a marker before it
        ({}, 5, 0, None),
        ({3: record(3)}, 5, 4, None),
        ({100: record(100)}, 600, 0, 100),  # 499 markers
        ({10: record(10)}, 600, 0, None),  # too far
        ({3: record(3), 4: None}, 5, 0, None),
    ],
)
def test_the_record_before_an_offset(
    records: Mapping[int, Record], offset: int, first: int, expected: int | None
) -> None:
    kept = {number: one for number, one in records.items() if number >= first}
    found = VirtualLoop().complete(_look(Reader(kept, offset + 1, first)).before(offset), 30)
    assert (None if found is None else found.offset) == expected


def test_a_partition_that_does_not_answer_is_given_up() -> None:
    reader = Reader({}, end=2)  # its end is promised, and nothing comes
    reader.ends = [2]

    async def nothing(
        partition: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Record]]:
        await asyncio.sleep(timeout_ms / 1000)
        return {}

    reader.getmany = nothing  # type: ignore[method-assign]
    with pytest.raises(TimeoutError):
        VirtualLoop().complete(_look(reader).look(2, (anchor(1),)), look.LOOK_SECONDS + 1)
