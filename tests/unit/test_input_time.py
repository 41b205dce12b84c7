"""The time by the records of the input, where the clock of this host or that of a producer is wrong."""

import pytest

from consumer.kafka.input_time import ALONE_SECONDS, InputTime
from consumer.timing.clock import Clock

NOW = 1_800_000_000.0
HOUR, YEAR = 3600.0, 31_536_000.0


class Host:
    """A host whose wall clock is wrong by ``skew``; the true time is `NOW` at first. ``checks``: the brokers refuse
    what is more than an hour ahead of the true time."""

    def __init__(self, skew: float = 0.0, *, checks: bool = True) -> None:
        self.skew = skew
        self.seconds = 0.0
        self.time = InputTime(Clock(lambda: NOW + self.seconds + self.skew, lambda: 7.0 + self.seconds))
        self.time.brokers_check(is_so=checks)

    def read(self, seconds: float = 0.0, ahead: float = 0.0) -> None:
        """A record is read each second, for so long, that is so much ahead of the true time."""
        end = self.seconds + seconds
        while self.seconds <= end:
            self.time.saw(int((NOW + self.seconds + ahead) * 1000))
            self.seconds += 1.0

    @property
    def is_wrong_by(self) -> float:
        """How far the time by the records is ahead of the true one."""
        found = self.time.now()
        assert found is not None
        return found - NOW - self.seconds


def test_it_is_that_of_the_newest_record_carried_on() -> None:
    host = Host()
    assert host.time.now() is None
    host.read(ahead=-50.0)
    host.read(ahead=-3.0)
    host.read(ahead=-100.0)
    host.seconds += 500.0
    assert host.is_wrong_by == pytest.approx(-3.0)


@pytest.mark.parametrize("timestamp", [0, -1, int(NOW)])
def test_what_cannot_be_a_time_says_nothing(timestamp: int) -> None:
    host = Host()
    host.time.saw(timestamp)
    assert host.time.now() is None


@pytest.mark.parametrize("checks", [True, False])
@pytest.mark.parametrize("skew", [45 * 60.0, HOUR + 1, YEAR])
def test_a_host_that_is_ahead_changes_nothing(skew: float, checks: bool) -> None:
    host = Host(skew, checks=checks)
    host.read(300.0)
    assert host.is_wrong_by == pytest.approx(0.0)


@pytest.mark.parametrize("skew", [HOUR + 1, 2 * HOUR, YEAR])
def test_a_host_that_is_far_behind_comes_to_know_the_time_by_what_brokers_have_checked(skew: float) -> None:
    host = Host(-skew)
    host.read(ALONE_SECONDS - 2)
    assert host.is_wrong_by == pytest.approx(-skew), "until it is known to be alone with its time"
    host.read(2.0)
    assert host.is_wrong_by == pytest.approx(0.0)
    host.seconds += 500.0
    assert host.is_wrong_by == pytest.approx(0.0)


def test_where_they_check_nothing_its_own_time_goes_on_so_that_an_end_is_late_and_does_come() -> None:
    host = Host(-2 * HOUR, checks=False)
    host.read(10 * ALONE_SECONDS)
    assert host.is_wrong_by == pytest.approx(-2 * HOUR)


def test_it_is_right_again_when_its_clock_is() -> None:
    host = Host(-2 * HOUR)
    host.read(2 * ALONE_SECONDS)
    host.skew = 0.0
    host.read(1.0)
    assert host.is_wrong_by == pytest.approx(0.0)


@pytest.mark.parametrize("checks", [True, False])
def test_one_producer_that_is_ahead_among_others_says_nothing(checks: bool) -> None:
    host = Host(checks=checks)
    for _ in range(3 * int(ALONE_SECONDS)):
        host.read(ahead=YEAR)
        host.read(ahead=-1.0)
        assert host.is_wrong_by <= 0.0
    host.read(int(ALONE_SECONDS) - 2, ahead=YEAR)
    assert host.is_wrong_by <= 0.0


def test_nor_does_one_alone_where_brokers_do_not_check() -> None:
    host = Host(checks=False)
    host.read(10 * ALONE_SECONDS, ahead=YEAR)
    assert host.is_wrong_by == pytest.approx(0.0), "later than the host's time, which is right"


def test_one_in_a_backlog_from_before_brokers_checked_is_forgotten_with_the_next_record() -> None:
    host = Host()
    host.read(0.0, ahead=YEAR)
    assert host.is_wrong_by <= 0.0, "what is read first says nothing of the host"
    host.seconds += 2 * ALONE_SECONDS
    host.read(0.0, ahead=YEAR)
    host.read(0.0)
    assert host.is_wrong_by <= 0.0
