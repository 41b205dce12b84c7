"""What ``/metrics`` says is valid for every parser, however many pipelines and stages there are."""

import asyncio
from collections import Counter

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as of_openmetrics
from prometheus_client.parser import text_string_to_metric_families as of_prometheus

from consumer.server.exposition import Exposition
from consumer.server.metrics import STAGE_OUTCOMES, Metrics
from consumer.server.state_metrics import PartitionState, PipelineState
from tests.support.tools import promtool

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PARTITION = PartitionState(
    partition=0, lag=3, is_running=True, hidden=0.0, alerts={"open": 2}, owed=1, orphaned=0, oldest_owed_age=0.5
)
STAGE_PARTITION = PartitionState(partition=0, lag=1, is_running=True)


def text(accept: str = "") -> str:
    """That of a member with two pipelines and a stage, after something of each kind has happened."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for name in ("pagerduty", "opsgenie"):
        state = PipelineState((PARTITION,), ("default",), queued={"default": 4}, in_flight=2, ignored={"allowed": 7})
        pipeline = metrics.pipeline(name, ["default"], lambda state=state: state)  # type: ignore[misc]
        pipeline.events("triggered", 3)
        pipeline.notification("default", "trigger", "accepted", 0.2)
        pipeline.accepted(0.3)
        pipeline.dead_letter("decode", "bad_json")
        pipeline.checkpoint(0.01)
    metrics.pipeline("pagerduty-repartition", (), lambda: PipelineState((STAGE_PARTITION,)), STAGE_OUTCOMES)
    return asyncio.run(Exposition(registry).text(accept))[0].decode()


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_each_family_has_one_head(accept: str) -> None:
    kinds = Counter(line.split()[2] for line in text(accept).splitlines() if line.startswith("# TYPE"))
    assert kinds
    assert set(kinds.values()) == {1}


def test_the_parsers_of_both_formats_take_it_and_find_all_pipelines() -> None:
    for families in (list(of_prometheus(text())), list(of_openmetrics(text(OPENMETRICS)))):
        lag = next(family for family in families if family.name == "clawdstrike_alerting_lag")
        assert {(sample.labels["pipeline"], sample.value) for sample in lag.samples} == {
            ("pagerduty", 3.0),
            ("opsgenie", 3.0),
            ("pagerduty-repartition", 1.0),
        }
        ignored = next(family for family in families if family.name == "clawdstrike_alerting_events_ignored")
        assert [(sample.name, sample.labels["reason"], sample.value) for sample in ignored.samples] == [
            ("clawdstrike_alerting_events_ignored_total", "allowed", 7.0)
        ] * 2
        owed = next(family for family in families if family.name == "clawdstrike_alerting_owed")
        assert {sample.labels["pipeline"] for sample in owed.samples} == {"pagerduty", "opsgenie"}
        assert not any(sample.name.endswith("_created") for family in families for sample in family.samples)


def test_promtool_finds_nothing_to_say() -> None:
    """Prometheus' own parser and linter, of Debian's package ``prometheus``; required in CI."""
    checked = promtool("check", "metrics", input=text())
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
