"""The time by the records that were read, and the timestamps of the records that a member writes (design section 14: no
clock is trusted).

A broker refuses a record whose timestamp is more than an hour ahead of its own clock
(``message.timestamp.after.max.ms``), so a host whose clock is far ahead could write no checkpoint and no dead letter.
It removes a record that is older than the topic's ``retention.ms``, so what a host writes whose clock is far behind
would be gone within minutes.
"""

from typing import Final

from consumer.kafka.input_time import InputTime, later
from consumer.kafka.newest import AHEAD_SECONDS, last_time
from consumer.timing.clock import Clock

REFUSED_SECONDS: Final = 600.0
"""For how long after a refusal the host's clock is not used."""


class RecordClock:
    """The host's time, unless it is far ahead or far behind.

    It is far ahead if a broker refuses it: then the newest record's timestamp counts, plus the time since it was read.
    A broker has accepted that timestamp, and with its default settings no broker refuses one that lies in the past.

    It is far behind if the brokers refuse what is far ahead of *them* (`InputTime.brokers_check`), and have accepted a
    record of the input that is far ahead of this host: then that record's timestamp counts, plus the time since it was
    read, until a record is read that agrees with the host.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refused_until = 0.0
        self._ahead_of_monotonic: float | None = None
        self._far_ahead: float | None = None
        self.input = InputTime(clock)
        """The time by the records of the input."""

    def saw(self, timestamp: int) -> None:
        """Take note of a record of the input; a timestamp (milliseconds) that cannot be a time is ignored."""
        self.input.saw(timestamp)
        self.saw_of_a_member(timestamp)
        if self._proves_host_behind(timestamp):
            self._far_ahead = later(self._far_ahead, timestamp / 1000 - self._clock.monotonic())
        elif abs(timestamp / 1000 - self._clock.wall()) <= AHEAD_SECONDS:
            self._far_ahead = None

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
        if self.is_refused:
            newest = self.newest()
            return None if newest is None else int(newest * 1000)
        if self._far_ahead is None:
            return None
        timestamp = int((self._clock.monotonic() + self._far_ahead) * 1000)
        return timestamp if self._is_far_ahead(timestamp) else None  # the host's clock may have been put right

    def now_after(self, timestamp: int) -> int | None:
        """As `now`, for a record about another one, whose timestamp (milliseconds) a broker has accepted: it is not
        older than that one if this host is far behind."""
        now = self.now()
        if self.is_refused or not self._proves_host_behind(timestamp):
            return now
        return timestamp if now is None else max(now, timestamp)

    def _proves_host_behind(self, timestamp: int) -> bool:
        return self.input.are_checked and self._is_far_ahead(timestamp)

    def _is_far_ahead(self, timestamp: int) -> bool:
        return timestamp / 1000 > self._clock.wall() + AHEAD_SECONDS

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
