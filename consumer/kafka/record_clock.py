"""What the records say of the time, and the timestamps of those that a member writes (design section 14: no clock is
trusted).

A broker refuses a record whose timestamp is more than an hour ahead of its own clock
(``message.timestamp.after.max.ms``), so a host whose clock is far ahead could write no checkpoint and no dead letter.
"""

from typing import Final

from consumer.clock import Clock
from consumer.kafka.newest import last_time

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
        """A record with this timestamp (milliseconds) was read; one that cannot be a time says nothing."""
        time = last_time((timestamp,), self._clock.wall())
        if time is None:
            return
        ahead = time - self._clock.monotonic()
        if self._ahead_of_monotonic is None or ahead > self._ahead_of_monotonic:
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
        newest = self.newest()
        return int(newest * 1000) if newest is not None and self.is_refused else None

    def newest(self) -> float | None:
        """The time of the newest record that was read, carried on, in seconds since the epoch; None without one.

        It is the real time or an earlier one, as far as the records' timestamps are true.
        """
        if self._ahead_of_monotonic is None:
            return None
        return self._clock.monotonic() + self._ahead_of_monotonic
