"""Many members, one integration key, a provider that counts calls in a rolling minute: real limiter, virtual time.

A member has routes, each a queue in which criticals come first. It sends whenever its limiter has a token; a request
takes part of a second, and what was answered 429 goes back into its place. Members know nothing of each other.
"""

import heapq
import itertools
import math
import random
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from providers.delivery.limiter import KeyLimiter
from providers.rate import Rate

WINDOW = 60.0
PAGERDUTY = Rate(1.5, 30)
OPSGENIE = Rate(10, 20)


class Provider:
    """Takes ``limit`` calls of one key in any rolling minute, and answers 429, without ``Retry-After``, to the others.

    With ``counts_refused`` those count as well, so that who goes on asking is never let in again.
    """

    def __init__(self, limit: int = 120, counts_refused: bool = False) -> None:
        self.limit = limit
        self._counts_refused = counts_refused
        self._counted: deque[float] = deque()

    def takes(self, now: float) -> bool:
        """A call arrives; whether it is accepted."""
        while self._counted and self._counted[0] <= now - WINDOW:
            self._counted.popleft()
        accepted = len(self._counted) < self.limit
        if accepted or self._counts_refused:
            self._counted.append(now)
        return accepted


@dataclass(frozen=True, slots=True)
class Call:
    """A request: when it left and arrived, who sent it, and what the provider said."""

    left: float
    arrived: float
    member: int
    critical: bool
    accepted: bool


class World:
    """Time, the provider, and all that it was asked. The same seed gives the same world."""

    def __init__(self, provider: Provider, seed: int = 1) -> None:
        self.now = 0.0
        self.provider = provider
        self.random = random.Random(seed)
        self.calls: list[Call] = []
        """In the order in which they arrived."""
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do that at that moment, or now if it is past."""
        heapq.heappush(self._events, (max(time, self.now), next(self._serial), action))

    def run(self, until: float) -> None:
        """Let time pass up to that moment."""
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = until

    def calls_between(self, begin: float, end: float) -> list[Call]:
        """Those that arrived in [begin, end)."""
        first = bisect_left(self.calls, begin, key=_arrived)
        return self.calls[first : bisect_left(self.calls, end, key=_arrived)]

    def accepted(self, begin: float, end: float) -> int:
        """How many calls the provider took in [begin, end)."""
        return sum(call.accepted for call in self.calls_between(begin, end))

    def refused(self, begin: float, end: float) -> int:
        """How many it answered 429."""
        return sum(not call.accepted for call in self.calls_between(begin, end))

    def longest_silence(self, begin: float, end: float) -> float:
        """Seconds of [begin, end) in a row in which the provider took nothing."""
        moments = [begin, *(call.arrived for call in self.calls_between(begin, end) if call.accepted), end]
        return max(after - before for before, after in itertools.pairwise(moments))


def _arrived(call: Call) -> float:
    return call.arrived


def most_in_a_minute(moments: Sequence[float]) -> int:
    """The most of these moments (ascending) that lie in one minute."""
    # Ten microseconds less: a limiter may be off by the rounding of its sums.
    ends = (bisect_right(moments, moment + WINDOW - 1e-5) for moment in moments)
    return max((end - first for first, end in enumerate(ends)), default=0)


class Member:
    """One process. ``latency`` bounds the seconds that a request takes; it arrives half-way."""

    def __init__(
        self,
        world: World,
        share: float,
        *,
        rate: Rate = PAGERDUTY,
        routes: int = 1,
        number: int = 0,
        latency: tuple[float, float] = (0.1, 0.3),
    ) -> None:
        self.world = world
        self.number = number
        self.rate = rate
        self._latency = latency
        self._queues: list[list[tuple[bool, int]]] = [[] for _ in range(routes)]
        self._serial = itertools.count()
        self._turns = itertools.cycle(range(routes))
        self._wakes_at: float | None = None
        self.limiter = self.new_limiter()
        self.limiter.set_share(share, world.now)

    def new_limiter(self) -> KeyLimiter:
        """What a member begins with."""
        return KeyLimiter(self.rate, random=self.world.random.random, now=self.world.now)

    def rebalance(self, share: float) -> None:
        """The member has another part of the partitions; its limiter stays."""
        self.limiter.set_share(share, self.world.now)
        self._send()

    def owe(self, count: int, *, critical: bool = False, route: int = 0) -> None:
        """That many alerts come to be owed now."""
        for _ in range(count):
            heapq.heappush(self._queues[route], (not critical, next(self._serial)))
        self._send()

    @property
    def owes(self) -> int:
        """How many alerts wait in its routes."""
        return sum(map(len, self._queues))

    def _send(self) -> None:
        now, limiter = self.world.now, self.limiter
        while self.owes and limiter.has_token(now):
            limiter.take(now)
            route = next(route for route in self._turns if self._queues[route])
            self._leave(route, heapq.heappop(self._queues[route]))
        limiter.set_waiting(self.owes > 0, now)
        if self.owes:
            self._wake(limiter.next_at(now))

    def _wake(self, at: float) -> None:
        if at == math.inf or (self._wakes_at is not None and self._wakes_at <= at):
            return
        self._wakes_at = at

        def wake() -> None:
            if self._wakes_at == at:
                self._wakes_at = None
                self._send()

        self.world.at(at, wake)

    def _leave(self, route: int, alert: tuple[bool, int]) -> None:
        left = self.world.now
        seconds = self.world.random.uniform(*self._latency)

        def arrive() -> None:
            accepted = self.world.provider.takes(self.world.now)
            self.world.calls.append(Call(left, self.world.now, self.number, not alert[0], accepted))
            self.world.at(left + seconds, lambda: self._answered(route, alert, accepted))

        self.world.at(left + seconds / 2, arrive)

    def _answered(self, route: int, alert: tuple[bool, int], accepted: bool) -> None:
        if accepted:
            self.limiter.answered(self.world.now)
        else:
            heapq.heappush(self._queues[route], alert)
            self.limiter.throttled(self.world.now, None)
        self._send()
