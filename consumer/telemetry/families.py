"""The metric families of a pipeline, by what they are about (Prometheus naming practices).

They are declared once for all pipelines and stages of a process: each family has the label ``pipeline``.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from consumer.telemetry.tally import Tally

PREFIX: Final = "clawdstrike_alerting"
"""The beginning of each family's name."""

_LATENCY: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400)
_SHORT: Final = _LATENCY[:13]


class Declaring:
    """Declares families in one registry, each with the label ``pipeline`` and those that are named. ``text`` is what
    Prometheus shows as help."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """A counter; ``_total`` is added to its name."""
        return Counter(f"{PREFIX}_{name}", text, ["pipeline", *labels], registry=self._registry)

    def tally(self, name: str, text: str, *labels: str) -> Tally:
        """A counter of which there may be thousands of series, as there are of each route."""
        return Tally(f"{PREFIX}_{name}", text, ["pipeline", *labels], registry=self._registry)

    def histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        """A histogram of seconds."""
        return Histogram(f"{PREFIX}_{name}", text, ["pipeline"], buckets=buckets, registry=self._registry)


class DeliveryFamilies:
    """What was sent to the provider, and what it answered."""

    def __init__(self, declare: Declaring) -> None:
        self.notifications = declare.tally(
            "notifications", "Notifications by route, action and the provider's answer", "route", "action", "result"
        )
        self.follow_ups = declare.tally(
            "follow_ups_rejected",
            "Further requests of accepted notifications (priority, note) that were rejected",
            "route",
        )
        self.unverified = declare.tally(
            "acceptances_unverified",
            "Accepted notifications of which it was asked in vain what has become of them",
            "route",
        )
        self.route_checks = declare.tally("route_checks", "Checks of a route's key by answer", "route", "result")
        self.change_events = declare.counter("change_events", "Change events by what became of them", "result")
        self.inspections = declare.counter(
            "route_inspections",
            "Looks whether anybody is paged through a route, by what was found",
            "route",
            "result",
        )
        self.notification_seconds = declare.histogram(
            "notification_seconds", "From the first request of a notification to its answer", _SHORT
        )
        self.acceptance_seconds = declare.histogram(
            "acceptance_seconds",
            "From the record of an event to the provider's acceptance of its trigger",
            _LATENCY,
        )


class TaskFamilies:
    """What the tasks of partitions have done, and what became of events."""

    def __init__(self, declare: Declaring) -> None:
        self.events = declare.counter("events", "Events by what became of them", "outcome")
        self.dead_letters = declare.counter("dead_letters", "Dead letters", "stage", "error_class")
        self.checkpoints = declare.histogram("checkpoint_seconds", "Committed checkpoints", _SHORT)
        self.proofs = declare.counter("proofs", "Proofs of ownership by answer", "result")
        self.troubles = declare.counter("task_troubles", "Tasks that were closed because of an error")
        self.feedback = declare.counter(
            "feedback",
            "Feedback of operators and providers, and replayed dead letters, by what became of it",
            "kind",
            "result",
        )
        self.homes = declare.counter(
            "homes_moved", "What tasks have told each other because the homes of keys have moved", "what"
        )
        self.steps = declare.counter("alert_steps", "Steps of alerts that the history tells", "kind")
        self.ended = declare.counter(
            "alerts_ended",
            "Alerts that the history tells to be over, and whether that was within five minutes of being told",
            "by",
            "early",
        )


class LogFamilies:
    """What has happened to the logs of the input and of the state, and to the group's offsets."""

    def __init__(self, declare: Declaring) -> None:
        self.lost = declare.counter("positions_lost", "Positions that the broker no longer had")
        self.unexpected_keys = declare.counter(
            "unexpected_record_keys", "Records that have no key, or another than kafka.event_key says"
        )
        self.written_again = declare.counter(
            "state_written_again", "States that were written again, for their topic was emptied or made anew"
        )
        self.input_changes = declare.counter(
            "input_changes", "Partitions that were found to be truncated, or created anew", "change"
        )
        self.offsets_ignored = declare.counter(
            "offsets_ignored",
            "Group offsets of others that were not obeyed, by what they would have done",
            "effect",
        )
        self.states_lost = declare.counter("states_lost", "Partitions whose state was gone, or had gone back", "change")
