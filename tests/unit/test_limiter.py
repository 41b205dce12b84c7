"""What one member may send through one key, call by call; `test_rates.py` has what many members come to."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.delivery.limiter import KeyLimiter
from providers.rate import Rate
from tests.support.rate_simulation import OPSGENIE, PAGERDUTY, most_in_a_minute

RATES = {"pagerduty": PAGERDUTY, "opsgenie": OPSGENIE}


def limiter(share: float = 1.0, rate: Rate | None = PAGERDUTY, now: float = 0.0, random: float = 0.0) -> KeyLimiter:
    made = KeyLimiter(rate, random=lambda: random, now=now)
    made.set_share(share, now)
    return made


def at_once(limiter: KeyLimiter, now: float, most: int = 10_000) -> int:
    """How many leave at this moment."""
    count = 0
    while count < most and limiter.has_token(now):
        limiter.take(now)
        count += 1
    return count


def sent(limiter: KeyLimiter, begin: float, end: float, *, answered: bool = True) -> list[float]:
    """When requests leave in [begin, end] if always one waits, each answered at once (or never)."""
    moments: list[float] = []
    now = begin
    limiter.set_waiting(True, now)
    while now <= end:
        if limiter.has_token(now):
            limiter.take(now)
            moments.append(now)
            if answered:
                limiter.answered(now)
        now = limiter.next_at(now)
    return moments


@pytest.mark.parametrize("rate", RATES.values(), ids=RATES)
def test_a_member_alone_sends_a_full_burst_and_then_the_documented_rate(rate: Rate) -> None:
    moments = sent(limiter(rate=rate), 0, 600)
    burst = int(rate.burst_size)
    assert moments[:burst] == [0.0] * burst
    gaps = [after - before for before, after in zip(moments[burst - 1 :], moments[burst:], strict=False)]
    assert gaps == pytest.approx([1 / rate.requests_per_second] * len(gaps), abs=1e-4)
    assert sum(at < 60.01 for at in moments) == burst + 60 * rate.requests_per_second
    assert most_in_a_minute(moments) <= burst + 60 * rate.requests_per_second


def test_nothing_leaves_without_a_share() -> None:
    without = KeyLimiter(PAGERDUTY, random=lambda: 0.5, now=0.0)
    assert not without.has_token(3600)
    assert without.next_at(3600) == math.inf
    without.set_share(0.5, 3600)
    assert without.has_token(3600)
    without.set_share(0.0, 3601)
    assert not without.has_token(7200)
    assert without.next_at(7200) == math.inf


@pytest.mark.parametrize(("share", "first"), [(1.0, 30), (0.5, 15), (1 / 12, 2), (1 / 96, 1)])
def test_its_share_of_the_burst_leaves_at_once_at_least_one(share: float, first: int) -> None:
    assert at_once(limiter(share), 0.0) == first


def test_the_rest_of_a_burst_leaves_as_answers_come() -> None:
    one = limiter(1 / 96)
    assert at_once(one, 0.0) == 1
    assert not one.has_token(0.1)
    one.answered(0.1)
    assert at_once(one, 0.1) == 1


def test_the_rest_of_a_burst_leaves_three_a_second_without_an_answer() -> None:
    moments = sent(limiter(1 / 96), 0, 20, answered=False)
    assert len(moments) == 30
    assert moments[-1] == pytest.approx(29 / 3, abs=0.01)


def test_a_burst_is_no_larger_than_the_documented_one() -> None:
    moments = sent(limiter(1 / 96), 0, 60)
    assert moments[:30] == [0.0] * 30
    assert moments[30] > 10, "the first of those at the sustained rate"


def test_answers_give_nothing_back_of_the_burst() -> None:
    one = limiter()
    assert at_once(one, 0.0) == 30
    for _ in range(30):
        one.answered(0.2)
    assert at_once(one, 0.2) == 0


def test_the_sustained_rate_rises_while_something_waits() -> None:
    moments = sent(limiter(1 / 12), 0, 900)
    a_minute = [sum(60 * minute <= at < 60 * (minute + 1) for at in moments) for minute in range(15)]
    assert a_minute[1] == pytest.approx(90 * 2.8 / 12, abs=2), "2.1 to 3.5 shares"
    assert a_minute[1:] == sorted(a_minute[1:])
    assert a_minute[-1] == 90


def test_the_sustained_rate_does_not_rise_while_nothing_waits() -> None:
    one = limiter(1 / 12)
    begin = sent(one, 0, 10)
    assert len(begin) == 31
    one.set_waiting(False, 10)
    moments = sent(one, 70, 80)
    assert len(moments) <= (60 + 10) * 0.125 + 3


def test_a_rate_that_has_risen_falls_back_to_the_share_when_nothing_waits() -> None:
    one = limiter(1 / 12)
    assert sum(at >= 1140 for at in sent(one, 0, 1200)) >= 90
    one.set_waiting(False, 1200)
    again = sent(one, 4800, 4860)
    assert len(again) == pytest.approx(30 + 90 * 1.5 / 12, abs=2), "a burst, and 1 to 2 shares"


def test_the_burst_is_whole_after_five_minutes_of_quiet_whatever_the_share() -> None:
    one = limiter(1 / 96)
    assert len(sent(one, 0, 1)) == 30
    one.set_waiting(False, 1)
    assert len(sent(one, 301, 302)) == 30


def test_what_was_used_stays_used_when_the_share_changes() -> None:
    one = limiter(1.0)
    assert at_once(one, 0.0) == 30
    for second in range(1, 7):
        one.set_share(1 / second, second / 100)
        assert at_once(one, second / 100) == 0
    one.set_share(1.0, 0.1)
    assert at_once(one, 0.1) == 0
    assert at_once(one, 1.0) == 1


def test_a_rate_that_has_risen_is_no_more_than_all_of_it_with_a_larger_share() -> None:
    one = limiter(1 / 12)
    sent(one, 0, 1200)
    one.set_share(1.0, 1200)
    assert len(sent(one, 1200, 1260)) <= 91


@pytest.mark.parametrize(("random", "pause"), [(0.0, 45.0), (0.5, 52.5), (0.999, 60.0)])
def test_nothing_leaves_after_a_429_for_45_to_60_seconds(random: float, pause: float) -> None:
    one = limiter(random=random)
    one.set_waiting(True, 0.0)
    one.throttled(100.0, None)
    assert not one.has_token(100.0 + pause - 0.1)
    assert one.next_at(100.0) >= 100.0 + pause - 0.1
    assert one.next_at(100.0) < 100.0 + pause + 2
    assert one.has_token(one.next_at(100.0))


def test_after_a_429_the_burst_is_empty_and_the_rate_half_the_share() -> None:
    one = limiter(0.5)
    one.throttled(0.0, None)
    moments = sent(one, 0.0, 45 + 20)
    assert len(moments) == 10, "20 s at 0.375 to 0.625 a second"


def test_the_rate_is_an_eighth_of_the_share_after_many_429s() -> None:
    one = limiter(0.5, random=0.0)
    now = 0.0
    for _ in range(6):
        one.throttled(now, None)
        now += 45
    one.throttled(now, None)
    moments = sent(one, now, now + 45 + 8)
    assert len(moments) == 1, "8 s at 0.094 to 0.194 a second"


def test_a_429_to_what_had_left_before_the_pause_changes_nothing() -> None:
    one, other = limiter(), limiter()
    for each in (one, other):
        each.throttled(0.0, None)
    for _ in range(10):
        other.throttled(0.5, 5.0)
    assert sent(one, 1, 300) == sent(other, 1, 300)


@pytest.mark.parametrize(("retry_after", "resumes"), [(None, 45), (10.0, 45), (0.0, 45), (120.0, 120), (1e9, 3600)])
def test_a_longer_retry_after_is_obeyed_up_to_an_hour(retry_after: float | None, resumes: float) -> None:
    one = limiter()
    one.throttled(0.0, retry_after)
    assert resumes <= sent(one, 0.0, resumes + 5)[0] < resumes + 2


def test_a_retry_after_that_comes_during_the_pause_is_obeyed() -> None:
    one = limiter()
    one.throttled(0.0, None)
    one.throttled(1.0, 200.0)
    assert 201 <= one.next_at(1.0) < 203


def test_several_requests_of_one_notification_take_one_each() -> None:
    one = limiter(1 / 96)
    for _ in range(3):
        one.take(0.0)
    for _ in range(3):
        one.answered(0.1)
    assert len(sent(one, 0.1, 1)) == 27
    debt = limiter(1.0)
    assert at_once(debt, 0.0) == 30
    debt.take(0.0)
    assert not debt.has_token(1.0), "the first second pays for the one without a token"
    assert debt.has_token(1.34)


def test_a_key_without_a_limit_is_held_back_by_a_429_only() -> None:
    one = limiter(1 / 96, rate=None)
    assert at_once(one, 0.0, 5000) == 5000
    one.throttled(0.0, None)
    assert at_once(one, 40.0) == 0
    assert at_once(one, 47.0, 5000) == 5000


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    one = limiter(now=100.0)
    assert at_once(one, 100.0) == 30
    assert at_once(one, 50.0) == 0
    assert at_once(one, 100.0) == 0


# Hypothesis: any pattern of demand, shares and answers

SHARES = st.sampled_from([0.0, 1 / 96, 1 / 12, 1 / 3, 0.5, 1.0])
STEPS = st.one_of(
    st.tuples(st.just("wait"), st.floats(0.0, 90.0)),
    st.tuples(st.just("demand"), st.integers(1, 200)),
    st.tuples(st.just("share"), SHARES),
    st.tuples(st.just("answered"), st.integers(1, 40)),
    st.tuples(st.just("waiting"), st.booleans()),
    st.tuples(st.just("throttled"), st.sampled_from([None, None, 1.0, 100.0])),
)


class Pattern:
    """A limiter, and what left through it."""

    def __init__(self, rate: Rate, start: float, numbers: Any) -> None:
        self.now = start
        self.left: list[float] = []
        self.owed = 0
        self.limiter = KeyLimiter(rate, random=numbers, now=start)
        self.limiter.set_share(1.0, start)

    def send(self) -> None:
        while self.owed and self.limiter.has_token(self.now):
            self.limiter.take(self.now)
            self.left.append(self.now)
            self.owed -= 1

    def step(self, name: str, value: Any) -> None:
        match name:
            case "wait":
                until = self.now + value
                while self.owed and (at := self.limiter.next_at(self.now)) <= until:
                    assert at >= self.now
                    self.now = at
                    assert self.limiter.has_token(at)
                    self.send()
                self.now = until
            case "demand":
                self.owed += value
            case "share":
                self.limiter.set_share(value, self.now)
            case "answered":
                for _ in range(value):
                    self.limiter.answered(self.now)
            case "waiting":
                self.limiter.set_waiting(value, self.now)
            case "throttled":
                before = self.limiter.has_token(self.now)
                self.limiter.throttled(self.now, value)
                assert not self.limiter.has_token(self.now + 44.9) or not before
                # The look ahead let the time pass; so it does.
                self.now += 44.9
        self.send()


@pytest.mark.slow
@pytest.mark.parametrize("rate", RATES.values(), ids=RATES)
@settings(max_examples=150)
@given(
    steps=st.lists(STEPS, max_size=40),
    start=st.sampled_from([0.0, 1e3, 3e7]),
    randoms=st.randoms(use_true_random=False),
)
def test_never_more_than_the_documented_rate_in_a_minute(
    rate: Rate, steps: list[tuple[str, Any]], start: float, randoms: Any
) -> None:
    pattern = Pattern(rate, start, randoms.random)
    for name, value in steps:
        pattern.step(name, value)
    assert most_in_a_minute(pattern.left) <= rate.burst_size + 60 * rate.requests_per_second


@pytest.mark.slow
@settings(max_examples=200)
@given(
    steps=st.lists(STEPS, max_size=20),
    share=st.sampled_from([1 / 96, 1 / 12, 1 / 3, 0.5, 1.0]),
    start=st.sampled_from([0.0, 1e6]),
)
def test_the_next_token_comes_when_it_is_said_and_not_before(
    steps: list[tuple[str, Any]], share: float, start: float
) -> None:
    pattern = Pattern(PAGERDUTY, start, lambda: 0.3)
    for name, value in steps:
        pattern.step(name, value)
    now, one = pattern.now, pattern.limiter
    one.set_share(share, now)
    one.set_waiting(True, now)
    at_once(one, now)
    due = one.next_at(now)
    assert now < due < now + 3600
    assert not one.has_token(due - 0.001)
    # Asked in between, the rate may have risen by then; it is never lower.
    assert one.has_token(due)
    assert one.next_at(due) == due


def test_it_says_for_how_long_nothing_leaves_at_any_rate() -> None:
    limiter = KeyLimiter(Rate(0.01, 1), random=lambda: 0.0, now=0.0)
    assert limiter.withheld_for(0.0) == math.inf
    limiter.set_share(1.0, 0.0)
    limiter.take(0.0)
    assert limiter.withheld_for(0.0) == 0.0
    limiter.throttled(1.0, None)
    assert limiter.withheld_for(11.0) == pytest.approx(35.0)
    assert limiter.withheld_for(100.0) == 0.0
