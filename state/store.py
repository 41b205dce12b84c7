"""The alerts of one task: what is known, what has changed since the last checkpoint, and what is owed.

Whatever is asked often is answered from an index that each change keeps up to date, so that no question goes through
all alerts, of which there can be a million; and no index stands still now and then, to grow or to be tidied up.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from state.alert import Alert, Owed, Status
from state.counts import Counts
from state.ordered import Ordered
from state.pieces import Pieces
from state.quiet import Quiet
from state.written import Written

Changed = Pieces[str, Alert | None]
"""Alerts by key; None: gone."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What a checkpoint is to write of a store, as it was at one moment.

    ``changes`` are the alerts to be written, by key (None: gone). ``counts`` say how others differ from what was
    written of them: alerts that owe a large record, of which only the counts have changed.
    """

    changes: Sequence[tuple[str, Alert | None]]
    counts: Mapping[str, Counts] = field(default_factory=dict)


class Store:
    """The alerts of one partition of one pipeline, by dedup key.

    Of those that are not over it knows the order in which something was last heard of them. That is a time by the
    caller's monotonic clock, which a new owner begins anew: no wall clock is trusted to say how long a problem has been
    quiet (design section 14). Alerts are values: the store replaces them and never changes one.
    """

    def __init__(self) -> None:
        self._alerts: Pieces[str, Alert] = Pieces()
        self._count = 0
        self._quiet = Quiet(0.0)  # of all that are not resolving: those are neither quiet nor forgotten
        self._restored_at = 0.0
        self._heard: Pieces[str, None] = Pieces()  # keys of which something has been heard since then
        self._sessions: Pieces[str, str | dict[str, None]] = Pieces()
        self._counts = dict.fromkeys(Status, 0)
        self._dirty: Changed = Pieces()  # as they are now; None: gone
        self._committing: Changed = Pieces()
        # Keys of which there was another life, or another integration, at the last cut; and the same of the cut before,
        # while the last one is being committed.
        self._turned: Pieces[str, None] = Pieces()
        self._turning: Pieces[str, None] = Pieces()
        self._orphaned = 0
        self._written = Written()
        self._owing = Ordered[float]()
        self._holding = Ordered[int]()
        self._owed_bytes = 0

    def __len__(self) -> int:
        """How many alerts there are."""
        return self._count

    def keys(self) -> Iterator[str]:
        """The dedup keys of all alerts."""
        return iter(self._alerts)

    def keys_in_pieces(self) -> Iterator[str]:
        """The same, while alerts change: what comes meanwhile may be missing, and what has gone may be there."""
        for keys in self._alerts.keys_in_pieces():
            yield from keys

    def get(self, dedup_key: str) -> Alert | None:
        """The alert with this dedup key."""
        return self._alerts.get(dedup_key)

    def put(self, alert: Alert) -> None:
        """Take the alert as it is now, in the place of what it was. The next checkpoint will hold it."""
        if self._replace(alert) and alert.status is not Status.RESOLVING:
            self._quiet.join(alert.dedup_key)

    def hear(self, alert: Alert, now: float) -> None:
        """An occurrence of the alert was decided ``now``, by the monotonic clock: take the alert as it is after it."""
        self._replace(alert)
        self._heard[alert.dedup_key] = None
        if alert.status is not Status.RESOLVING:
            self._quiet.hear(alert.dedup_key, now)

    def drop(self, dedup_key: str) -> None:
        """The alert is gone. The next checkpoint will hold its tombstone."""
        alert = self._alerts.of(dedup_key).pop(dedup_key)
        self._index(dedup_key, alert, None)
        self._quiet.leave(dedup_key)
        self._heard.pop(dedup_key)
        self._dirty[dedup_key] = None
        self._turned[dedup_key] = None

    def write_first(self, dedup_key: str) -> None:
        """A next owner might find the alert with another integration than it has: the state has to say which, and
        until then counts as one that holds another. The next checkpoint will hold it."""
        self._dirty[dedup_key] = self._alerts[dedup_key]
        self._turned[dedup_key] = None

    def restore(
        self, alerts: Iterable[Alert | None], now: float, counts: Mapping[str, Counts] | None = None
    ) -> Iterator[None]:
        """Fill an empty store with what a checkpoint held; yields after each alert (None: a record that is none).

        Of all of them nothing has been heard since ``now``, by the monotonic clock. ``counts`` are those that the
        checkpoint held, and that the alerts have already.
        """
        self._restored_at, self._quiet = now, Quiet(now)
        counts = counts or {}
        for alert in alerts:
            if alert is None:
                yield
                continue
            key = alert.dedup_key
            self._alerts[key] = alert
            self._enter(key, alert)
            if alert.owed is not None:
                self._index_owed(key, None, alert.owed)
                self._written.restored(alert, counts.get(key))
            if alert.status is not Status.RESOLVING:
                self._quiet.join(key)
            yield
        self._quiet.end_span()

    def emptied(self) -> Iterator[None]:
        """Free all alerts bit by bit, of a store that nobody needs any more; yields after each step.

        What is dropped at once is freed at once, and a million alerts take half a second.
        """
        yield from self._quiet.emptied()
        for pieces in (self._heard, self._sessions, self._alerts, self._dirty, self._committing):
            for _ in pieces.taken():
                yield

    def heard(self, dedup_key: str) -> float:
        """When something was last heard of the alert by this task, by the monotonic clock, or up to a second later."""
        heard = self._quiet.heard(dedup_key)
        return self._restored_at if heard is None else heard

    def is_unheard(self, dedup_key: str) -> bool:
        """Whether the alert was restored, and nothing has been heard of it since."""
        return dedup_key not in self._heard

    def longest_quiet(self, heard_before: float) -> Iterator[Alert]:
        """The alerts of which nothing has been heard since that moment or longer, by the monotonic clock.

        Longest first, and none that is resolving.
        Between two of them the store must not change: take as many as are wanted, then change them.
        """
        return (self._alerts[key] for key in self._quiet.since(heard_before))

    def keys_of_session(self, session_id: str) -> list[str]:
        """The dedup keys of the alerts of this session, that which came first before the others."""
        keys = self._sessions.get(session_id) or ()
        return [keys] if isinstance(keys, str) else list(keys)

    # what is owed

    def owing(self) -> Iterator[str]:
        """The dedup keys of all alerts that owe a trigger, longest owed first.

        Alerts may change meanwhile: what comes before the one that was given last may be missing.
        """
        for keys in self._owing.keys_in_pieces():
            yield from keys

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
        return len(self._dirty) > 0

    @property
    def changes(self) -> int:
        """How many alerts have changed since the last cut."""
        return len(self._dirty)

    def cut(self) -> Changed:
        """Take what has changed, by key, as it is now (None: gone); that takes no longer for many than for one.

        One cut at a time: `committed` or a new store ends it.
        """
        assert not len(self._committing)
        self._committing, self._dirty = self._dirty, Pieces()
        self._turning, self._turned = self._turned, Pieces()
        return self._committing

    def divide(self, changed: Changed) -> Iterator[tuple[str, Alert | None] | None]:
        """What is to be written of a cut, to be gone through once, at any time before the next one.

        None stands for an alert of which nothing is to be written, as the `written_counts` will say all that is new.
        """
        return self._written.divide(changed.items())

    @property
    def written_counts(self) -> Mapping[str, Counts]:
        """How alerts differ from what is written of them, once a cut is divided."""
        return self._written.counts

    def committed(self) -> Iterable[str]:
        """The cut is in the state topic. Gives the keys of which `state_holds_another` need not be true any more."""
        self._committing = Pieces()
        turning, self._turning = self._turning, Pieces()
        return turning

    def state_holds_another(self, dedup_key: str) -> bool:
        """Whether the last committed checkpoint may hold another life of this key, or this one at another integration.

        If the task died now, its next owner would go on with that: what it told would be told elsewhere.
        """
        return dedup_key in self._turned or dedup_key in self._turning

    def write_again(self, dedup_key: str) -> None:
        """The next checkpoint is to hold the alert in full, for the state topic does not (any more).

        Of a key without an alert it will hold the tombstone.
        """
        self._written.forget(dedup_key)
        self._dirty[dedup_key] = self._alerts.get(dedup_key)

    def write_all_again(self) -> Iterator[None]:
        """The same of all alerts that there are now, one at each step; others may change meanwhile."""
        for keys in self._alerts.keys_in_pieces():
            for key in keys:
                if key in self._alerts:
                    self.write_again(key)
                yield

    def is_held(self, dedup_key: str) -> bool:
        """Whether the last committed checkpoint holds the alert exactly as it is now (design section 6.6)."""
        return dedup_key not in self._dirty and dedup_key not in self._committing

    @property
    def orphaned_count(self) -> int:
        """How many alerts have an incident at an integration whose key is not configured."""
        return self._orphaned

    def counts(self) -> dict[Status, int]:
        """How many alerts there are of each status."""
        return dict(self._counts)

    def _replace(self, alert: Alert) -> bool:
        """Take the alert; whether it has another status than before, or is new."""
        key = alert.dedup_key
        alerts = self._alerts.of(key)
        before = alerts.get(key)
        alerts[key] = alert
        self._dirty[key] = alert
        if before is not None and before.integration != alert.integration:
            self._turned[key] = None
        if before is not None and before.status is alert.status and before.owed is alert.owed:
            return False
        self._index(key, before, alert)
        if before is not None and before.status is alert.status:
            return False
        if alert.status is Status.RESOLVING:
            self._quiet.leave(key)
        return True

    def _index(self, key: str, before: Alert | None, after: Alert | None) -> None:
        owed_before = before.owed if before is not None else None
        owed_after = after.owed if after is not None else None
        if owed_before is not owed_after:
            self._index_owed(key, owed_before, owed_after)
        if before is None and after is not None:
            self._enter(key, after)
        elif before is not None and after is None:
            self._leave(key, before)
        elif before is not None and after is not None and before.status is not after.status:
            self._counts[before.status] -= 1
            self._counts[after.status] += 1

    def _index_owed(self, key: str, before: Owed | None, after: Owed | None) -> None:
        if before is not None:
            self._owed_bytes -= before.record.size
        if after is not None:
            self._owed_bytes += after.record.size
        self._owing.set(key, after.since if after is not None else None)
        self._holding.set(key, after.holds if after is not None else None)

    def _enter(self, key: str, alert: Alert) -> None:
        self._count += 1
        self._orphaned += bool(alert.orphans)
        self._counts[alert.status] += 1
        if alert.session_id is not None:
            self._join(alert.session_id, key)

    def _leave(self, key: str, alert: Alert) -> None:
        self._count -= 1
        self._orphaned -= bool(alert.orphans)
        self._counts[alert.status] -= 1
        if alert.session_id is not None:
            self._part(alert.session_id, key)

    def _join(self, session: str, key: str) -> None:
        """Most sessions have one alert, and need no collection; one that has many must not be slow to change."""
        sessions = self._sessions.of(session)
        keys = sessions.get(session)
        if keys is None:
            sessions[session] = key
        elif isinstance(keys, str):
            sessions[session] = {keys: None, key: None}
        else:
            keys[key] = None

    def _part(self, session: str, key: str) -> None:
        sessions = self._sessions.of(session)
        keys = sessions[session]
        if not isinstance(keys, str):
            del keys[key]
        if isinstance(keys, str) or not keys:
            del sessions[session]
