"""The time by the records of the input (design sections 14 and 22: no clock is trusted).

Silences hold by the times of records, so they end by them too. Records are written by clocks that can be wrong, and
what is read is compared with other clocks: that of this host, and that of the broker which took the record.
"""

from typing import Final

from consumer.kafka.newest import AHEAD_SECONDS
from consumer.timing.clock import Clock
from state.occurrences import EARLIEST

ALONE_SECONDS: Final = 60.0
"""If no record was within the host's time for so many seconds, the host is behind, provided that the brokers say so
too."""


class InputTime:
    """The newest record's time plus the time since it was read.

    A record that is more than an hour ahead of this host is doubtful: one of the two clocks is wrong. Two against one
    decide. If the brokers refuse what is so far ahead of *their* clocks (`brokers_check`), they have found the record's
    time right. So it counts where this host is alone with its time: it has read nothing else for `ALONE_SECONDS`.
    Otherwise it is only known that it is later than the host's time, which counts in its place.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.are_checked = False
        """Whether the brokers refuse records of the input that are more than an hour ahead of their own clocks."""
        self._ahead_of_monotonic: float | None = None
        self._far_ahead: float | None = None
        self._agreed_at = clock.monotonic()

    def brokers_check(self, *, is_so: bool) -> None:
        """Take note whether they do (`are_checked`)."""
        self.are_checked = is_so

    def saw(self, timestamp: int) -> None:
        """Take note of a record; a timestamp (milliseconds) before 2015 is ignored."""
        time, now = timestamp / 1000, self._clock.moment()
        if time < EARLIEST:
            return
        if time <= now.wall + AHEAD_SECONDS:
            self._agreed_at, self._far_ahead = now.monotonic, None
        elif self.are_checked and now.monotonic - self._agreed_at >= ALONE_SECONDS:
            self._far_ahead = later(self._far_ahead, time - now.monotonic)
            return
        else:
            time = now.wall
        self._ahead_of_monotonic = later(self._ahead_of_monotonic, time - now.monotonic)

    def now(self) -> float | None:
        """The time now, in seconds since the epoch: as far as the records' timestamps are true, the real time or an
        earlier one. None until a record was read."""
        ahead = self._ahead_of_monotonic if self._far_ahead is None else self._far_ahead
        return None if ahead is None else self._clock.monotonic() + ahead


def later(known: float | None, ahead: float) -> float:
    """The later of two times by records, each as the seconds that it is ahead of the monotonic clock."""
    return ahead if known is None else max(known, ahead)
