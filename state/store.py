"""The alerts of one task: what is known, what has changed since the last checkpoint, and what is owed.

There can be a million alerts. Questions that are asked often are answered from an index, which each change updates: no
question goes through all alerts. No index blocks now and then to grow or to be tidied up.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from state.alert import Alert, Held, Owed, Status
from state.counts import Counts
from state.held import ends_at, is_changed_by_silence_only, untold
from state.ordered import Ordered
from state.pieces import Pieces
from state.quiet import Quiet
from state.written import Written

Changed = Pieces[str, Alert | None]
"""The changed alerts by their dedup keys; None for an alert that is gone."""

_RESOLVING = Status.RESOLVING  # for what is asked at every event: to look a member up takes as long as a call


@dataclass(frozen=True, slots=True)
class Cut:
    """What a checkpoint writes of a store, as the store was at one moment.

    ``changes`` are the alerts to write, with their dedup keys (None: gone). ``counts`` are the counts of other alerts,
    which owe a large record and of which only the counts differ from their last state record.
    """

    changes: Sequence[tuple[str, Alert | None]]
    counts: Mapping[str, Counts] = field(default_factory=dict)


class Store:
    """The alerts of one partition of one pipeline, by dedup key.

    For alerts that are not over, the store knows when something was last heard of them, by the caller's monotonic
    clock. A new owner begins that anew: no wall clock is trusted to say how long a problem has been quiet (design
    section 14). Alerts are values: the store replaces them and never changes one.
    """

    def __init__(self) -> None:
        self._alerts: Pieces[str, Alert] = Pieces()
        self._count = 0
        self._quiet = Quiet(0.0)  # without resolving alerts: these neither become quiet nor are forgotten
        self._restored_at = 0.0
        self._heard: Pieces[str, None] = Pieces()  # keys that had an occurrence since the restore
        self._sessions: Pieces[str, str | dict[str, None]] = Pieces()
        self._counts = dict.fromkeys(Status, 0)
        self._dirty: Changed = Pieces()  # alerts changed since the last cut, as they are now; None: gone
        self._committing: Changed = Pieces()  # the last cut, until it is committed
        # ``_turned``: keys whose alert has ended, or got another integration, since the last cut. ``_turning``: the
        # same of the last cut, until it is committed.
        self._turned: Pieces[str, None] = Pieces()
        self._turning: Pieces[str, None] = Pieces()
        self._orphaned = 0
        self._written = Written()
        self._owing = Ordered[float]()
        self._holding = Ordered[int]()
        self._owed_bytes = 0
        self._silenced = Ordered[float]()
        self._silence_ends: Callable[[Held], float] = _end_as_held
        # keys of resolving alerts that the committed state holds as they are now, but for what is silenced of them
        self._held_but_for_silence: Pieces[str, None] = Pieces()

    def __len__(self) -> int:
        """How many alerts there are."""
        return self._count

    def keys(self) -> Iterator[str]:
        """The dedup keys of all alerts."""
        return iter(self._alerts)

    def keys_in_pieces(self) -> Iterator[str]:
        """The dedup keys of all alerts; alerts may change meanwhile. An alert that is added meanwhile may be missing,
        and one that is gone may be returned."""
        for keys in self._alerts.keys_in_pieces():
            yield from keys

    def get(self, dedup_key: str) -> Alert | None:
        """The alert with this dedup key; None if there is none."""
        return self._alerts.get(dedup_key)

    def put(self, alert: Alert, now: float | None = None) -> None:
        """Put the alert in the place of the one with its dedup key, if any. The next checkpoint will hold it.

        ``now``, by the monotonic clock, is given where an alert that was over lives again although nothing has occurred
        at this moment: it counts as heard of then.
        """
        if self._replace(alert) and alert.status is not Status.RESOLVING:
            if now is None:
                self._quiet.join(alert.dedup_key)
            else:
                self._quiet.hear(alert.dedup_key, now)

    def hear(self, alert: Alert, now: float) -> None:
        """Put the alert as it is after an occurrence that was decided ``now``, by the monotonic clock."""
        key = alert.dedup_key
        self._replace(alert)
        self._heard[key] = None
        if alert.status is not _RESOLVING:
            self._quiet.hear(key, now)

    def drop(self, dedup_key: str) -> None:
        """Remove the alert: it is gone. The next checkpoint will hold its tombstone. Raises `KeyError` if there is
        none."""
        alert = self._alerts.of(dedup_key).pop(dedup_key)
        self._held_but_for_silence.pop(dedup_key)
        self._index(dedup_key, alert, None)
        if alert.held is not None:
            self._silenced.set(dedup_key, None)
        self._quiet.leave(dedup_key)
        self._heard.pop(dedup_key)
        self._dirty[dedup_key] = None
        self._turned[dedup_key] = None

    def write_first(self, dedup_key: str) -> None:
        """Have the next checkpoint hold the alert. Until that is committed, `state_holds_another` is true of its key,
        since a next owner might give the alert another integration than it has now."""
        self._dirty[dedup_key] = self._alerts[dedup_key]
        self._turned[dedup_key] = None

    def restore(
        self, alerts: Iterable[Alert | None], now: float, counts: Mapping[str, Counts] | None = None
    ) -> Iterator[None]:
        """Fill an empty store with the alerts of a state partition (None: an unreadable record); yields after each.

        They count as last heard of ``now``, by the monotonic clock. ``counts`` are those that the checkpoint held; the
        alerts have them already.
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
            if alert.held is not None:
                self._index_silenced(key, alert)
            if alert.status is not Status.RESOLVING:
                self._quiet.join(key)
            yield
        self._quiet.end_span()

    def emptied(self) -> Iterator[None]:
        """Free all alerts bit by bit, once nobody needs the store any more; yields after each step.

        To free a million alerts at once would block for half a second.
        """
        yield from self._quiet.emptied()
        yield from self._silenced.emptied()
        for pieces in (
            self._heard, self._sessions, self._alerts, self._dirty, self._committing, self._held_but_for_silence,
        ):  # fmt: skip
            for _ in pieces.taken():
                yield

    def heard(self, dedup_key: str) -> float:
        """When this task last heard of the alert, by the monotonic clock; up to a second later than the true moment."""
        heard = self._quiet.heard(dedup_key)
        return self._restored_at if heard is None else heard

    def is_unheard(self, dedup_key: str) -> bool:
        """Whether the alert has had no occurrence since it was restored."""
        return dedup_key not in self._heard

    def is_any_quiet(self, heard_before: float) -> bool:
        """Whether `longest_quiet` returns any alert; this asks far faster."""
        return self._quiet.is_any_since(heard_before)

    def longest_quiet(self, heard_before: float) -> Iterator[Alert]:
        """The alerts of which nothing has been heard after that moment, by the monotonic clock; the longest quiet
        first, without resolving ones.

        The store must not change while this iterator is in use: take as many as are wanted, then change them.
        """
        return (self._alerts[key] for key in self._quiet.since(heard_before))

    def keys_of_session(self, session_id: str) -> list[str]:
        """The dedup keys of the alerts of this session, in the order in which they came."""
        keys = self._sessions.get(session_id) or ()
        return [keys] if isinstance(keys, str) else list(keys)

    # owed triggers

    def owing(self) -> Iterator[str]:
        """The dedup keys of all alerts that owe a trigger, longest owed first.

        Alerts may change meanwhile: a trigger that comes to be owed meanwhile may be missing if its place is before the
        last returned one.
        """
        for keys in self._owing.keys_in_pieces():
            yield from keys

    @property
    def owed_count(self) -> int:
        """How many alerts owe a trigger."""
        return len(self._owing)

    @property
    def owed_bytes(self) -> int:
        """How many bytes the records have that are kept because their triggers are owed."""
        return self._owed_bytes

    def oldest_owed_offset(self) -> int | None:
        """The smallest input offset that an owed trigger holds back; None if none holds one. Replays hold nothing."""
        return self._holding.smallest()

    def oldest_owed_since(self) -> float | None:
        """Since when the oldest owed trigger has been owed (seconds since the epoch); None if none is owed."""
        return self._owing.smallest()

    # silenced alerts

    @property
    def silenced_count(self) -> int:
        """How many alerts have silenced occurrences of which nobody has been told."""
        return len(self._silenced)

    def order_silenced(self, ends: Callable[[Held], float]) -> None:
        """Let ``ends`` say when the silences end that hold something; until then, it is the ends that these had when
        they silenced. It is asked whenever an alert changes; of those that are silenced already, `order_again`."""
        self._silence_ends = ends

    def order_again(self, dedup_key: str) -> None:
        """The silences of this alert, if there is such a one, may end at another time than when it was put."""
        alert = self._alerts.get(dedup_key)
        if alert is not None:
            self._index_silenced(dedup_key, alert)

    def silenced(self) -> Iterator[str]:
        """The dedup keys of all alerts with silenced occurrences of which nobody has been told: first those whose
        silences end first.

        Alerts may change meanwhile: one that is silenced meanwhile may be missing, and one whose silences end later
        now may be returned twice.
        """
        for keys in self._silenced.keys_in_pieces():
            yield from keys

    def silenced_until(self) -> float | None:
        """When the silences end that end first of those that hold something; None if nothing is silenced."""
        return self._silenced.smallest()

    # checkpoints

    @property
    def has_changes(self) -> bool:
        """Whether an alert has changed since the last cut."""
        return len(self._dirty) > 0

    @property
    def changes(self) -> int:
        """How many alerts have changed since the last cut."""
        return len(self._dirty)

    def cut(self) -> Changed:
        """Take the alerts that have changed since the last cut, as they are now (None: gone). This takes the same time
        however many they are.

        There is one cut at a time: before the next one `committed` must have been called.
        """
        assert not len(self._committing)
        self._committing, self._dirty = self._dirty, Pieces()
        self._turning, self._turned = self._turned, Pieces()
        return self._committing

    def divide(self, changed: Changed) -> Iterator[tuple[str, Alert | None] | None]:
        """The alerts of a cut that are to be written; to be gone through once, at any time before the next cut.

        None stands for an alert that is not written, as `written_counts` will hold all that has changed of it.
        """
        return self._written.divide(changed.items())

    @property
    def written_counts(self) -> Mapping[str, Counts]:
        """The counts of alerts that differ from their state records only by these; valid once the cut is divided."""
        return self._written.counts

    def committed(self) -> Iterable[str]:
        """The cut is committed. Returns the dedup keys for which `state_holds_another` may have become false."""
        self._committing = Pieces()
        turning, self._turning = self._turning, Pieces()
        return turning

    def state_holds_another(self, dedup_key: str) -> bool:
        """Whether the last committed checkpoint may hold another life of this key, or this life at another integration.

        If the task died now, the next owner would go on with that, and tell the same problem at another integration.
        """
        return dedup_key in self._turned or dedup_key in self._turning

    def write_again(self, dedup_key: str) -> None:
        """Have the next checkpoint hold the alert in full, because the state topic does not hold it (any more).

        For a key without an alert the checkpoint will hold a tombstone.
        """
        self._written.forget(dedup_key)
        self._held_but_for_silence.pop(dedup_key)
        self._dirty[dedup_key] = self._alerts.get(dedup_key)

    def write_all_again(self) -> Iterator[None]:
        """Do `write_again` for all alerts, one at each step. Alerts may change meanwhile."""
        for keys in self._alerts.keys_in_pieces():
            for key in keys:
                if key in self._alerts:
                    self.write_again(key)
                yield

    def is_held(self, dedup_key: str) -> bool:
        """Whether the last committed checkpoint holds the alert exactly as it is now (design section 6.6), but for what
        is silenced of it while it is resolving: a resolve says nothing of that, and goes first (design section 22)."""
        if dedup_key not in self._dirty and dedup_key not in self._committing:
            return True
        return dedup_key in self._held_but_for_silence

    def is_as_written(self, written: Alert) -> bool:
        """Whether the alert is still as the checkpoint ``written`` holds it that was just committed, but for what is
        silenced of it while it is resolving. To be asked before the next cut."""
        alert = self._alerts.get(written.dedup_key)
        if alert is None or alert is written:
            return alert is written
        if alert.status is not Status.RESOLVING or not is_changed_by_silence_only(alert, written):
            return False
        self._held_but_for_silence[alert.dedup_key] = None
        return True

    @property
    def orphaned_count(self) -> int:
        """How many alerts have an incident at an integration whose key is not configured."""
        return self._orphaned

    def counts(self) -> dict[Status, int]:
        """How many alerts there are of each status."""
        return dict(self._counts)

    def _replace(self, alert: Alert) -> bool:
        """Put the alert. Returns whether it is new or has another status than before."""
        key = alert.dedup_key
        alerts = self._alerts.of(key)
        before = alerts.get(key)
        if before is not None and before.status is _RESOLVING:
            self._note_silence(key, before, alert)
        alerts[key] = alert
        self._dirty[key] = alert
        if before is not None and before.integration != alert.integration:
            self._turned[key] = None
        if alert.held is not None or (before is not None and before.held is not None):
            self._index_silenced(key, alert)
        if before is not None and before.status is alert.status and before.owed is alert.owed:
            return False
        self._index(key, before, alert)
        if before is not None and before.status is alert.status:
            return False
        if alert.status is Status.RESOLVING:
            self._quiet.leave(key)
        return True

    def _note_silence(self, key: str, resolving: Alert, after: Alert) -> None:
        """Note whether the state, if it holds the alert as it was before, holds it but for what is silenced."""
        if not is_changed_by_silence_only(after, resolving):
            self._held_but_for_silence.pop(key)
        elif self.is_held(key):
            self._held_but_for_silence[key] = None

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

    def _index_silenced(self, key: str, alert: Alert) -> None:
        held = untold(alert)
        self._silenced.set(key, None if held is None else self._silence_ends(held))

    def _index_owed(self, key: str, before: Owed | None, after: Owed | None) -> None:
        if before is not None:
            self._owed_bytes -= before.record.size
        if after is not None:
            self._owed_bytes += after.record.size
        self._owing.set(key, after.since if after is not None else None)
        self._holding.set(key, after.pins_offset if after is not None else None)

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
        """Add the alert's key to its session. Most sessions have one alert, so that one is kept without a collection; a
        session with many alerts must not be slow to change."""
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


def _end_as_held(held: Held) -> float:
    return ends_at(held, lambda _, until: until)
