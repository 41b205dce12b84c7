"""What is shown while the demo runs."""

from io import StringIO

from rich.console import Console

from consumer.demo.scrape import PipelineNumbers
from consumer.demo.stage import PIPELINES
from consumer.demo.table import PLAIN_SECONDS, Display, Rate, Snapshot
from providers.sandbox import Incident


def snapshot(elapsed: float = 2.0) -> Snapshot:
    numbers = {name: PipelineNumbers() for name in PIPELINES}
    numbers["pagerduty"].events.update(triggered=3, suppressed=40)
    numbers["pagerduty"].notifications.update(accepted=3, unavailable=2)
    incident = Incident(
        number=1, id="i", provider="opsgenie", key="k", dedup_key="d", title="[mcp_tool] [red]no markup",
        severity="P1", opened_at=0.0, opened_monotonic=0.0,
    )  # fmt: skip
    return Snapshot(elapsed, 60, 1234, 99.6, numbers, [incident])


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
    assert "1234 events (100/s) | pagerduty: 43 alertable, 40 suppressed, 0 open, 3 notified, 2 errors" in first
    assert first.endswith("sandbox: 1 incidents, 1 open")
    assert second.startswith("  4.0 s")


def test_on_a_terminal_there_is_a_table_and_titles_are_taken_as_they_are() -> None:
    text = shown(snapshot(), terminal=True)
    assert "notifications accepted" in text
    assert "[mcp_tool] [red]no markup" in text


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.at(0.0, 0) == 0
    assert rate.at(1.0, 100) == 100
    for second in range(2, 10):
        last = rate.at(float(second), 100 + 10 * second)
    assert last == 10
