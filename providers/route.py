"""One route's queue and its condition (design section 9). No I/O; the monotonic clock comes as an argument."""

import heapq
from dataclasses import dataclass
from typing import Any

from aiolimiter import AsyncLimiter

from providers.breaker import Breaker, BreakerSettings
from state.violation import Severity


@dataclass(frozen=True, slots=True)
class Debt:
    """Something owed, as a queue orders it: by severity, then age, a trigger before a resolve of the same severity.

    ``key`` is (outbox, dedup key); ``since`` is wall-clock time, ``not_before`` is by the
    monotonic clock.
    """

    key: tuple[Any, str]
    severity: Severity
    since: float
    is_resolve: bool
    not_before: float = 0.0

    @property
    def rank(self) -> tuple[int, bool, float]:
        """What leaves first has the smallest rank."""
        return (-self.severity, self.is_resolve, self.since)


class Route:
    """The queue of a route, and whether the provider takes anything through it.

    ``in_flight`` counts the notifications on the wire, ``unmetered`` those of them whose first request has not taken
    its token from ``limiter`` yet (None: no limit); ``refused`` is the provider's reason since it last refused the
    route (key, plan, address), None while it does not.
    """

    def __init__(self, name: str, breaker: Breaker | None = None, limiter: AsyncLimiter | None = None) -> None:
        self.name = name
        self.breaker = breaker or Breaker(BreakerSettings())
        self.limiter = limiter
        self.in_flight = 0
        self.unmetered = 0
        self.refused: str | None = None
        self._paused_until = 0.0
        self._queued: dict[tuple[Any, str], Debt] = {}
        self._ready: list[tuple[tuple[int, bool, float], int, Debt]] = []
        self._delayed: list[tuple[float, int, Debt]] = []
        self._serial = 0

    def __len__(self) -> int:
        """How many alerts wait in this queue."""
        return len(self._queued)

    def add(self, debt: Debt, now: float) -> None:
        """Queue a debt, in the place of an earlier one of the same alert."""
        if self._queued.get(debt.key) == debt:
            return
        self._queued[debt.key] = debt
        self._serial += 1
        if debt.not_before > now:
            heapq.heappush(self._delayed, (debt.not_before, self._serial, debt))
        else:
            heapq.heappush(self._ready, (debt.rank, self._serial, debt))

    def take(self, now: float) -> Debt | None:
        """The debt that is to leave first, if one is due and the route takes it."""
        if now < self._paused_until or not self.breaker.allows(now, self.in_flight) or not self._has_token():
            return None
        delayed, ready = self._delayed, self._ready
        while delayed and delayed[0][0] <= now:
            _, serial, debt = heapq.heappop(delayed)
            if self._queued.get(debt.key) is debt:
                heapq.heappush(ready, (debt.rank, serial, debt))
        while ready:
            debt = heapq.heappop(ready)[2]
            # A debt that was replaced or forgotten stays in its heap until it comes up.
            if self._queued.get(debt.key) is debt:
                del self._queued[debt.key]
                return debt
        return None

    def forget(self, outbox: Any) -> None:
        """Nothing of this outbox is to be sent any more."""
        for key in [key for key in self._queued if key[0] is outbox]:
            del self._queued[key]
        # Left until they come up, which may take as long as an outage, they would keep all that the outbox knows.
        self._ready = [entry for entry in self._ready if entry[2].key[0] is not outbox]
        self._delayed = [entry for entry in self._delayed if entry[2].key[0] is not outbox]
        heapq.heapify(self._ready)
        heapq.heapify(self._delayed)

    def next_due(self, now: float) -> float | None:
        """When `take` may next give something that it does not give now; None if no time will change that."""
        if not self._queued:
            return None
        due = max(self._paused_until, self.breaker.probe_at or 0.0)
        if self._ready:
            if not self._has_token():
                assert self.limiter is not None
                due = max(due, now + self.limiter.time_period / self.limiter.max_rate)
        elif self._delayed:
            due = max(due, self._delayed[0][0])
        return due if due > now else None

    def answered(self) -> None:
        """The provider took or rejected a notification: the route works."""
        self.refused = None
        self.breaker.succeeded()

    def unavailable(self, now: float, retry_after: float | None) -> None:
        """An outage answer; nothing leaves before ``retry_after`` seconds have passed, if the provider said so."""
        self.breaker.failed(now)
        if retry_after is not None:
            self._paused_until = max(self._paused_until, now + retry_after)

    def refuse(self, now: float, reason: str) -> None:
        """The provider refused the route itself."""
        self.refused = reason
        self.breaker.failed(now)

    def _has_token(self) -> bool:
        return self.limiter is None or self.limiter.has_capacity(1 + self.unmetered)
