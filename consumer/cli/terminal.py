"""The output of commands: tables for people, JSON for programs, and texts of events only as harmless text.

An attacker who provokes a violation chooses parts of its text: these must not move a cursor, change a colour or reverse
a line.
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
from providers.timestamps import utc

_GAP = "  "
_LEAST_ROOM = 20
_WIDE = 10_000
"""The width of an output that is no terminal: for a pipe nothing is cut or wrapped."""

UNREAD_SECONDS = 2.0
"""How long a message on stderr waits for a reader."""


def plain(text: str) -> str:
    """The text on one line; characters that cannot be printed are escaped."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def moment(seconds: float | None) -> str | None:
    """A time (seconds since the epoch) as RFC 3339; None stays None."""
    return None if seconds is None else utc(seconds)


def counted(number: int, one: str) -> str:
    """A number with its noun: ``1 alert``, ``2,000 alerts``."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def age(seconds: float) -> str:
    """A span of time, short enough for a column: ``45s``, ``3m``, ``2h``, ``5d``. A negative one is ``0s``."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds / size)}{unit}"
    return f"{max(0, int(seconds))}s"


def span(seconds: float) -> str:
    """A span of time as `age` has it, of which also parts of a second count: ``0.07s``."""
    return f"{max(0.0, seconds):.2g}s" if seconds < 9.5 else age(seconds)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, is_last_cut: bool = False) -> None:
    """Print a table on stdout. None is an empty cell; a column of empty cells is left out. Numbers are right-aligned.

    No cell is wrapped, so that names can be copied, however narrow the terminal is. Only the last column may be cut to
    the terminal's width (``is_last_cut``), if its text is not needed in full.
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
    """Print names and values on stdout, one a line; values that are None are left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value is not None:
            table.add_row(Text(plain(name)), Text(plain(str(value))))
    _console().print(table)


def show_json(value: Any) -> None:
    """Print JSON on stdout, in ASCII, so that a terminal sees no control characters."""
    json.dump(value, sys.stdout, ensure_ascii=True, indent=2)
    print()


def complain(lines: Iterable[str]) -> None:
    """Print lines on stderr, after all earlier output on stdout. If nobody reads stderr, this gives up after
    `UNREAD_SECONDS`."""
    sys.stdout.flush()
    text = "".join(f"{plain(line)}\n" for line in lines)
    if sys.stderr is None:  # the process was started with a closed stderr
        return
    try:
        descriptor = sys.stderr.fileno()
    except OSError:  # stderr is no file
        sys.stderr.write(text)
        return
    sys.stderr.flush()
    write_within(descriptor, text.encode(sys.stderr.encoding, "backslashreplace"), UNREAD_SECONDS)


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE


def _console() -> Console:
    return Console(file=sys.stdout, width=_width(), markup=False, highlight=False, emoji=False, soft_wrap=False)
