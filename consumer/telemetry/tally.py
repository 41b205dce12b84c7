"""A Prometheus counter that is fast with thousands of series."""

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample


class Count:
    """One series."""

    __slots__ = ("labels", "value")

    def __init__(self, labels: dict[str, str]) -> None:
        self.labels = labels
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Increase the count."""
        self.value += amount


class Tally(Collector):
    """Counts by labels, like Prometheus' `Counter`, which needs a tenth of a second to collect ten thousand series.

    Increase and collect it in one thread only.
    """

    def __init__(
        self, name: str, documentation: str, labelnames: Sequence[str], *, registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labelnames = tuple(labelnames)
        self._counts: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def labels(self, *values: str) -> Count:
        """The series with these label values; it exists from the first call on."""
        count = self._counts.get(values)
        if count is None:
            count = self._counts[values] = Count(dict(zip(self._labelnames, values, strict=True)))
        return count

    def describe(self) -> Iterable[Metric]:
        """The family without its series, for the registry's check of names."""
        return (self._family(),)

    def collect(self) -> Iterable[Metric]:
        """The family with its series as they are now."""
        family = self._family()
        name = f"{self._name}_total"
        family.samples = [Sample(name, count.labels, count.value) for count in self._counts.values()]
        return (family,)

    def _family(self) -> Metric:
        return CounterMetricFamily(self._name, self._documentation, labels=self._labelnames)
