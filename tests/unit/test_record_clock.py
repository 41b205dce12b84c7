"""The timestamps of what is written: the host's, unless a broker refuses them."""

import pytest

from consumer.kafka.record_clock import REFUSED_SECONDS, RecordClock
from consumer.timing.clock import Clock

NOW = 1_800_000_000.0
YEAR = 31_536_000.0


class World:
    """A member whose wall clock is a year ahead; ``seconds`` have passed."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.clock = RecordClock(Clock(lambda: NOW + YEAR + self.seconds, lambda: 7.0 + self.seconds))


def test_the_hosts_time_is_taken_while_no_broker_refuses_it() -> None:
    world = World()
    world.clock.saw(int(NOW * 1000))
    assert world.clock.now() is None


def test_a_refused_clock_gives_way_to_the_newest_record_carried_on_and_has_its_turn_again() -> None:
    world = World()
    for timestamp in (NOW - 50, NOW, NOW - 100):
        world.clock.saw(int(timestamp * 1000))
    assert world.clock.refused()
    world.seconds = 10.0
    assert world.clock.now() == pytest.approx((NOW + 10) * 1000, abs=1)
    world.clock.saw(int((NOW + 300) * 1000))
    assert world.clock.now() == pytest.approx((NOW + 300) * 1000, abs=1)
    world.seconds = REFUSED_SECONDS
    assert world.clock.now() is None


def test_what_would_be_no_other_timestamp_is_not_tried_again_at_once() -> None:
    world = World()
    for timestamp in (0, -1, int(NOW)):  # none that can be one
        world.clock.saw(timestamp)
    assert not world.clock.refused()
    assert world.clock.now() is None
    world.clock.saw(int(NOW * 1000))
    assert world.clock.now() is not None, "known meanwhile, it is taken at the next try"
    assert not world.clock.refused(), "that one was refused too: nobody here can mend it"


def test_a_record_that_is_ahead_of_the_host_says_nothing() -> None:
    world = World()
    world.clock.saw(int((NOW + 2 * YEAR) * 1000))
    assert world.clock.newest() is None


def test_the_newest_record_is_carried_on_also_where_no_broker_refuses_the_host() -> None:
    world = World()
    assert world.clock.newest() is None
    world.clock.saw(int(NOW * 1000))
    world.seconds = 60.0
    assert world.clock.newest() == pytest.approx(NOW + 60)


def test_what_members_write_by_their_own_clocks_is_no_time_of_the_input() -> None:
    """A member that is half an hour ahead has written the last checkpoint: no silence ends half an hour early."""
    seconds = 0.0
    clock = RecordClock(Clock(lambda: NOW + seconds, lambda: 7.0 + seconds))
    assert clock.newest_of_input() is None
    clock.saw_of_a_member(int((NOW + 1800) * 1000))
    assert clock.newest() == pytest.approx(NOW + 1800), "a broker has accepted it"
    assert clock.newest_of_input() == pytest.approx(NOW), "no later than by the host, until a record was read"
    clock.saw(int((NOW - 3) * 1000))
    seconds = 60.0
    assert clock.newest_of_input() == pytest.approx(NOW + 57)
    assert clock.newest() == pytest.approx(NOW + 1860)


class Behind:
    """A member whose wall clock is a year behind; ``seconds`` have passed."""

    def __init__(self, *, brokers_check: bool = True) -> None:
        self.seconds = 0.0
        self.wall = NOW - YEAR
        self.clock = RecordClock(Clock(lambda: self.wall + self.seconds, lambda: 7.0 + self.seconds))
        self.clock.input.brokers_check(is_so=brokers_check)


def test_a_host_that_is_far_behind_writes_with_the_time_of_the_records_carried_on() -> None:
    """With its own time, its dead letters and history would be older than what their topics keep."""
    world = Behind()
    world.clock.saw(int(NOW * 1000))
    world.clock.saw(0)
    world.seconds = 60.0
    assert world.clock.now() == pytest.approx((NOW + 60) * 1000, abs=1)
    world.wall = NOW  # the clock is put right
    assert world.clock.now() is None


def test_a_record_of_a_member_that_is_ahead_is_not_believed() -> None:
    """That the brokers check the times of the input says nothing of the topics that members write."""
    world = Behind()
    world.clock.saw_of_a_member(int(NOW * 1000))
    assert world.clock.now() is None


def test_a_record_that_agrees_with_the_host_shows_that_the_other_was_ahead() -> None:
    """A broker takes what is nearly an hour ahead of it, and is a few seconds ahead of this host."""
    world = Behind()
    world.clock.saw(int((world.wall + 3601) * 1000))
    assert world.clock.now() is not None
    for old in (0, world.wall - YEAR):
        world.clock.saw(int(old * 1000))
        assert world.clock.now() is not None, "an old record says nothing of now"
    world.clock.saw(int((world.wall - 60) * 1000))
    assert world.clock.now() is None


def test_what_is_written_about_a_record_is_no_older_than_it() -> None:
    """A task that has read nothing yet gives up what it has restored."""
    world = Behind()
    assert world.clock.now_after(int(NOW * 1000)) == int(NOW * 1000)
    world.clock.saw(int((NOW + 50) * 1000))
    assert world.clock.now_after(int(NOW * 1000)) == pytest.approx((NOW + 50) * 1000, abs=1), "it is written now"
    assert world.clock.now_after(0) == pytest.approx((NOW + 50) * 1000, abs=1)


def test_a_record_that_is_little_ahead_or_behind_changes_nothing() -> None:
    world = Behind()
    for timestamp in (world.wall - YEAR, world.wall - 60, world.wall, world.wall + 3599):
        world.clock.saw(int(timestamp * 1000))
        assert world.clock.now_after(int(timestamp * 1000)) is None
        assert world.clock.now() is None


def test_a_time_that_no_broker_has_checked_is_not_believed() -> None:
    world = Behind(brokers_check=False)
    world.clock.saw(int(NOW * 1000))
    assert world.clock.now() is None
    assert world.clock.now_after(int(NOW * 1000)) is None


def test_a_refusal_is_the_last_word_on_a_time_that_is_ahead() -> None:
    """The brokers' own clocks differ: what one has accepted, another refuses. The next time is another one."""
    world = Behind()
    world.clock.saw(int((world.wall + 10) * 1000))
    world.clock.saw(int(NOW * 1000))
    assert world.clock.refused()
    assert world.clock.now() == pytest.approx((world.wall + 10) * 1000, abs=1)
    assert world.clock.now_after(int(NOW * 1000)) == pytest.approx((world.wall + 10) * 1000, abs=1)
    world.seconds = REFUSED_SECONDS
    assert world.clock.now() == pytest.approx((NOW + REFUSED_SECONDS) * 1000, abs=1)
