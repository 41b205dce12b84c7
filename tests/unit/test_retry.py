"""Backoff: exponential, bounded, with full jitter (design section 9)."""

import random

from hypothesis import given
from hypothesis import strategies as st

from consumer.config.service import RetryConfig
from providers.retry import Backoff, Restarts

ALMOST_ONE = 1.0 - 2**-53


def test_the_ceiling_grows_by_the_multiplier_up_to_the_maximum() -> None:
    backoff = Backoff(1.0, 30.0, 2.0, lambda: 1.0)
    assert [backoff.wait(failures) for failures in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


def test_full_jitter_takes_any_time_from_none_to_the_ceiling() -> None:
    assert Backoff(1.0, 30.0, 2.0, lambda: 0.0).wait(4) == 0.0
    assert Backoff(1.0, 30.0, 2.0, lambda: 0.25).wait(4) == 2.0


def test_each_wait_is_drawn_anew() -> None:
    backoff = Backoff(1.0, 30.0, 2.0, random.Random(1).random)
    assert len({backoff.wait(3) for _ in range(10)}) == 10


@given(
    st.integers(1, 10**12),
    st.floats(0.001, 60),
    st.floats(0.001, 3600),
    st.floats(1, 100),
    st.floats(0, ALMOST_ONE),
)
def test_a_wait_is_never_over_the_maximum_however_long_the_outage(
    failures: int, initial: float, maximum: float, multiplier: float, chance: float
) -> None:
    wait = Backoff(initial, maximum, multiplier, lambda: chance).wait(failures)
    assert 0 <= wait <= maximum
    assert wait <= initial or failures > 1


def test_an_alert_with_a_trouble_of_its_own_waits_up_to_what_is_said_instead_of_the_maximum() -> None:
    backoff = Backoff(1.0, 30.0, 2.0, lambda: 1.0)
    assert [backoff.wait(failures, 600.0) for failures in (1, 5, 6, 10, 11, 10**6)] == [1, 16, 32, 512, 600, 600]
    assert Backoff(1.0, 3600.0, 2.0, lambda: 1.0).wait(20, 600.0) == 600.0


def test_what_fails_again_and_again_is_begun_ever_later_and_what_has_run_for_long_soon() -> None:
    now = 0.0
    restarts = Restarts(Backoff(1.0, 30.0, 2.0, lambda: 1.0), lambda: now)
    waits = []
    for ran in (0.0, 5.0, 30.0, 31.0, 0.0):
        restarts.begins()
        now += ran
        restarts.failed()
        waits.append((restarts.failures, restarts.wait()))
        now += restarts.wait()
    assert waits == [(1, 1.0), (2, 2.0), (3, 4.0), (1, 1.0), (2, 2.0)]


def test_the_settings_are_in_milliseconds() -> None:
    retry = RetryConfig(initial_backoff_ms=500, max_backoff_ms=3000, backoff_multiplier=2)
    assert [retry.backoff(lambda: 1).wait(failures) for failures in range(1, 6)] == [0.5, 1, 2, 3, 3]
    assert len({retry.backoff().wait(3) for _ in range(10)}) == 10  # with jitter, unless the caller says otherwise
