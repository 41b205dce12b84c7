"""The alerts of one task: what is known, what has changed since the last checkpoint, and what is owed."""

from collections import OrderedDict
from collections.abc import Iterator, KeysView
from dataclasses import dataclass

from state.alert import Alert, Due, Status, due


@dataclass(frozen=True, slots=True)
class Cut:
    """What a checkpoint takes of a store: each changed key with its alert as it was at that moment (None: gone)."""

    changes: tuple[tuple[str, Alert | None], ...]


class Store:
    """The alerts of one partition of one pipeline, by dedup key.

    Kept in the order in which their last occurrence was decided, so that those which have been quiet for longest come
    first. Alerts are values: the store replaces them and never changes one.
    """

    def __init__(self) -> None:
        self._alerts: OrderedDict[str, Alert] = OrderedDict()
        self._sessions: dict[str, tuple[str, ...]] = {}
        self._dirty: set[str] = set()
        self._committing: set[str] = set()
        self._owing: dict[str, int] = {}
        self._holding: dict[str, int] = {}
        self._resolving: set[str] = set()
        self._owed_bytes = 0

    def __len__(self) -> int:
        """How many alerts there are."""
        return len(self._alerts)

    def keys(self) -> KeysView[str]:
        """The dedup keys of all alerts."""
        return self._alerts.keys()

    def get(self, dedup_key: str) -> Alert | None:
        """The alert with this dedup key."""
        return self._alerts.get(dedup_key)

    def put(self, alert: Alert) -> None:
        """Take the alert as it is now: new, or in the place of what it was. The next checkpoint will hold it."""
        key = alert.dedup_key
        before = self._alerts.get(key)
        self._index(key, before, alert)
        self._alerts[key] = alert
        if before is not None and before.decided != alert.decided:
            self._alerts.move_to_end(key)
        self._dirty.add(key)

    def drop(self, dedup_key: str) -> None:
        """The alert is gone. The next checkpoint will hold its tombstone."""
        self._index(dedup_key, self._alerts.pop(dedup_key), None)
        self._dirty.add(dedup_key)

    def restore(self, alerts: list[Alert]) -> None:
        """Fill an empty store with what a checkpoint held."""
        for alert in sorted(alerts, key=lambda alert: alert.decided):
            self._index(alert.dedup_key, None, alert)
            self._alerts[alert.dedup_key] = alert

    def longest_quiet(self, decided_before: float) -> Iterator[Alert]:
        """The alerts whose last occurrence was decided before that moment, longest ago first."""
        for alert in self._alerts.values():
            if alert.decided >= decided_before:
                return
            yield alert

    def of_session(self, session_id: str) -> list[Alert]:
        """The alerts whose dedup key names this session."""
        return [self._alerts[key] for key in self._sessions.get(session_id, ())]

    # what is owed

    @property
    def owing(self) -> list[str]:
        """The dedup keys of all alerts that owe a trigger, oldest event first."""
        return sorted(self._owing, key=self._owing.__getitem__)

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
        return min(self._holding.values(), default=None)

    def oldest_owed_since(self) -> float | None:
        """Since when the oldest owed trigger has been owed (seconds since the epoch)."""
        return min((self._alerts[key].owed.since for key in self._owing), default=None)  # type: ignore[union-attr]

    def resolving(self) -> list[str]:
        """The dedup keys of all alerts that owe a resolve and nothing else."""
        return [key for key in self._resolving if due(self._alerts[key]) is Due.RESOLVE]

    def acknowledging(self) -> list[str]:
        """The dedup keys of all alerts that owe an acknowledge. (Looks at every alert.)"""
        return [key for key, alert in self._alerts.items() if alert.acknowledging]

    # checkpoints

    @property
    def has_changes(self) -> bool:
        """Whether something has changed since the last cut."""
        return bool(self._dirty)

    def cut(self) -> Cut:
        """Take what has changed. One cut at a time: `committed` or a new store ends it."""
        assert not self._committing
        self._committing, self._dirty = self._dirty, set()
        return Cut(tuple((key, self._alerts.get(key)) for key in self._committing))

    def committed(self) -> None:
        """The cut is in the state topic."""
        self._committing = set()

    def is_held(self, dedup_key: str) -> bool:
        """Whether the last committed checkpoint holds the alert exactly as it is now (design section 6.6)."""
        return dedup_key not in self._dirty and dedup_key not in self._committing

    def counts(self) -> dict[Status, int]:
        """How many alerts there are of each status."""
        counts = dict.fromkeys(Status, 0)
        for alert in self._alerts.values():
            counts[alert.status] += 1
        return counts

    def _index(self, key: str, before: Alert | None, after: Alert | None) -> None:
        owed_before = before.owed if before is not None else None
        owed_after = after.owed if after is not None else None
        if owed_before is not owed_after:
            if owed_before is not None:
                del self._owing[key]
                self._holding.pop(key, None)
                self._owed_bytes -= owed_before.record.size
            if owed_after is not None:
                self._owing[key] = owed_after.first_offset
                if owed_after.holds is not None:
                    self._holding[key] = owed_after.holds
                self._owed_bytes += owed_after.record.size
        if after is not None and after.status is Status.RESOLVING:
            self._resolving.add(key)
        else:
            self._resolving.discard(key)
        session = (after or before).session_id  # type: ignore[union-attr]
        if session is not None:
            if before is None:
                self._sessions[session] = (*self._sessions.get(session, ()), key)
            elif after is None:
                keys = tuple(other for other in self._sessions.pop(session) if other != key)
                if keys:
                    self._sessions[session] = keys
