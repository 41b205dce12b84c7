"""What ``/metrics`` says is valid for every parser, however many pipelines and stages there are."""

from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as of_openmetrics
from prometheus_client.parser import text_string_to_metric_families as of_prometheus

from tests.support.exposed import text
from tests.support.tools import promtool

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_each_family_has_one_head(accept: str) -> None:
    kinds = Counter(line.split()[2] for line in text(accept).splitlines() if line.startswith("# TYPE"))
    assert kinds
    assert set(kinds.values()) == {1}


def test_the_parsers_of_both_formats_take_it_and_find_all_pipelines() -> None:
    # The library has both without types.
    in_prometheus: Callable[[str], Iterable[Metric]] = of_prometheus
    in_openmetrics: Callable[[str], Iterable[Metric]] = of_openmetrics
    for families in (list(in_prometheus(text())), list(in_openmetrics(text(OPENMETRICS)))):
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
        trouble = next(family for family in families if family.name == "clawdstrike_alerting_route_trouble")
        refused = {"route": "default", "condition": "refused", "status": "401"}
        assert [(sample.labels, sample.value) for sample in trouble.samples] == [
            ({"pipeline": pipeline, **refused}, 1.0) for pipeline in ("pagerduty", "opsgenie")
        ]
        owed = next(family for family in families if family.name == "clawdstrike_alerting_owed")
        assert {sample.labels["pipeline"] for sample in owed.samples} == {"pagerduty", "opsgenie"}
        assert not any(sample.name.endswith("_created") for family in families for sample in family.samples)


def test_promtool_finds_nothing_to_say() -> None:
    """Prometheus' own parser and linter, of Debian's package ``prometheus``; required in CI."""
    checked = promtool("check", "metrics", input=text())
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
