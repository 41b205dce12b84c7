"""All metrics of the service, declared together (Prometheus naming practices).

Counters are increased where things happen; states are read when Prometheus scrapes (`StateCollector`).
"""

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram

from consumer.telemetry.state_metrics import PipelineState, StateCollector
from consumer.telemetry.tally import Count, Tally
from state.provider_feedback import What

PREFIX = "clawdstrike_alerting"

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
    "triggered", "told", "raised", "told_again", "acknowledged", "resolved", "silenced", "dead_lettered", "given_up",
    "handed_over", "orphaned", "forgotten",
)  # fmt: skip
"""What can happen to an alert (`consumer.history.step.Kind`)."""

ENDED_BY = ("quiet", "session_end", "rule", "operator", "provider", "silence")
"""What, or who, can end an alert."""

RESULTS = ("accepted", "rejected", "refused", "throttled", "unavailable")
CHECKS = ("accepted", "refused", "unavailable")

_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400)


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._states = StateCollector(PREFIX)
        registry.register(self._states)
        self._events = Counter(
            f"{PREFIX}_events", "Events by what became of them", ["pipeline", "outcome"], registry=registry
        )
        self._notifications = Tally(
            f"{PREFIX}_notifications",
            "Notifications by route, action and the provider's answer",
            ["pipeline", "route", "action", "result"],
            registry=registry,
        )
        self._follow_ups = Tally(
            f"{PREFIX}_follow_ups_rejected",
            "Further requests of accepted notifications (priority, note) that were rejected",
            ["pipeline", "route"],
            registry=registry,
        )
        self._unverified = Tally(
            f"{PREFIX}_acceptances_unverified",
            "Accepted notifications of which it was asked in vain what has become of them",
            ["pipeline", "route"],
            registry=registry,
        )
        self._route_checks = Tally(
            f"{PREFIX}_route_checks",
            "Checks of a route's key by answer",
            ["pipeline", "route", "result"],
            registry=registry,
        )
        self._change_events = Counter(
            f"{PREFIX}_change_events",
            "Change events by what became of them",
            ["pipeline", "result"],
            registry=registry,
        )
        self._inspections = Counter(
            f"{PREFIX}_route_inspections",
            "Looks whether anybody is paged through a route, by what was found",
            ["pipeline", "route", "result"],
            registry=registry,
        )
        self._notification_seconds = Histogram(
            f"{PREFIX}_notification_seconds",
            "From the first request of a notification to its answer",
            ["pipeline"],
            buckets=_LATENCY[:13],
            registry=registry,
        )
        self._acceptance_seconds = Histogram(
            f"{PREFIX}_acceptance_seconds",
            "From the record of an event to the provider's acceptance of its trigger",
            ["pipeline"],
            buckets=_LATENCY,
            registry=registry,
        )
        self._dead_letters = Counter(
            f"{PREFIX}_dead_letters", "Dead letters", ["pipeline", "stage", "error_class"], registry=registry
        )
        self._checkpoints = Histogram(
            f"{PREFIX}_checkpoint_seconds",
            "Committed checkpoints",
            ["pipeline"],
            buckets=_LATENCY[:13],
            registry=registry,
        )
        self._proofs = Counter(
            f"{PREFIX}_proofs", "Proofs of ownership by answer", ["pipeline", "result"], registry=registry
        )
        self._troubles = Counter(
            f"{PREFIX}_task_troubles", "Tasks that were closed because of an error", ["pipeline"], registry=registry
        )
        self._lost = Counter(
            f"{PREFIX}_positions_lost", "Positions that the broker no longer had", ["pipeline"], registry=registry
        )
        self._unexpected_keys = Counter(
            f"{PREFIX}_unexpected_record_keys",
            "Records that have no key, or another than kafka.event_key says",
            ["pipeline"],
            registry=registry,
        )
        self._written_again = Counter(
            f"{PREFIX}_state_written_again",
            "States that were written again, for their topic was emptied or made anew",
            ["pipeline"],
            registry=registry,
        )
        self._input_changes = Counter(
            f"{PREFIX}_input_changes",
            "Partitions that were found to be truncated, or created anew",
            ["pipeline", "change"],
            registry=registry,
        )
        self._offsets_ignored = Counter(
            f"{PREFIX}_offsets_ignored",
            "Group offsets of others that were not obeyed, by what they would have done",
            ["pipeline", "effect"],
            registry=registry,
        )
        self._states_lost = Counter(
            f"{PREFIX}_states_lost",
            "Partitions whose state was gone, or had gone back",
            ["pipeline", "change"],
            registry=registry,
        )
        self._feedback = Counter(
            f"{PREFIX}_feedback",
            "Feedback of operators and providers, and replayed dead letters, by what became of it",
            ["pipeline", "kind", "result"],
            registry=registry,
        )
        self._homes = Counter(
            f"{PREFIX}_homes_moved",
            "What tasks have told each other because the homes of keys have moved",
            ["pipeline", "what"],
            registry=registry,
        )
        self._steps = Counter(
            f"{PREFIX}_alert_steps", "Steps of alerts that the history tells", ["pipeline", "kind"], registry=registry
        )
        self._ended = Counter(
            f"{PREFIX}_alerts_ended",
            "Alerts that the history tells to be over, and whether that was within five minutes of being told",
            ["pipeline", "by", "early"],
            registry=registry,
        )
        self._heartbeats = Counter(
            f"{PREFIX}_heartbeats", "Heartbeat pings by result", ["pipeline", "result"], registry=registry
        )

    def pipeline(
        self,
        name: str,
        routes: Iterable[str],
        state: Callable[[], PipelineState],
        outcomes: Sequence[str] = OUTCOMES,
    ) -> "PipelineMetrics":
        """The metrics of one pipeline or stage. All series exist from the start; each scrape calls ``state``."""
        for counter, values in (
            (self._input_changes, INPUT_CHANGES),
            (self._offsets_ignored, IGNORED_EFFECTS),
            (self._states_lost, STATE_CHANGES),
            (self._homes, HOMES),
            (self._steps, STEPS),
        ):
            for value in values:
                counter.labels(name, value)
        for kind in FEEDBACK:
            for result in ("applied", "ignored"):
                self._feedback.labels(name, kind, result)
        for by in ENDED_BY:
            for early in ("true", "false"):
                self._ended.labels(name, by, early)
        for route in routes:
            for action in ACTIONS:
                for result in RESULTS:
                    self._notifications.labels(name, route, action, result)
            self._follow_ups.labels(name, route)
            self._unverified.labels(name, route)
            for result in CHECKS:
                self._route_checks.labels(name, route, result)
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
        self._events = {outcome: metrics._events.labels(name, outcome) for outcome in outcomes}
        self._notified: dict[tuple[str, str, str], Count] = {}
        self._acceptance = metrics._acceptance_seconds.labels(name)
        self._answered = metrics._notification_seconds.labels(name)
        self._checkpoints = metrics._checkpoints.labels(name)
        self._troubles = metrics._troubles.labels(name)
        self._lost = metrics._lost.labels(name)
        self._written_again = metrics._written_again.labels(name)
        self._unexpected_keys = metrics._unexpected_keys.labels(name)

    def events(self, outcome: str, count: int) -> None:
        """Count ``count`` events with this outcome."""
        if count and outcome in self._events:
            self._events[outcome].inc(count)

    def notification(self, route: str, action: str, result: str, seconds: float) -> None:
        """Count a notification that was answered after ``seconds``."""
        key = (route, action, result)
        counter = self._notified.get(key)
        if counter is None:
            counter = self._notified[key] = self._metrics._notifications.labels(self._name, *key)
        counter.inc()
        self._answered.observe(seconds)

    def follow_up_rejected(self, route: str) -> None:
        """Count a further request of an accepted notification that was rejected."""
        self._metrics._follow_ups.labels(self._name, route).inc()

    def unverified(self, route: str) -> None:
        """It was asked in vain what has become of an accepted notification."""
        self._metrics._unverified.labels(self._name, route).inc()

    def route_check(self, route: str, result: str) -> None:
        """Count a check of a route's key: ``accepted``, ``refused`` or ``unavailable``."""
        self._metrics._route_checks.labels(self._name, route, result).inc()

    def inspection(self, route: str, result: str) -> None:
        """It was looked whether anybody is paged: ``paged``, ``obstructed``, ``missing`` (an alert that was accepted is
        not there), or ``unknown``."""
        self._metrics._inspections.labels(self._name, route, result).inc()

    def change_event(self, result: str) -> None:
        """A change event was ``accepted``, ``rejected`` or ``dropped``, or ``failed``: nobody knows."""
        self._metrics._change_events.labels(self._name, result).inc()

    def accepted(self, seconds: float) -> None:
        """Count a trigger that was accepted ``seconds`` after its record was produced."""
        self._acceptance.observe(seconds)

    def dead_letter(self, stage: str, error_class: str) -> None:
        """Count a dead letter that is going to be written."""
        self._metrics._dead_letters.labels(self._name, stage, error_class).inc()

    def checkpoint(self, seconds: float) -> None:
        """Count a checkpoint that was committed in ``seconds``."""
        self._checkpoints.observe(seconds)

    def proof(self, result: str) -> None:
        """Count a proof that was ``accepted``, ``refused`` or ``unanswered``."""
        self._metrics._proofs.labels(self._name, result).inc()

    def task_trouble(self) -> None:
        """Count a task that was closed because of an error."""
        self._troubles.inc()

    def feedback(self, kind: str, result: str) -> None:
        """Count feedback that was ``applied`` or ``ignored``; ``kind`` is one of `FEEDBACK`."""
        self._metrics._feedback.labels(self._name, kind, result).inc()

    def home(self, what: str) -> None:
        """Count something that happened because homes have moved; ``what`` is one of `HOMES`."""
        self._metrics._homes.labels(self._name, what).inc()

    def steps(self, kind: str, count: int) -> None:
        """Count steps of alerts that the next checkpoint writes; ``kind`` is one of `STEPS`."""
        self._metrics._steps.labels(self._name, kind).inc(count)

    def ended(self, by: str, *, early: bool) -> None:
        """Count an alert that is over; ``by`` is one of `ENDED_BY`. ``early``: soon after it was told."""
        self._metrics._ended.labels(self._name, by, "true" if early else "false").inc()

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
        self._metrics._input_changes.labels(self._name, change).inc()

    def offset_ignored(self, effect: str) -> None:
        """Count a group offset of somebody else that was ignored; its effect would have been ``repeat`` or ``skip``."""
        self._metrics._offsets_ignored.labels(self._name, effect).inc()

    def state_lost(self, change: str) -> None:
        """Count a partition whose state was ``gone``, or ``went_back``."""
        self._metrics._states_lost.labels(self._name, change).inc()
