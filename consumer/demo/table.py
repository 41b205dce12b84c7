"""What is shown while the demo runs: a live table on a terminal, else a plain line every few seconds."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from consumer.demo.scrape import Numbers, PipelineNumbers
from consumer.demo.stage import PIPELINES, route_shown
from providers.sandbox import Incident

PLAIN_SECONDS = 3.0
_FIRST_LINE_SECONDS = 1.0
LATEST = 6
_RATE_SECONDS = 3.0
_TITLE_WIDTH = 56


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A moment of the run. ``elapsed`` and ``seconds`` are since the traffic began, and for how long it is planned."""

    elapsed: float
    seconds: float
    produced: int
    rate: float
    numbers: Numbers
    incidents: Sequence[Incident]


class Rate:
    """Events per second over the last few seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, elapsed: float, produced: int) -> float:
        """The rate now, ``produced`` being the number of events so far."""
        self._seen.append((elapsed, produced))
        while len(self._seen) > 2 and self._seen[0][0] < elapsed - _RATE_SECONDS:
            self._seen.popleft()
        since, before = self._seen[0]
        return (produced - before) / (elapsed - since) if elapsed > since else 0.0


class Display:
    """Shows snapshots on a console, in the form that fits it."""

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
            self._live.update(table(snapshot), refresh=True)
        elif snapshot.elapsed >= self._next_line:
            self._next_line = snapshot.elapsed + PLAIN_SECONDS
            self._console.print(line(snapshot), markup=False, highlight=False, soft_wrap=True)

    def _around(self) -> AbstractContextManager[Any]:
        return self._live if self._live is not None else nullcontext()


def line(snapshot: Snapshot) -> str:
    """A snapshot in one line."""
    parts = [f"{snapshot.elapsed:5.1f} s  {snapshot.produced} events ({snapshot.rate:.0f}/s)"]
    for name in PIPELINES:
        one = snapshot.numbers.get(name, PipelineNumbers())
        parts.append(
            f"{name}: {one.alertable} alertable, {one.suppressed} suppressed, {one.alerts['open']} open, "
            f"{one.notifications['accepted']} notified, {one.errors} errors"
        )
    still_open = sum(incident.open for incident in snapshot.incidents)
    parts.append(f"sandbox: {len(snapshot.incidents)} incidents, {still_open} open")
    return " | ".join(parts)


_ROWS: Sequence[tuple[str, Callable[[PipelineNumbers], int]]] = (
    ("alertable events", lambda one: one.alertable),
    ("  suppressed", lambda one: one.suppressed),
    ("open alerts", lambda one: one.alerts["open"]),
    ("notifications accepted", lambda one: one.notifications["accepted"]),
    ("  errors", lambda one: one.errors),
    ("owed", lambda one: one.owed),
    ("lag", lambda one: one.lag),
)


def table(snapshot: Snapshot) -> RenderableType:
    """A snapshot as a table, with the latest incidents below."""
    time = f"{snapshot.elapsed:.0f} of {snapshot.seconds:g} s"
    title = f"{time} · {snapshot.produced} events · {snapshot.rate:.0f} per second"
    numbers = Table(title=title, title_justify="left", title_style="bold")
    numbers.add_column("service")
    for name in PIPELINES:
        numbers.add_column(name, justify="right", min_width=12)
    for label, read in _ROWS:
        values = [read(snapshot.numbers.get(name, PipelineNumbers())) for name in PIPELINES]
        style = "red" if label.strip() == "errors" and any(values) else ""
        numbers.add_row(label, *map(str, values), style=style)
    numbers.add_section()
    of = {name: [one for one in snapshot.incidents if one.provider == name] for name in PIPELINES}
    numbers.add_row("incidents at the sandbox", *(str(len(of[name])) for name in PIPELINES))
    numbers.add_row("  open", *(str(sum(one.open for one in of[name])) for name in PIPELINES))
    return Group(numbers, _latest(snapshot.incidents))


def _latest(incidents: Sequence[Incident]) -> Table:
    latest = Table(title="latest incidents", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("provider", "severity", "state", "to", "incident"):
        latest.add_column(name, no_wrap=True)
    for one in list(incidents)[-LATEST:][::-1]:
        severity = Text(one.severity, style="red" if one.severity in ("critical", "P1") else "yellow")
        state = Text(one.status if one.open else "resolved", style="" if one.open else "green")
        latest.add_row(
            one.provider, severity, state, Text(" + ".join(route_shown(one))), Text(one.title[:_TITLE_WIDTH])
        )
    return latest
