"""The metric of the log itself: how many of its lines were dropped because nobody read them in time."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from consumer.telemetry.log_lines import Level
from consumer.telemetry.metrics import PREFIX

DroppedLines = Callable[[], Mapping[Level, int]]
"""How many lines of each level were dropped since the start."""


class LogCollector(Collector):
    """Asks, at each scrape, how many lines were dropped."""

    def __init__(self, dropped: DroppedLines) -> None:
        self._dropped = dropped

    def collect(self) -> Iterable[Metric]:
        """``clawdstrike_alerting_log_lines_dropped_total`` by level."""
        family = CounterMetricFamily(
            f"{PREFIX}_log_lines_dropped", "Lines of the log that were dropped, since nobody read it", labels=["level"]
        )
        for level, count in self._dropped().items():
            family.add_metric([level], count)
        return (family,)
