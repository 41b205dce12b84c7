"""The rules for Prometheus in ``deploy/prometheus``: they do what they say, and of metrics that there are."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.exposed import series
from tests.support.tools import promtool

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
NAME = re.compile(r"clawdstrike_alerting_\w+")


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_each_rule_is_about_metrics_that_there_are() -> None:
    known = set(series())
    used = {name for rule in rules() for name in NAME.findall(rule["expr"])}
    assert len(used) > 10
    assert used <= known


def test_each_rule_says_whether_it_is_worth_a_page_and_what_to_look_at() -> None:
    for rule in rules():
        assert rule["labels"]["page"] in ("true", "false"), rule["alert"]
        assert {"summary", "description"} == set(rule["annotations"]), rule["alert"]


@pytest.mark.parametrize(
    "arguments", [("check", "rules", "rules.yaml"), ("test", "rules", "rules_test.yaml")], ids=" ".join
)
def test_promtool_is_content(arguments: tuple[str, ...]) -> None:
    """Prometheus' own tool, of Debian's package ``prometheus``; required in CI."""
    done = promtool(*arguments, cwd=RULES.parent)
    assert done.returncode == 0, done.stdout + done.stderr
