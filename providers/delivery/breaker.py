"""The circuit breaker of one integration (design section 13). Pure; the monotonic clock comes as an argument.

Breaker libraries wrap a call and refuse it with an exception; here nothing may be called at all while it is open,
except for single probes that the queue chooses, so only the states are needed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

A = TypeVar("A")
"""What names an alert."""

QUICK_PROBES: Final = 40
"""Alerts that have not failed yet are tried at once, one after another, so often after the last success: the failures
may be those of some alerts only, and must not hold up the others."""

FRESH_SECONDS: Final = 5.0
"""After those, between two alerts that have not failed yet, even while an earlier one hangs."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """The configuration's ``delivery.circuit_breaker``."""

    failure_threshold: int = 5
    recovery_seconds: float = 30.0


class Probes:
    """When single notifications may leave through an integration that is thought to take none.

    An alert that has failed leaves every ``recovery_seconds``, one at a time. One that has not is *fresh*: it is better
    evidence, and may be the page that everybody waits for, so it leaves sooner.
    """

    def __init__(
        self, recovery_seconds: float, *, quick: int = QUICK_PROBES, fresh_seconds: float = FRESH_SECONDS
    ) -> None:
        self._recovery_seconds = recovery_seconds
        self._all_quick = self._quick = quick
        self._fresh_seconds = min(fresh_seconds, recovery_seconds)
        self._fresh_at = -math.inf
        self.asked_until = -math.inf
        """Before which nothing at all is to leave, because the provider asked for that."""
        self.at = -math.inf
        """When the next alert that has failed may leave."""

    def allows(self, now: float, in_flight: int, *, is_fresh: bool) -> bool:
        """Whether one more may leave, with so many on the wire."""
        if is_fresh and now >= self.asked_until:
            return now >= self._fresh_at or (in_flight == 0 and self._quick > 0)
        return in_flight == 0 and now >= self.at

    def due(self, *, has_fresh: bool) -> float:
        """When one may leave, if nothing is on the wire then."""
        if not has_fresh:
            return self.at
        return min(self.at, max(self.asked_until, -math.inf if self._quick > 0 else self._fresh_at))

    def due_beside(self) -> float:
        """When a fresh one may leave although others are on the wire."""
        return max(self.asked_until, self._fresh_at)

    def left(self, now: float, *, is_fresh: bool) -> None:
        """One has left."""
        if is_fresh:
            self._quick = max(0, self._quick - 1)
            self._fresh_at = now + self._fresh_seconds

    def failed(self, now: float, retry_after: float = 0.0) -> None:
        """One has failed; ``retry_after`` is for how many seconds nothing at all is to leave."""
        self.at = now + max(self._recovery_seconds, retry_after)
        self.asked_until = max(self.asked_until, now + retry_after)

    def succeeded(self) -> None:
        """One was accepted."""
        self._quick = self._all_quick
        self._fresh_at = self.asked_until = self.at = -math.inf


class Breaker(Generic[A]):
    """Opens when so many different alerts have failed since the last success; then lets only probes pass. The first
    success closes it."""

    def __init__(self, settings: BreakerSettings) -> None:
        self._threshold = settings.failure_threshold
        self._failed: dict[A, None] = {}
        self._asked: tuple[A, float] | None = None
        self.probes = Probes(settings.recovery_seconds)
        self.is_open = False
        """Whether nothing but probes may leave."""
        self.opened_by: tuple[A, ...] = ()
        """The alerts whose failures have opened it, while it is open."""

    def succeeded(self) -> None:
        """The provider took a notification."""
        self._failed.clear()
        self._asked = None
        self.probes.succeeded()
        self.is_open = False
        self.opened_by = ()

    def failed(self, alert: A, now: float, retry_after: float = 0.0) -> None:
        """An alert has failed, and nothing has been accepted since its first failure.

        ``retry_after`` is how many seconds the provider asked to wait. Open, the breaker heeds what two alerts in a row
        were asked: something between us and the provider can ask it for one alert alone.
        """
        asked = 0.0
        if self._asked is not None and self._asked[0] != alert:
            asked = min(self._asked[1], retry_after)
        self._asked = (alert, retry_after)
        if not self.is_open:
            self._failed[alert] = None
            if len(self._failed) < self._threshold:
                return
            self.is_open, self.opened_by = True, tuple(self._failed)
            self._failed.clear()
        self.probes.failed(now, asked if self._threshold > 1 else retry_after)

    def forget(self, is_gone: Callable[[A], bool]) -> None:
        """Those alerts are no longer this member's."""
        for alert in [alert for alert in self._failed if is_gone(alert)]:
            del self._failed[alert]
        self.opened_by = tuple(alert for alert in self.opened_by if not is_gone(alert))
        if self._asked is not None and is_gone(self._asked[0]):
            self._asked = None
