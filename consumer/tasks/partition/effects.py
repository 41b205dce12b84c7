"""Carries out decisions for a task: about records of its input, what other tasks hand over, what operators and
providers say, and what is due by time."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, assert_never
from uuid import uuid4

from consumer.deciding.decisions import (
    BelongsElsewhere,
    Changed,
    Counted,
    DeadLettered,
    DecidedHere,
    Decision,
    Emptied,
    Ended,
    Occurred,
    Replayed,
    Silenced,
    Suppressed,
    Triggered,
)
from consumer.deciding.pipeline import Elsewhere
from consumer.dlq.dead_letter import DeadLetterStage
from consumer.feedback.records import FeedbackKind, OperatorCommand, Replay
from consumer.history.step import Reason, StepKind
from consumer.history.steps import TaskSteps, actor_of, kept_actor
from consumer.kafka.reading import read_records
from consumer.tasks.alerting.inbox import TaskInbox
from consumer.tasks.alerting.outbox import LONGEST_WAIT_SECONDS, TaskOutbox
from consumer.tasks.alerting.silence_ends import SilenceEnds
from consumer.tasks.homes.moving import Moving
from consumer.tasks.partition.recall import Recall
from consumer.tasks.partition.task import PartitionTask
from consumer.tasks.partition.task_context import TaskContext
from consumer.tasks.partition.unsilencing import Unsilencing
from state.alert import Alert, Ending, Status
from state.endings import end_alert, end_silences
from state.held import is_all_of_it, last_silence, with_held_counted
from state.remembered_ends import End
from state.store import Store
from state.violation import Record

_OUTCOME_OF_STAGE = {
    DeadLetterStage.DECODE: "poison",
    DeadLetterStage.STALE: "stale",
    DeadLetterStage.DECIDE: "internal_error",
}
"""The outcome to count for an event that became a dead letter without an alert."""


class TaskEffects:
    """Carries out the decisions of one task. Its moving of homes and its inbox call this, too.

    It does them by its ``outbox``, its ``inbox``, what it knows of homes (``moving``) and what it reads back
    (``recall``; ``unsilencing`` at the ends of silences). ``has_decided_all_before`` says whether no former input is
    left. What has happened to alerts is told to ``steps``.
    """

    def __init__(
        self,
        task: PartitionTask[Any],
        context: TaskContext,
        store: Store,
        has_decided_all_before: Callable[[], bool],
    ) -> None:
        partition_input, log = task.partition_input, task.log
        self._task = task
        self._context = context
        self._store = store
        self._has_decided_all_before = has_decided_all_before
        self._ignorant_since: float | None = None  # when `knows_all` began to be false; None while it is true
        self._counts: Counter[str] = Counter()  # since the last checkpoint
        self._outcomes: Counter[str] = Counter()  # that nobody has been told of yet
        self.steps = TaskSteps(
            context.history,
            provider=context.pipeline.provider.name,
            partition=partition_input.partition.partition,
            source=f"urn:clawdstrike-alerting:{context.pipeline.group_id}",
            unique=uuid4().hex,
            policy=context.pipeline.policy,
            wall=context.clock.wall,
            metrics=context.metrics,
            grown=lambda size: task.waiting.grow_by(size, "steps of the history wait"),
        )
        self.moving = Moving(
            partition=partition_input.partition.partition,
            pipeline=context.pipeline,
            store=store,
            progress=task.progress,
            effects=self,
            clock=context.clock,
            metrics=context.metrics,
            log=log,
            whole=context.whole,
            partitioner=context.partitioner,
        )
        self.outbox = TaskOutbox(
            partition=partition_input.partition.partition,
            pipeline=context.pipeline,
            store=store,
            delivery=context.delivery,
            progress=task.progress,
            clock=context.clock,
            metrics=context.metrics,
            log=log,
            urgent=self.urge,
            dead_letter=task.waiting.take,
            notified=self._notified,
            settled=lambda: self.inbox.work(),
            voice=self.moving,
            steps=self.steps,
        )
        read_back = context.read_records or partial(read_records, context.clients)
        self.recall = Recall(read_back, context.pipeline.key_of, context.pipeline.input_topic, log)
        self.unsilencing = Unsilencing(
            store=store,
            ends=SilenceEnds(store, task.progress, context.pipeline.silences, context.pipeline.provider.name),
            policy=context.pipeline.policy,
            key_of=context.pipeline.key_of,
            read=read_back,
            effects=self,
            clock=context.clock,
            log=log,
        )
        self.inbox = TaskInbox(
            pipeline=context.pipeline,
            partition=partition_input.partition.partition,
            store=store,
            effects=self,
            clock=context.clock,
            metrics=context.metrics,
            log=log,
            steps=self.steps,
            soon=lambda work: asyncio.get_running_loop().call_soon(work),
        )

    @property
    def is_running(self) -> bool:
        """Whether the task has restored its state, decides records, and is not closing."""
        return self._task.is_running

    # counted

    def tell_outcomes(self) -> None:
        """Count in the metrics what became of events since the last call."""
        outcomes, self._outcomes = self._outcomes, Counter()
        self._counts.update(outcomes)
        for outcome, count in outcomes.items():
            self._context.metrics.events(outcome, count)

    def cut(self) -> Counter[str]:
        """Take the counts of what was done since the last checkpoint, for the log line of the next one."""
        counts, self._counts = self._counts, Counter()
        return counts

    # decisions

    def apply(self, decision: Decision) -> Iterator[None] | None:
        """Carry out the decision on a record of the input, and count it.

        Work that takes long is returned as an iterator, which does it step by step; other tasks may run between two
        steps.
        """
        counts = self._outcomes
        match decision:
            case Suppressed():
                counts["suppressed"] += 1
            case Triggered(alert=alert, event=event):
                counts["triggered"] += 1
                self.outbox.owes(self._occurred(decision), event=event, is_new=True)
            case Counted(alert=alert, event=event):
                counts["counted"] += 1
                if decision.comes_back or decision.is_over:
                    alert = self._occurred(decision)
                if event is not None or decision.is_over:  # else what is owed says the same as before
                    self.outbox.owes(alert, event=event)
            case Silenced():
                counts["silenced"] += 1
                self._silenced(decision)
            case Ended():
                return self.ending(decision)
            case DeadLettered(dead_letter=dead_letter):
                counts[_OUTCOME_OF_STAGE[DeadLetterStage(dead_letter.stage)]] += 1
                self._task.waiting.take(dead_letter)
            case BelongsElsewhere(record=record, home_key=home_key):
                counts["forwarded"] += 1
                self.moving.forward(record, home_key)
                self._task.waiting.grow(record.size, "forwarded records wait")
            case Emptied():
                counts["tombstone"] += 1
            case Changed():
                pass  # it concerns no alert
            case _:
                assert_never(decision)
        return None

    def ending(self, ended: Ended) -> Iterator[None]:
        """End every alert that the decision ends, step by step: one session can have very many."""
        self.moving.ended(ended.end)
        for dedup_key in ended.dedup_keys:
            if not self.is_running:
                return
            alert = self._store.get(dedup_key)
            if alert is not None and self._is_meant(alert, ended.end):
                self._outcomes["ended"] += self._over(alert, Ending.SESSION_END, actor_of(ended.end.subject))
            yield

    def _is_meant(self, alert: Alert, end: End) -> bool:
        """Whether the end applies to the alert as it is now.

        Within one partition a later record is a later event. An alert that came from another partition may have
        occurred again after the end: then the end does not apply.
        """
        return self.moving.elsewhere is None or with_held_counted(alert).last_seen < end.at

    def end_quiet(self, alert: Alert) -> None:
        """The alert is over, for nothing has occurred for long enough."""
        self._outcomes["quiet"] += self._over(alert, Ending.QUIET, Ending.QUIET.value)

    def forget(self, alert: Alert) -> None:
        """Drop an alert that owes nothing and of which nothing was heard for very long."""
        self._store.drop(alert.dedup_key)
        forgotten = self.steps.left(StepKind.FORGOTTEN, alert)
        self._task.log.info("alert_forgotten", dedup_key=alert.dedup_key)
        self.outbox.ended(forgotten)

    def _silenced(self, decision: Silenced) -> None:
        """The alert is in the store, and owes nothing because of this event: what is held is no debt."""
        alert = self.outbox.silenced(decision.alert)
        if decision.news and alert.status is not Status.RESOLVING:  # that one is resolved first
            alert = self.steps.silenced(alert, decision.news[-1])
        if alert is not decision.alert:
            self._store.put(alert)
        if decision.is_over:
            self._outcomes["ended"] += self._over(alert, Ending.SESSION_END, Ending.SESSION_END.value)

    def live_after_silence(self, alert: Alert) -> None:
        """Its silences have ended, and the alert owes a trigger."""
        alert = self._context.pipeline.placed(alert)
        self._store.put(alert, self._context.clock.monotonic())
        self._log_unsilenced(alert, is_live=True)
        noted = self._noted(alert, self.steps.triggered(alert, None, Reason.SILENCE_ENDED))
        self.outbox.owes(noted, is_new=True)
        self.urge()

    def over_after_silence(self, alert: Alert) -> None:
        """Its silences have ended, and the problem was over by then."""
        held = alert.held
        assert held is not None
        self._log_unsilenced(alert, is_live=False)
        if is_all_of_it(alert):  # else what was silenced is over, and the alert goes on
            self._outcomes["ended"] += 1
            alert = self.steps.resolved(alert, kept_actor(f"silence:{last_silence(held)}"))
        self._told_over(alert, end_silences(self._store, alert))

    def _log_unsilenced(self, alert: Alert, *, is_live: bool) -> None:
        self._task.log.info("silence_ended", dedup_key=alert.dedup_key, is_live=is_live)

    def _occurred(self, decision: Triggered | Counted) -> Alert:
        """The alert, which is in the store, owes a trigger, lives again, or is over: as it is once its history knows
        that."""
        alert = noted = decision.alert
        if isinstance(decision, Triggered) or decision.comes_back:
            violation = None if decision.event is None else decision.event.violation()
            noted = self.steps.triggered(alert, violation, Reason.REOPENED if decision.comes_back else None)
        if alert.status is Status.RESOLVING:  # its end was heard of before the event
            noted = self.steps.resolved(noted, Ending.SESSION_END.value)
        return self._noted(alert, noted)

    def _noted(self, alert: Alert, after: Alert) -> Alert:
        """The alert ``after`` its history has been told something; the store has it so."""
        if after is not alert:
            self._store.put(after)
        return after

    def _over(self, alert: Alert, ended_by: Ending, actor: str) -> bool:
        """The threat is over. Whether that is news: if the alert is resolving, only what was silenced since is over."""
        if alert.status is Status.RESOLVING:
            if end_alert(self._store, alert, ended_by) is not alert:
                self.urge()
            return False
        alert = self.steps.resolved(alert, actor)
        self._told_over(alert, end_alert(self._store, alert, ended_by))
        return True

    def _told_over(self, alert: Alert, after: Alert | None) -> None:
        """The alert, whose history has been told, has changed in the store because something is over (``after``; None:
        it is gone): what is owed of that may leave."""
        if after is None:
            self.outbox.ended(alert)
        self.outbox.owes(alert if after is None else after)
        self.urge()

    def replayed(self, decision: Replayed) -> None:
        """Carry out the decision on a replayed dead letter, which does not count as an event of the input."""
        if isinstance(decision, BelongsElsewhere):
            self.moving.forward(decision.record, decision.home_key, is_replay=True)
        else:
            self._apply_beside(decision)

    def decided_beside(self, decision: DecidedHere) -> Iterator[None]:
        """Carry out, step by step, the decision on a record that another task has forwarded."""
        if isinstance(decision, Ended):
            yield from self.ending(decision)
        else:
            self._apply_beside(decision)

    def _apply_beside(self, decision: Occurred | DeadLettered) -> None:
        self.urge()
        match decision:
            case Triggered(alert=alert, event=event):
                if alert.occurrences == 1:
                    self._store.write_first(alert.dedup_key)  # a next owner may decide an event before it
                self.outbox.owes(self._occurred(decision), event=event, is_new=True)
            case Counted(alert=alert, event=event):
                if decision.comes_back or decision.is_over:
                    alert = self._occurred(decision)
                self.outbox.owes(alert, event=event)
            case Silenced(alert=alert):
                if alert.occurrences == 1:
                    self._store.write_first(alert.dedup_key)
                self._silenced(decision)
            case Suppressed():
                pass  # it is in the store
            case DeadLettered(dead_letter=dead_letter):
                self._task.waiting.take(dead_letter)
            case _:
                assert_never(decision)

    def undecidable_beside(self, record: Record, error: Exception) -> None:
        """Dead-letter a forwarded record that a fault of this program makes undecidable."""
        self._task.waiting.take(self._context.pipeline.undecidable(record, error).dead_letter)

    def handed_over(self, alert: Alert) -> Alert:
        """The alert is another task's, and has left the store: as it is handed over, once its history knows that."""
        self._context.delivery.changed(self.outbox, alert.dedup_key)
        return self.steps.left(StepKind.HANDED_OVER, alert)

    def taken_over(self, alert: Alert, *, has_ended: bool) -> None:
        """Begin to send for an alert that another task has handed over, and that is in the store; ``has_ended``: the
        hand-over has ended it."""
        if alert.route is None and alert.owed is not None:
            self._store.write_first(alert.dedup_key)  # a next owner may decide an event before it is handed this
        if has_ended:
            alert = self.steps.resolved(alert, Ending.SESSION_END.value)
            self._store.put(alert)
        self.urge()
        self.outbox.taken_over(alert)
        self.inbox.taken_over(alert.dedup_key)

    def is_busy(self, dedup_key: str) -> bool:
        """Whether a request about the alert is on the wire."""
        return self._context.delivery.is_busy(self.outbox, dedup_key)

    def urge(self) -> None:
        """Ask for a checkpoint soon."""
        self._task.urgent.set()

    def homes_changed(self, *, are_others: bool) -> None:
        """Tell the outbox that the tasks changed for which it has to wait; ``are_others``: also which task owns which
        key."""
        self.outbox.homes_changed(are_others=are_others)

    def has_decided_what_was_inherited(self) -> bool:
        """Whether every record is decided again that an earlier owner may have decided after its last checkpoint."""
        return self._has_decided_all_before() and self._task.position >= self._task.inherited_end

    # what operators say, and what is answered

    @property
    def elsewhere(self) -> Elsewhere | None:
        """What is known of the tasks of other partitions; None while no key has ever moved to another partition."""
        return self.moving.elsewhere

    def has_room_for(self, replay: Replay) -> bool:
        """Whether the route of the replayed event has room for one more owed trigger."""
        return self.outbox.has_room_for(replay, self._task.position)

    def commanded(self, command: OperatorCommand) -> None:
        """Remember that an operator has resolved the key, for an alert of it that another task may hand over later. It
        is ended only if it has not occurred since the operator saw it: what occurred later may be a new problem, or a
        worse one."""
        if command.kind is FeedbackKind.RESOLVE:
            at = max((one.last_seen for one in command.seen), default=command.at)
            self.moving.ended(End(command.dedup_key, at))

    def changed_by_feedback(self, alert: Alert) -> None:
        """An operator has acknowledged the alert, or somebody has said that it is over: what is owed of that may
        leave. What is over at the provider was told just now, perhaps, and may land yet: its resolve goes behind it."""
        self.urge()
        if alert.status is Status.RESOLVING and alert.ended_by is Ending.PROVIDER:
            self.outbox.may_land_yet(alert.dedup_key)
        self.outbox.owes(alert)

    def ended_by_feedback(self, dedup_key: str) -> None:
        """Drop an alert that ended by feedback, and stop sending for it."""
        alert = self._store.get(dedup_key)
        self._store.drop(dedup_key)
        if alert is not None:
            self._leaves(alert)

    def knows_all(self) -> bool:
        """Whether no alert can appear any more of which the provider may have been told: what an earlier owner had
        decided is decided again, and what other partitions had is handed over. After `LONGEST_WAIT_SECONDS` this is
        taken to be so, since other feedback waits."""
        now, since = self._context.clock.monotonic(), self.moving.awaits_since
        is_known = self.has_decided_what_was_inherited() and (since is None or now - since > LONGEST_WAIT_SECONDS)
        if is_known:
            self._ignorant_since = None
        elif self._ignorant_since is None:
            self._ignorant_since = now
        return self._ignorant_since is None or now - self._ignorant_since > LONGEST_WAIT_SECONDS

    def told_event(self, alert: Alert) -> Record | None:
        """The record of the event that the provider was told last about this alert. None: it is read before the next
        checkpoint; ask again then."""
        record = self.recall.record(alert)
        if record is None:
            self.urge()
        return record

    def will_ask_for_told_event(self, alert: Alert) -> None:
        """It is read together with one that is asked for."""
        self.recall.want(alert)

    def owes_again(self, alert: Alert) -> None:
        """Have the trigger sent again: somebody ended the incident at the provider, and the problem goes on."""
        self.urge()
        self.outbox.owes(alert, is_new=True)

    def closed_at_provider(self, dedup_key: str) -> None:
        """Drop the alert: its incident was ended at the provider."""
        self.outbox.closing(dedup_key)
        self.ended_by_feedback(dedup_key)

    def gone(self, alert: Alert) -> None:
        """The alert was handed over, which ended it, and is gone: nothing of it can be at the provider."""
        self.steps.resolved(alert, Ending.SESSION_END.value)
        self._leaves(alert)

    def _leaves(self, alert: Alert) -> None:
        self.urge()
        self.outbox.ended(alert)
        self._context.delivery.changed(self.outbox, alert.dedup_key)

    def _notified(self) -> None:
        self._counts["notified"] += 1
