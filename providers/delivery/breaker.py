"""The circuit breaker of one integration (design section 13). Pure; the monotonic clock comes as an argument.

Breaker libraries wrap a call and refuse it with an exception. Here nothing is called while the breaker is open, except
for single probes that the queue chooses. So this keeps the states only.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

A = TypeVar("A")
"""The type that identifies an alert."""

QUICK_PROBES: Final = 40
"""How many alerts that have not failed yet are tried one right after another since the last success. The failures may
be those of some alerts only, and must not hold up the others."""

FRESH_SECONDS: Final = 5.0
"""Seconds between two alerts that have not failed yet, once `QUICK_PROBES` are used up; also while an earlier request
hangs."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """The configuration's ``delivery.circuit_breaker``."""

    failure_threshold: int = 5
    recovery_seconds: float = 30.0


class Probes:
    """When single notifications (probes) may leave through an integration that seems to accept none.

    Alerts that have failed leave one at a time, one every ``recovery_seconds``. An alert that has not failed is
    *fresh*. It is better evidence, and may be the page that everybody waits for, so it leaves sooner.
    """

    def __init__(
        self, recovery_seconds: float, *, quick: int = QUICK_PROBES, fresh_seconds: float = FRESH_SECONDS
    ) -> None:
        self._recovery_seconds = recovery_seconds
        self._all_quick = self._quick = quick
        self._fresh_seconds = min(fresh_seconds, recovery_seconds)
        self._fresh_at = -math.inf
        self.asked_until = -math.inf
        """Until when nothing at all may leave, because the provider asked for that (``Retry-After``)."""
        self.at = -math.inf
        """When the next alert that has failed may leave."""

    def allows(self, now: float, in_flight: int, *, is_fresh: bool) -> bool:
        """Whether one more probe may leave while ``in_flight`` notifications are on the wire."""
        if is_fresh and now >= self.asked_until:
            return now >= self._fresh_at or (in_flight == 0 and self._quick > 0)
        return in_flight == 0 and now >= self.at

    def due(self, *, has_fresh: bool) -> float:
        """When the next probe may leave, if nothing is on the wire then."""
        if not has_fresh:
            return self.at
        return min(self.at, max(self.asked_until, -math.inf if self._quick > 0 else self._fresh_at))

    def due_beside(self) -> float:
        """When a fresh alert may leave although others are on the wire."""
        return max(self.asked_until, self._fresh_at)

    def left(self, now: float, *, is_fresh: bool) -> None:
        """Note that a probe has left."""
        if is_fresh:
            self._quick = max(0, self._quick - 1)
            self._fresh_at = now + self._fresh_seconds

    def failed(self, now: float, retry_after: float = 0.0) -> None:
        """A notification has failed; nothing at all may leave for ``retry_after`` seconds."""
        self.at = now + max(self._recovery_seconds, retry_after)
        self.asked_until = max(self.asked_until, now + retry_after)

    def succeeded(self) -> None:
        """Note that a notification was accepted."""
        self._quick = self._all_quick
        self._fresh_at = self.asked_until = self.at = -math.inf


class Breaker(Generic[A]):
    """Opens when ``failure_threshold`` different alerts have failed since the last success; then only probes may leave.
    The first success closes it."""

    def __init__(self, settings: BreakerSettings) -> None:
        self._threshold = settings.failure_threshold
        self._failed: dict[A, None] = {}
        self._asked: tuple[A, float] | None = None
        self.probes = Probes(settings.recovery_seconds)
        self.is_open = False
        """Whether nothing but probes may leave."""
        self.opened_by: tuple[A, ...] = ()
        """The alerts whose failures have opened the breaker; empty while it is closed."""

    def succeeded(self) -> None:
        """The provider accepted a notification: close the breaker."""
        self._failed.clear()
        self._asked = None
        self.probes.succeeded()
        self.is_open = False
        self.opened_by = ()

    def failed(self, alert: A, now: float, retry_after: float = 0.0) -> None:
        """An alert has failed, and nothing has been accepted since its first failure.

        ``retry_after`` is how many seconds the provider asked to wait. An open breaker obeys only if two different
        alerts in a row were asked, and waits the shorter time: something between us and the provider can ask for a wait
        for one alert alone.
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
        """Forget the alerts that ``is_gone`` names: they are no longer this member's."""
        for alert in [alert for alert in self._failed if is_gone(alert)]:
            del self._failed[alert]
        self.opened_by = tuple(alert for alert in self.opened_by if not is_gone(alert))
        if self._asked is not None and is_gone(self._asked[0]):
            self._asked = None
