"""Whether a task is caught up, and quiescent for long enough that quiet may end alerts (design sections 6 and 15).

All times are by the monotonic clock, in seconds.
"""

from collections import deque
from dataclasses import dataclass
from typing import Protocol

FRESH_SECONDS = 5.0
"""A task is caught up now if it is caught up to a moment less than so many seconds ago."""

QUIESCENT_SECONDS = 30.0
"""A task is quiescent if it has been caught up throughout the last so many seconds; only then quiet ends alerts."""

STANDSTILL_SECONDS = 60.0
"""A last stable offset below the end of its partition that has not moved for so many seconds stands still."""

OPEN_SHARE = 0.1
"""The part of ``quiet_seconds`` for which other producers' open transactions may hide records."""

MARKS = 100
"""Into how many parts the time is divided for which observed ends matter: one end is kept of each part."""


class Before(Protocol):
    """The repartition stage before a partition: all records for the partition are known only if the stage has forwarded
    everything."""

    def is_caught_up(self, now: float) -> bool: ...
    def is_quiescent(self, now: float) -> bool: ...


@dataclass(frozen=True, slots=True)
class GroupPosition:
    """A group's position in a partition: its committed offset, the last stable offset, and the high watermark
    (``end``)."""

    committed: int
    stable: int
    end: int


@dataclass(frozen=True, slots=True)
class HeldBack:
    """An open transaction that begins at ``offset`` hides the records from there to ``end``. It was first seen at
    ``since``."""

    offset: int
    end: int
    since: float

    def stands_still(self, now: float) -> bool:
        """Whether the last stable offset has not moved for `STANDSTILL_SECONDS`."""
        return now - self.since >= STANDSTILL_SECONDS


class Progress:
    """Compares how far a partition is decided with the ends that it had at past moments.

    An end is observed with the moment at which its request was *sent*: every record that was in the partition then is
    below that end. Once the decided position has reached the end, the task is caught up to that moment.

    A partition has two ends. Records between the last stable offset and the high watermark are hidden by somebody's
    open transaction and cannot be read yet. The task has to be caught up with the stable offset of ``fresh_seconds``
    ago, and with the high watermark of `OPEN_SHARE` of ``quiet_seconds`` ago (at least ``fresh_seconds``):
    transactions that are open for some seconds, one after the other, are ordinary. A stable offset that stands still is
    not ordinary: while it does, no task is caught up.
    """

    def __init__(
        self,
        quiescent_seconds: float = QUIESCENT_SECONDS,
        *,
        fresh_seconds: float = FRESH_SECONDS,
        quiet_seconds: float | None = None,
        before: Before | None = None,
    ) -> None:
        self._quiescent_seconds = quiescent_seconds
        self._before = before
        open_seconds = STANDSTILL_SECONDS if quiet_seconds is None else quiet_seconds * OPEN_SHARE
        self._readable = _Marks(fresh_seconds)
        self._everything = _Marks(max(fresh_seconds, open_seconds))
        self._held_back: HeldBack | None = None
        self._fresh_since: float | None = None

    @property
    def held_back(self) -> HeldBack | None:
        """The records that an open transaction hid at the last observation; None if none did."""
        return self._held_back

    def hidden_seconds(self, now: float) -> float:
        """For how many seconds the same open transaction has hidden records; 0 if none are hidden."""
        return 0.0 if self._held_back is None else now - self._held_back.since

    def observe_end(self, moment: float, end: int, now: float, *, stable: int | None = None) -> None:
        """The partition's high watermark, asked for at ``moment``, was ``end``, and its last stable offset ``stable``
        (None: the same)."""
        was_fresh = self._is_fresh(now)
        if stable is None or stable >= end:
            stable, self._held_back = end, None
        elif self._held_back is None or self._held_back.offset != stable:
            self._held_back = HeldBack(stable, end, since=moment)
        else:
            self._held_back = HeldBack(stable, end, self._held_back.since)
        self._readable.observe(moment, stable, now)
        self._everything.observe(moment, end, now)
        if not was_fresh:
            self._fresh_since = now

    def decided(self, position: int, now: float) -> None:
        """Everything below ``position`` has been decided."""
        was_fresh = self._is_fresh(now)
        self._readable.decided(position)
        self._everything.decided(position)
        if not was_fresh:
            self._fresh_since = now

    def is_decided_to(self, moment: float) -> bool:
        """Whether everything that could be read at that moment, or at a later one, is decided."""
        decided_to = self._readable.decided_to
        return decided_to is not None and decided_to >= moment

    def is_caught_up(self, now: float) -> bool:
        """Whether everything up to a recent enough moment is decided, here and by the stage before."""
        return self._is_fresh(now) and (self._before is None or self._before.is_caught_up(now))

    def is_quiescent(self, now: float) -> bool:
        """Whether quiet may end alerts: the task is caught up now, and was throughout the last
        ``quiescent_seconds``."""
        if self._fresh_since is None or now - self._fresh_since < self._quiescent_seconds:
            return False
        return self._is_fresh(now) and (self._before is None or self._before.is_quiescent(now))

    def _is_fresh(self, now: float) -> bool:
        if self._held_back is not None and self._held_back.stands_still(now):
            return False
        return self._readable.is_fresh(now) and self._everything.is_fresh(now)


class _Marks:
    """The ends that a partition had in the last ``seconds``, and the latest moment whose end is decided.

    An older end could not make the task fresh any more, and of ends closer together than ``seconds`` / `MARKS` one is
    enough. So there are never more than some 200, however long the partition is behind.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends: deque[tuple[float, int]] = deque()
        self._highest = 0
        self._position = 0
        self.decided_to: float | None = None

    def observe(self, moment: float, end: int, now: float) -> None:
        """The end at ``moment`` was at least ``end``."""
        # A broker that has just become the leader can return an older end than the leader before it.
        self._highest = max(self._highest, end)
        ends = self._ends
        while ends and now - ends[0][0] >= self._seconds:
            ends.popleft()
        if len(ends) > 1 and moment - ends[-2][0] < self._seconds / MARKS:
            ends.pop()
        ends.append((moment, self._highest))
        self._settle()

    def decided(self, position: int) -> None:
        """Everything below ``position`` has been decided."""
        self._position = position
        self._settle()

    def is_fresh(self, now: float) -> bool:
        """Whether everything up to a moment less than ``seconds`` ago is decided."""
        return self.decided_to is not None and now - self.decided_to < self._seconds

    def _settle(self) -> None:
        ends = self._ends
        while ends and ends[0][1] <= self._position:
            self.decided_to = ends.popleft()[0]
