"""The dashboard in ``deploy/grafana``: each query is of series and labels that there are, and each series is shown."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.exposed import series
from tests.support.tools import promtool

DASHBOARD: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "deploy" / "grafana" / "clawdstrike-alerting.json").read_text()
)
OWN = "clawdstrike_alerting_"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
SERIES = re.compile(rf"\b((?:{OWN}|process_)\w+)(?:\{{([^}}]*)\}})?")
LABEL = re.compile(r"(\w+)\s*(?:=~|!=|!~|=)")
GROUPED = re.compile(r"\b(?:sum|max|min|avg|count) by \(([^)]*)\) \(")
OF_TARGET = {"job", "instance"}
"""The labels that Prometheus adds."""

PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES: dict[str, dict[str, Any]] = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
QUERIES: list[tuple[str, str, str]] = [
    (f"{panel['title']} {target['refId']}", target["expr"], target["legendFormat"])
    for panel in PANELS
    for target in panel["targets"]
]
of_each_query = pytest.mark.parametrize(("expr", "legend"), [q[1:] for q in QUERIES], ids=[q[0] for q in QUERIES])


def inside(expr: str, start: int) -> str:
    """What stands between the parenthesis that opens before ``start`` and the one that closes it."""
    depth = 1
    for end in range(start, len(expr)):
        depth += {"(": 1, ")": -1}.get(expr[end], 0)
        if depth == 0:
            return expr[start:end]
    raise ValueError(expr)


def groupings(expr: str) -> Iterator[tuple[list[str], str]]:
    """The labels of each ``by (…)``, and what is grouped by them."""
    for found in GROUPED.finditer(expr):
        yield [label.strip() for label in found[1].split(",")], inside(expr, found.end())


@of_each_query
def test_each_query_is_of_series_and_labels_that_there_are(expr: str, legend: str) -> None:
    known = series()
    selected = SERIES.findall(expr)
    assert selected
    for name, labels in selected:
        assert name in known
        assert set(LABEL.findall(labels)) <= known[name] | OF_TARGET, name
    for labels, grouped in groupings(expr):
        for name, _ in SERIES.findall(grouped):
            assert set(labels) <= known[name] | OF_TARGET, name
            assert ("le" in labels) == name.endswith("_bucket"), name


@of_each_query
def test_each_query_is_of_what_is_chosen_above(expr: str, legend: str) -> None:
    for name, labels in SERIES.findall(expr):
        chosen = ["job", "instance", *(["pipeline"] if "pipeline" in series()[name] else [])]
        for variable in chosen:
            assert f'{variable}=~"${variable}"' in labels, name


@of_each_query
def test_each_legend_names_what_the_series_are_told_apart_by(expr: str, legend: str) -> None:
    labels = next((labels for labels, _ in groupings(expr)), [])
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) == set(labels) - {"le"}


@of_each_query
def test_a_counter_is_asked_for_its_increase(expr: str, legend: str) -> None:
    for name, _ in SERIES.findall(expr):
        counts = name.endswith(("_total", "_bucket"))
        assert bool(re.search(rf"\b(rate|increase)\({name}\{{[^}}]*\}}\[\$__rate_interval\]\)", expr)) == counts


def test_every_series_is_shown() -> None:
    shown = {name for _, expr, _ in QUERIES for name, _ in SERIES.findall(expr)}
    of_histograms = {name for name in series() if name.endswith(("_sum", "_count"))}
    assert {name for name in series() if name.startswith(OWN)} - of_histograms - shown == set()


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": re.sub(r"\$(job|instance|pipeline)\b", ".*", expr)}
        for number, expr in enumerate(expr.replace("$__rate_interval", "5m") for _, expr, _ in QUERIES)
    ]
    assert not [rule for rule in rules if "$" in rule["expr"]]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(QUERIES)} rules found" in done.stdout


def test_the_source_of_the_data_and_what_is_looked_at_can_be_chosen() -> None:
    assert list(VARIABLES) == ["datasource", "job", "instance", "pipeline"]
    assert (VARIABLES["datasource"]["type"], VARIABLES["datasource"]["query"]) == ("datasource", "prometheus")
    for name, variable in list(VARIABLES.items())[1:]:
        (metric, _), label = SERIES.findall(variable["definition"])[0], variable["definition"].rpartition(", ")[2]
        assert variable["query"]["query"] == variable["definition"]
        assert label == f"{name})"
        assert name in series()[metric] | OF_TARGET
        assert variable["datasource"] == SOURCE
    sources = [one["datasource"] for panel in PANELS for one in (panel, *panel["targets"])]
    assert all(source == SOURCE for source in sources)


def test_each_panel_says_what_it_shows_and_has_a_place_of_its_own() -> None:
    assert all(panel["title"] and panel["description"].endswith(".") for panel in PANELS)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for place in [panel["gridPos"] for panel in DASHBOARD["panels"]]:
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"] == [
        "Are people paged?",
        "Routes",
        "Input",
        "Process",
    ]
