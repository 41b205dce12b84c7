"""The pending notifications of one task for one integration, in the order in which they leave (design section 13).

There is one queue for each task: so closing a task costs the others nothing, and drops its own entries at once.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

from providers.delivery.outbox import Lane, Outbox, Pending
from state.ordered import Ordered
from state.pieces import Pieces
from state.violation import Severity

_UNPARKED_AT_A_TIME = 32  # each time that the integration is pumped, which can be often


_LEAST_FIRST = tuple(Severity)
_WORST_FIRST = tuple(reversed(Severity))


@dataclass(slots=True)
class Retry:
    """An alert's failures through one integration. Times are by the monotonic clock.

    ``first_failed`` and ``last_failed`` are the moments at which its first and last failed request left; infinity
    before a failure. ``first_failed`` is minus infinity if the alert had failed before this process took it over;
    ``first_failed_here`` is that of the first request that failed in this process. ``others_accepted``: the
    integration has accepted others since the failure before the last. ``throttled`` counts the answers 429 in a row.
    ``is_told``: the observer was told that the alert fails while others are accepted. ``is_asked_again``: the alert was
    rejected, a check showed that the key works, and the alert is tried once more.
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
    """A pending notification in the queue. ``is_behind``: its alert has failed, and goes behind all that have not."""

    queue: "Queue"
    dedup_key: str
    pending: Pending
    is_behind: bool

    @property
    def outbox(self) -> Outbox:
        """The task that the alert belongs to."""
        return self.queue.outbox


_Age = tuple[float, int]
"""A time, and a number that tells entries with the same time apart."""


class Queue:
    """The pending notifications of one task through one integration.

    ``serial`` gives rising numbers and is shared by all queues of an integration: notifications that are otherwise
    equal leave in the order in which they came."""

    def __init__(self, outbox: Outbox, serial: Iterator[int]) -> None:
        self.outbox = outbox
        self.retries: dict[str, Retry] = {}
        """The failures of alerts by dedup key, until the notification is told or given up."""
        self.concerned = 0
        """How many alerts have something to say through this integration, whether or not it may leave now."""
        self.count = 0
        """How many triggers are owed, including those on the wire."""
        self.bytes = 0
        """How many bytes are kept in memory for the triggers that are owed."""
        self._serial = serial
        self._entries = Pieces[str, Entry]()
        self._fresh: defaultdict[tuple[Lane, Severity], Ordered[_Age]] = defaultdict(Ordered)
        self._in_turn = {lane: Ordered[int]() for lane in (Lane.ACKNOWLEDGE, Lane.RESOLVE)}
        self._behind = Ordered[tuple[int, int, int, float, int]]()
        self._parked = Ordered[_Age]()
        self._debts = Pieces[str, Pending]()
        self._owed: defaultdict[Severity, Ordered[_Age]] = defaultdict(Ordered)

    def __len__(self) -> int:
        """How many alerts wait, including those that are parked until a moment."""
        return len(self._entries)

    def waiting(self) -> Iterator[Entry]:
        """All entries that wait, in no order."""
        return self._entries.values()

    def get(self, dedup_key: str) -> Entry | None:
        """The entry of this alert, if it waits."""
        return self._entries.get(dedup_key)

    # waiting notifications

    def put(self, dedup_key: str, pending: Pending, *, is_behind: bool, now: float) -> Entry:
        """Let the alert wait for its turn with this notification, instead of the one that it waited with before."""
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
        """Remove the alert's entry and return it; None if it did not wait."""
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
        """Free everything bit by bit, once nobody uses the queue any more; yields after each step."""
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
        """Line up at most `_UNPARKED_AT_A_TIME` notifications whose moment has come. Returns whether there are more."""
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
        """When the first parked notification may line up, by the monotonic clock; None if none is parked."""
        parked = self._parked.smallest()
        return parked[0] if parked is not None else None

    def head(self, lane: Lane) -> Entry | None:
        """The entry of the lane that would leave first: the most severe, of these the longest owed. Of acknowledges and
        resolves the one that came first."""
        return self._first(lane, _WORST_FIRST)

    def tail(self, lane: Lane) -> Entry | None:
        """The entry of the lane whose failure would matter least: the least severe, of these the longest owed."""
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
        """Whether an alert is lined up that has not failed."""
        return any(self.head(lane) is not None for lane in Lane)

    def behind(self) -> Entry | None:
        """Of the lined up alerts that have failed, the one with the fewest failures; of these triggers before others,
        and the most severe first."""
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

    # owed triggers

    def owe(self, dedup_key: str, pending: Pending | None) -> None:
        """Count the trigger that the alert owes; None, or no trigger, if it owes none."""
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
        """The owed triggers, the least severe first, of these the longest owed: severity, since, a number that is
        unique in the integration, this queue, dedup key. Nothing may change meanwhile."""
        for severity in Severity:
            if severity in self._owed:
                for (since, serial), dedup_key in self._owed[severity].items():
                    yield severity, since, serial, self, dedup_key
