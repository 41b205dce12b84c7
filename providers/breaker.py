"""The circuit breaker of one route (design section 9). Pure; the monotonic clock comes as an argument.

Breaker libraries wrap a call and refuse it with an exception; here nothing may be called at all while it is open,
except for one probe at a time that the queue chooses, so only the states are needed.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """The configuration's ``delivery.circuit_breaker``."""

    failure_threshold: int = 5
    recovery_seconds: float = 30.0


class Breaker:
    """Opens after so many outage answers in a row; then lets a probe pass every ``recovery_seconds``.

    The first success closes it.
    """

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._failures = 0
        self._probe_at: float | None = None

    @property
    def failures(self) -> int:
        """Outage answers in a row."""
        return self._failures

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
        """The provider answered, and not with an outage."""
        self._failures = 0
        self._probe_at = None

    def failed(self, now: float) -> None:
        """An outage answer, or the route was refused."""
        self._failures += 1
        if self._failures >= self._settings.failure_threshold:
            self._probe_at = now + self._settings.recovery_seconds
