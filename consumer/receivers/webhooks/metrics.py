"""The metrics of the way back."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from consumer.telemetry.families import PREFIX

OUTCOMES = (
    "written", "repeated", "ping", "merge", "unknown_type", "unmatched", "malformed", "refused", "unknown",
)  # fmt: skip
"""What can become of a webhook: it is in Kafka; it was before; it is a test; incidents were merged; its type is of no
concern; it names no alert; it cannot be read; it is not the provider's; it is to be sent again."""

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 4, 5)


class WebhookMetrics:
    """Declares them in a registry, each series from the beginning."""

    def __init__(self, registry: CollectorRegistry, providers: Iterable[str]) -> None:
        self._registry = registry
        self._webhooks = Counter(
            f"{PREFIX}_webhooks",
            "Webhooks by provider and what became of them",
            ["provider", "outcome"],
            registry=registry,
        )
        for provider in providers:
            for outcome in OUTCOMES:
                self._webhooks.labels(provider, outcome)
        self._seconds = Histogram(
            f"{PREFIX}_webhook_seconds", "From the head of a webhook to its answer", buckets=_SECONDS, registry=registry
        )

    def watch(self, *, oldest: Callable[[], float], open: Callable[[], float]) -> None:
        """Ask these at each scrape: for how long the oldest waits for Kafka, and the connections."""
        for name, documentation, ask in (
            ("oldest_waiting_seconds", "How long the oldest webhook has been waiting for Kafka", oldest),
            ("connections", "Open connections of who sends webhooks", open),
        ):
            Gauge(f"{PREFIX}_webhook_{name}", documentation, registry=self._registry).set_function(ask)

    def webhook(self, provider: str, outcome: str, seconds: float) -> None:
        """Count a webhook that was answered."""
        self._webhooks.labels(provider, outcome).inc()
        self._seconds.observe(seconds)
