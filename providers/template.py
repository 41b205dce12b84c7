"""Templates that make texts for people from an event: the addresses and texts of links and images.

Unlike a dedup key (`consumer.events.keys`) the result need not be unique, but the values are just as untrusted. In an
address they are percent-encoded, so that they can change neither its host nor its structure. Only a value at the very
beginning of an address is not encoded, and then the result has to be a plain https address.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import quote

from providers.text import one_line, shorten
from providers.web_address import https_address
from state.facts import KEY_FIELDS, LACKING, is_label, text_of
from state.violation import Violation

VALUE_LIMIT: Final = 512
"""The most characters of one value. A longer one would make an address that no browser accepts."""

_Getter = Callable[[Violation], str | None]

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

_LAST = ("resource", "severity", "resource_port")
_NAMES: Final = (
    *(name for name in KEY_FIELDS if name not in _LAST),
    "event_id",
    "reason",
    "timestamp",
    "action",
    "policy_hash",
    "resource_name",
    "resource_path",
    "resource_host",
    *_LAST,
)
"""The placeholders besides ``label.NAME``, as an error lists them."""


def check_template(text: str) -> str:
    """Check a template that makes text for people (a link's address, an image's title), and return it unchanged.

    It takes the placeholders of a key template and the other facts of a violation (``{event_id}``, ``{reason}``, …).
    Unlike in a key template, any literal may stand between them.

    Raises `ValueError`, with a message of one line, if it is empty or has an unbalanced brace or an unknown
    placeholder.
    """
    if not text:
        raise ValueError("a template must not be empty")
    Template(text)
    return text


class Template:
    """A compiled template, e.g. ``https://console.example.com/sessions/{session_id}``.

    Placeholders are those of a dedup key (``{guard}``, ``{session_id}``, ``{resource}``, ``{label.NAME}``, …),
    ``{event_id}``, ``{reason}``, ``{timestamp}``, and the other facts of a violation by their names.

    Raises `ValueError` for an unknown placeholder or an unbalanced brace.
    """

    def __init__(self, text: str) -> None:
        head, *rest = _PLACEHOLDER.split(text)
        literals = (head, *rest[1::2])
        if any("{" in literal or "}" in literal for literal in literals):
            raise ValueError(f"unbalanced brace in {text!r}")
        self._head = one_line(head)
        self._pieces = [(_getter(name), one_line(literal)) for name, literal in zip(rest[::2], rest[1::2], strict=True)]

    def text(self, violation: Violation, value_limit: int = VALUE_LIMIT) -> str:
        """The template as text for people: one line, each value in at most ``value_limit`` characters."""
        return self._head + self._render(self._pieces, violation, str, value_limit)

    @property
    def begins_with_value(self) -> bool:
        """Whether the template begins with a placeholder."""
        return not self._head and bool(self._pieces)

    def address(self, violation: Violation) -> str | None:
        """The rendered template as an address: every value is percent-encoded, also ``/``.

        Only a value at the very beginning is not encoded. Then the result is None unless it is an absolute https
        address.
        """
        if not self.begins_with_value:
            return self._head + self._render(self._pieces, violation, _encoded)
        (get, literal), *pieces = self._pieces
        return https_address(f"{get(violation) or LACKING}{literal}{self._render(pieces, violation, _encoded)}")

    def _render(
        self,
        pieces: Sequence[tuple[_Getter, str]],
        violation: Violation,
        form: Callable[[str], str],
        value_limit: int = VALUE_LIMIT,
    ) -> str:
        parts: list[str] = []
        for get, literal in pieces:
            parts.append(form(shorten(one_line(get(violation) or LACKING), value_limit)))
            parts.append(literal)
        return "".join(parts)


def _encoded(value: str) -> str:
    return quote(value, safe="")


def _getter(name: str) -> _Getter:
    if name not in _NAMES and not is_label(name):
        choices = ", ".join(f"{{{choice}}}" for choice in (*_NAMES, "label.NAME"))
        raise ValueError(f"unknown placeholder {{{name}}}: choose from {choices}")
    return text_of(name)
