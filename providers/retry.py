"""When a failed request is made again: exponential backoff with full jitter.

Retry libraries hold a coroutine for every attempt that waits. Here notifications wait in a queue and in the state, so
only the arithmetic is needed. See "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """The configuration's ``delivery.retry``, in seconds. ``random`` returns a number in [0, 1)."""

    initial: float
    maximum: float
    multiplier: float
    random: Callable[[], float]

    def wait(self, failures: int, at_most: float | None = None) -> float:
        """How many seconds to wait after so many ``failures`` in a row (at least one).

        The wait grows up to ``at_most`` seconds, by default up to the configured maximum.
        """
        return self.random() * self.longest(failures, at_most)

    def longest(self, failures: int, at_most: float | None = None) -> float:
        """The longest time in seconds that `wait` can return."""
        # The exponent is bounded so that a long outage cannot overflow a float.
        ceiling = self.initial * self.multiplier ** min(failures - 1, 64)
        return min(self.maximum if at_most is None else at_most, ceiling)


class Restarts:
    """How something that is to run for ever is begun again after each failure: ever later.

    What has run for longer than the longest wait has begun anew: its failure is the first in a row. ``clock`` gives
    seconds by a monotonic clock.
    """

    def __init__(self, backoff: Backoff, clock: Callable[[], float]) -> None:
        self._backoff = backoff
        self._clock = clock
        self._began = clock()
        self.failures = 0
        """How many there have been in a row."""

    def begins(self) -> None:
        """It begins."""
        self._began = self._clock()

    def failed(self) -> None:
        """It has failed."""
        self.failures = 1 if self._clock() - self._began > self._backoff.maximum else self.failures + 1

    def wait(self) -> float:
        """How many seconds to wait before it begins again."""
        return self._backoff.wait(self.failures)
