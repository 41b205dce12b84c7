"""What the alerts of one task have pending for one integration, in the order in which it leaves (design section 13).

One queue for each task, so that closing a task costs nothing for the others, and its own are let go of at once. All is
kept in ordered indexes; what has been replaced stays in its heap until it comes up there.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from providers.delivery.outbox import Lane, Outbox, Pending
from state.violation import Severity

_UNPARKED_AT_A_TIME = 200

_SPARE = 1000
"""Outdated entries that a heap may have beyond those that count, before it is made anew."""


@dataclass(slots=True)
class Retry:
    """What has failed of an alert: when its first and last request that failed had left, by the monotonic clock, and
    whether its route has accepted others since the one before. ``throttled`` counts the answers 429 in a row."""

    first_failed: float
    last_failed: float
    others_accepted: bool = False
    not_before: float = 0.0
    throttled: int = 0


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


@dataclass(slots=True, eq=False)
class _Debt:
    """A trigger that is owed, waiting or on the wire."""

    severity: Severity
    since: float
    size: int


@dataclass(slots=True)
class _Heap:
    """Entries by age, of which only those count that `Queue` still has."""

    items: list[tuple[float, int, str, object]] = field(default_factory=list)


class Queue:
    """The pending notifications of one task through one integration. ``serial`` gives numbers that rise, other ones to
    each queue of an integration: what is otherwise equal leaves in the order in which it came."""

    def __init__(self, outbox: Outbox, serial: Iterator[int]) -> None:
        self.outbox = outbox
        self.retries: dict[str, Retry] = {}
        """What has failed, by dedup key, until it is told or given up."""
        self.count = 0
        """How many triggers are owed, also those on the wire."""
        self.bytes = 0
        """What they keep in memory."""
        self._entries: dict[str, Entry] = {}
        self._serial = serial
        self._fresh = {lane: [_Heap() for _ in Severity] for lane in (Lane.NEW, Lane.AGAIN)}
        self._in_turn: dict[Lane, OrderedDict[str, Entry]] = {
            lane: OrderedDict() for lane in (Lane.ACKNOWLEDGE, Lane.RESOLVE)
        }
        self._behind: list[tuple[tuple[int, int, int, float], int, Entry]] = []
        self._parked: list[tuple[float, int, Entry]] = []
        self._debts: dict[str, _Debt] = {}
        self._dearest = [_Heap() for _ in Severity]

    def __len__(self) -> int:
        """How many alerts wait, parked ones among them."""
        return len(self._entries)

    def waiting(self) -> Iterator[Entry]:
        """All that wait, in no order."""
        return iter(self._entries.values())

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
            heapq.heappush(self._parked, (pending.not_before, next(self._serial), entry))
            self._parked = self._tidied(self._parked, 2)
        else:
            self._line_up(entry)
        return entry

    def remove(self, dedup_key: str) -> Entry | None:
        """The alert waits no more."""
        entry = self._entries.pop(dedup_key, None)
        if entry is not None and entry.pending.lane in self._in_turn:
            self._in_turn[entry.pending.lane].pop(dedup_key, None)
        return entry

    def clear(self) -> None:
        """Nothing waits any more; what was in it is let go of at once, the task with it."""
        self.retries.clear()
        self._entries.clear()
        self._debts.clear()
        self._behind.clear()
        self._parked.clear()
        for heaps in (*self._fresh.values(), self._dearest):
            for heap in heaps:
                heap.items.clear()
        for in_turn in self._in_turn.values():
            in_turn.clear()

    def unpark(self, now: float) -> bool:
        """Line up what has waited for its moment, so much that others need not wait for it. Whether more is to come."""
        for _ in range(_UNPARKED_AT_A_TIME):
            if not self._parked or self._parked[0][0] > now:
                return False
            entry = heapq.heappop(self._parked)[2]
            if self._entries.get(entry.dedup_key) is entry:
                self._line_up(entry)
        return bool(self._parked) and self._parked[0][0] <= now

    @property
    def next_unparked(self) -> float | None:
        """When the first of those that wait for a moment may line up, by the monotonic clock."""
        while self._parked and self._entries.get(self._parked[0][2].dedup_key) is not self._parked[0][2]:
            heapq.heappop(self._parked)
        return self._parked[0][0] if self._parked else None

    def head(self, lane: Lane) -> Entry | None:
        """Which of the lane would leave first: the worst, of these the oldest; of those that end, the first."""
        if lane in self._in_turn:
            return next(iter(self._in_turn[lane].values()), None)
        for heap in reversed(self._fresh[lane]):
            if heap.items and (entry := self._top(heap)) is not None:
                return entry
        return None

    def tail(self, lane: Lane) -> Entry | None:
        """Which of the lane is missed the least if it fails: the least severe, of these the oldest."""
        if lane in self._in_turn:
            return self.head(lane)
        for heap in self._fresh[lane]:
            if heap.items and (entry := self._top(heap)) is not None:
                return entry
        return None

    @property
    def has_fresh(self) -> bool:
        """Whether some of those whose turn it may be have not failed."""
        return any(self.head(lane) is not None for lane in Lane)

    def behind(self) -> Entry | None:
        """Of those that have failed, the one that has failed the least; a trigger before others, the worst first."""
        while self._behind:
            entry = self._behind[0][2]
            if self._entries.get(entry.dedup_key) is entry:
                return entry
            heapq.heappop(self._behind)
        return None

    def _line_up(self, entry: Entry) -> None:
        pending = entry.pending
        if entry.is_behind:
            rank = (pending.failures, pending.lane, -pending.severity, pending.since)
            heapq.heappush(self._behind, (rank, next(self._serial), entry))
            self._behind = self._tidied(self._behind, 2)
        elif pending.lane in self._in_turn:
            self._in_turn[pending.lane][entry.dedup_key] = entry
        else:
            heap = self._fresh[pending.lane][pending.severity]
            heapq.heappush(heap.items, (pending.since, next(self._serial), entry.dedup_key, entry))
            if len(heap.items) > 2 * len(self._entries) + _SPARE:
                heap.items = [item for item in heap.items if self._entries.get(item[2]) is item[3]]
                heapq.heapify(heap.items)

    def _top(self, heap: _Heap) -> Entry | None:
        while heap.items:
            _, _, dedup_key, entry = heap.items[0]
            if self._entries.get(dedup_key) is entry:
                assert isinstance(entry, Entry)
                return entry
            heapq.heappop(heap.items)
        return None

    def _tidied(self, heap: list, where: int) -> list:  # type: ignore[type-arg]
        if len(heap) <= 2 * len(self._entries) + _SPARE:
            return heap
        kept = [item for item in heap if self._entries.get(item[where].dedup_key) is item[where]]
        heapq.heapify(kept)
        return kept

    # what is owed

    def owe(self, dedup_key: str, pending: Pending | None) -> None:
        """The trigger that the alert owes is this one; None if it owes none."""
        before = self._debts.get(dedup_key)
        if pending is None or not pending.is_trigger:
            if before is not None:
                del self._debts[dedup_key]
                self.count -= 1
                self.bytes -= before.size
            return
        if before is None:
            self.count += 1
        elif (before.severity, before.since, before.size) == (pending.severity, pending.since, pending.size):
            return
        else:
            self.bytes -= before.size
        self.bytes += pending.size
        debt = self._debts[dedup_key] = _Debt(pending.severity, pending.since, pending.size)
        heap = self._dearest[pending.severity]
        heapq.heappush(heap.items, (debt.since, next(self._serial), dedup_key, debt))
        if len(heap.items) > 2 * len(self._debts) + _SPARE:
            heap.items = [item for item in heap.items if self._debts.get(item[2]) is item[3]]
            heapq.heapify(heap.items)

    def least_owed(self) -> Iterator[tuple[Severity, float, int, "Queue", str]]:
        """The triggers that are owed, the least severe first, of these the longest owed: severity, since, a number that
        no two of a member's have, this queue, dedup key. Nothing must change meanwhile."""
        for severity, heap in zip(Severity, self._dearest, strict=True):
            while heap.items and self._debts.get(heap.items[0][2]) is not heap.items[0][3]:
                heapq.heappop(heap.items)
            for since, serial, dedup_key, debt in _ascending(heap.items):
                if self._debts.get(dedup_key) is debt:
                    yield severity, since, serial, self, dedup_key


def _ascending(heap: list[tuple[float, int, str, object]]) -> Iterator[tuple[float, int, str, object]]:
    """What is in a heap, in order, without taking anything out: the next costs O(log n) of those already given."""
    front = [(heap[0], 0)] if heap else []
    while front:
        item, index = heapq.heappop(front)
        yield item
        for child in (2 * index + 1, 2 * index + 2):
            if child < len(heap):
                heapq.heappush(front, (heap[child], child))
