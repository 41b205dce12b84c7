"""The circuit breaker of one integration (design section 13). Pure; the monotonic clock comes as an argument.

Breaker libraries wrap a call and refuse it with an exception; here nothing may be called at all while it is open,
except for one probe at a time that the queue chooses, so only the states are needed.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

A = TypeVar("A")
"""What names an alert."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """The configuration's ``delivery.circuit_breaker``."""

    failure_threshold: int = 5
    recovery_seconds: float = 30.0


class Breaker(Generic[A]):
    """Opens when so many different alerts have failed since the last success; then lets a probe pass every
    ``recovery_seconds``. The first success closes it."""

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._failed: set[A] = set()
        self._probe_at: float | None = None
        self.opened_by: tuple[A, ...] = ()
        """The alerts whose failures have opened it, while it is open."""

    @property
    def probe_at(self) -> float | None:
        """When the next probe may leave; None while it is closed."""
        return self._probe_at

    @property
    def is_open(self) -> bool:
        """Whether nothing but probes may leave."""
        return self._probe_at is not None

    def allows(self, now: float, in_flight: int) -> bool:
        """Whether one more notification may leave, with so many on the wire."""
        return self._probe_at is None or (in_flight == 0 and now >= self._probe_at)

    def succeeded(self) -> None:
        """The provider took a notification."""
        self._failed.clear()
        self._probe_at = None
        self.opened_by = ()

    def failed(self, alert: A, now: float, retry_after: float = 0.0) -> None:
        """An alert has failed, and nothing has been accepted since its first failure.

        ``retry_after`` is how many seconds the provider asked to wait: open, the breaker heeds it.
        """
        if self._probe_at is None:
            self._failed.add(alert)
            if len(self._failed) < self._settings.failure_threshold:
                return
            self.opened_by = tuple(self._failed)
            self._failed.clear()
        self._probe_at = now + max(self._settings.recovery_seconds, retry_after)
