"""The steps of one task, from where a change is applied to the checkpoint that holds both (design section 21)."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from consumer.history.step import About, CloudEvents, Headers, Reason, Step, StepKind
from consumer.history.topic import HistoryTopic
from consumer.telemetry.metrics import PipelineMetrics
from state.alert import Alert, LastStep, Owed, kept_name, last_step_of
from state.policy import Policy
from state.provider_feedback import What
from state.remembered_ends import is_session
from state.violation import Violation

EARLY_SECONDS: Final = 300.0
"""An alert that people end within so many seconds after it was told was probably noise."""


STEP_BYTES: Final = 300
"""About how many bytes a step takes in memory: the texts in it are mostly shared."""


@dataclass(frozen=True, slots=True)
class StepsCut:
    """The steps of one checkpoint, in their order; the first has this ``number`` in the series of the task."""

    topic: HistoryTopic
    cloud_events: CloudEvents
    steps: tuple[Step, ...]
    number: int

    def headers(self, index: int) -> Headers:
        """The headers of the step at this index."""
        return self.cloud_events.headers(self.steps[index], self.number + index)


class TaskSteps:
    """What has happened to the alerts of a task since its last checkpoint.

    A method that returns an alert has noted the step in it (`Alert.last_step`): that alert goes into the store.
    ``topic`` is None where no history is wanted. ``unique`` is an id that no other task has ever had.
    ``wall`` is the time in seconds since the epoch; ``grown`` is told how many bytes more wait for a checkpoint.
    """

    def __init__(
        self,
        topic: HistoryTopic | None,
        *,
        provider: str,
        partition: int,
        source: str,
        unique: str,
        policy: Policy,
        wall: Callable[[], float],
        metrics: PipelineMetrics,
        grown: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._topic = topic
        self._provider = provider
        self._partition = partition
        self._policy = policy
        self._wall = wall
        self._metrics = metrics
        self._grown = grown
        self._cloud_events = CloudEvents(source, unique)
        self._steps: list[Step] = []
        self._number = 0

    async def look(self) -> None:
        """See whether the topic is there."""
        if self._topic is not None:
            await self._topic.look()

    @property
    def are_kept(self) -> bool:
        """Whether steps are written."""
        return self._topic is not None and self._topic.is_there

    def __bool__(self) -> bool:
        """Whether the next checkpoint has steps to write."""
        return bool(self._steps)

    def cut(self) -> StepsCut | None:
        """The steps of this moment, for a checkpoint; None without any."""
        if not self._steps or self._topic is None:
            return None
        steps, self._steps = tuple(self._steps), []
        for kind, count in Counter(step.kind for step in steps).items():
            self._metrics.steps(kind.value, count)
        number, self._number = self._number, self._number + len(steps)
        return StepsCut(self._topic, self._cloud_events, steps, number)

    # what has happened

    def triggered(
        self, alert: Alert, violation: Violation | None, reason: Reason | None = None, actor: str | None = None
    ) -> Alert:
        """The alert owes a trigger because of an event, for this ``reason`` (None: the alert says it), or because the
        ``actor`` has closed it at the provider."""
        if not self.are_kept:
            return alert
        owed = alert.owed
        assert owed is not None
        told = About(owed.guard, owed.tenant) if violation is None else About.of(violation)
        return self._add(
            StepKind.TRIGGERED,
            alert,
            told=told,
            owed=owed,
            reason=reason or self._why(alert),
            actor=actor,
            is_of_event=reason not in (Reason.CLOSED_AT_PROVIDER, Reason.SILENCE_ENDED),
        )

    def told(self, before: Alert, after: Alert, sent: Owed, route: str, violation: Violation) -> Alert:
        """The provider has accepted the trigger that was ``sent``."""
        if not self.are_kept:
            return after
        kind = StepKind.TOLD_AGAIN
        if not before.is_at_provider or before.last_notified is None:
            kind = StepKind.TOLD
        elif sent.severity > before.last_notified.severity:
            kind = StepKind.RAISED
        return self._add(kind, after, told=About.of(violation), owed=sent, route=route, attempts=sent.attempts + 1)

    def buried(
        self, alert: Alert, dead: Owed, error_class: str, event_id: str | None, route: str | None = None
    ) -> Alert:
        """The trigger that the alert owed became a dead letter."""
        if not self.are_kept:
            return alert
        kind = StepKind.GIVEN_UP if error_class == StepKind.GIVEN_UP else StepKind.DEAD_LETTERED
        told = About(dead.guard, dead.tenant, event_id)
        attempts = dead.attempts or None
        return self._add(kind, alert, told=told, owed=dead, reason=error_class, route=route, attempts=attempts)

    def acknowledged(self, alert: Alert, actor: str) -> Alert:
        """Somebody has acknowledged the alert."""
        return self._add(StepKind.ACKNOWLEDGED, alert, actor=actor) if self.are_kept else alert

    def resolved(self, alert: Alert, actor: str) -> Alert:
        """The problem is over."""
        if not self.are_kept:
            return alert
        noted = self._add(StepKind.RESOLVED, alert, actor=actor)
        told, at = alert.last_notified, last_step_of(noted).at
        is_early = told is not None and alert.is_at_provider and at - told.at <= EARLY_SECONDS
        self._metrics.ended(actor.split(":")[0], early=is_early)
        return noted

    def silenced(self, alert: Alert, silence: str, *, is_of_event: bool = True) -> Alert:
        """The silence of this id keeps the provider from being told of the alert's last event or, if not
        ``is_of_event``, of all that has occurred since the alert was resolved."""
        if not self.are_kept:
            return alert
        held = alert.held
        told = None if held is None else About(held.source.guard, held.source.tenant)
        actor = kept_actor(f"silence:{silence}")
        return self._add(StepKind.SILENCED, alert, told=told, actor=actor, is_of_event=is_of_event)

    def happened(self, what: What, alert: Alert, actor: str) -> Alert:
        """Somebody has done this with the incident at the provider, and the alert goes on."""
        return self._add(StepKind(what.value), alert, actor=actor) if self.are_kept else alert

    def left(self, kind: StepKind, alert: Alert) -> Alert:
        """The alert has left the store: it was handed over, orphaned or forgotten."""
        return self._add(kind, alert) if self.are_kept else alert

    # how it is said

    def _add(
        self,
        kind: StepKind,
        alert: Alert,
        *,
        told: About | None = None,
        owed: Owed | None = None,
        route: str | None = None,
        reason: str | None = None,
        actor: str | None = None,
        attempts: int | None = None,
        is_of_event: bool = False,
    ) -> Alert:
        about = About.of_alert(alert) if told is None else told
        is_first = is_of_event and alert.last_step is None and alert.occurrences == 1
        before = last_step_of(alert)
        at = before.at if is_first else self._wall()
        self._steps.append(
            Step(
                kind=kind,
                at=at,
                provider=self._provider,
                partition=self._partition,
                dedup_key=alert.dedup_key,
                severity=(alert.highest if owed is None else owed.severity).label,
                occurrences=alert.occurrences,
                suppressed=max(0, alert.occurrences - before.occurrences - is_of_event),
                life=alert.begun,
                reason=reason,
                actor=actor,
                route=alert.route if route is None else route,
                attempts=attempts,
                guard=about.guard,
                tenant=about.tenant,
                session=alert.session_id,
                event_id=about.event_id,
                policy_hash=about.policy_hash,
                ruleset=about.ruleset,
                first_offset=None if owed is None else owed.first_offset,
                last_offset=None if owed is None else owed.last_offset,
                seconds=None if is_first else round(max(0.0, at - before.at), 3),
            )
        )
        self._grown(STEP_BYTES)
        if is_first:
            return alert  # that it has begun says the same
        return replace(alert, last_step=LastStep(at, alert.occurrences))

    def _why(self, alert: Alert) -> Reason:
        told, owed = alert.last_notified, alert.owed
        assert owed is not None
        if alert.occurrences == 1:
            return Reason.NEW
        if told is None:
            return Reason.UNTOLD
        if owed.severity > told.severity:
            return Reason.RAISED
        is_due = owed.since - told.at >= self._policy.renotify_seconds
        return Reason.RENOTIFY if is_due else Reason.WINDOW


def kept_actor(actor: str) -> str:
    """Who has done something, as it is kept: what people and providers call themselves can be of any length."""
    return kept_name(actor) or ""


def actor_of(subject: str) -> str:
    """Who ends an alert by an event: the end of a session, or a rule of ``auto_resolve.on_events``. ``subject`` is that
    of the end (`state.remembered_ends.End`)."""
    return "session_end" if is_session(subject) else "rule"
