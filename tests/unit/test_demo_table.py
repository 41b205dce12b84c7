"""What is shown while the demo runs."""

from io import StringIO
from typing import Literal

import pytest
from rich.cells import cell_len
from rich.console import Console

from consumer.demo.agents import AGENTS
from consumer.demo.oracle import Produced
from consumer.demo.problems import DemoProblem, Problems, SeenProblem
from consumer.demo.scrape import PipelineNumbers
from consumer.demo.stage import OPSGENIE_KEY, PIPELINES, pagerduty_key
from consumer.demo.table import PLAIN_SECONDS, DemoRate, Display, Snapshot, problem_line, sentence, table
from providers.sandbox import Incident

PAGE = "http://127.0.0.1:31234/"
GUARDS = ("forbidden_path", "egress_allowlist", "secret_leak", "patch_integrity", "prompt_injection", "mcp_tool")


def event(guard: str, session_id: str, tenant_id: str, severity: str = "high", *, allowed: bool = False) -> Produced:
    return Produced(f"{guard}{session_id}", "guard_block", guard, severity, allowed, session_id, tenant_id, ())


State = Literal["open", "acknowledged", "ended"]
STATES: tuple[State, ...] = ("ended", "open", "acknowledged")


def incident(
    provider: str,
    dedup_key: str,
    status: State = "open",
    teams: tuple[str, ...] = ("security",),
) -> Incident:
    return Incident(
        number=1, id=provider + dedup_key, provider=provider,
        key=pagerduty_key("acme-corp") if provider == "pagerduty" else OPSGENIE_KEY, dedup_key=dedup_key,
        title="[mcp_tool] [red]no markup", severity="P1", opened_at=0.0, opened_monotonic=0.0,
        status=status,
        opened_with={"responders": [{"type": "team", "name": team} for team in teams]},
    )  # fmt: skip


def run() -> SeenProblem:
    """A run with every agent, every state, and one agent that asks very often."""
    produced: list[Produced] = []
    incidents: list[Incident] = []
    for number, agent in enumerate(AGENTS):
        session, guard = f"{agent.tenant_id}-{agent.name}-{number:03}", GUARDS[number % len(GUARDS)]
        severity = "critical" if number % 2 == 0 else "high"
        produced += [event(guard, session, agent.tenant_id, severity)] * (2_000 if number == 9 else 3 + number * 7)
        produced += [event(guard, session, agent.tenant_id, allowed=True)] * 20
        status = STATES[number % 3]
        if number not in (7, 8):
            teams = ("security", "network", "data-oncall", "payments-oncall")[: 1 + number % 4]
            incidents.append(incident("opsgenie", f"clawdstrike-{guard}-{session}", status, teams))
        if number != 8:
            incidents.append(incident("pagerduty", f"{guard}:{session}", status))
    return Problems().at(produced, incidents)


def snapshot(elapsed: float = 2.0, seen: SeenProblem | None = None) -> Snapshot:
    numbers = {name: PipelineNumbers() for name in PIPELINES}
    numbers["pagerduty"].notifications.update(accepted=3, unavailable=2)
    return Snapshot(elapsed, 60, 99.6, run() if seen is None else seen, numbers, PAGE)


def printed(snapshot: Snapshot, width: int, height: int = 40) -> list[str]:
    console = Console(file=StringIO(), width=width, height=height)
    console.print(table(snapshot, width=width, height=height))
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


# --- on a terminal


@pytest.mark.parametrize("width", [60, 80, 100, 132])
def test_every_line_fits_and_nothing_of_it_is_cut_off(width: int) -> None:
    lines = printed(snapshot(), width)
    assert all(cell_len(line) <= width for line in lines)
    assert not any("…" in line for line in lines)
    assert any(PAGE in line for line in lines)


@pytest.mark.parametrize("width", [60, 80])
def test_a_problem_is_one_line_with_its_state_first(width: int) -> None:
    lines = printed(snapshot(), width)
    for number, agent in enumerate(AGENTS):
        guard = GUARDS[number % len(GUARDS)]
        [line] = [one for one in lines if f" {agent.name} " in f"{one} " and agent.tenant_id in one and guard in one]
        state, severity = line.split()[:2]
        assert state == {7: "paging", 8: "waiting"}.get(number, ("resolved", "open", "acked")[number % 3])
        assert severity == ("critical" if number % 2 == 0 else "high")
        assert line.index(guard) == 22


def test_nothing_moves_when_numbers_and_names_grow() -> None:
    def of(problem: DemoProblem) -> str:
        return problem_line(problem, 60).plain

    small = DemoProblem(guard="x", agent="a", tenant="t", severity="high", dedup_keys={"pagerduty": "k"})
    large = DemoProblem(
        guard="g" * 40, agent="a" * 40, tenant="t" * 40, severity="critical", events=123_456,
        dedup_keys={"pagerduty": "k"}, incidents=(incident("pagerduty", "k", "ended"),),
    )  # fmt: skip
    assert (len(of(small)), len(of(large))) == (60, 60)
    assert of(small).index("x ") == of(large).index("g")


def test_from_80_columns_on_it_says_who_was_told() -> None:
    teams = ("security", "network", "soc", "data-oncall")
    keys = {"opsgenie": "o", "pagerduty": "p"}
    one = DemoProblem(
        guard="egress_allowlist", agent="support-bot", tenant="acme-corp", severity="high", dedup_keys=keys,
        incidents=(incident("pagerduty", "p"), incident("opsgenie", "o", teams=teams)),
    )  # fmt: skip
    assert problem_line(one, 79).plain.rstrip().endswith("acme-corp")
    assert problem_line(one, 80).plain.endswith("data-oncall +4")
    assert problem_line(one, 132).plain.endswith("data-oncall, network, soc, acme-corp, security")


def test_severity_and_state_have_colours() -> None:
    console = Console(file=StringIO(), force_terminal=True, color_system="standard", width=80)
    console.print(table(snapshot(), width=80, height=40))
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert "\x1b[1;31mcritical" in text
    assert "\x1b[33mhigh" in text
    assert "\x1b[32mresolved" in text
    assert "\x1b[1;31m   2 errors" in text


def test_on_a_low_terminal_the_newest_are_shown_and_the_others_counted() -> None:
    lines = printed(snapshot(), 80, height=12)
    assert len(lines) <= 12
    assert any(line.startswith("and 5 earlier: 2 open, 1 acked, 2 resolved") for line in lines)


def test_an_agents_text_is_no_markup() -> None:
    one = DemoProblem(guard="[red]g", agent="[/]", tenant="t", severity="high", dedup_keys={})
    assert "[red]g" in problem_line(one, 60).plain
    assert any("[red]g" in line for line in printed(snapshot(seen=SeenProblem(problems=(one,))), 60))


# --- the sentence


def test_the_sentence_counts_events_violations_problems_and_pages() -> None:
    assert " ".join(sentence(SeenProblem(1_133, 185, 30, 20, run().problems))) == (
        "1,133 events · 185 violations → 10 problems → 30 pages, 20 already resolved"
    )
    assert " ".join(sentence(SeenProblem(1, 1, 1, 0, run().problems[:1]))) == (
        "1 event · 1 violation → 1 problem → 1 page, 0 already resolved"
    )


def test_where_it_does_not_fit_it_is_broken_before_an_arrow() -> None:
    seen = SeenProblem(123_456, 18_500, 3_000, 2_000, run().problems)
    first, second = printed(snapshot(seen=seen), 60)[:2]
    assert first == "123,456 events · 18,500 violations"
    assert second == "→ 10 problems → 3,000 pages, 2,000 already resolved"


# --- problems


def test_a_problem_is_a_guard_and_a_session() -> None:
    problems = Problems()
    produced = [event("a", "s1", "t"), event("a", "s1", "t"), event("b", "s1", "t"), event("a", "s2", "t")]
    seen = problems.at(produced, [])
    assert [(one.guard, one.events) for one in seen.problems] == [("a", 1), ("b", 1), ("a", 2)]
    produced.append(event("a", "s1", "t", "critical"))
    seen = problems.at(produced, [])
    assert (seen.problems[-1].events, seen.problems[-1].severity) == (3, "critical")
    assert (seen.events, seen.violations) == (5, 5)


def test_a_problem_that_is_opened_again_is_as_its_last_incident_is() -> None:
    incidents = [
        incident("pagerduty", "a:s1", "ended"),
        incident("opsgenie", "clawdstrike-a-s1", "ended"),
        incident("pagerduty", "a:s1"),
    ]
    seen = Problems().at([event("a", "s1", "t")], incidents)
    assert (seen.problems[0].state, seen.pages, seen.resolved) == ("open", 3, 2)


# --- without a terminal


def shown(*snapshots: Snapshot, terminal: bool) -> str:
    console = Console(file=StringIO(), force_terminal=terminal, width=120)
    with Display(console) as display:
        for one in snapshots:
            display.show(one)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_without_a_terminal_there_is_a_plain_line_every_few_seconds() -> None:
    text = shown(snapshot(1), snapshot(1.5), snapshot(1 + PLAIN_SECONDS), terminal=False)
    first, second = text.splitlines()
    assert first.startswith("  1.0 s  ")
    assert " violations → 10 problems → 17 pages, 8 already resolved" in first
    assert first.endswith(" | PagerDuty: 2 answers were errors")
    assert second.startswith("  4.0 s")


def test_on_a_terminal_the_sentence_is_on_top() -> None:
    assert " events · " in shown(snapshot(), terminal=True)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = DemoRate()
    assert rate.at(0.0, 0) == 0
    assert rate.at(1.0, 100) == 100
    for second in range(2, 10):
        last = rate.at(float(second), 100 + 10 * second)
    assert last == 10
