"""Dedup keys: which events are the same problem (design section 7).

A key template is text with placeholders, e.g. ``{guard}:{session_id}``. It is checked and compiled once, at start;
rendering it is on the hot path.

The rendered key is a promise: different values never render the same key. The values come from outside, so somebody
may try to choose one that falls into another alert's suppression. Three rules prevent it:

* In a value, ``%`` and the first character of the literal that follows the placeholder are percent-encoded. So, read
  from the left, a value ends where that character first occurs, and every key can be read back in one way only.
* ``%`` is not allowed in the literals. So in a key it always begins an escape in a value, and two hex digits follow ...
* ... except in ``%~``, which begins the digest of a key that was too long, and which no value can render.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from state.alert import Alert
from state.facts import KEY_FIELDS, LACKING, is_label, text_of

if TYPE_CHECKING:  # only for types: at run time a key needs nothing but the event's attributes
    from consumer.events.event import SecurityEvent
    from state.violation import Violation

    Facts = SecurityEvent | Violation

TENANT: Final = "tenant"
"""A placeholder that the engine's daemon uses: the tenant's id, or an empty text where the event has no tenant."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

# Control characters are always escaped in a key: people read keys in logs and on terminals, and the state topic's
# checkpoint has the key `\0checkpoint`. The ranges are fixed, because a key must not change with the Unicode tables of
# a newer Python. Surrogates, which no decoder lets through, could not be written to Kafka.
_CONTROL = "\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"

_DIGEST_MARK = "%~"
_DIGEST_DIGITS = 32
_CUT_ESCAPE = re.compile(r"%[0-9A-F]?\Z")
MIN_KEY_LIMIT: Final = 64
"""The lowest limit with which a shortened key still has a readable prefix."""

_Piece = tuple[Callable[["Facts"], str | None], str, str, re.Pattern[str], str]
"""How to get a placeholder's value, the text where the event lacks it, the character that ends the value, the
characters to encode in it, and the literal that follows."""


@dataclass(frozen=True, slots=True)
class KeyTemplate:
    """A checked and compiled key template.

    ``fields`` are the names of its placeholders (``guard``, ``label.team``, …). ``render`` gives an event's dedup key:
    never empty, UTF-8, without control characters, at most ``limit`` bytes of UTF-8 (and so at most ``limit``
    characters, however the provider counts them); None is no limit.
    """

    text: str
    fields: frozenset[str]
    limit: int | None
    render: Callable[["Facts"], str] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, limit: int | None = None) -> "KeyTemplate":
        """Check and compile ``text``.

        A template without a placeholder is allowed: one alert for everything. Raises `ValueError` with a message of one
        line that says what is wrong with it: empty, an unbalanced brace, an unknown placeholder, two placeholders that
        touch, ``%`` or an invisible character between them, or a limit that leaves no room for a digest.
        """
        if limit is not None and limit < MIN_KEY_LIMIT:
            raise ValueError(f"a key limit must be at least {MIN_KEY_LIMIT}, not {limit}")
        head, placeholders = _split(text)
        if not text.isprintable():
            raise ValueError("a key template must not contain control or invisible characters")
        if "%" in head or any("%" in literal for _, literal in placeholders):
            raise ValueError("a key template must not contain '%': it marks what is escaped in the values")
        for (name, literal), (following, _) in pairwise(placeholders):
            if not literal:
                raise ValueError(f"{{{name}}} and {{{following}}} touch: put a character between them")
        for name, _ in placeholders:
            if name not in KEY_FIELDS and name != TENANT and not is_label(name):
                choices = ", ".join(f"{{{choice}}}" for choice in (*KEY_FIELDS, "label.NAME"))
                raise ValueError(f"unknown placeholder {{{name}}}: choose from {choices}")
        fields = frozenset("tenant_id" if name == TENANT else name for name, _ in placeholders)
        return cls(text, fields, limit, _compile(head, placeholders, limit))


def _split(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The literal at the beginning, and each placeholder's name with the literal that follows it."""
    if not text:
        raise ValueError("a key template must not be empty")
    head, *rest = _PLACEHOLDER.split(text)
    placeholders = list(zip(rest[::2], rest[1::2], strict=True))
    for literal in (head, *rest[1::2]):
        if "{" in literal or "}" in literal:
            raise ValueError(f"unbalanced brace in {text!r}")
    return head, placeholders


def _compile(head: str, placeholders: list[tuple[str, str]], limit: int | None) -> Callable[["Facts"], str]:
    pieces: list[_Piece] = []
    for name, literal in placeholders:
        end = literal[:1] or "%"
        lacking = "" if name == TENANT else LACKING
        pieces.append((value_of(name), lacking, end, re.compile(f"[%{re.escape(end)}{_CONTROL}]"), literal))

    def render(event: "Facts") -> str:
        key = head
        for get, lacking, end, to_encode, literal in pieces:
            value = get(event)
            if not value:
                value = lacking
            elif end in value or "%" in value or not value.isprintable():  # cheaper than searching with the pattern
                value = to_encode.sub(_percent_encoded, value)
            key = f"{key}{value}{literal}"
        if limit is not None and (len(key) > limit or (not key.isascii() and len(key.encode()) > limit)):
            return _shortened(key, limit)
        return key or LACKING

    return render


def value_of(name: str) -> Callable[["Facts"], str | None]:
    """A function that gets the value of a placeholder from an event: None or an empty text where the event lacks it."""
    return text_of("tenant_id" if name == TENANT else name)


def _percent_encoded(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


def _shortened(key: str, limit: int) -> str:
    """A prefix of the key that people recognise, and a digest of the whole key that tells it from all others."""
    whole = key.encode()
    tail = _DIGEST_MARK + hashlib.sha256(whole).hexdigest()[:_DIGEST_DIGITS]
    prefix = whole[: limit - len(tail)].decode("utf-8", "ignore")
    return _CUT_ESCAPE.sub("", prefix) + tail


def home_key_of(alert: Alert) -> bytes | None:
    """The record key that decides an alert's home; None if it is not known. An alert without a record key has the home
    of its session id."""
    if alert.key is not None:
        return alert.key
    return None if alert.session_id is None else alert.session_id.encode()
