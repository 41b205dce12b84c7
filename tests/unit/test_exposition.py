"""The text of /metrics is that of Prometheus' library, and quick however many series there are."""

import asyncio
import math

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

from consumer.telemetry import exposition
from consumer.telemetry.exposition import Exposition
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.state_metrics import PartitionState, PipelineState
from consumer.telemetry.tally import Tally

FORMATS = ["", "text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0"]


def of_the_library(registry: CollectorRegistry, accept: str) -> list[str]:
    encode, _ = choose_encoder(accept)
    return [line for line in encode(registry).decode().splitlines() if "_created" not in line]


def ours(written: Exposition, accept: str) -> list[str]:
    return asyncio.run(written.text(accept))[0].decode().splitlines()


@pytest.mark.parametrize("accept", FORMATS)
def test_it_is_what_the_library_writes(accept: str) -> None:
    registry = CollectorRegistry()
    written = Exposition(registry)
    counter = Counter("asked", 'How often; "quoted" \\ and\nbroken', ["who"], registry=registry)
    histogram = Histogram("seconds", "How long", ["who"], buckets=(0.1, 1), registry=registry)
    gauge = Gauge("level", "How high", registry=registry)
    assert ours(written, accept) == of_the_library(registry, accept)
    for who in ("a", 'b"\\\n', "ü"):
        counter.labels(who).inc(3)
        histogram.labels(who).observe(0.5)
    for value in (0, 1, -2.5, 999999, 1e6, 1e16, -1e7, 0.1 + 0.2, 5e-324, 123456789.25, math.inf, math.nan):
        gauge.set(value)
        counter.labels("a").inc()
        assert ours(written, accept) == of_the_library(registry, accept)
    assert asyncio.run(written.text(accept))[1] == choose_encoder(accept)[1]
    counter.remove("a")
    assert ours(written, accept) == of_the_library(registry, accept)


def test_an_empty_registry() -> None:
    for accept in FORMATS:
        registry = CollectorRegistry()
        assert ours(Exposition(registry), accept) == of_the_library(registry, accept)


@pytest.mark.slow
@pytest.mark.parametrize("accept", FORMATS)
def test_of_many_series_names_and_labels_are_written_once(accept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape of 500 routes and 96 partitions took a second (what it takes now: `make bench ARGS=size`)."""
    registry = CollectorRegistry()
    routes = tuple(f"by_guard:{number}" for number in range(500))
    partitions = tuple(
        PartitionState(partition=number, lag=3, is_running=True, alerts={"open": 3}, owed=1, oldest_owed_age=0.5)
        for number in range(96)
    )
    state = PipelineState(partitions=partitions, routes=routes, queued=dict.fromkeys(routes, 1))
    Metrics(registry).pipeline("pagerduty", routes, lambda: state)
    written = Exposition(registry)
    assert ours(written, accept) == of_the_library(registry, accept)

    def again(sample: object) -> str:
        raise AssertionError(f"written again: {sample}")

    monkeypatch.setattr(exposition, "_series", again)
    assert ours(written, accept) == of_the_library(registry, accept)


@pytest.mark.slow
def test_others_have_their_turn_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "_SLICE_SECONDS", 0.0)
    registry = CollectorRegistry()
    asked = Counter("asked", "How often", ["who"], registry=registry)
    for number in range(10_000):
        asked.labels(str(number))

    async def turns() -> int:
        text, count = asyncio.create_task(Exposition(registry).text("")), 0
        while not text.done():
            await asyncio.sleep(0)
            count += 1
        return count

    assert asyncio.run(turns()) >= 10


def test_a_tally_is_what_a_counter_is() -> None:
    one, other = CollectorRegistry(), CollectorRegistry()
    for made in (
        Tally("asked", "How often", ["who", "what"], registry=one),
        Counter("asked", "How often", ["who", "what"], registry=other),
    ):
        made.labels("a", "b")
        made.labels("a", 'c"').inc()
        made.labels("a", 'c"').inc(2)
    for accept in FORMATS:
        assert of_the_library(one, accept) == of_the_library(other, accept)
    assert one.get_sample_value("asked_total", {"who": "a", "what": 'c"'}) == 3
    assert list(one.restricted_registry(["asked_total"]).collect())
    with pytest.raises(ValueError, match="zip"):
        Tally("more", "", ["who"], registry=one).labels("a", "b")
    with pytest.raises(ValueError, match="Duplicated"):
        Tally("asked", "", ["who"], registry=one)
