"""Limits how often a frequent event is logged, and counts the times that it was not. Pure but for the clock."""

from collections.abc import Callable
from time import monotonic

SECONDS = 10.0


class LogLimit:
    """Lets something be logged at most once in ``seconds``. ``clock`` is monotonic, in seconds."""

    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._said: float | None = None
        self._unsaid = 0

    def now(self) -> int | None:
        """The event has happened. None if it is not to be logged now, else how often it happened unlogged before."""
        now = self._clock()
        if self._said is not None and now - self._said < self._seconds:
            self._unsaid += 1
            return None
        self._said, unsaid, self._unsaid = now, self._unsaid, 0
        return unsaid
