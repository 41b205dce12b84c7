"""The metrics of ingest."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from consumer.telemetry.families import PREFIX

OUTCOMES = ("written", "repeated", "invalid", "unknown")
"""What can become of an event: it was written to Kafka; it had been written before; it was invalid and dead-lettered;
or nobody knows, and it is to be sent again."""

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class IngestMetrics:
    """Declares the metrics in a registry; each event outcome has its series from the beginning."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._requests = Counter(
            f"{PREFIX}_ingest_requests", "Posts to the way in by the status they got", ["status"], registry=registry
        )
        events = Counter(
            f"{PREFIX}_ingest_events", "Events that were posted by what became of them", ["outcome"], registry=registry
        )
        self._events = {outcome: events.labels(outcome) for outcome in OUTCOMES}
        self._seconds = Histogram(
            f"{PREFIX}_ingest_seconds",
            "From the head of a post to its answer",
            buckets=_SECONDS,
            registry=registry,
        )

    def watch(self, *, waiting: Callable[[], float], oldest: Callable[[], float], open: Callable[[], float]) -> None:
        """Call these at each scrape: for the bytes that wait for Kafka, the age of the oldest event that waits in
        seconds, and the number of connections."""
        for name, documentation, ask in (
            ("waiting_bytes", "What was received and is not in Kafka", waiting),
            ("oldest_waiting_seconds", "How long the oldest event has been waiting for Kafka", oldest),
            ("connections", "Open connections of senders", open),
        ):
            Gauge(f"{PREFIX}_ingest_{name}", documentation, registry=self._registry).set_function(ask)

    def request(self, status: int, seconds: float) -> None:
        """Count a post that was answered with this status, after ``seconds``."""
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)

    def events(self, outcome: str, count: int) -> None:
        """Count events with this outcome (`OUTCOMES`)."""
        self._events[outcome].inc(count)
