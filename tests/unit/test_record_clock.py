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
