"""Counts by name, of which there may be any number: the names that count most are kept. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

MOST_NAMES: Final = 50_000
"""Some 20 MiB at the most. A name that has more than one in 25,000 of all that is counted is always kept."""


class Rows:
    """A row of numbers for each name. Where there are more than ``most`` names, the half that counts least is summed up
    in ``others``. What counts is the sum of the numbers that stand before ``ranked_by`` of them."""

    def __init__(self, width: int, ranked_by: int, most: int = MOST_NAMES) -> None:
        self.others = [0] * width
        self.lacking = 0
        """By so much at most a row counts less than it would without the bound, as it was forgotten before."""
        self._width = width
        self._ranked_by = ranked_by
        self._most = most
        self._rows: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, name: str, place: int, number: int = 1) -> None:
        """Count more at this place of the name's row."""
        row = self._rows.get(name)
        if row is None:
            if len(self._rows) >= self._most:
                self._forget()
            row = self._rows[name] = [0] * self._width
        row[place] += number

    def items(self) -> Iterator[tuple[str, Sequence[int]]]:
        """Names and rows."""
        yield from self._rows.items()

    def _forget(self) -> None:
        ranked = sorted(self._rows.items(), key=self._rank)
        forgotten = ranked[: max(1, len(ranked) // 2)]
        self.lacking += self._rank(forgotten[-1])
        for name, row in forgotten:
            del self._rows[name]
            for place, number in enumerate(row):
                self.others[place] += number

    def _rank(self, item: tuple[str, list[int]]) -> int:
        return sum(item[1][: self._ranked_by])
