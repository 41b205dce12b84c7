"""The mistakes in a configuration, reported all at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from providers.errors import Mistake

Location = tuple[str | int, ...]
"""The way to a place in the file: keys, and positions in lists."""


def dotted(location: Location) -> str:
    """A location as people write it, e.g. ``exporters.alerting.opsgenie.responders.0.name``."""
    return ".".join(str(step) for step in location) or "(top level)"


def _on_one_line(text: str) -> str:
    # A key is any text of the file: a line break or an escape sequence in it must not reach the terminal.
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: the dotted path of the setting (or the file, or the line), and what is wrong, without the value.

    ``file`` is the name of the file; None if the text came from no file.
    """

    path: str
    message: str
    file: str | None = None

    def __str__(self) -> str:
        where = self.path if self.file is None else f"{self.file}: {self.path}"
        return _on_one_line(f"{where}: {self.message}")


class ConfigError(Mistake):
    """The configuration cannot be used. ``problems`` is never empty; ``str()`` has one line for each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Sequence[Problem] = list(problems)
        super().__init__("\n".join(map(str, self.problems)))

    def within(self, file: str) -> Self:
        """The same error, with the name of the file in each problem."""
        return type(self)([replace(problem, file=file) for problem in self.problems])
