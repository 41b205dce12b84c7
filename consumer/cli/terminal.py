"""What commands show: tables for people, JSON for programs, and no event's text ever as more than text.

Whoever provokes a violation chooses parts of it: nothing of that may move a cursor, colour anything or reverse a line.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer.log_lines import write_within
from providers.story import utc

_WIDE = 10_000
"""Columns of what is no terminal: nothing is cut or wrapped for a pipe."""

UNREAD_SECONDS = 2.0
"""How long a complaint waits for somebody who reads it."""


def plain(text: str) -> str:
    """The text on one line, with what does not print as an escape."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def moment(seconds: float | None) -> str | None:
    """A time as RFC 3339, None if there is none."""
    return None if seconds is None else utc(seconds)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout; what is None is an empty cell."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else plain(str(cell))) for cell in row))
    _console().print(table)


def show_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Names and values on stdout, one a line; what is None is left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value is not None:
            table.add_row(Text(plain(name)), Text(plain(str(value))))
    _console().print(table)


def show_json(value: Any) -> None:
    """JSON on stdout, in ASCII, so that nothing in it is more than text on a terminal either."""
    json.dump(value, sys.stdout, ensure_ascii=True, indent=2)
    print()


def complain(lines: Iterable[str]) -> None:
    """Lines on stderr, after all that was said on stdout. A stderr that nobody reads is not waited for to the end."""
    sys.stdout.flush()
    text = "".join(f"{plain(line)}\n" for line in lines)
    if sys.stderr is None:  # it was closed by whoever started this process
        return
    try:
        descriptor = sys.stderr.fileno()
    except OSError:  # it is no file
        sys.stderr.write(text)
        return
    sys.stderr.flush()
    write_within(descriptor, text.encode(sys.stderr.encoding, "backslashreplace"), UNREAD_SECONDS)


def _console() -> Console:
    width = None if sys.stdout.isatty() else _WIDE
    return Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)
