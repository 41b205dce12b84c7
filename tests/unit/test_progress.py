"""Caught up to a moment, and peace (design section 6). Times are by the monotonic clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.progress import FRESH_SECONDS, PEACE_SECONDS, Progress


def test_nothing_is_known_at_first() -> None:
    progress = Progress()
    assert not progress.is_caught_up(0.0)
    assert not progress.is_peace(1e9)


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
    assert progress.is_peace(160.0)


def test_a_stuck_partition_is_not() -> None:
    progress = Progress()
    progress.decided(5, 100.0)
    for second in range(60):
        progress.observe_end(100.0 + second, 6, 100.0 + second)
    assert not progress.is_caught_up(159.0)
    assert not progress.is_peace(159.0)


def quietly(progress: Progress, begin: float, seconds: int) -> float:
    for second in range(seconds + 1):
        progress.observe_end(begin + second, 0, begin + second)
    return begin + seconds


def test_peace_when_it_was_caught_up_throughout() -> None:
    progress = Progress()
    now = quietly(progress, 100.0, int(PEACE_SECONDS) - 1)
    assert not progress.is_peace(now)
    now = quietly(progress, now + 1, 0)
    assert progress.is_peace(now)


def test_a_gap_begins_the_peace_anew() -> None:
    progress = Progress()
    now = quietly(progress, 100.0, 60) + FRESH_SECONDS + 1
    assert not progress.is_peace(now)
    progress.observe_end(now, 0, now)
    assert progress.is_caught_up(now)
    assert not progress.is_peace(now)
    assert progress.is_peace(quietly(progress, now, int(PEACE_SECONDS)))


def test_the_time_of_peace_can_be_chosen() -> None:
    progress = Progress(peace_seconds=2.0)
    assert progress.is_peace(quietly(progress, 100.0, 2))


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
