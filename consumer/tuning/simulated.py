"""One pipeline over recorded events, in virtual time (design section 23).

It decides by the functions by which a task decides: `Pipeline.decide`, the store, the transitions of an alert, and what
ends alerts (`state.endings`). Only what is around them is another: now is the time of the record, the provider accepts
what it is told at once, and a resolve leaves one ``commit_interval`` after its intent, unless the problem is back by
then. A silence ends at its end (or when it is asked about next, with a record after that). No I/O, and no clock.

A task looks for quiet once a second and keeps moments to a second. So of what falls within two seconds of the end of a
quiet, either may come about, there and here.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from heapq import heappop, heappush
from typing import assert_never

from msgspec import Struct

from consumer.deciding.decisions import (
    BelongsElsewhere,
    Changed,
    Counted,
    DeadLettered,
    Decision,
    Emptied,
    Ended,
    Silenced,
    Suppressed,
    Triggered,
)
from consumer.deciding.pipeline import Pipeline, kept
from consumer.events.event import FetchedRecord, SecurityEvent
from consumer.timing.clock import Moment
from state.alert import Alert, Ending, Held, Owed
from state.answers import resolve_answered, trigger_accepted
from state.due import Due, due
from state.endings import end_alert, end_silences, is_to_be_forgotten, quiet_alerts
from state.held import ends_at, is_live, untold
from state.remembered_ends import REMEMBERED_SECONDS, RememberedEnds, session
from state.silenced import owes_after_silence
from state.stand_in import silenced_stand_in
from state.store import Store
from state.violation import Record

TICK_SECONDS = 1.0
"""Between two looks at what the passing of time brings, as a task has them."""

_A_RESOLVE = 0.0

_FORGETTING_SECONDS = 60.0
"""Between two searches for ends to forget, as a task has them."""

_CHANGES = 4096
"""After so many the store forgets what a checkpoint would have written."""


class Saying(Enum):
    """What a provider is told."""

    PAGE = "page"
    """A trigger that opens an incident."""
    RAISED = "raised"
    """A trigger about an incident that is there: it has become worse."""
    AGAIN = "again"
    """A trigger about an incident that is there, with the count so far."""
    RESOLVE = "resolve"


class Said(Struct, frozen=True, gc=False):
    """A notification, accepted at the time ``at`` (seconds since the epoch).

    ``alert`` is as it was when that left, ``owed`` what a trigger told, ``event`` the event of it.
    """

    what: Saying
    at: float
    route: str
    alert: Alert
    owed: Owed | None = None
    event: SecurityEvent | None = None

    @property
    def is_page(self) -> bool:
        """Whether it opens an incident."""
        return self.what is Saying.PAGE


@dataclass(slots=True)
class _Task:
    """What a task has: its alerts. ``due`` are moments at which the resolve of a key may leave, or a trigger that is
    repeated, which is known by since when it is owed (0: a resolve). ``passed`` is up to when time has passed."""

    store: Store = field(default_factory=Store)
    ends: RememberedEnds = field(default_factory=RememberedEnds)
    due: list[tuple[float, str, float]] = field(default_factory=list)
    worst: dict[str, Record] = field(default_factory=dict)  # the records of the worst silenced events, by dedup key
    passed: float = 0.0
    changes: int = 0
    forgets_at: float = 0.0

    def ended_at(self, dedup_key: str, session_id: str | None) -> float | None:
        """As `consumer.tasks.homes.moving.Moving.ended_at`, where homes have never moved."""
        return None if session_id is None or not len(self.ends) else self.ends.latest(session(session_id))


class Simulated:
    """A pipeline that is told of records and of their times, and tells ``said`` what its provider is told.

    Behind a repartition stage all events of one dedup key meet, whatever their partition: it has one task then, and is
    to be given the records of all partitions in the order of their times.
    """

    def __init__(self, pipeline: Pipeline, said: Callable[[Said], None] = lambda said: None) -> None:
        self.pipeline = pipeline
        self.outcomes: Counter[str] = Counter()
        """What became of the records that concerned somebody and made nobody be told: ``suppressed``, ``counted``,
        ``tombstone``, the stages of dead letters, and ``unexpected_key``."""
        self._said = said
        self._tasks: dict[int, _Task] = {}
        self._only = self._new_task() if pipeline.record_key is None else None
        self._now = Moment(0.0, 0.0)

    def decide(self, record: FetchedRecord, at: float) -> Said | None:
        """Decide a record at its time; what its provider is told because of it, if anything.

        The times of one task never run back.
        """
        task = self._task(record.partition)
        if at - task.passed >= TICK_SECONDS or (task.due and task.due[0][0] <= at):
            self._pass(task, at)
        now = self._now
        if now.wall != at:
            now = self._now = Moment(at, at)
        decision: Decision | None
        try:
            decision = self.pipeline.decide(record, task.store, now, ends=task)
        except Exception as error:  # as in the task: a fault of ours loses no event
            decision = self.pipeline.undecidable(record, error)
        return None if decision is None else self._became(decision, record, task, at)

    def place(self, alert: Alert, partition: int, at: float) -> None:
        """This alert is there at that time, whatever happened before; nothing is quiet yet."""
        task = self._task(partition)
        task.store.hear(alert, at)
        task.passed = at

    def before(self, record: FetchedRecord, dedup_key: str, at: float) -> Alert | None:
        """The alert of this key as it would be before this record were decided."""
        task = self._task(record.partition)
        self._pass(task, at)
        return task.store.get(dedup_key)

    def alert(self, record: FetchedRecord, dedup_key: str) -> Alert | None:
        """The alert of this key where this record was decided."""
        return self._task(record.partition).store.get(dedup_key)

    def dedup_key(self, record: FetchedRecord) -> str | None:
        """The dedup key of the event in a record; None if it holds none that is alertable."""
        event = self.pipeline.decoder.decode(record)
        return self.pipeline.template.render(event) if isinstance(event, SecurityEvent) and event.alertable else None

    def finish(self, until: float) -> None:
        """Nothing occurs any more until this time."""
        for task in self._all():
            self._pass(task, max(until, task.passed))

    def open_alerts(self) -> Iterator[Alert]:
        """The alerts that there are."""
        for task in self._all():
            for key in task.store.keys():  # noqa: SIM118  # it is no mapping
                alert = task.store.get(key)
                if alert is not None:
                    yield alert

    def _all(self) -> list[_Task]:
        return [self._only] if self._only is not None else list(self._tasks.values())

    def _task(self, partition: int) -> _Task:
        found = self._only or self._tasks.get(partition)
        if found is None:
            found = self._tasks[partition] = self._new_task()
        return found

    def _new_task(self) -> _Task:
        task = _Task()
        task.store.order_silenced(self._end_of_silences)
        return task

    # what a decision brings

    def _became(self, decision: Decision, record: FetchedRecord, task: _Task, at: float) -> Said | None:
        """The one place that knows what a decision is made of."""
        outcomes = self.outcomes
        if decision.unexpected_key is not None and record.topic:  # an event alone has no record
            outcomes["unexpected_key"] += 1
        match decision:
            case Triggered(alert=alert, event=event) | Counted(alert=alert, event=event):
                return self._tell(task, alert, event, at)
            case Silenced(alert=alert):
                outcomes["silenced"] += 1
                task.changes += 1
                held = alert.held
                if held is not None and (held.source.topic, held.offset) == (record.topic, record.offset):
                    task.worst[alert.dedup_key] = kept(record)
            case Suppressed():
                outcomes["suppressed"] += 1
                task.changes += 1
            case Ended(dedup_keys=dedup_keys, end=end):
                task.ends.remember(end)
                for dedup_key in dedup_keys:
                    self._end(task, dedup_key, Ending.SESSION_END, at)
            case DeadLettered(dead_letter=dead_letter):
                outcomes[dead_letter.stage] += 1
            case Emptied():
                outcomes["tombstone"] += 1
            case Changed():
                pass  # nobody is paged
            case BelongsElsewhere():  # there is one task for all
                raise AssertionError("homes never move here")
            case _:
                assert_never(decision)
        return None

    def _tell(self, task: _Task, alert: Alert, event: SecurityEvent | None, at: float) -> Said:
        """The provider accepts the trigger that the alert owes."""
        owed, told, pipeline = alert.owed, alert.last_notified, self.pipeline
        assert owed is not None
        violation = pipeline.decoder.violation_of(owed.record) if event is None else event.violation()
        route = pipeline.route(alert, alert.route or pipeline.provider.route_of(violation))
        what = Saying.PAGE
        if told is not None:
            what = Saying.RAISED if owed.severity > told.severity else Saying.AGAIN
        after = trigger_accepted(alert, owed, route, None, at)
        task.store.put(after)
        task.changes += 1
        if due(after) is Due.RESOLVE:  # it was over before it came
            heappush(task.due, (at + pipeline.commit_interval, alert.dedup_key, _A_RESOLVE))
        if after.owed is not None:  # to be said once more: a resolve may have been under way
            heappush(task.due, (at + pipeline.timeout_seconds, alert.dedup_key, after.owed.since))
        said = Said(what, at, route, alert, owed, event)
        self._said(said)
        return said

    # what time brings

    def _pass(self, task: _Task, now: float) -> None:
        policy, store = self.pipeline.policy, task.store
        task.passed = now
        if (end := store.silenced_until()) is not None and end <= now:
            self._end_silences(task, now)
        # Time passes before nearly every event, and mostly brings nothing.
        if policy.quiet_seconds is not None and store.is_any_quiet(now - policy.quiet_seconds):
            for alert in quiet_alerts(store, policy, now):
                at = store.heard(alert.dedup_key) + policy.quiet_seconds
                self._leave(task, at)
                self._end(task, alert.dedup_key, Ending.QUIET, at)
        if task.due:
            self._leave(task, now)
        if store.is_any_quiet(now - policy.forget_seconds):
            for alert in list(store.longest_quiet(now - policy.forget_seconds)):
                if is_to_be_forgotten(alert, now - store.heard(alert.dedup_key), policy):
                    store.drop(alert.dedup_key)
                    self.outcomes["forgotten"] += 1
        if len(task.ends) and now >= task.forgets_at:
            task.forgets_at = now + _FORGETTING_SECONDS
            for _ in task.ends.forget_before(now - REMEMBERED_SECONDS):
                pass
        if task.changes >= _CHANGES:
            task.changes = 0
            store.cut()
            store.committed()

    def _end_silences(self, task: _Task, now: float) -> None:
        """What is live at the end of its silences is told, and what is not is over."""
        for dedup_key in task.store.silenced():
            alert = task.store.get(dedup_key)
            held = None if alert is None else untold(alert)
            if alert is None or held is None:
                continue
            if (end := self._end_of_silences(held)) > now:
                return
            record = task.worst.pop(dedup_key, None) or silenced_stand_in(alert)
            if is_live(held, end, self.pipeline.policy):
                owing = self.pipeline.placed(owes_after_silence(alert, record, end))
                task.store.put(owing, end)
                self._tell(task, owing, None, end)
            else:
                self._ended(task, alert, end_silences(task.store, alert), end)

    def _end_of_silences(self, held: Held) -> float:
        end_of = partial(self.pipeline.silences.end_of, provider=self.pipeline.provider.name, decided=held.decided)
        return ends_at(held, end_of)

    def _end(self, task: _Task, dedup_key: str, ended_by: Ending, at: float) -> None:
        alert = task.store.get(dedup_key)
        if alert is not None:
            self._ended(task, alert, end_alert(task.store, alert, ended_by), at)

    def _ended(self, task: _Task, before: Alert, after: Alert | None, at: float) -> None:
        """Something of an alert of the store is over: if that is all of it, its resolve leaves in a while."""
        if after is None or after is before:
            return
        task.changes += 1
        if due(after) is Due.RESOLVE and due(before) is not Due.RESOLVE:
            heappush(task.due, (at + self.pipeline.commit_interval, before.dedup_key, _A_RESOLVE))

    def _leave(self, task: _Task, until: float) -> None:
        """What has waited until then leaves, and is accepted."""
        while task.due and task.due[0][0] <= until:
            at, dedup_key, since = heappop(task.due)
            alert = task.store.get(dedup_key)
            if alert is None:
                continue
            if since == _A_RESOLVE and due(alert) is Due.RESOLVE:
                self._said(Said(Saying.RESOLVE, at, self.pipeline.route(alert, alert.route), alert))
                if (after := resolve_answered(alert, alert)) is None:
                    task.store.drop(dedup_key)
                else:
                    task.store.put(after)
            elif alert.owed is not None and alert.owed.since == since:
                self._tell(task, alert, None, at)
