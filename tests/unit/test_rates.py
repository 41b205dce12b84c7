"""Many members and one integration key: what the rules of `KeyLimiter` come to, and that each of them is needed.

The figures are those of design section 13, "Rates".
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

import providers.delivery.limiter
from providers.delivery.limiter import KeyLimiter
from tests.support.rate_simulation import Member, Provider, World, most_in_a_minute

pytestmark = pytest.mark.slow

Scenario = Callable[[type[Member]], None]

LATE = "a page of a quiet hour is late"
HELD_UP = "a request that hangs holds the others up"
OVER = "more than the documented rate"
UNDER = "the documented rate is not used"
BURST = "too many requests in the first minute"
CRITICAL = "not all criticals at once"
SILENCE = "nothing is accepted for minutes"
REFUSED = "too many are refused"

MANY = 10_000
"""More alerts than a scenario can send."""


def group(world: World, size: int, kind: type[Member], latency: tuple[float, float] = (0.1, 0.3)) -> list[Member]:
    return [kind(world, 1 / size, number=number, latency=latency) for number in range(size)]


def seconds_for_twenty(size: int, kind: type[Member], seed: int = 1) -> float:
    """20 alerts in one partition of that many, nothing else: when the last of them has arrived."""
    world = World(Provider(), seed)
    members = group(world, size, kind)
    members[0].owe(20)
    world.run(600)
    assert len(world.calls) == 20, LATE
    assert world.refused(0, 600) == 0
    return world.calls[-1].arrived


def a_quiet_hour_of_twelve(kind: type[Member]) -> None:
    assert max(seconds_for_twenty(12, kind, seed) for seed in range(10)) < 5, LATE


def a_quiet_hour_of_ninety_six(kind: type[Member]) -> None:
    assert max(seconds_for_twenty(96, kind, seed) for seed in range(10)) < 5, LATE


def a_provider_that_hangs(kind: type[Member]) -> None:
    """Every request takes half a minute: the next ones leave before it is answered."""
    world = World(Provider())
    members = group(world, 96, kind, latency=(28.0, 30.0))
    members[0].owe(20)
    world.run(600)
    assert world.calls[-1].left < 8, HELD_UP


def two_routes_with_one_key(kind: type[Member]) -> None:
    world = World(Provider())
    member = kind(world, 1.0, routes=2)
    member.owe(300, route=0)
    member.owe(300, route=1)
    world.run(600)
    left = sorted(call.left for call in world.calls)
    assert most_in_a_minute(left) <= 120, OVER
    assert sum(at <= 60 for at in left) >= 119, UNDER
    assert len(left) == 600
    assert world.refused(0, 600) == 0


def six_rebalances_in_a_minute(kind: type[Member]) -> None:
    """The others come and go."""
    world = World(Provider(limit=MANY))
    member = kind(world, 1.0)
    member.owe(1000)
    for number in range(6):
        world.at(10.0 * number + 5, lambda: member.rebalance(0.5))
        world.at(10.0 * number + 6, lambda: member.rebalance(1.0))
    world.run(180)
    assert most_in_a_minute(sorted(call.left for call in world.calls)) <= 120, OVER
    assert world.accepted(0, 180) > 250, UNDER


@dataclass(frozen=True, slots=True)
class Storm:
    """Every member has a backlog that does not end, and 20 criticals among them."""

    size: int
    counts_refused: bool
    seed: int = 1

    def run(self, kind: type[Member], seconds: float) -> World:
        world = World(Provider(counts_refused=self.counts_refused), self.seed)
        members = group(world, self.size, kind)
        for number in range(20):
            members[number % self.size].owe(1, critical=True)
        for member in members:
            member.owe(100 + 5000 // self.size)
        world.run(seconds)
        assert all(member.owes for member in members), "the backlog has an end"
        return world


def the_first_minute_of_a_storm(kind: type[Member]) -> None:
    """216 is the least there can be: 120 that are accepted, and one 429 that each member must see."""
    for seed in range(3):
        world = Storm(96, counts_refused=True, seed=seed).run(kind, 60)
        assert len(world.calls) <= 232, BURST
        assert world.accepted(0, 60) == 120
        criticals = [call for call in world.calls if call.critical]
        assert [call.accepted for call in criticals] == [True] * 20, CRITICAL
        assert criticals[-1].arrived < 1, CRITICAL


def a_storm_goes_on(kind: type[Member]) -> None:
    """The provider's whole rate is used again from the third minute on, whatever it counts and how many they are."""
    for counts_refused in (True, False):
        for size in (2, 3, 12, 96):
            world = Storm(size, counts_refused).run(kind, 1200)
            assert world.longest_silence(0, 1200) < 80, SILENCE
            assert world.accepted(120, 1200) / 18 > 80, UNDER
            assert world.refused(60, 1200) < 0.15 * world.accepted(60, 1200), REFUSED


def all_the_work_in_one_partition(kind: type[Member]) -> None:
    """The one member that has it comes to the whole documented rate, and no further."""
    for size in (12, 96):
        world = World(Provider())
        members = group(world, size, kind)
        members[0].owe(MANY)
        world.run(1200)
        assert world.refused(0, 1200) == 0
        assert 89 <= world.accepted(600, 660) <= 91, UNDER
        assert world.accepted(0, 300) > 150, UNDER


def all_the_work_in_two_partitions(kind: type[Member]) -> None:
    """Two of 96 share the rate, although each is answered 429 at times."""
    world = World(Provider(counts_refused=True))
    for member in group(world, 96, kind)[:2]:
        member.owe(MANY)
    world.run(1800)
    assert world.refused(0, 1800) > 0
    assert world.accepted(300, 1800) / 25 > 60, UNDER
    assert world.longest_silence(0, 1800) < 120, SILENCE


def bursts_here_and_there(kind: type[Member]) -> None:
    """Ten alerts every half minute in one of 96 partitions, for four hours: a third of what the provider takes."""
    world = World(Provider(counts_refused=True))
    members = group(world, 96, kind)
    late: list[float] = []

    def burst() -> None:
        member = world.random.choice(members)
        member.owe(10)
        begin = world.now
        world.at(begin + 5, lambda: late.append(begin) if member.owes else None)
        world.at(begin + 30, burst)

    world.at(0, burst)
    world.run(4 * 3600)
    assert world.accepted(0, 4 * 3600) > 4700
    assert not late, LATE


def after_a_storm(kind: type[Member]) -> None:
    """It has been over for ten minutes: a burst is what it was before, and one member may have all the work."""
    world = World(Provider(counts_refused=True))
    members = group(world, 96, kind)
    for member in members:
        member.owe(5)
    world.run(3600)
    over = world.calls[-1].arrived
    assert len([call for call in world.calls if call.accepted]) == 96 * 5, "the storm does not end"
    assert over < 600, "the storm takes long"
    members[0].owe(20)
    world.run(4200)
    assert world.calls[-1].arrived < 3605, LATE
    members[1].owe(MANY)
    world.run(5400)
    assert 89 <= world.accepted(4800, 4860) <= 91, UNDER


def a_provider_that_takes_less(kind: type[Member]) -> None:
    """Half of what is documented, and refused calls count: others use the key as well."""
    world = World(Provider(limit=60, counts_refused=True))
    member = kind(world, 1.0)
    member.owe(MANY)
    world.run(3600)
    assert world.longest_silence(0, 3600) < 120, SILENCE
    assert world.accepted(0, 3600) / 60 > 30, UNDER


def _name(value: object) -> str:
    return getattr(value, "__name__", None) or ("-".join(value) if isinstance(value, dict) else str(value))


SCENARIOS: tuple[Scenario, ...] = (
    a_quiet_hour_of_twelve,
    a_quiet_hour_of_ninety_six,
    a_provider_that_hangs,
    two_routes_with_one_key,
    six_rebalances_in_a_minute,
    the_first_minute_of_a_storm,
    a_storm_goes_on,
    all_the_work_in_one_partition,
    all_the_work_in_two_partitions,
    bursts_here_and_there,
    after_a_storm,
    a_provider_that_takes_less,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=_name)
def test_the_members_keep_to_the_rate_and_use_it(scenario: Scenario) -> None:
    scenario(Member)


class Variant(Member):
    """A member with another limiter."""

    limiter_type: type[KeyLimiter]

    def new_limiter(self) -> KeyLimiter:
        return self.limiter_type(self.rate, random=self.world.random.random, now=self.world.now)


def with_limiter(limiter_type: type[KeyLimiter]) -> type[Member]:
    return type(limiter_type.__name__, (Variant,), {"limiter_type": limiter_type})


class StaticShare(KeyLimiter):
    """A token bucket with the member's part of rate and burst."""

    def set_share(self, share: float, now: float) -> None:
        super().set_share(share, now)
        self._burst_size = max(1.0, self._burst_size * share)

    def set_waiting(self, waiting: bool, now: float) -> None:
        pass


class FullBurst(KeyLimiter):
    """Each member sends a full burst at once."""

    def set_share(self, share: float, now: float) -> None:
        super().set_share(share, now)
        self._paced_size = self._burst_size


class BurstKept(KeyLimiter):
    """A 429 leaves the burst as it is."""

    def throttled(self, now: float, retry_after: float | None) -> None:
        self._advance(now)
        burst = self._burst
        super().throttled(now, retry_after)
        self._burst = burst


class RateKept(KeyLimiter):
    """A 429 leaves the sustained rate as it is."""

    def throttled(self, now: float, retry_after: float | None) -> None:
        self._advance(now)
        level = self._level
        super().throttled(now, retry_after)
        self._level = level


class NeverCareful(KeyLimiter):
    """The rate rises by one share a minute, after any number of 429s."""

    def throttled(self, now: float, retry_after: float | None) -> None:
        super().throttled(now, retry_after)
        self._throttled = 0
        self._set_rise()


class NothingFirm(KeyLimiter):
    """After a 429 it is forgotten how high the rate was."""

    def throttled(self, now: float, retry_after: float | None) -> None:
        super().throttled(now, retry_after)
        self._firm = 1.0
        self._set_rise()


class NeverRises(KeyLimiter):
    """The rate stays at its share."""

    def set_waiting(self, waiting: bool, now: float) -> None:
        pass


class NeverForgives(KeyLimiter):
    """The rate is careful for ever after a 429."""

    def _rest(self, elapsed: float) -> None:
        pass


class InStep(KeyLimiter):
    """All members come back at the same moment."""

    def throttled(self, now: float, retry_after: float | None) -> None:
        self._random = lambda: 0.5
        super().throttled(now, retry_after)


class AnswersIgnored(KeyLimiter):
    """Only time gives back what is paced."""

    def answered(self, now: float) -> None:
        pass


class ForgetfulMember(Member):
    """It begins with a new limiter at each rebalance."""

    def rebalance(self, share: float) -> None:
        self.limiter = self.new_limiter()
        super().rebalance(share)


class LimiterForEachRoute(Member):
    """Its second route has a member of its own, and so a limiter."""

    def owe(self, count: int, *, critical: bool = False, route: int = 0) -> None:
        if route == 1:
            Member(self.world, 1.0).owe(count, critical=critical)
        else:
            super().owe(count, critical=critical)


@pytest.mark.parametrize(
    ("scenario", "weakened", "broken"),
    [
        (a_quiet_hour_of_twelve, with_limiter(StaticShare), LATE),
        (a_quiet_hour_of_ninety_six, with_limiter(StaticShare), LATE),
        (a_quiet_hour_of_ninety_six, with_limiter(AnswersIgnored), LATE),
        (the_first_minute_of_a_storm, with_limiter(FullBurst), BURST),
        (the_first_minute_of_a_storm, with_limiter(BurstKept), BURST),
        (a_storm_goes_on, with_limiter(BurstKept), SILENCE),
        (a_storm_goes_on, with_limiter(RateKept), UNDER),
        (a_storm_goes_on, with_limiter(NeverCareful), UNDER),
        (a_storm_goes_on, with_limiter(InStep), SILENCE),
        (all_the_work_in_two_partitions, with_limiter(NothingFirm), UNDER),
        (all_the_work_in_one_partition, with_limiter(NeverRises), UNDER),
        (after_a_storm, with_limiter(NeverForgives), UNDER),
        (six_rebalances_in_a_minute, ForgetfulMember, OVER),
        (two_routes_with_one_key, LimiterForEachRoute, OVER),
    ],
    ids=_name,
)
def test_a_member_without_one_of_the_rules_is_found(scenario: Scenario, weakened: type[Member], broken: str) -> None:
    with pytest.raises(AssertionError, match=broken):
        scenario(weakened)


@pytest.mark.parametrize(
    ("scenario", "numbers", "broken"),
    [
        (the_first_minute_of_a_storm, {"SHORTEST_PAUSE": 0.0, "LONGEST_PAUSE": 0.0}, BURST),
        (the_first_minute_of_a_storm, {"PACE": 30.0}, BURST),
        (a_provider_that_hangs, {"PACE": 1e-9}, HELD_UP),
        (bursts_here_and_there, {"REFILL_SECONDS": 1e9}, LATE),
        (all_the_work_in_one_partition, {"LEAST_RISE": 0.0}, UNDER),
        (all_the_work_in_one_partition, {"GROWTH": 0.0}, UNDER),
    ],
    ids=_name,
)
def test_a_rule_with_another_number_is_found(
    scenario: Scenario, numbers: dict[str, float], broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in numbers.items():
        monkeypatch.setattr(providers.delivery.limiter, name, value)
    with pytest.raises(AssertionError, match=broken):
        scenario(Member)
