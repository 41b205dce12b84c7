"""Caught up to a moment, and quiescence (design section 6). Times are by the monotonic clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.input.progress import (
    FRESH_SECONDS,
    MARKS,
    OPEN_SHARE,
    QUIESCENT_SECONDS,
    STANDSTILL_SECONDS,
    HeldBack,
    Progress,
)


def test_nothing_is_known_at_first() -> None:
    progress = Progress()
    assert not progress.is_caught_up(0.0)
    assert not progress.is_quiescent(1e9)


def test_caught_up_once_what_was_there_at_a_moment_is_decided() -> None:
    progress = Progress()
    progress.observe_end(100.0, 3, 100.1)
    assert not progress.is_caught_up(100.1)
    progress.decided(2, 100.2)
    assert not progress.is_caught_up(100.2)
    progress.decided(3, 100.3)
    assert progress.is_caught_up(100.3)


def test_an_end_that_has_been_passed_already_counts_at_once() -> None:
    progress = Progress()
    progress.decided(10, 99.0)
    progress.observe_end(100.0, 7, 100.5)
    assert progress.is_caught_up(100.5)


def test_it_is_fresh_from_the_moment_that_was_asked_about_not_from_the_answer() -> None:
    progress = Progress()
    progress.observe_end(100.0, 0, 104.0)
    assert progress.is_caught_up(100.0 + FRESH_SECONDS - 0.001)
    assert not progress.is_caught_up(100.0 + FRESH_SECONDS)


def test_a_late_answer_about_a_moment_long_ago_is_not_fresh() -> None:
    progress = Progress()
    progress.observe_end(100.0, 0, 100.0 + FRESH_SECONDS + 1)
    assert not progress.is_caught_up(100.0 + FRESH_SECONDS + 1)


def test_a_busy_partition_is_caught_up_although_it_never_reaches_the_newest_end() -> None:
    progress = Progress()
    for second in range(60):
        now = 100.0 + second
        progress.observe_end(now, 10 * (second + 1), now)
        progress.decided(10 * second, now + 0.5)
        if second:
            assert progress.is_caught_up(now + 0.5)
    assert progress.is_quiescent(160.0)


def test_a_stuck_partition_is_not() -> None:
    progress = Progress()
    progress.decided(5, 100.0)
    for second in range(60):
        progress.observe_end(100.0 + second, 6, 100.0 + second)
    assert not progress.is_caught_up(159.0)
    assert not progress.is_quiescent(159.0)


def quietly(progress: Progress, begin: float, seconds: int) -> float:
    for second in range(seconds + 1):
        progress.observe_end(begin + second, 0, begin + second)
    return begin + seconds


def test_quiescence_when_it_was_caught_up_throughout() -> None:
    progress = Progress()
    now = quietly(progress, 100.0, int(QUIESCENT_SECONDS) - 1)
    assert not progress.is_quiescent(now)
    now = quietly(progress, now + 1, 0)
    assert progress.is_quiescent(now)


def test_a_gap_begins_the_quiescence_anew() -> None:
    progress = Progress()
    now = quietly(progress, 100.0, 60) + FRESH_SECONDS + 1
    assert not progress.is_quiescent(now)
    progress.observe_end(now, 0, now)
    assert progress.is_caught_up(now)
    assert not progress.is_quiescent(now)
    assert progress.is_quiescent(quietly(progress, now, int(QUIESCENT_SECONDS)))


def test_the_time_of_quiescence_can_be_chosen() -> None:
    progress = Progress(quiescent_seconds=2.0)
    assert progress.is_quiescent(quietly(progress, 100.0, 2))


@pytest.mark.parametrize("early", [0, 1])
def test_several_ends_are_passed_one_after_the_other(early: int) -> None:
    progress = Progress()
    progress.observe_end(100.0, 5, 100.0)
    progress.observe_end(103.0, 8, 103.0)
    progress.decided(8 - early, 104.0)
    assert progress.is_caught_up(104.0)
    assert progress.is_caught_up(107.0) is (early == 0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_caught_up_never_says_so_of_what_is_not_decided(steps: list[tuple[int, int, int]]) -> None:
    """Time passes, records are produced, some are decided, the end is looked at: as a member does it."""
    progress, now, end, position = Progress(), 1000.0, 0, 0
    produced: list[float] = []
    for seconds, new, decided in steps:
        now += seconds
        produced += [now] * new
        end += new
        position = min(end, position + decided)
        progress.decided(position, now)
        progress.observe_end(now, end, now)
        if progress.is_caught_up(now):
            assert all(moment > now - FRESH_SECONDS for moment in produced[position:])


# --- what somebody's open transaction hides

QUIET = 1800.0
OPEN = QUIET * OPEN_SHARE


def looked(progress: Progress, moment: float, *, stable: int, end: int) -> None:
    """A look at ``moment``; the task decides all that it is shown."""
    progress.decided(stable, moment)
    progress.observe_end(moment, end, moment, stable=stable)


def test_what_an_open_transaction_hides_is_not_caught_up_although_all_that_can_be_read_is_decided() -> None:
    progress = Progress(quiet_seconds=36.0)
    looked(progress, 100.0, stable=1, end=1)
    for second in range(1, 75):
        looked(progress, 100.0 + second, stable=1, end=1 + second)
        assert progress.is_caught_up(100.0 + second) is (second < FRESH_SECONDS)
    assert not progress.is_quiescent(175.0)


def test_the_same_offset_for_a_minute_stands_still_and_a_moved_one_does_not() -> None:
    progress = Progress()
    looked(progress, 100.0, stable=5, end=5)
    assert (progress.held_back, progress.hidden_seconds(100.0)) == (None, 0.0)
    looked(progress, 101.0, stable=5, end=6)
    looked(progress, 160.0, stable=5, end=9)
    held_back = progress.held_back
    assert held_back == HeldBack(5, 9, since=101.0)
    assert not held_back.stands_still(101.0 + STANDSTILL_SECONDS - 0.1)
    assert held_back.stands_still(101.0 + STANDSTILL_SECONDS)
    assert progress.hidden_seconds(161.0) == 60.0
    looked(progress, 162.0, stable=7, end=9)
    assert progress.held_back == HeldBack(7, 9, since=162.0)
    looked(progress, 163.0, stable=9, end=9)
    assert progress.held_back is None


def test_a_standstill_is_never_caught_up_however_long_the_quiet() -> None:
    progress = Progress(quiet_seconds=86_400.0)
    looked(progress, 100.0, stable=1, end=1)
    for second in range(1, 70):
        looked(progress, 100.0 + second, stable=1, end=2)
        assert progress.is_caught_up(100.0 + second) is (second < 1 + STANDSTILL_SECONDS)


@pytest.mark.parametrize(("quiet", "is_resolved"), [(120.0, True), (QUIET, True), (None, True), (90.0, False)])
def test_transactions_of_ten_seconds_back_to_back_are_quiescence_if_the_quiet_is_long_beside_them(
    quiet: float | None, is_resolved: bool
) -> None:
    """A tenth of the quiet is what they may be open."""
    progress = Progress(quiet_seconds=quiet)
    looked(progress, 100.0, stable=1, end=1)
    is_quiescent = []
    for second in range(1, 120):
        end = 2 + second // 5
        looked(progress, 100.0 + second, stable=1 + 2 * (second // 10), end=end)
        is_quiescent.append(progress.is_quiescent(100.0 + second))
    assert all(is_quiescent[45:]) is is_resolved
    assert any(is_quiescent) is is_resolved


def test_a_task_that_is_itself_behind_gets_no_more_time_for_that() -> None:
    progress = Progress(quiet_seconds=QUIET)
    looked(progress, 100.0, stable=1, end=1)
    for second in range(1, 30):
        moment = 100.0 + second
        progress.observe_end(moment, 5 * second, moment, stable=3 * second)  # it moves, and nothing is decided
        assert progress.is_caught_up(moment) is (second < FRESH_SECONDS)


# --- for ever


def test_a_partition_that_is_behind_for_a_day_leaves_a_bounded_number_of_marks() -> None:
    progress = Progress(quiet_seconds=QUIET)
    for second in range(86_400):
        progress.observe_end(float(second), 10 + second, float(second))
    assert sum(len(marks._ends) for marks in (progress._readable, progress._everything)) <= 4 * MARKS + 4
    assert not progress.is_caught_up(86_400.0)
    progress.decided(10 + 86_399, 86_400.0)
    assert progress.is_caught_up(86_400.0)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[float, int, int, int]]:
    """Steps: seconds that pass, records that are written, of these readable, of these decided."""
    step = st.tuples(st.floats(0, 20), st.integers(0, 3), st.integers(0, 4), st.integers(0, 4))
    return draw(st.lists(step, max_size=60))


@given(histories(), st.sampled_from([None, 20.0, 100.0, QUIET]))
def test_no_later_moment_is_claimed_than_is_true(steps: list[tuple[float, int, int, int]], quiet: float | None) -> None:
    progress = Progress(quiet_seconds=quiet)
    allowed = max(FRESH_SECONDS, STANDSTILL_SECONDS if quiet is None else quiet * OPEN_SHARE)
    now, stable, position = 1000.0, 0, 0
    written: list[float] = []
    readable_since: list[float] = []
    for seconds, new, shown, decided in steps:
        now += seconds
        written += [now] * new
        stable = min(len(written), stable + shown)
        readable_since += [now] * (stable - len(readable_since))
        position = min(stable, position + decided)
        progress.decided(position, now)
        progress.observe_end(now, len(written), now, stable=stable)
        if progress.is_caught_up(now):
            assert all(moment > now - FRESH_SECONDS for moment in readable_since[position:])
            assert all(moment > now - allowed for moment in written[position:])


@given(st.lists(st.tuples(st.floats(0.01, 30), st.integers(0, 3)), min_size=1, max_size=200), st.data())
def test_what_is_decided_soon_after_a_look_is_caught_up_and_the_marks_are_few(
    steps: list[tuple[float, int]], data: st.DataObject
) -> None:
    """Thinning the marks out costs at most the grain by which moments are told apart."""
    progress, now, end = Progress(quiet_seconds=QUIET), 1000.0, 0
    for seconds, new in steps:
        now += seconds
        end += new
        progress.observe_end(now, end, now, stable=end)
    assert len(progress._everything._ends) <= 2 * MARKS + 2
    progress.decided(end, now + data.draw(st.floats(0, FRESH_SECONDS * 0.9)))
    assert progress.is_caught_up(now + FRESH_SECONDS * 0.9)
