"""What the README shows of commands is what they print: the same words, whatever the numbers."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from consumer.cli.status_shown import sections
from consumer.cli.terminal import show_facts
from consumer.status.facts import Group, Member, Partition, Pipeline, RouteSaid, Server, Status
from consumer.status.judge import problems

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)
SHOWN = [text for _, language, text in BLOCKS if not language]
"""What is in a block without a language: the output of a command, or a picture of how things hang together."""

WIDTH = 80


def block(beginning: str) -> Sequence[str]:
    """The lines of the block that begins like this, without its command."""
    (found,) = [text for text in SHOWN if text.startswith(beginning)]
    return [line for line in found.splitlines() if not line.startswith("$ ")]


def test_every_output_that_is_shown_has_a_test_here() -> None:
    beginnings = ("clawdstrike.events ─┬─", "1,133 events · ", "$ clawdstrike-alerting status config.yaml")
    assert [next((one for one in beginnings if text.startswith(one)), text) for text in SHOWN] == list(beginnings)


def test_status(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.cli.terminal._width", lambda: WIDTH)
    now, since = 1_800_000_000.0, "2026-11-24T03:00:45.123Z"
    members = [
        Member(f"clawdstrike-alerting-alerts-{number}-1-abcd1234", f"10.0.0.{5 + number}", f"alerts-{number}", has)
        for number, has in enumerate(((0, 1, 2), (3, 4, 5)))
    ]
    partitions = [Partition(number, 100, 100, 98, 94 - number // 4 * 2, now - 1) for number in range(6)]
    partitions[4:] = [replace(one, committed=92) for one in partitions[4:]]
    group = Group("pagerduty", "clawdstrike-alerting.pagerduty", "clawdstrike.events", "Stable", members, partitions)
    pipeline = Pipeline(
        group,
        None,
        ("default", "by_guard:forbidden_path"),
        {"open": 14, "acknowledged": 3, "resolving": 1},
        {"critical": 2, "high": 1},
        now - 720,
    )
    said = RouteSaid("pagerduty", "by_guard:forbidden_path", "refused", since, "401 Unauthorized")
    reason = f"pagerduty: the provider refuses route {said.route} since {since}: {said.reason}"
    servers = [
        Server("10.0.0.5", 8080, pipelines=("pagerduty",), reasons=(reason,), routes=(said,)),
        Server("10.0.0.6", 8080, silence="no answer within 2 s"),
    ]
    status = Status([pipeline], servers)
    for title, facts in sections(status, problems(status, now), now):
        print(title)
        show_facts(facts)
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed == block("$ clawdstrike-alerting status")
