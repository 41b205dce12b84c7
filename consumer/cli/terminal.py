"""What commands show: tables for people, JSON for programs, and no event's text ever as more than text.

Whoever provokes a violation chooses parts of it: nothing of that may move a cursor, colour anything or reverse a line.
"""

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer.telemetry.log_lines import write_within
from providers.story import utc

_GAP = "  "
_LEAST_ROOM = 20
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


def counted(number: int, one: str) -> str:
    """So many of something: ``1 alert``, ``2,000 alerts``."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def age(seconds: float) -> str:
    """A span of time, short enough for a column: ``45s``, ``3m``, ``2h``, ``5d``. What lies ahead is ``0s``."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds / size)}{unit}"
    return f"{max(0, int(seconds))}s"


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, is_last_cut: bool = False) -> None:
    """A table on stdout. What is None is an empty cell, and a column of such is left out.

    No cell is broken: what names something can be copied, however narrow the terminal is. Only the last column is cut
    to the terminal's width, if it says more than one has to know (``is_last_cut``). Numbers stand to the right.
    """
    given = [list(row) for row in rows]
    shown = [number for number in range(len(columns)) if any(row[number] is not None for row in given)]
    cells = [["" if row[number] is None else plain(str(row[number])) for number in shown] for row in given]
    heads = [columns[number] for number in shown]
    widths = [max(map(cell_len, column)) for column in zip(heads, *cells, strict=True)]
    is_number = [all(isinstance(row[number], int | None) for row in given) for number in shown]
    left = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)
    room = _width() - left if is_last_cut else _WIDE

    def line(texts: Sequence[str]) -> str:
        *padded, last = (
            " " * (width - cell_len(text)) + text if right else text + " " * (width - cell_len(text))
            for text, width, right in zip(texts, widths, is_number, strict=True)
        )
        last = last.rstrip()
        if cell_len(last) > room:
            last = set_cell_size(last, max(_LEAST_ROOM, room) - 1).rstrip() + "…"
        return _GAP.join([*padded, last]).rstrip()

    if heads:
        head = line(heads)
        print(f"\x1b[1m{head}\x1b[0m" if sys.stdout.isatty() else head)
        print(*map(line, cells), sep="\n")


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


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE


def _console() -> Console:
    return Console(file=sys.stdout, width=_width(), markup=False, highlight=False, emoji=False, soft_wrap=False)
