"""What the README and the books beside it show of commands is what they print: the same words, whatever the numbers."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Literal

import pytest
import yaml
from rich.console import Console

from consumer.cli.main import COMMANDS, main
from consumer.cli.status_shown import sections
from consumer.cli.terminal import show_facts
from consumer.config import parse_config
from consumer.demo.problems import DemoProblem, SeenProblem
from consumer.demo.stage import DEFAULT, OPSGENIE_KEY, RESPONDER, pagerduty_key
from consumer.demo.table import Snapshot, table
from consumer.events.event import SecurityEvent
from consumer.receivers.ingest.app import PATH
from consumer.service.build import build_pipelines
from consumer.status.facts import GroupStatus, Member, Partition, PipelineStatus, RouteSaid, Server, ServiceStatus
from consumer.status.judge import problems
from providers.sandbox import Incident
from state.violation import Record

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BOOKS = sorted((ROOT / "deploy").glob("*.md"))
PAGES = "\n".join([README, *(book.read_text() for book in BOOKS)])
BLOCKS = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", PAGES, re.MULTILINE | re.DOTALL)
SHOWN = [text for _, language, text in BLOCKS if not language]
"""What is in a block without a language: the output of a command."""

WIDTH = 80
SOC = ("network", "soc", RESPONDER)


def block(beginning: str) -> Sequence[str]:
    """The lines of the block that begins like this, without its command."""
    (found,) = [text for text in SHOWN if text.startswith(beginning)]
    return [line for line in found.splitlines() if not line.startswith("$ ")]


def test_every_output_that_is_shown_has_a_test_here() -> None:
    beginnings = ("1,133 events · ", "$ clawdstrike-alerting status config.yaml")
    assert [next((one for one in beginnings if text.startswith(one)), text) for text in SHOWN] == list(beginnings)


State = Literal["open", "acknowledged", "ended"]


def incident(provider: str, status: State, key: str, *teams: str) -> Incident:
    return Incident(
        number=1, id=provider, provider=provider, key=key, dedup_key="k", title="", severity="P1", opened_at=0.0,
        opened_monotonic=0.0, status=status,
        opened_with={"responders": [{"type": "team", "name": team} for team in teams]},
    )  # fmt: skip


def problem(severity: str, events: int, who: str, status: State, route: str, *teams: str) -> DemoProblem:
    """A denial that its agent has met so often; told at PagerDuty by this route, at OpsGenie these teams."""
    guard, agent, tenant = who.split()
    told = incident("opsgenie", status, OPSGENIE_KEY, *teams), incident("pagerduty", status, pagerduty_key(route))
    return DemoProblem(
        guard=guard, agent=agent, tenant=tenant, severity=severity, dedup_keys={"opsgenie": "k", "pagerduty": "k"},
        events=events, incidents=told,
    )  # fmt: skip


def test_the_demo_on_a_terminal() -> None:
    three = [
        problem("critical", 11, "patch_integrity analyst globex", "open", DEFAULT, "data-oncall", RESPONDER),
        problem("high", 31, "egress_allowlist release-bot acme-corp", "acknowledged", DEFAULT, *SOC),
        problem("critical", 24, "forbidden_path coder acme-corp", "ended", "acme-corp", "soc", RESPONDER),
    ]
    shown = Snapshot(42.0, 60, 26.0, SeenProblem(1_133, 185, 30, 20, three * 5), page="http://127.0.0.1:31234/")
    out = StringIO()
    Console(file=out, width=WIDTH, height=40).print(table(shown, width=WIDTH, height=40))
    printed = [line.rstrip() for line in out.getvalue().splitlines()]
    assert printed[:6] == block("1,133 events")


def test_status(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.cli.terminal._width", lambda: WIDTH)
    now, since = 1_800_000_000.0, "2026-11-24T03:00:45.123Z"
    members = [
        Member(f"clawdstrike-alerting-alerts-{number}-1-abcd1234", f"10.0.0.{5 + number}", f"alerts-{number}", has)
        for number, has in enumerate(((0, 1, 2), (3, 4, 5)))
    ]
    partitions = [Partition(number, 100, 100, 98, 94 - number // 4 * 2, now - 1) for number in range(6)]
    partitions[4:] = [replace(one, committed=92) for one in partitions[4:]]
    group = GroupStatus(
        "pagerduty", "clawdstrike-alerting.pagerduty", "clawdstrike.events", "Stable", members, partitions
    )
    pipeline = PipelineStatus(
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
    status = ServiceStatus([pipeline], servers)
    for title, facts in sections(status, problems(status, now), now):
        print(title)
        show_facts(facts)
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed == block("$ clawdstrike-alerting status")


# the commands


def commands_of(page: str) -> Iterator[str]:
    """The first cells of the table of commands."""
    rest = page[page.index("| command | does |") :].split("\n\n")[0]
    for line in rest.splitlines()[2:]:
        yield re.split(r"(?<!\\)\|", line)[1]


def rows() -> Iterator[tuple[str, set[str]]]:
    """Each command of the book's table, with the options that it names."""
    for given in commands_of((ROOT / "deploy" / "commands.md").read_text()):
        text = given.replace("\\|", "|")
        words = re.match(r"[a-z|-]+(?: [a-z|]+(?![A-Z]))?", text.strip(" `"))
        assert words is not None
        yield words[0].strip(), {*re.findall(r"--[a-z-]+", text), *(["…"] if "…" in text else [])}


def options_of(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> set[str]:
    """The options that the command itself names."""
    assert main([*words, "--help"]) == 0
    return set(re.findall(r"(?<=\W)--[a-z-]+", capsys.readouterr().out.partition("options:")[2]))


@pytest.mark.parametrize(("command", "named"), list(rows()), ids=lambda value: value if isinstance(value, str) else "")
def test_the_table_has_the_options_of_each_command(
    command: str, named: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first, _, actions = command.partition(" ")
    found = set[str]()
    for action in actions.split("|"):
        found |= options_of([first, action] if action else [first], capsys)
    if command == "dlq replay":  # "[the filters of list]"
        found -= options_of(["dlq", "list"], capsys) - named
    assert named - {"…"} <= found
    assert "…" in named or found - {"--help"} <= named | {"--config"}


def test_every_command_is_in_both_tables() -> None:
    there = sorted(command.name for command in COMMANDS)
    assert sorted({command.split()[0] for command, _ in rows()}) == there
    assert sorted(name for cell in commands_of(README) for name in re.findall(r"`([a-z-]+)`", cell)) == there


def test_the_readme_is_read_in_ten_minutes() -> None:
    assert len(README.splitlines()) <= 170
    assert [line for line in README.splitlines() if len(line) > 130 and not line.startswith(("|", "[!["))] == []


# what is to be written by hand


def examples(language: str) -> list[str]:
    return [textwrap.dedent(text) for _, name, text in BLOCKS if name == language]


def example(language: str) -> str:
    """The first one."""
    return examples(language)[0]


def test_the_complete_configuration_is_complete() -> None:
    config = parse_config(example("yaml"), {"PAGERDUTY_ROUTING_KEY": "0" * 32}, lambda path: "")
    assert config.pipelines == ["pagerduty"]


def test_what_connects_the_engine_fits_together() -> None:
    _, ours, daemons, *_ = examples("yaml")
    config = parse_config(ours, {"CLAWDSTRIKE_INGEST_TOKEN": "t" * 16}, lambda path: "")
    assert [token.get_secret_value() for token in config.ingest.tokens] == ["t" * 16]
    (hook,) = yaml.safe_load(daemons)["webhooks"]["webhooks"]
    assert hook["url"] == f"http://{config.ingest.host}:{config.ingest.port}{PATH}"
    assert hook["auth"] == {"type": "bearer", "token": "${CLAWDSTRIKE_INGEST_TOKEN}"}
    assert len(daemons.splitlines()) == 4


def test_the_event_is_one_and_alerts() -> None:
    config = parse_config(example("yaml"), {"PAGERDUTY_ROUTING_KEY": "0" * 32}, lambda path: "")
    (pipeline,) = build_pipelines(config)
    decoded = pipeline.decoder.decode(Record("t", 0, 0, 0, None, example("json").encode()))
    assert isinstance(decoded, SecurityEvent)
    assert decoded.alertable
