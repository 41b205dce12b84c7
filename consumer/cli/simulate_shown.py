"""What ``simulate`` says to people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consumer.cli.terminal import counted, plain, show_table

ROWS = 5
"""How many rows a table by guard, tenant and so on has; the JSON has all."""

_NUMBERS = ("pages", "updates", "resolves", "suppressed", "silenced", "dead_letters", "open")

_EXPLAINED = {
    "pages": "incidents that are opened",
    "updates": "triggers about an incident that is open",
    "resolves": "incidents that are resolved",
    "suppressed": "events that are counted, and tell nobody",
    "silenced": "events of which a silence keeps anybody from being told",
    "dead_letters": "records that cannot be decided, or are too old",
    "open": "alerts that are open at the end",
}


def show(report: Mapping[str, Any]) -> None:
    """Print the report on stdout."""
    if not report["events"]:
        print("no events")
        return
    print(f"{counted(report['events'], 'event')} from {report['from']} to {report['until']}")
    for name, found in report["providers"].items():
        print()
        _show_numbers(name, found)
        if "by" in found:
            for line in _reasons(found):
                print(plain(line))
            _show_tables(found)
        if (against := found.get("against")) is not None:
            _show_differences("would be gone", against["gone"])
            _show_differences("would be new", against["new"])


def _show_numbers(name: str, found: Mapping[str, Any]) -> None:
    against = found.get("against")
    rows = []
    for number in _NUMBERS:
        new = found.get(number, 0)
        row: list[object] = [number.replace("_", " "), new]
        if against is not None:
            old = against.get(number, 0)
            row += [old, f"{new - old:+,}" if new != old else None]
        rows.append([*row, _EXPLAINED[number]])
    head = ["", "new", "old", "change", ""] if against is not None else ["", "", ""]
    show_table((name, *head[1:]), rows)


def _reasons(found: Mapping[str, Any]) -> Iterator[str]:
    for title, name in (
        ("updates by", "updates_by"),
        ("resolved by", "resolved_by"),
        ("not alertable by", "ignored_by"),
        ("dead letters at", "dead_letters_by"),
    ):
        if counts := found[name]:
            parts = [f"{value.replace('_', ' ')} {number:,}" for value, number in counts.items()]
            yield f"{title}: {', '.join(parts)}"
    if found["unexpected_keys"]:
        yield f"{counted(found['unexpected_keys'], 'record')} not keyed as kafka.event_key says"


def _show_tables(found: Mapping[str, Any]) -> None:
    for name, rows in found["by"].items():
        if not rows:
            continue
        shown = rows if name != "hour" else sorted(rows, key=lambda row: -row["pages"])
        print()
        show_table(
            (f"by {name}", "pages", "updates", "resolves"),
            [[row[name], row["pages"], row["updates"], row["resolves"]] for row in shown[:ROWS]],
        )
        if len(rows) > ROWS:
            print(f"and {len(rows) - ROWS:,} more")
    if noisiest := found["noisiest"]:
        print()
        show_table(
            ("pages", "updates", "events", "noisiest keys"),
            [[row["pages"], row["updates"], row["events"], row["dedup_key"]] for row in noisiest],
        )
        if found["noisiest_may_lack"]:
            print(f"(very many keys: each may have up to {found['noisiest_may_lack']:,} more)")


def _show_differences(what: str, differences: Mapping[str, Any]) -> None:
    print()
    print(f"{counted(differences['pages'], 'page')} {what}")
    for because, number in differences["because"].items():
        print(plain(f"  {number:,} by {because}"))
    examples: Sequence[Mapping[str, Any]] = differences["examples"][:ROWS]
    if examples:
        show_table(
            ("AT", "SEVERITY", "DEDUP KEY", "INSTEAD"),
            [[one["at"], one["severity"], one["dedup_key"], one["instead"]] for one in examples],
            is_last_cut=True,
        )
