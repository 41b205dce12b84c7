"""What a simulation must not exceed: ``pages>100`` (design section 23)."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

NAMES: Final = (
    "pages", "updates", "resolves", "notifications", "suppressed", "dead_letters", "open", "new_pages", "gone_pages",
)  # fmt: skip
"""What can be bounded. The last two need a configuration to compare with."""

COMPARED: Final = ("new_pages", "gone_pages")

_OPERATORS: Mapping[str, Callable[[int, int], bool]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt,
}  # fmt: skip

_EXPRESSION = re.compile(r"\s*([a-z_]+)\s*(>=|<=|==|!=|>|<)\s*([0-9]{1,15})\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bound:
    """A condition on one number, under which it fails."""

    text: str
    name: str
    sign: str
    number: int

    @classmethod
    def parse(cls, text: str) -> "Bound":
        """The bound that the text ``NAME OPERATOR NUMBER`` means. Raises `ValueError` if it means none, with one line
        that says what may stand there."""
        found = _EXPRESSION.fullmatch(text)
        if found is None:
            raise ValueError(f"must be a name, one of {' '.join(_OPERATORS)}, and a whole number, such as 'pages>100'")
        name, sign, number = found.groups()
        if name not in NAMES:
            raise ValueError(f"there is no {name}, only {', '.join(NAMES)}")
        return cls(text.strip(), name, sign, int(number))

    def holds(self, numbers: Mapping[str, int]) -> bool:
        """Whether it fails with these numbers."""
        return _OPERATORS[self.sign](numbers[self.name], self.number)
