"""What the alerts of one task have pending for one integration, in the order in which it leaves (design section 13).

One queue for each task, so that closing a task costs nothing for the others, and its own are let go of at once.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

from providers.delivery.outbox import Lane, Outbox, Pending
from state.ordered import Ordered
from state.pieces import Pieces
from state.violation import Severity

_UNPARKED_AT_A_TIME = 32  # at each answer, of which many can come at once


_LEAST_FIRST = tuple(Severity)
_WORST_FIRST = tuple(reversed(Severity))


@dataclass(slots=True)
class Retry:
    """What has failed of an alert through one integration, by the monotonic clock.

    ``first_failed`` and ``last_failed`` are when its first and last request that failed had left: infinity, before one
    has. What has failed before this process knew of it has done so for ever; ``first_failed_here`` is when its first
    request of this process that failed had left. ``others_accepted``: the route has accepted others since the one
    before. ``throttled`` counts the answers 429 in a row; ``is_told``: somebody knows that it fails while others are
    accepted. ``is_asked_again``: it was rejected, and the key read by a check since then.
    """

    first_failed: float = inf
    first_failed_here: float = inf
    last_failed: float = inf
    others_accepted: bool = False
    not_before: float = 0.0
    throttled: int = 0
    is_told: bool = False
    is_asked_again: bool = False


@dataclass(slots=True, eq=False)
class Entry:
    """One alert's turn. ``is_behind``: it has failed, and goes behind everything that has not."""

    queue: "Queue"
    dedup_key: str
    pending: Pending
    is_behind: bool

    @property
    def outbox(self) -> Outbox:
        """Whose alert it is."""
        return self.queue.outbox


_Age = tuple[float, int]
"""A time, and a number that tells those apart that have the same."""


class Queue:
    """The pending notifications of one task through one integration. ``serial`` gives numbers that rise, other ones to
    each queue of an integration: what is otherwise equal leaves in the order in which it came."""

    def __init__(self, outbox: Outbox, serial: Iterator[int]) -> None:
        self.outbox = outbox
        self.retries: dict[str, Retry] = {}
        """What has failed, by dedup key, until it is told or given up."""
        self.concerned = 0
        """How many alerts have something to say through this integration, whether or not they may at this moment."""
        self.count = 0
        """How many triggers are owed, also those on the wire."""
        self.bytes = 0
        """What they keep in memory."""
        self._serial = serial
        self._entries = Pieces[str, Entry]()
        self._fresh: defaultdict[tuple[Lane, Severity], Ordered[_Age]] = defaultdict(Ordered)
        self._in_turn = {lane: Ordered[int]() for lane in (Lane.ACKNOWLEDGE, Lane.RESOLVE)}
        self._behind = Ordered[tuple[int, int, int, float, int]]()
        self._parked = Ordered[_Age]()
        self._debts = Pieces[str, Pending]()
        self._owed: defaultdict[Severity, Ordered[_Age]] = defaultdict(Ordered)

    def __len__(self) -> int:
        """How many alerts wait, parked ones among them."""
        return len(self._entries)

    def waiting(self) -> Iterator[Entry]:
        """All that wait, in no order."""
        return self._entries.values()

    def get(self, dedup_key: str) -> Entry | None:
        """The entry of this alert, if it waits."""
        return self._entries.get(dedup_key)

    # what waits

    def put(self, dedup_key: str, pending: Pending, *, is_behind: bool, now: float) -> Entry:
        """Let the alert wait for its turn, in the place of what it waited with before."""
        before = self._entries.get(dedup_key)
        if before is not None:
            if before.pending == pending and before.is_behind == is_behind:
                return before
            self.remove(dedup_key)
        entry = self._entries[dedup_key] = Entry(self, dedup_key, pending, is_behind)
        if pending.not_before > now:
            self._parked.set(dedup_key, (pending.not_before, next(self._serial)))
        else:
            self._line_up(entry)
        return entry

    def remove(self, dedup_key: str) -> Entry | None:
        """The alert waits no more."""
        entry = self._entries.pop(dedup_key)
        if entry is not None:
            lane = entry.pending.lane
            if dedup_key in self._parked:
                self._parked.set(dedup_key, None)
            elif entry.is_behind:
                self._behind.set(dedup_key, None)
            elif lane in self._in_turn:
                self._in_turn[lane].set(dedup_key, None)
            else:
                self._fresh[lane, entry.pending.severity].set(dedup_key, None)
        return entry

    def emptied(self) -> Iterator[None]:
        """Free all that is in it, when it is not used any more; yields after each step."""
        self.retries.clear()
        for entries in (self._entries.taken(), self._debts.taken()):
            for _ in entries:
                yield
        for ages in (*self._fresh.values(), *self._owed.values(), self._parked):
            yield from ages.emptied()
        for turns in self._in_turn.values():
            yield from turns.emptied()
        yield from self._behind.emptied()

    def unpark(self, now: float) -> bool:
        """Line up what has waited for its moment, so much that others need not wait for it. Whether more is to come."""
        for _ in range(_UNPARKED_AT_A_TIME):
            dedup_key = self._parked.first()
            if dedup_key is None or not self._is_due(now):
                return False
            self._parked.set(dedup_key, None)
            self._line_up(self._entries[dedup_key])
        return self._is_due(now)

    def _is_due(self, now: float) -> bool:
        at = self.next_unparked
        return at is not None and at <= now

    @property
    def next_unparked(self) -> float | None:
        """When the first of those that wait for a moment may line up, by the monotonic clock."""
        parked = self._parked.smallest()
        return parked[0] if parked is not None else None

    def head(self, lane: Lane) -> Entry | None:
        """Which of the lane would leave first: the worst, of these the oldest; of those that end, the first."""
        return self._first(lane, _WORST_FIRST)

    def tail(self, lane: Lane) -> Entry | None:
        """Which of the lane is missed the least if it fails: the least severe, of these the oldest."""
        return self._first(lane, _LEAST_FIRST)

    def _first(self, lane: Lane, severities: Sequence[Severity]) -> Entry | None:
        if not self._entries:
            return None
        in_turn = self._in_turn.get(lane)
        if in_turn is not None:
            return self._entry(in_turn.first())
        for severity in severities:
            ages = self._fresh.get((lane, severity))
            if ages:
                return self._entry(ages.first())
        return None

    def _entry(self, dedup_key: str | None) -> Entry | None:
        return self._entries[dedup_key] if dedup_key is not None else None

    @property
    def has_fresh(self) -> bool:
        """Whether some of those whose turn it may be have not failed."""
        return any(self.head(lane) is not None for lane in Lane)

    def behind(self) -> Entry | None:
        """Of those that have failed, the one that has failed the least; a trigger before others, the worst first."""
        return self._entry(self._behind.first())

    def _line_up(self, entry: Entry) -> None:
        pending, dedup_key = entry.pending, entry.dedup_key
        if entry.is_behind:
            rank = (pending.failures, int(pending.lane), -int(pending.severity), pending.since, next(self._serial))
            self._behind.set(dedup_key, rank)
        elif pending.lane in self._in_turn:
            self._in_turn[pending.lane].set(dedup_key, next(self._serial))
        else:
            self._fresh[pending.lane, pending.severity].set(dedup_key, (pending.since, next(self._serial)))

    # what is owed

    def owe(self, dedup_key: str, pending: Pending | None) -> None:
        """The trigger that the alert owes is this one; None if it owes none."""
        before = self._debts.pop(dedup_key)
        owed = pending if pending is not None and pending.is_trigger else None
        if before is not None:
            self.count -= 1
            self.bytes -= before.size
        if owed is not None:
            self.count += 1
            self.bytes += owed.size
            self._debts[dedup_key] = owed
        if before is not None and (owed is None or owed.severity is not before.severity):
            self._owed[before.severity].set(dedup_key, None)
            before = None
        if owed is not None and (before is None or before.since != owed.since):
            self._owed[owed.severity].set(dedup_key, (owed.since, next(self._serial)))

    def least_owed(self) -> Iterator[tuple[Severity, float, int, "Queue", str]]:
        """The triggers that are owed, the least severe first, of these the longest owed: severity, since, a number that
        no two of a member's have, this queue, dedup key. Nothing must change meanwhile."""
        for severity in Severity:
            if severity in self._owed:
                for (since, serial), dedup_key in self._owed[severity].items():
                    yield severity, since, serial, self, dedup_key
