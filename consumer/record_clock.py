"""The timestamps of the records that a member writes (design section 14: no clock is trusted).

A broker refuses a record whose timestamp is more than an hour ahead of its own clock
(``message.timestamp.after.max.ms``), so a host whose clock is far ahead could write no checkpoint and no dead letter.
"""

from typing import Final

from consumer.clock import Clock
from state.alert import EARLIEST

REFUSED_SECONDS: Final = 600.0
"""For so long after a refusal the host's clock is not used."""


class RecordClock:
    """The host's time, until a broker refuses it; then the time of the newest record that was read, carried on.

    That one was taken by a broker, and a timestamp that lies behind is refused by none as it is configured by default.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refused_until = 0.0
        self._ahead_of_monotonic: float | None = None

    def saw(self, timestamp: int) -> None:
        """A record with this timestamp (milliseconds) was read."""
        ahead = timestamp / 1000 - self._clock.monotonic()
        if timestamp >= EARLIEST * 1000 and (self._ahead_of_monotonic is None or ahead > self._ahead_of_monotonic):
            self._ahead_of_monotonic = ahead

    def refused(self) -> bool:
        """A broker has refused a timestamp. Returns whether the next ones will be others."""
        was_refused = self.is_refused
        self._refused_until = self._clock.monotonic() + REFUSED_SECONDS
        return self._ahead_of_monotonic is not None and not was_refused

    @property
    def is_refused(self) -> bool:
        """Whether the host's clock was refused a while ago."""
        return self._clock.monotonic() < self._refused_until

    def now(self) -> int | None:
        """The timestamp of a record that is written now, in milliseconds; None for the host's."""
        if self._ahead_of_monotonic is None or not self.is_refused:
            return None
        return int((self._clock.monotonic() + self._ahead_of_monotonic) * 1000)
