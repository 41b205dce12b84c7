"""Replaces ``${NAME}``, ``${NAME:-default}`` and ``${file:/path}`` in the texts of a configuration, and ``$${`` by
``${``.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from consumer.config.document import Tree
from consumer.config.problem import Location

ReadFile = Callable[[str], str]
"""Gives the text of a file. Raises `OSError` if the file cannot be read, `ValueError` if it is no text."""

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.ASCII | re.DOTALL)
_FORMS = "${NAME}, ${NAME:-default} or ${file:/path}; a literal ${ is written $${"


class Unresolved:
    """The type of UNRESOLVED, which replaces a text that could not be resolved, so that the rest can still be checked.
    No setting accepts it as a value."""


UNRESOLVED: Final = Unresolved()


class _Unresolvable(Exception):
    """A reference that cannot be resolved; the text of the exception says why."""


@dataclass(slots=True)
class Interpolation:
    """Resolves the references in one tree. ``problems`` has the place of each that could not be resolved, and why."""

    environ: Mapping[str, str]
    read_file: ReadFile
    problems: list[tuple[Location, str]] = field(default_factory=list)

    def resolve(self, tree: Tree, at: Location = ()) -> Any:
        """``tree`` with all references resolved. References in values that come from outside are not resolved."""
        if isinstance(tree, dict):
            for key in tree:
                if "${" in key:
                    self.problems.append(((*at, key), "references are not read in keys"))
            return {key: self.resolve(value, (*at, key)) for key, value in tree.items()}
        if isinstance(tree, list):
            return [self.resolve(item, (*at, index)) for index, item in enumerate(tree)]
        if tree is None or "${" not in tree:
            return tree
        return self._text(tree, at)

    def _text(self, text: str, at: Location) -> str | Unresolved:
        unresolvable: list[str] = []

        def value_of(match: re.Match[str]) -> str:
            try:
                return self._value(match)
            except _Unresolvable as error:
                unresolvable.append(str(error))
                return ""

        resolved = _REFERENCE.sub(value_of, text)
        self.problems += ((at, message) for message in unresolvable)
        return UNRESOLVED if unresolvable else resolved

    def _value(self, match: re.Match[str]) -> str:
        reference, closed = match[1], match[2]
        if reference is None:
            return "${"
        if closed and reference.startswith("file:/"):
            return self._content(reference.removeprefix("file:"))
        variable = _VARIABLE.fullmatch(reference)
        if not closed or variable is None:
            # The message does not quote the text, which may be a piece of a password that contains these characters.
            raise _Unresolvable(f"not a reference: write {_FORMS}")
        name, default = variable[1], variable[2]
        # As in a shell, the default after `:-` also replaces a variable that is set to an empty text.
        value = self.environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            raise _Unresolvable(f"environment variable {name} is not set")
        return value

    def _content(self, path: str) -> str:
        try:
            return self.read_file(path).removesuffix("\n").removesuffix("\r")
        except OSError as error:
            raise _Unresolvable(f"file {path} cannot be read: {error.strerror or 'unknown error'}") from None
        except ValueError:
            raise _Unresolvable(f"file {path} cannot be read: it is not text") from None
