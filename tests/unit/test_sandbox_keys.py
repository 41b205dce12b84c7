"""The sandbox's limiter of a rolling minute, of both kinds, and what it has seen."""

import pytest

from providers.sandbox import Call, CallMoment
from providers.sandbox.journal import Journal
from providers.sandbox.keys import Keys


@pytest.mark.parametrize(("count_refused", "admitted_after"), [(False, 61.0), (True, None)])
def test_a_limiter_that_counts_what_it_refuses_never_lets_in_who_does_not_wait(
    count_refused: bool, admitted_after: float | None
) -> None:
    keys = Keys(calls_a_minute=2, count_refused=count_refused)
    assert [keys.admit("k", at) for at in (1.0, 1.0, 2.0)] == [True, True, False]
    times = [float(second) for second in range(3, 300)]
    assert next((at for at in times if keys.admit("k", at)), None) == admitted_after


def test_a_limiter_that_counts_what_it_refuses_lets_in_who_has_waited_a_minute() -> None:
    keys = Keys(calls_a_minute=2, count_refused=True)
    assert [keys.admit("k", at) for at in (1.0, 1.0, 2.0, 62.5)] == [True, True, False, True]
    assert keys.admit("other", 2.0)


def test_the_busiest_minute_is_of_one_key_and_rolling() -> None:
    journal = Journal()
    for key, at in (("k", 0.0), ("k", 59.0), ("other", 59.5), ("k", 60.5), ("k", 118.0), ("k", 200.0)):
        call = Call(method="POST", path="/", provider="pagerduty", action="trigger", key=key)
        journal.record(call, CallMoment(1e9 + at, at))
    assert journal.busiest_minute("pagerduty", "k") == 3
    assert journal.busiest_minute("pagerduty", "nobody") == 0
    assert journal.busiest_minute("opsgenie", "k") == 0
