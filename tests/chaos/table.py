"""The table of a run: a line a phase."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.chaos.account import Account
from tests.chaos.lateness import Lateness


@dataclass
class Row:
    """One line of the table. ``recovery``: after the end of a fault, of what was late because of it; ``longest``: how
    long the first event of a problem has waited, faults included; ``behind``: how late this process was itself."""

    name: str
    times: int
    account: Account
    recovery: float
    longest: float = 0.0
    late: Lateness = field(default_factory=lambda: Lateness(0, 0.0, []))
    behind: float = 0.0
    trouble: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """Everything that must not be."""
        findings = (*self.account.findings, *self.late.findings)
        return [*(str(one) for one in findings if one.cause is None), *self.trouble]


def total(rows: Sequence[Row]) -> Row:
    """All of them in one: how many faults there were, and what came of them."""
    accounts = [row.account for row in rows]
    account = Account(
        sum(one.alertable for one in accounts),
        sum(one.incidents for one in accounts),
        findings=[finding for one in accounts for finding in one.findings],
    )
    late = Lateness(
        sum(row.late.judged for row in rows),
        max((row.late.longest for row in rows), default=0.0),
        [finding for row in rows for finding in row.late.findings],
    )
    return Row(
        "all",
        sum(row.times for row in rows),
        account,
        max((row.recovery for row in rows), default=0.0),
        max((row.longest for row in rows), default=0.0),
        late,
        max((row.behind for row in rows), default=0.0),
        [text for row in rows for text in row.trouble],
    )


HEAD = (
    "fault",
    "times",
    "events",
    "incidents",
    "lost",
    "extra",
    "excused",
    "wrong resolves",
    "late",
    "other",
    "recovery",
    "longest wait",
    "clear wait",
    "behind",
)


def table(rows: Sequence[Row]) -> str:
    """All rows, and the last of all together. "late" is how many pages were, of those that nothing was in the way of
    when they came; "clear wait" is the longest of any without what was in the way; "behind" is how late this process
    itself was."""
    lines = [HEAD, *(_line(row) for row in (*rows, total(rows)))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def page(before: str, rows: Sequence[Row], brokers: int, facts: str) -> str:
    """The page of results with those of a run with so many brokers, in the place of what it said of such a run."""
    title = f"## {'One broker' if brokers == 1 else f'{brokers} brokers'}\n"
    rule = ["---", *["--:"] * (len(HEAD) - 1)]
    lines = (HEAD, rule, *(_line(row) for row in (*rows, total(rows))))
    section = f"{title}\n{facts}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)
    first, *sections = re.split(r"^(?=## )", before, flags=re.MULTILINE)
    kept = [f"{one.rstrip()}\n" for one in sections if not one.startswith(title)]
    return "\n".join([f"{first.rstrip()}\n", section, *kept])


def _line(row: Row) -> tuple[str, ...]:
    account = row.account
    known = ("lost", "extra", "wrong_resolve")
    other = len([one for one in account.findings if one.cause is None and one.kind not in known]) + len(row.trouble)
    excused = ", ".join(f"{count} {cause}" for cause, count in account.excused().items())
    return (
        row.name,
        str(row.times),
        str(account.alertable),
        str(account.incidents),
        str(account.count("lost")),
        str(account.count("extra")),
        excused or "0",
        str(account.count("wrong_resolve")),
        f"{len(row.late.findings)} of {row.late.judged}",
        str(other),
        f"{row.recovery:.1f} s",
        f"{row.longest:.1f} s",
        f"{row.late.longest:.1f} s",
        f"{row.behind:.2f} s",
    )
