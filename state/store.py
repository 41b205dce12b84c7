"""The alerts of one task: what is known, what has changed since the last checkpoint, and what is owed.

Whatever is asked often is answered from an index that each change keeps up to date, so that no question goes through
all alerts, of which there can be a million.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

from state.alert import Alert, Status

V = TypeVar("V", int, float)

_SPARE = 1000
"""Outdated entries that a heap may have beyond those that count, before it is made anew."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What a checkpoint takes of a store: each changed key with its alert as it was at that moment (None: gone)."""

    changes: tuple[tuple[str, Alert | None], ...]


class Store:
    """The alerts of one partition of one pipeline, by dedup key.

    Kept in the order in which something was last heard of them, so that those which have been quiet for longest come
    first. That is a time by the caller's monotonic clock, which a new owner begins anew: no wall clock is trusted to
    say how long a problem has been quiet (design section 14). Alerts are values: the store replaces them and never
    changes one.
    """

    def __init__(self) -> None:
        self._alerts: OrderedDict[str, Alert] = OrderedDict()  # in the order in which they were heard of
        self._resolving: dict[str, Alert] = {}  # what is over is neither quiet nor forgotten, and in nobody's way
        self._heard: dict[str, float] = {}
        self._restored_at = 0.0
        self._sessions: dict[str, str | dict[str, None]] = {}
        self._counts = dict.fromkeys(Status, 0)
        self._dirty: set[str] = set()
        self._committing: set[str] = set()
        self._owing = _Smallest[float]()
        self._holding = _Smallest[int]()
        self._owed_bytes = 0

    def __len__(self) -> int:
        """How many alerts there are."""
        return len(self._alerts) + len(self._resolving)

    def keys(self) -> Iterator[str]:
        """The dedup keys of all alerts."""
        return chain(self._alerts, self._resolving)

    def get(self, dedup_key: str) -> Alert | None:
        """The alert with this dedup key."""
        return self._alerts.get(dedup_key) or self._resolving.get(dedup_key)

    def put(self, alert: Alert) -> None:
        """Take the alert as it is now, in the place of what it was. The next checkpoint will hold it."""
        key = alert.dedup_key
        self._index(key, self.get(key), alert)
        self._place(key, alert)
        self._dirty.add(key)

    def _place(self, key: str, alert: Alert) -> None:
        here, there = self._alerts, self._resolving
        if alert.status is Status.RESOLVING:
            there[key] = alert
            here.pop(key, None)
        else:
            here[key] = alert
            there.pop(key, None)

    def hear(self, alert: Alert, now: float) -> None:
        """An occurrence of the alert was decided ``now``, by the monotonic clock: take the alert as it is after it."""
        self.put(alert)
        if alert.status is not Status.RESOLVING:
            self._alerts.move_to_end(alert.dedup_key)
        self._heard[alert.dedup_key] = now

    def drop(self, dedup_key: str) -> None:
        """The alert is gone. The next checkpoint will hold its tombstone."""
        alert = self._alerts.pop(dedup_key, None) or self._resolving.pop(dedup_key)
        self._index(dedup_key, alert, None)
        self._heard.pop(dedup_key, None)
        self._dirty.add(dedup_key)

    def restore(self, alerts: Iterable[Alert], now: float) -> Iterator[None]:
        """Fill an empty store with what a checkpoint held, longest quiet first; yields after each alert.

        Of all of them nothing has been heard since ``now``, by the monotonic clock.
        """
        self._restored_at = now
        for alert in alerts:
            self._index(alert.dedup_key, None, alert)
            self._place(alert.dedup_key, alert)
            yield

    def heard(self, dedup_key: str) -> float:
        """When something was last heard of the alert by this task, by the monotonic clock."""
        return self._heard.get(dedup_key, self._restored_at)

    def is_unheard(self, dedup_key: str) -> bool:
        """Whether the alert was restored, and nothing has been heard of it since."""
        return dedup_key not in self._heard

    def longest_quiet(self, heard_before: float) -> Iterator[Alert]:
        """The alerts of which nothing has been heard since that moment or longer, by the monotonic clock, longest first;
        none that is resolving.

        Between two of them the store must not change: take as many as are wanted, then change them.
        """
        for key, alert in self._alerts.items():
            if self._heard.get(key, self._restored_at) > heard_before:
                return
            yield alert

    def of_session(self, session_id: str) -> list[Alert]:
        """The alerts whose dedup key names this session, the one that came first before the others."""
        keys = self._sessions.get(session_id, ())
        return [alert for key in ((keys,) if isinstance(keys, str) else keys) if (alert := self.get(key)) is not None]

    # what is owed

    @property
    def owing(self) -> list[str]:
        """The dedup keys of all alerts that owe a trigger, longest owed first. (Sorts them.)"""
        return self._owing.keys()

    @property
    def owed_count(self) -> int:
        """How many alerts owe a trigger."""
        return len(self._owing)

    @property
    def owed_bytes(self) -> int:
        """Bytes of the records that are kept because they are owed."""
        return self._owed_bytes

    def oldest_owed_offset(self) -> int | None:
        """The offset of the oldest event of the input that is counted into something owed; replays hold nothing."""
        return self._holding.smallest()

    def oldest_owed_since(self) -> float | None:
        """Since when the oldest owed trigger has been owed (seconds since the epoch)."""
        return self._owing.smallest()

    # checkpoints

    @property
    def has_changes(self) -> bool:
        """Whether something has changed since the last cut."""
        return bool(self._dirty)

    @property
    def changes(self) -> int:
        """How many alerts have changed since the last cut."""
        return len(self._dirty)

    def cut(self) -> Cut:
        """Take what has changed. One cut at a time: `committed` or a new store ends it."""
        assert not self._committing
        self._committing, self._dirty = self._dirty, set()
        return Cut(tuple((key, self.get(key)) for key in self._committing))

    def committed(self) -> None:
        """The cut is in the state topic."""
        self._committing = set()

    def is_held(self, dedup_key: str) -> bool:
        """Whether the last committed checkpoint holds the alert exactly as it is now (design section 6.6)."""
        return dedup_key not in self._dirty and dedup_key not in self._committing

    def counts(self) -> dict[Status, int]:
        """How many alerts there are of each status."""
        return dict(self._counts)

    def _index(self, key: str, before: Alert | None, after: Alert | None) -> None:
        owed_before = before.owed if before is not None else None
        owed_after = after.owed if after is not None else None
        if owed_before is not owed_after:
            if owed_before is not None:
                self._owed_bytes -= owed_before.record.size
            if owed_after is not None:
                self._owed_bytes += owed_after.record.size
            self._owing.set(key, owed_after.since if owed_after is not None else None)
            self._holding.set(key, owed_after.holds if owed_after is not None else None)
        if before is not None:
            self._counts[before.status] -= 1
        if after is not None:
            self._counts[after.status] += 1
        if (before is None) is not (after is None):
            session = (after or before).session_id  # type: ignore[union-attr]
            if session is not None:
                self._join(session, key) if before is None else self._part(session, key)

    def _join(self, session: str, key: str) -> None:
        """Most sessions have one alert, and so no need of a collection; one that has many must not be slow to change."""
        keys = self._sessions.get(session)
        if keys is None:
            self._sessions[session] = key
        elif isinstance(keys, str):
            self._sessions[session] = {keys: None, key: None}
        else:
            keys[key] = None

    def _part(self, session: str, key: str) -> None:
        keys = self._sessions[session]
        if not isinstance(keys, str):
            del keys[key]
        if isinstance(keys, str) or not keys:
            del self._sessions[session]


class _Smallest(Generic[V]):
    """Values by key, of which the smallest is known: a heap, in which what has changed stays until it comes up."""

    def __init__(self) -> None:
        self._values: dict[str, V] = {}
        self._heap: list[tuple[V, str]] = []

    def __len__(self) -> int:
        return len(self._values)

    def set(self, key: str, value: V | None) -> None:
        """The value of this key, None for none."""
        values = self._values
        if value is None:
            values.pop(key, None)
            if not values:
                self._heap.clear()
        elif values.get(key) != value:
            values[key] = value
            heapq.heappush(self._heap, (value, key))
            if len(self._heap) > 2 * len(values) + _SPARE:
                self._heap = [(value, key) for key, value in values.items()]
                heapq.heapify(self._heap)

    def smallest(self) -> V | None:
        heap, values = self._heap, self._values
        while heap and values.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def keys(self) -> list[str]:
        return sorted(self._values, key=self._values.__getitem__)
