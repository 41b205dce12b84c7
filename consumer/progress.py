"""Whether a task is caught up, and whether quiet may be read as peace (design section 6, "Caught up to a moment").

All times are by the monotonic clock, in seconds.
"""

from collections import deque
from typing import Protocol

FRESH_SECONDS = 5.0
"""A task is caught up now if it is caught up to a moment that is less than this ago."""

PEACE_SECONDS = 30.0
"""Quiet counts only when the task has been caught up throughout this long."""


class Before(Protocol):
    """What stands before a partition: all of its records are known only if that has let everything through."""

    def is_caught_up(self, now: float) -> bool: ...
    def is_peace(self, now: float) -> bool: ...


class Progress:
    """Compares how far a partition has been decided with how far it was known to reach at past moments.

    An end is observed with the moment at which its request was *sent*: everything that was in the partition then lies
    below it. Once the decided position has passed it, the task is caught up to that moment.
    """

    def __init__(
        self,
        peace_seconds: float = PEACE_SECONDS,
        *,
        fresh_seconds: float = FRESH_SECONDS,
        before: Before | None = None,
    ) -> None:
        self._peace_seconds = peace_seconds
        self._fresh_seconds = fresh_seconds
        self._before = before
        self._ends: deque[tuple[float, int]] = deque()
        self._position = 0
        self._caught_up_to: float | None = None
        self._fresh_since: float | None = None

    def observe_end(self, moment: float, end: int, now: float) -> None:
        """The partition's end, asked for at ``moment``, was ``end``."""
        self._ends.append((moment, end))
        self._settle(now)

    def decided(self, position: int, now: float) -> None:
        """Everything below ``position`` has been decided."""
        self._position = position
        if self._ends:
            self._settle(now)

    def is_caught_up(self, now: float) -> bool:
        """Whether everything up to less than ``fresh_seconds`` ago has been decided."""
        return self._is_fresh(now) and (self._before is None or self._before.is_caught_up(now))

    def is_peace(self, now: float) -> bool:
        """Whether quiet may be read as peace: caught up now, and at every moment of the last ``peace_seconds``."""
        if self._fresh_since is None or now - self._fresh_since < self._peace_seconds:
            return False
        return self._is_fresh(now) and (self._before is None or self._before.is_peace(now))

    def _is_fresh(self, now: float) -> bool:
        return self._caught_up_to is not None and now - self._caught_up_to < self._fresh_seconds

    def _settle(self, now: float) -> None:
        ends = self._ends
        while ends and ends[0][1] <= self._position:
            moment, _ = ends.popleft()
            if not self._is_fresh(now):
                self._fresh_since = now
            self._caught_up_to = moment
