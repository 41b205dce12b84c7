"""The metrics of a process and of its pipelines; their families are in `consumer.telemetry.families`.

Counters are increased where things happen; states are read when Prometheus scrapes (`StateCollector`).
"""

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry

from consumer.telemetry.families import PREFIX, Declaring, DeliveryFamilies, LogFamilies, TaskFamilies
from consumer.telemetry.state_metrics import PipelineState, StateCollector
from consumer.telemetry.tally import Count
from state.provider_feedback import What

OUTCOMES = (
    "ignored", "triggered", "counted", "suppressed", "silenced", "ended", "quiet", "poison", "stale", "internal_error",
    "tombstone", "forwarded",
)  # fmt: skip
"""What can become of an event (``quiet``: an alert ended without an event; ``forwarded``: the event went to its
home)."""

STAGE_OUTCOMES = ("ignored", "forwarded", "poison", "tombstone")
"""What can become of an event in a repartition stage, which has no alerts."""

ACTIONS = ("trigger", "acknowledge", "resolve")
FEEDBACK = ("acknowledge", "resolve", "replay", "malformed", *(what.value for what in What))
INPUT_CHANGES = ("truncated", "recreated")
IGNORED_EFFECTS = ("repeat", "skip")
STATE_CHANGES = ("gone", "went_back")
HOMES = ("handed_over", "taken_over", "forwarded", "decided", "passed_on")
"""Alerts that were handed over to their new home and that arrived there, events that were forwarded to it and decided
there, and alerts or events that an outdated home passed on to a newer one."""
STEPS = (
    "triggered", "told", "raised", "told_again", "acknowledged", "unacknowledged", "reopened", "reassigned",
    "annotated", "priority_changed", "resolved", "silenced", "dead_lettered", "given_up", "handed_over", "orphaned",
    "forgotten",
)  # fmt: skip
"""What can happen to an alert (`consumer.history.step.StepKind`)."""

ENDED_BY = ("quiet", "session_end", "rule", "operator", "provider", "silence")
"""What, or who, can end an alert."""

RESULTS = ("accepted", "rejected", "refused", "throttled", "unavailable")
CHECKS = ("accepted", "refused", "unavailable")


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._states = StateCollector(PREFIX)
        registry.register(self._states)
        declare = Declaring(registry)
        self.delivery = DeliveryFamilies(declare)
        self.tasks = TaskFamilies(declare)
        self.logs = LogFamilies(declare)
        self._heartbeats = declare.counter("heartbeats", "Heartbeat pings by result", "result")

    def pipeline(
        self,
        name: str,
        routes: Iterable[str],
        state: Callable[[], PipelineState],
        outcomes: Sequence[str] = OUTCOMES,
    ) -> "PipelineMetrics":
        """The metrics of one pipeline or stage. All series exist from the start; each scrape calls ``state``."""
        for counter, values in (
            (self.logs.input_changes, INPUT_CHANGES),
            (self.logs.offsets_ignored, IGNORED_EFFECTS),
            (self.logs.states_lost, STATE_CHANGES),
            (self.tasks.homes, HOMES),
            (self.tasks.steps, STEPS),
        ):
            for value in values:
                counter.labels(name, value)
        for kind in FEEDBACK:
            for result in ("applied", "ignored"):
                self.tasks.feedback.labels(name, kind, result)
        for by in ENDED_BY:
            for early in ("true", "false"):
                self.tasks.ended.labels(name, by, early)
        for route in routes:
            for action in ACTIONS:
                for result in RESULTS:
                    self.delivery.notifications.labels(name, route, action, result)
            self.delivery.follow_ups.labels(name, route)
            self.delivery.unverified.labels(name, route)
            for result in CHECKS:
                self.delivery.route_checks.labels(name, route, result)
        self._states.add(name, state)
        return PipelineMetrics(self, name, outcomes)

    def heartbeat(self, pipeline: str, result: str) -> None:
        """A ping of a pipeline's heartbeat was ``accepted``, ``failed`` or ``withheld``."""
        self._heartbeats.labels(pipeline, result).inc()


class PipelineMetrics:
    """What one pipeline counts."""

    def __init__(self, metrics: Metrics, name: str, outcomes: Sequence[str]) -> None:
        self._metrics = metrics
        self._name = name
        self._events = {outcome: metrics.tasks.events.labels(name, outcome) for outcome in outcomes}
        self._notified: dict[tuple[str, str, str], Count] = {}
        self._acceptance = metrics.delivery.acceptance_seconds.labels(name)
        self._answered = metrics.delivery.notification_seconds.labels(name)
        self._checkpoints = metrics.tasks.checkpoints.labels(name)
        self._troubles = metrics.tasks.troubles.labels(name)
        self._lost = metrics.logs.lost.labels(name)
        self._written_again = metrics.logs.written_again.labels(name)
        self._unexpected_keys = metrics.logs.unexpected_keys.labels(name)

    def events(self, outcome: str, count: int) -> None:
        """Count ``count`` events with this outcome."""
        if count and outcome in self._events:
            self._events[outcome].inc(count)

    def notification(self, route: str, action: str, result: str, seconds: float) -> None:
        """Count a notification that was answered after ``seconds``."""
        key = (route, action, result)
        counter = self._notified.get(key)
        if counter is None:
            counter = self._notified[key] = self._metrics.delivery.notifications.labels(self._name, *key)
        counter.inc()
        self._answered.observe(seconds)

    def follow_up_rejected(self, route: str) -> None:
        """Count a further request of an accepted notification that was rejected."""
        self._metrics.delivery.follow_ups.labels(self._name, route).inc()

    def unverified(self, route: str) -> None:
        """Count an accepted notification about which nobody could say what became of it."""
        self._metrics.delivery.unverified.labels(self._name, route).inc()

    def route_check(self, route: str, result: str) -> None:
        """Count a check of a route's key: ``accepted``, ``refused`` or ``unavailable``."""
        self._metrics.delivery.route_checks.labels(self._name, route, result).inc()

    def inspection(self, route: str, result: str) -> None:
        """It was looked whether anybody is paged: ``paged``, ``obstructed``, ``missing`` (an alert that was accepted is
        not there), or ``unknown``."""
        self._metrics.delivery.inspections.labels(self._name, route, result).inc()

    def change_event(self, result: str) -> None:
        """A change event was ``accepted``, ``rejected`` or ``dropped``, or ``failed``: nobody knows."""
        self._metrics.delivery.change_events.labels(self._name, result).inc()

    def accepted(self, seconds: float) -> None:
        """Count a trigger that was accepted ``seconds`` after its record was produced."""
        self._acceptance.observe(seconds)

    def dead_letter(self, stage: str, error_class: str) -> None:
        """Count a dead letter that is going to be written."""
        self._metrics.tasks.dead_letters.labels(self._name, stage, error_class).inc()

    def checkpoint(self, seconds: float) -> None:
        """Count a checkpoint that was committed in ``seconds``."""
        self._checkpoints.observe(seconds)

    def proof(self, result: str) -> None:
        """Count a proof that was ``accepted``, ``refused`` or ``unanswered``."""
        self._metrics.tasks.proofs.labels(self._name, result).inc()

    def task_trouble(self) -> None:
        """Count a task that was closed because of an error."""
        self._troubles.inc()

    def feedback(self, kind: str, result: str) -> None:
        """Count feedback that was ``applied`` or ``ignored``; ``kind`` is one of `FEEDBACK`."""
        self._metrics.tasks.feedback.labels(self._name, kind, result).inc()

    def home(self, what: str) -> None:
        """Count something that happened because homes have moved; ``what`` is one of `HOMES`."""
        self._metrics.tasks.homes.labels(self._name, what).inc()

    def steps(self, kind: str, count: int) -> None:
        """Count steps of alerts that the next checkpoint writes; ``kind`` is one of `STEPS`."""
        self._metrics.tasks.steps.labels(self._name, kind).inc(count)

    def ended(self, by: str, *, early: bool) -> None:
        """Count an alert that is over; ``by`` is one of `ENDED_BY`. ``early``: soon after it was told."""
        self._metrics.tasks.ended.labels(self._name, by, "true" if early else "false").inc()

    def position_lost(self) -> None:
        """Count a task whose position the broker no longer had."""
        self._lost.inc()

    def unexpected_key(self) -> None:
        """Count a record without a key, or with another key than the configuration says."""
        self._unexpected_keys.inc()

    def state_written_again(self) -> None:
        """Count a task whose state was gone from its topic, and is written again."""
        self._written_again.inc()

    def input_changed(self, change: str) -> None:
        """Count a partition of the input that was found to be ``truncated`` or ``recreated``."""
        self._metrics.logs.input_changes.labels(self._name, change).inc()

    def offset_ignored(self, effect: str) -> None:
        """Count a group offset of somebody else that was ignored; its effect would have been ``repeat`` or ``skip``."""
        self._metrics.logs.offsets_ignored.labels(self._name, effect).inc()

    def state_lost(self, change: str) -> None:
        """Count a partition whose state was ``gone``, or ``went_back``."""
        self._metrics.logs.states_lost.labels(self._name, change).inc()
