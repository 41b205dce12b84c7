"""Prints the summary of the demo: what was demanded, what was received, and whether they are the same."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer.demo.check import Check, check_count, check_incidents
from consumer.demo.oracle import Produced, demands
from consumer.demo.scrape import Numbers, PipelineNumbers
from consumer.demo.stage import RULES, route_shown
from consumer.demo.table import NAMES
from providers.sandbox import Incident

MOST_DIFFERENCES = 20
"""How many differences are printed; the rest is counted."""

Checks = Mapping[str, Sequence[Check]]
"""The checks by the name of the provider."""


def checks(produced: Sequence[Produced], incidents: Sequence[Incident], numbers: Numbers) -> Checks:
    """All checks of a run."""
    found: dict[str, list[Check]] = {}
    alertable = sum(event.is_alertable for event in produced)
    for name, rules in RULES.items():
        of_provider = [incident for incident in incidents if incident.provider == name]
        one = numbers.get(name, PipelineNumbers())
        found[name] = [
            # A task that had to start again has rightly counted some events twice.
            check_count("alertable events", alertable, one.alertable, at_least=one.troubles > 0),
            *check_incidents(demands(produced, rules), of_provider, route_shown),
            check_count("dead letters", 0, one.dead_letters),
        ]
    return found


def print_summary(console: Console, found: Checks, *, produced: int, seconds: float) -> bool:
    """Print the checks. Returns whether all of them hold. Where both sides are the same, the value is printed once."""
    console.print()
    console.print(f"{produced:,} events in {seconds:.1f} s: demanded, and received", style="bold", highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    for _ in ("provider", "verdict", "check"):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for provider, of_provider in found.items():
        for number, check in enumerate(of_provider):
            verdict = Text("ok", "green") if check.holds else Text("DIFFERS", "bold red")
            name = Text("" if number else NAMES.get(provider, provider), "bold")
            table.add_row(name, verdict, Text(check.what), Text(_both(check)))
    console.print(table)
    differences = [f"{name}: {text}" for name, several in found.items() for one in several for text in one.differences]
    for text in differences[:MOST_DIFFERENCES]:
        console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    if len(differences) > MOST_DIFFERENCES:
        console.print(f"… and {len(differences) - MOST_DIFFERENCES} more", style="red")
    if differences:
        console.print("FAILED: what was received is not what the events demanded", style="bold red")
    else:
        console.print("PASSED: exactly what the events demanded was received", style="bold green")
    return not differences


def _both(check: Check) -> str:
    if check.expected == check.received:
        return check.expected
    return f"demanded {check.expected}; received {check.received}"
