"""Shows a running demo: on a terminal one sentence and a line for each problem, elsewhere a line now and then.

Everything has a fixed place and width, so that only changes move on the screen. All of it fits into 60 columns; with 80
or more there is room for who was told.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from consumer.demo.problems import DemoProblem, SeenProblem
from consumer.demo.scrape import Numbers, PipelineNumbers
from consumer.demo.stage import PIPELINES

PLAIN_SECONDS = 3.0
_FIRST_LINE_SECONDS = 1.0
_RATE_SECONDS = 3.0

MOST_LINES = 14
"""How many of the newest problems are shown; fewer if the terminal is not high enough."""

_AROUND = 7
"""How many lines of a terminal are needed for everything but the problems."""

_NARROW = 80
"""With fewer columns the table does not show who was told."""

NAMES = {"pagerduty": "PagerDuty", "opsgenie": "OpsGenie"}

_STATE_STYLES = {"waiting": "dim", "paging": "cyan", "open": "bold", "acked": "cyan", "resolved": "green"}
_SEVERITY_STYLES = {"critical": "bold red", "high": "yellow"}

# The widths of state, severity, number of events, guard, agent and tenant; with a space between each, 60 columns.
_STATE, _SEVERITY, _EVENTS, _GUARD, _AGENT, _TENANT = 8, 8, 3, 16, 11, 9
_FIXED = _STATE + _SEVERITY + _EVENTS + _GUARD + _AGENT + _TENANT + 5


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment of the run. ``elapsed`` is the seconds since the traffic began, ``seconds`` its planned length.

    ``page`` is the address at which the sandbox shows the same in a browser.
    """

    elapsed: float
    seconds: float
    rate: float
    seen: SeenProblem
    numbers: Numbers = field(default_factory=dict)
    page: str = ""


class DemoRate:
    """Events per second over the last few seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, elapsed: float, produced: int) -> float:
        """The rate now; ``produced`` is the number of events so far."""
        self._seen.append((elapsed, produced))
        while len(self._seen) > 2 and self._seen[0][0] < elapsed - _RATE_SECONDS:
            self._seen.popleft()
        since, before = self._seen[0]
        return (produced - before) / (elapsed - since) if elapsed > since else 0.0


class Display:
    """Shows snapshots on a console: as a live table on a terminal, else as lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._next_line = _FIRST_LINE_SECONDS

    def __enter__(self) -> "Display":
        self._around().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._around().__exit__(*error)

    def show(self, snapshot: Snapshot) -> None:
        """Show this moment."""
        if self._live is not None:
            size = self._console.size
            self._live.update(table(snapshot, width=size.width, height=size.height), refresh=True)
        elif snapshot.elapsed >= self._next_line:
            self._next_line = snapshot.elapsed + PLAIN_SECONDS
            self._console.print(line(snapshot), markup=False, highlight=False, soft_wrap=True)

    def _around(self) -> AbstractContextManager[Any]:
        return self._live if self._live is not None else nullcontext()


def sentence(seen: SeenProblem) -> tuple[str, str]:
    """The run in one sentence, as two halves, since a narrow line has no room for both."""
    return (
        f"{_count(seen.events, 'event')} · {_count(seen.violations, 'violation')}",
        f"→ {_count(len(seen.problems), 'problem')} → {_count(seen.pages, 'page')}, {seen.resolved:,} already resolved",
    )


def line(snapshot: Snapshot) -> str:
    """A snapshot in one line."""
    text = f"{snapshot.elapsed:5.1f} s  {' '.join(sentence(snapshot.seen))}"
    failed = {name: snapshot.numbers[name].errors for name in PIPELINES if name in snapshot.numbers}
    return text + "".join(f" | {NAMES[name]}: {count} answers were errors" for name, count in failed.items() if count)


def table(snapshot: Snapshot, *, width: int, height: int) -> RenderableType:
    """A snapshot for a terminal of this many columns and lines."""
    first, second = sentence(snapshot.seen)
    lines: list[Text] = []
    if len(first) + 1 + len(second) <= width:
        lines.append(Text(f"{first} {second}", style="bold"))
    else:
        lines += [Text(first, style="bold"), Text(second, style="bold")]
    passed = f"{snapshot.elapsed:.0f} of {snapshot.seconds:g} s, {snapshot.rate:.0f} events a second"
    lines += [Text(f"{passed} · {snapshot.page}" if snapshot.page else passed, style="dim"), Text("")]
    problems = snapshot.seen.problems
    shown = problems[: max(1, min(MOST_LINES, height - _AROUND))]
    lines += [problem_line(one, width) for one in shown]
    if len(problems) > len(shown):
        lines.append(Text(_earlier(problems[len(shown) :]), style="dim"))
    lines.append(Text(""))
    lines += [service_line(name, snapshot.numbers.get(name, PipelineNumbers())) for name in PIPELINES]
    for one in lines:
        one.no_wrap, one.overflow = True, "ellipsis"
    return Group(*lines)


def problem_line(problem: DemoProblem, width: int) -> Text:
    """One problem in at most ``width`` columns: the state first, the severity in colour."""
    state, severity = problem.state, problem.severity
    over = state == "resolved"
    text = Text()
    text.append(_fit(state, _STATE), style=_STATE_STYLES[state])
    text.append(" ")
    text.append(_fit(severity, _SEVERITY), style=f"{'dim ' if over else ''}{_SEVERITY_STYLES.get(severity, '')}")
    text.append(f" {_times(problem.events)} ", style="dim")
    rest = "dim" if over else ""
    text.append(f"{_fit(problem.guard, _GUARD)} {_fit(problem.agent, _AGENT)} {_fit(problem.tenant, _TENANT)}", rest)
    if width >= _NARROW:
        text.append(f" {_names(problem.paged, width - _FIXED - 1)}", style=rest)
    return text


def service_line(name: str, numbers: PipelineNumbers) -> Text:
    """The service's metrics about one provider, in a line."""
    accepted, errors = numbers.notifications["accepted"], numbers.errors
    text = Text().append(f"{NAMES[name]:<9}  {accepted:>5,} accepted ", style="dim")
    text.append(f"{errors:>4,} errors ", style="bold red" if errors else "dim")
    text.append(f"{numbers.owed:>4,} owed {numbers.lag:>5,} lag", style="bold yellow" if numbers.owed else "dim")
    return text


def _earlier(problems: Sequence[DemoProblem]) -> str:
    counts: Mapping[str, int] = {
        state: number
        for state in ("waiting", "paging", "open", "acked", "resolved")
        if (number := sum(one.state == state for one in problems))
    }
    return f"and {len(problems):,} earlier: {', '.join(f'{number:,} {state}' for state, number in counts.items())}"


def _names(names: Sequence[str], width: int) -> str:
    """As many of the names as fit, and how many more there are."""
    for shown in range(len(names), 0, -1):
        left = len(names) - shown
        text = ", ".join(names[:shown]) + (f" +{left}" if left else "")
        if len(text) <= width:
            return text
    return _fit(f"{len(names)} teams" if names else "", width).rstrip()


def _times(count: int) -> str:
    return f"{count:>{_EVENTS}}" if count < 10**_EVENTS else "1k+"


def _fit(text: str, width: int) -> str:
    return f"{text:<{width}}" if len(text) <= width else f"{text[: width - 1]}…"


def _count(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"
