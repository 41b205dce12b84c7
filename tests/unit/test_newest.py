"""Which timestamp of a partition tells its time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.newest import AHEAD_SECONDS, last_time
from state.occurrences import EARLIEST

NOW = 1_790_000_000.0


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
