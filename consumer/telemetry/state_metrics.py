"""Metrics of states (open alerts, owed triggers, lag), read at each scrape; one family each for all pipelines."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from providers.delivery.outage import RouteTrouble


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One task as it is now. Ages are in seconds; a value that is None has no series.

    ``lag`` counts from the decided position to the high watermark. ``hidden`` is for how many seconds another
    producer's open transaction has hidden the records behind it, 0 if nothing is hidden. Both are None while the task
    does not run.

    ``owed``, its age and ``orphaned`` are None in a stage, which owes nothing to anybody. ``orphaned`` counts alerts
    with an incident at a key that is not configured; ``unreadable`` is how many records of the state cannot be read.
    """

    partition: int
    lag: int | None
    is_running: bool
    hidden: float | None = None
    alerts: dict[str, int] = field(default_factory=dict)
    owed: int | None = None
    orphaned: int | None = None
    oldest_owed_age: float | None = None
    is_paused: bool = False
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class PipelineState:
    """One pipeline of this member as it is now."""

    partitions: tuple[PartitionState, ...] = ()
    routes: tuple[str, ...] = ()
    refused_routes: tuple[str, ...] = ()
    open_breakers: tuple[str, ...] = ()
    troubles: tuple[RouteTrouble, ...] = ()
    queued: dict[str, int] = field(default_factory=dict)
    in_flight: int | None = None
    ignored: Mapping[str, int] = field(default_factory=dict)
    """How many events concerned nobody since the start, by reason; empty where the stage before the pipeline counts
    them.
    """


class StateCollector(Collector):
    """Reads the state of each pipeline and stage at each scrape. The names of the families begin with ``prefix``.

    The text that Prometheus reads has each family once, for all pipelines: parsers refuse a second head of a family.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._states: dict[str, Callable[[], PipelineState]] = {}

    def add(self, pipeline: str, state: Callable[[], PipelineState]) -> None:
        """From now on, call ``state`` for this pipeline or stage at each scrape."""
        self._states[pipeline] = state

    def describe(self) -> Iterable[Metric]:
        """The families, without a sample."""
        return self._collect({})

    def collect(self) -> Iterable[Metric]:
        """The families with their samples as they are now."""
        return self._collect({pipeline: state() for pipeline, state in self._states.items()})

    def _collect(self, states: dict[str, PipelineState]) -> Iterable[Metric]:
        alerts = self._gauge("alerts", "Alerts by status", "partition", "status")
        for pipeline, state in states.items():
            for one in state.partitions:
                for status, count in one.alerts.items():
                    alerts.add_metric([pipeline, str(one.partition), status], count)
        yield alerts
        yield from self._of_partitions(states)
        yield from self._of_routes(states)
        in_flight = self._gauge("in_flight", "Notifications on the wire")
        for pipeline, state in states.items():
            if state.in_flight is not None:
                in_flight.add_metric([pipeline], state.in_flight)
        yield in_flight
        ignored = CounterMetricFamily(
            f"{self._prefix}_events_ignored", "Events that concern nobody, by reason", labels=["pipeline", "reason"]
        )
        for pipeline, state in states.items():
            for reason, count in state.ignored.items():
                ignored.add_metric([pipeline, reason], count)
        yield ignored

    def _of_partitions(self, states: dict[str, PipelineState]) -> Iterable[Metric]:
        for name, documentation, value in _OF_PARTITION:
            family = self._gauge(name, documentation, "partition")
            for pipeline, state in states.items():
                for one in state.partitions:
                    if (found := value(one)) is not None:
                        family.add_metric([pipeline, str(one.partition)], found)
            yield family

    def _of_routes(self, states: dict[str, PipelineState]) -> Iterable[Metric]:
        queued = self._gauge("queued", "Notifications that wait, by the first of the routes that share a key", "route")
        refused = self._gauge("route_refused", "1 while the provider refuses the route", "route")
        trouble = self._gauge(
            "route_trouble",
            "1 while a route is refused, failing or throttled, by the status that the provider has answered last",
            "route",
            "condition",
            "status",
        )
        breaker = self._gauge("breaker_open", "1 while only probes leave through the route", "route")
        for pipeline, state in states.items():
            for route, count in state.queued.items():
                queued.add_metric([pipeline, route], count)
            for route in state.routes:
                refused.add_metric([pipeline, route], int(route in state.refused_routes))
                breaker.add_metric([pipeline, route], int(route in state.open_breakers))
            for one in state.troubles:
                status = "none" if one.status is None else str(one.status)
                trouble.add_metric([pipeline, one.route, one.condition.value, status], 1)
        return queued, refused, breaker, trouble

    def _gauge(self, name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{self._prefix}_{name}", documentation, labels=["pipeline", *labels])


_OF_PARTITION: tuple[tuple[str, str, Callable[[PartitionState], float | None]], ...] = (
    ("owed", "Alerts that owe a trigger", lambda one: one.owed),
    (
        "orphaned",
        "Alerts with an incident at a key that is not configured any more",
        lambda one: one.orphaned,
    ),
    ("oldest_owed_seconds", "Age of the oldest owed trigger", lambda one: one.oldest_owed_age),
    ("lag", "Records behind the decided position", lambda one: one.lag),
    (
        "hidden_seconds",
        "For how long the same open transaction of another producer has hidden the records behind it",
        lambda one: one.hidden,
    ),
    ("task_running", "1 while the task is restored and decides", lambda one: int(one.is_running)),
    (
        "partition_paused",
        "1 while nothing is fetched because dead letters cannot be written",
        lambda one: int(one.is_paused),
    ),
    (
        "state_unreadable",
        "Records of the state that this release cannot read, and leaves as they are",
        lambda one: one.unreadable,
    ),
)
"""Of each metric of a partition: its name, its documentation, and its value (None: there is no such series)."""
