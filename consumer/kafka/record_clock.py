"""The time by the records that were read, and the timestamps of the records that a member writes (design section 14: no
clock is trusted).

A broker refuses a record whose timestamp is more than an hour ahead of its own clock
(``message.timestamp.after.max.ms``), so a host whose clock is far ahead could write no checkpoint and no dead letter.
"""

from typing import Final

from consumer.kafka.input_time import InputTime, later
from consumer.kafka.newest import last_time
from consumer.timing.clock import Clock

REFUSED_SECONDS: Final = 600.0
"""For how long after a refusal the host's clock is not used."""


class RecordClock:
    """The host's time, until a broker refuses it; then the newest record's timestamp plus the time since it was read.

    A broker has accepted that timestamp, and with its default settings no broker refuses one that lies in the past.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refused_until = 0.0
        self._ahead_of_monotonic: float | None = None
        self.input = InputTime(clock)
        """The time by the records of the input."""

    def saw(self, timestamp: int) -> None:
        """Take note of a record of the input; a timestamp (milliseconds) that cannot be a time is ignored."""
        self.input.saw(timestamp)
        self.saw_of_a_member(timestamp)

    def saw_of_a_member(self, timestamp: int) -> None:
        """Take note of a record that a member has written, by its own clock; one that cannot be a time is ignored."""
        time = last_time((timestamp,), self._clock.wall())
        if time is not None:
            self._ahead_of_monotonic = later(self._ahead_of_monotonic, time - self._clock.monotonic())

    def refused(self) -> bool:
        """Take note that a broker has refused a timestamp. Returns whether the next timestamps will be different."""
        was_refused = self.is_refused
        self._refused_until = self._clock.monotonic() + REFUSED_SECONDS
        return self._ahead_of_monotonic is not None and not was_refused

    @property
    def is_refused(self) -> bool:
        """Whether a broker has refused the host's clock within the last `REFUSED_SECONDS`."""
        return self._clock.monotonic() < self._refused_until

    def now(self) -> int | None:
        """The timestamp for a record that is written now, in milliseconds; None means the host's time."""
        newest = self.newest()
        return int(newest * 1000) if newest is not None and self.is_refused else None

    def newest(self) -> float | None:
        """The newest record's time plus the time since it was read, in seconds since the epoch; None without a record.

        As far as the records' timestamps are true, this is the real time or an earlier one.
        """
        if self._ahead_of_monotonic is None:
            return None
        return self._clock.monotonic() + self._ahead_of_monotonic

    def newest_of_input(self) -> float | None:
        """The same of the records of the input only: no clock of a member is in it. Until one was read, what members
        have written counts, as far as this host's time is not earlier; None without any record."""
        if (by_input := self.input.now()) is not None:
            return by_input
        newest = self.newest()
        return None if newest is None else min(newest, self._clock.wall())
