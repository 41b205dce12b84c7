"""How a task finds its place again, and what it says of that."""

from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata
from structlog.testing import CapturingLogger

from consumer.input.beginning import Beginning, Fit, Log, Look
from consumer.input.commit_metadata import BEGINNING_METADATA, COMMIT_METADATA, ORDER_METADATA, START_METADATA
from consumer.input.inputs import inputs_of
from consumer.input.whereabouts import NOTICE_SECONDS, Whereabouts
from consumer.timing.clock import Clock
from state.anchors import Anchor, Anchors, anchor_of
from state.records import Position
from state.violation import Record
from tests.support.loop import VirtualLoop


def record(offset: int, value: bytes = b"old") -> Record:
    return Record("events", 0, offset, 0, None, value)


def anchors(*offsets: int) -> Anchors:
    return tuple(anchor_of(record(offset)) for offset in offsets)


class Input:
    """A partition whose records have these values, from ``first`` on."""

    partition = TopicPartition("events", 0)

    def __init__(self, values: Sequence[bytes], first: int = 0, start: OffsetAndMetadata | None = None) -> None:
        self.values = values
        self.first = first
        self.suspect: Anchor | None = None
        self._start = start
        self.read_before: list[int] = []

    async def start(self, clients: object) -> OffsetAndMetadata:
        assert self._start is not None, "nobody asks for the configured start"
        return self._start

    async def look(self, clients: object, position: int, anchors: Anchors) -> Look:
        return Look(self.first, len(self.values), [self._fit(anchor) for anchor in anchors])

    def _fit(self, anchor: Anchor) -> Fit:
        if anchor.offset < self.first:
            return Fit.REMOVED
        if anchor.offset >= len(self.values):
            return Fit.ABSENT
        there = anchor_of(record(anchor.offset, self.values[anchor.offset]))
        return Fit.FITS if there == anchor else Fit.OTHER

    async def anchor_before(self, clients: object, offset: int) -> Anchor | None:
        self.read_before.append(offset)
        return anchor_of(record(offset - 1, self.values[offset - 1])) if offset > self.first else None


class Setting:
    """One task's whereabouts, and what it has said and counted."""

    def __init__(self, partition_input: Input) -> None:
        self.now = 0.0
        self.logger = CapturingLogger()
        self.counted: list[tuple[Any, ...]] = []
        self.partition_input = partition_input
        self.whereabouts = Whereabouts(
            partition_input,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            _Counting(self.counted),  # type: ignore[arg-type]
            Clock(lambda: self.now, lambda: self.now),
            self.logger,
        )

    def find(
        self, committed: tuple[int, str], checkpoint: Position | None, *, has_had_owners: bool = True
    ) -> Beginning:
        here = inputs_of(TopicPartition("events", 0), checkpoint).here
        finding = self.whereabouts.find(
            OffsetAndMetadata(*committed), here, has_state=checkpoint is not None, has_had_owners=has_had_owners
        )
        return VirtualLoop().complete(finding, 1)

    @property
    def said(self) -> list[tuple[str, str, dict[str, Any]]]:
        return [(call.method_name, call.args[0], call.kwargs) for call in self.logger.calls]


class _Counting:
    def __init__(self, counted: list[tuple[Any, ...]]) -> None:
        self._counted = counted

    def __getattr__(self, name: str) -> Any:
        return lambda *values: self._counted.append((name, *values))


OLD, NEW = b"old", b"new"


def test_the_same_log_goes_on_without_a_word() -> None:
    setting = Setting(Input([OLD] * 12))
    found = setting.find((10, COMMIT_METADATA), Position("events", 0, 10, anchors=anchors(9, 7)))
    assert (found.offset, found.log) == (10, Log.SAME)
    assert setting.said == setting.counted == []
    assert setting.whereabouts.pinned_commit is None
    assert setting.whereabouts.inherited_end == 12
    assert setting.partition_input.read_before == []


def test_a_topic_that_was_created_anew_is_begun_at_its_beginning() -> None:
    """5 events decided, the topic created anew with 8 others."""
    setting = Setting(Input([NEW] * 8))
    found = setting.find((0, BEGINNING_METADATA), Position("events", 0, 5, anchors=anchors(4, 3, 1)))
    assert found == Beginning(0, Log.RECREATED)
    assert setting.said == [("error", "input_recreated", {"position": 5, "begins_at": 0, "records": 8})]
    assert setting.counted == [("input_changed", "recreated")]
    assert setting.whereabouts.newest is None
    assert setting.whereabouts.pinned_commit is None, "its own offset is proved next"
    assert setting.whereabouts.place(0).proof == 0


def test_a_truncated_log_goes_on_behind_the_newest_anchor_that_fits() -> None:
    """12 records decided, the topic comes back with its first 6."""
    setting = Setting(Input([OLD] * 6))
    found = setting.find((12, COMMIT_METADATA), Position("events", 0, 12, anchors=anchors(11, 9, 4, 0), proof=12))
    assert (found.offset, found.log, found.again) == (5, Log.TRUNCATED, 1)
    assert setting.said == [("error", "input_truncated", {"position": 12, "begins_at": 5, "again": 1})]
    assert setting.counted == [("input_changed", "truncated")]
    place = setting.whereabouts.place(5)
    assert [anchor.offset for anchor in place.anchors] == [4, 0]
    assert place.proof == 5
    assert setting.whereabouts.inherited_end == 12, "an earlier owner has decided more than there is now"


def test_a_log_that_went_another_way_tells_what_is_new() -> None:
    """An unclean election behind record 8, then 5 others."""
    setting = Setting(Input([OLD] * 8 + [NEW] * 5))
    found = setting.find((12, COMMIT_METADATA), Position("events", 0, 12, anchors=anchors(11, 9, 7, 3)))
    assert (found.offset, found.log) == (8, Log.TRUNCATED)


def test_a_record_that_was_missing_makes_anchors_behind_it_worthless() -> None:
    """The topic was created anew while it was read, and the checkpoint has anchors of the new one only."""
    setting = Setting(Input([NEW] * 8))
    setting.partition_input.suspect = anchor_of(record(4))
    new = tuple(anchor_of(record(offset, NEW)) for offset in (7, 6))
    found = setting.find((5, COMMIT_METADATA), Position("events", 0, 8, anchors=(*new, *anchors(2))))
    assert found == Beginning(0, Log.RECREATED)


def test_what_retention_has_taken_is_lost_loudly() -> None:
    setting = Setting(Input([OLD] * 10, first=7))
    found = setting.find((3, COMMIT_METADATA), Position("events", 0, 3, anchors=anchors(2, 1)))
    assert (found.offset, found.log, found.lost) == (7, Log.SAME, 4)
    assert setting.said == [("error", "position_lost", {"position": 3, "beginning": 7, "end": 10, "lost": 4})]
    assert setting.counted == [("position_lost",)]


def test_a_state_without_anchors_gets_its_first_one() -> None:
    setting = Setting(Input([OLD] * 12))
    assert setting.find((10, COMMIT_METADATA), Position("events", 0, 10)).offset == 10
    assert setting.whereabouts.newest == anchors(9)[0]
    assert setting.said == []


def test_a_first_start_stays_until_there_is_a_checkpoint() -> None:
    setting = Setting(Input([OLD] * 12))
    assert setting.find((10, START_METADATA), None, has_had_owners=False).offset == 10
    assert setting.whereabouts.pinned_commit == OffsetAndMetadata(10, START_METADATA)
    assert setting.whereabouts.inherited_end == 0
    assert setting.whereabouts.newest == anchors(9)[0]
    assert setting.said == []


def test_the_offset_of_another_is_ignored_where_it_would_skip() -> None:
    """A reader with our group's id has read to the end, beyond 6 records that nobody has decided."""
    setting = Setting(Input([OLD] * 16))
    found = setting.find((16, ""), Position("events", 0, 10, anchors=anchors(9), proof=10))
    assert found.offset == 10
    ((level, event, said),) = setting.said
    assert (level, event) == ("error", "offset_ignored")
    assert (said["offset"], said["would_skip"], said["would_repeat"]) == (16, 6, 0)
    assert "offsets rewind|skip" in said["hint"]
    assert setting.counted == [("offset_ignored", "skip")]
    assert setting.whereabouts.pinned_commit is None


def test_without_a_checkpoint_too() -> None:
    start = OffsetAndMetadata(0, BEGINNING_METADATA)
    setting = Setting(Input([OLD] * 16, start=start))
    assert setting.find((16, ""), None).offset == 0
    assert setting.counted == [("offset_ignored", "skip")]
    assert setting.whereabouts.pinned_commit == start, "it is proved before anything is decided"


def test_an_operator_who_goes_back_is_obeyed() -> None:
    """As before."""
    setting = Setting(Input([OLD] * 12))
    found = setting.find((4, ""), Position("events", 0, 10, anchors=anchors(9, 8, 6, 2), proof=10))
    assert found.offset == 4
    assert setting.said == [("warning", "position_set_by_operator", {"position": 4})]
    assert setting.whereabouts.pinned_commit == OffsetAndMetadata(4, "")
    place = setting.whereabouts.place(4)
    assert [anchor.offset for anchor in place.anchors] == [3, 2], "those at and above the position are of no use"
    assert (place.proof, place.obeyed) == (4, 4)
    setting.whereabouts.proved(OffsetAndMetadata(4, ""))
    assert setting.whereabouts.place(4).obeyed == 4
    setting.whereabouts.proved(OffsetAndMetadata(5, COMMIT_METADATA))
    assert (setting.whereabouts.place(5).proof, setting.whereabouts.place(5).obeyed) == (5, None)


def test_a_skip_that_was_ordered_takes_the_record_before_its_target() -> None:
    setting = Setting(Input([OLD] * 16))
    found = setting.find((16, ORDER_METADATA), Position("events", 0, 10, anchors=anchors(9, 8), proof=10))
    assert found.offset == 16
    assert [anchor.offset for anchor in setting.whereabouts.place(16).anchors] == [15, 9, 8]
    assert setting.whereabouts.place(16).proof == 10


def test_an_order_beyond_the_log_goes_as_far_as_that_reaches() -> None:
    setting = Setting(Input([OLD] * 16, first=3))
    assert setting.find((1, ORDER_METADATA), Position("events", 0, 10, anchors=anchors(9), proof=10)).offset == 3
    assert ("position_lost",) in setting.counted
    place = setting.whereabouts.place(3)
    assert (place.proof, place.obeyed) == (3, 1)


def test_a_state_that_is_gone_is_told_for_ten_minutes() -> None:
    setting = Setting(Input([OLD] * 12))
    assert setting.find((7, COMMIT_METADATA), None).offset == 7
    assert [(level, event) for level, event, _ in setting.said] == [("error", "state_gone")]
    assert setting.counted == [("state_lost", "gone")]
    assert setting.whereabouts.pinned_commit is None
    setting.now = 60.0
    assert setting.whereabouts.notice == (
        "its state was found to be gone 60 s ago: what was open is not known any more"
    )
    setting.now = NOTICE_SECONDS
    assert setting.whereabouts.notice is None


def test_a_state_that_went_back_goes_on_at_its_checkpoint() -> None:
    setting = Setting(Input([OLD] * 12))
    assert setting.find((11, COMMIT_METADATA), Position("events", 0, 8, anchors=anchors(7))).offset == 8
    assert setting.said == [("error", "state_went_back", {"by": 3})]
    assert setting.counted == [("state_lost", "went_back")]
    assert setting.whereabouts.notice is None


def test_a_checkpoint_of_another_topic_says_nothing_of_this_log() -> None:
    setting = Setting(Input([OLD] * 12))
    other = Position("keyed", 0, 400, anchors=anchors(399), proof=400)
    assert setting.find((7, COMMIT_METADATA), other).offset == 7
    assert setting.said == []


@pytest.mark.parametrize("position", [10, 11, 12, 13])
def test_a_checkpoint_in_the_middle_of_a_slice_has_the_anchors_of_its_position(position: int) -> None:
    setting = Setting(Input([OLD] * 20))
    setting.find((10, COMMIT_METADATA), Position("events", 0, 10, anchors=anchors(9)))
    in_hand = [record(offset) for offset in (10, 11, 12)]
    setting.whereabouts.in_hand(in_hand)
    place = setting.whereabouts.place(position)
    assert place.anchors[0].offset == position - 1
    assert all(anchor.offset < position for anchor in place.anchors)
    setting.whereabouts.through(position)
    assert setting.whereabouts.place(position) == place


def test_the_last_checkpoint_speaks_of_the_commit_behind_it() -> None:
    setting = Setting(Input([OLD] * 12))
    setting.find((4, ""), Position("events", 0, 10, anchors=anchors(9), proof=10))
    place = setting.whereabouts.place(8, {0: 3}, last_proof=6)
    assert (place.proof, place.obeyed, place.feedback) == (6, None, {0: 3})
