"""Anchors: which records of the input are remembered, and how little that is."""

import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.anchors import MAX_ANCHORS, Anchor, Anchors, anchor_of, below, digest, thinned, with_decided
from state.records import Position, encode_position
from state.violation import Record


def record(offset: int, value: bytes = b"v") -> Record:
    return Record("events", 0, offset, 1_700_000_000_000 + offset, b"k", value)


def decided(sizes: list[int], gap: int = 1) -> Anchors:
    """The anchors after slices of these sizes, whose records are so far apart."""
    anchors: Anchors = ()
    offset = 0
    for size in sizes:
        anchors = with_decided(anchors, [record(offset + gap * number) for number in range(size)])
        offset += gap * size
    return anchors


def offsets(anchors: Anchors) -> list[int]:
    return [anchor.offset for anchor in anchors]


def test_of_a_slice_those_at_doubling_distances_from_its_end_are_candidates() -> None:
    # Of 99, 98, 97, 95, 91, 83, 67, 35 two go: 99 - 97 <= 2 * (99 - 99 + 1), and 97 - 91 <= 2 * (99 - 97 + 1).
    assert offsets(decided([100])) == [99, 97, 91, 83, 67, 35]


def test_one_by_one_they_come_to_lie_as_close_as_in_slices() -> None:
    assert offsets(decided([1] * 10)) == [9, 8, 6, 0]


@pytest.mark.parametrize("value", [None, b"", b"\x00", b"v"])
@pytest.mark.parametrize("key", [None, b"", b"\x00", b"v"])
def test_no_key_and_value_pass_for_others(key: bytes | None, value: bytes | None) -> None:
    others = [
        digest(other_key, other_value)
        for other_key in (None, b"", b"\x00", b"v")
        for other_value in (None, b"", b"\x00", b"v")
        if (other_key, other_value) != (key, value)
    ]
    assert digest(key, value) not in others
    assert len(digest(key, value)) == 8


def test_a_digest_is_the_same_in_every_process() -> None:
    program = "from state.anchors import digest; print(digest(b'k', b'v').hex())"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == digest(b"k", b"v").hex() == "fa8539ad3b6ae4bb"


def test_key_and_value_cannot_be_shifted_against_each_other() -> None:
    assert digest(b"ab", b"c") != digest(b"a", b"bc")


SLICES = st.lists(st.integers(1, 120), max_size=25)
without_deadline = settings(deadline=None)  # hundreds of records are made for one example


@without_deadline
@given(SLICES, st.integers(1, 3))
def test_the_newest_and_the_oldest_candidate_stay_and_few_are_kept(sizes: list[int], gap: int) -> None:
    anchors = decided(sizes, gap)
    if sizes:
        assert anchors[0].offset == gap * (sum(sizes) - 1)
        assert anchors[-1].offset <= gap * sizes[0] // 2
    assert list(offsets(anchors)) == sorted(set(offsets(anchors)), reverse=True)
    assert len(anchors) <= MAX_ANCHORS


@without_deadline
@given(SLICES)
def test_wherever_a_log_is_cut_off_no_more_than_twice_of_that_is_decided_again(sizes: list[int]) -> None:
    total, kept = sum(sizes), offsets(decided(sizes))
    for left in range(1, total):
        fits = next((offset for offset in kept if offset < left), -1)
        assert left - 1 - fits <= 2 * (total - left)


@without_deadline
@given(SLICES, SLICES)
def test_they_go_on_from_a_restored_list(before: list[int], after: list[int]) -> None:
    restored = tuple(Anchor(one.offset, one.timestamp, bytes(one.digest)) for one in decided(before))
    anchors, offset = restored, sum(before)
    for size in after:
        anchors = with_decided(anchors, [record(offset + number) for number in range(size)])
        offset += size
    assert anchors == decided(before + after)


@without_deadline
@given(SLICES)
def test_what_is_thinned_stays_as_it_is(sizes: list[int]) -> None:
    anchors = decided(sizes)
    assert thinned(anchors) == anchors
    assert with_decided(anchors, []) == anchors


def test_of_a_log_without_end_no_more_are_kept_and_the_oldest_is() -> None:
    newest = 1 << 50
    anchors = tuple(anchor_of(record(offset)) for offset in (newest, *(newest - (1 << number) for number in range(51))))
    kept = thinned(anchors)
    assert len(kept) == MAX_ANCHORS
    assert (kept[0].offset, kept[-1].offset) == (newest, 0)
    far = [newest - anchor.offset for anchor in kept[1:]]
    assert all(older <= 16 * (newer + 1) for newer, older in pairwise(far)), "none of them lies far from the next"


def test_they_take_little_room_in_a_checkpoint() -> None:
    largest = 2**53
    anchors = tuple(Anchor(largest - number, 1_800_000_000_000, b"\xff" * 8) for number in range(MAX_ANCHORS))
    with_them = encode_position(Position("events", 0, largest, anchors=anchors, proof=largest, obeyed=largest))
    assert len(with_them) - len(encode_position(Position("events", 0, largest))) <= 1_400


def test_below_an_offset_only_older_ones_hold() -> None:
    anchors = decided([100])
    assert offsets(below(anchors, 91)) == [83, 67, 35]
    assert below(anchors, 0) == ()
