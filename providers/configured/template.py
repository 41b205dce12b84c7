"""Templates of a described provider: texts, addresses, and trees of JSON with placeholders in their texts.

A tree stays a tree: values are put into it as values, and the JSON encoder writes them; no JSON text is ever put
together.

* ``{guard}`` is the value. In a text that has more in it, a value that the event lacks is ``default``. Where it is the
  whole of a text it keeps its type (a number, a list, an object), and where the event lacks it, the member of the
  object or the item of the list is left out.
* ``{reason:200}`` is cut to 200 characters; ``{reason:html}`` has ``&``, ``<`` and ``>`` escaped, as Slack wants it
  too; ``{reason:html:200}`` is cut, and then escaped.
* ``{true}``, ``{false}``, ``{null}``, ``{5}``, ``{-1.5}`` as the whole of a text are these values of JSON: a
  configuration has texts only.
* ``{{`` and ``}}`` are braces.
"""

import html
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final
from urllib.parse import quote

from providers.configured import facts
from providers.configured.facts import VALUE_LIMIT, Fact, Json, Known, Told
from providers.settings import check_address
from state.facts import LACKING, is_label

ADDRESS_VALUE_LIMIT: Final = 512
"""How many characters of one value are kept in an address."""

_HIGHEST_LIMIT: Final = 100_000
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PLACEHOLDER = re.compile(r"(?P<name>.+?)(?P<html>:html)?(?::(?P<limit>[1-9][0-9]{0,6}))?", re.ASCII | re.DOTALL)
_JSON = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?", re.ASCII)
_ORIGIN = re.compile(r"https?://[^/?#{}]+[/?]", re.IGNORECASE)


class Omitted:
    """Stands where a value is left out."""


OMITTED: Final = Omitted()


_SECRET: Final = "secret"


@dataclass(frozen=True, slots=True)
class Names:
    """The placeholders that can be used: what is ``known``, ``{secret}`` if routes have one, ``secrets`` by name."""

    known: Known
    has_secret: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict)

    def fact(self, name: str) -> Fact:
        """How to get the value of a placeholder. Raises `ValueError` if there is no such placeholder here."""
        if name in self.known.facts:
            return self.known.facts[name]
        if self.known.labels and is_label(name):
            return facts.label(name)
        if _is_secret(name):
            return self._secret(name)
        what = f"{{{name}}} is not known here" if facts.is_somewhere(name) else f"unknown placeholder {{{name}}}"
        raise ValueError(f"{what}: choose from {self._choices()}")

    def _secret(self, name: str) -> Fact:
        if name == _SECRET:
            if not self.has_secret:
                raise ValueError("{secret}: the setting secret is not given")
            return attrgetter("secret")
        if (which := name.removeprefix(f"{_SECRET}.")) not in self.secrets:
            raise ValueError(f"{{{name}}}: there is no {which} in the setting secrets")
        value = self.secrets[which]
        return lambda told: value

    def _choices(self) -> str:
        more = ["label.NAME"] if self.known.labels else []
        more += [_SECRET] if self.has_secret else []
        more += [f"{_SECRET}.{name}" for name in self.secrets]
        return ", ".join(f"{{{choice}}}" for choice in (*self.known.facts, *more)) or "nothing: it is a text as it is"


def _is_secret(name: str) -> bool:
    return name == _SECRET or name.startswith(f"{_SECRET}.")


@dataclass(frozen=True, slots=True)
class _Placeholder:
    name: str
    get: Fact
    limit: int
    is_html: bool

    @property
    def is_secret(self) -> bool:
        return _is_secret(self.name)

    def value(self, told: Told) -> Json:
        """The value with its type; None where it is lacking."""
        value = self.get(told)
        if self.is_secret or self.name == "dedup_key":
            return value  # as it is: cut, it would be another's
        value = facts.fit(value, self.limit)
        return html.escape(value, quote=False) if self.is_html and isinstance(value, str) else value

    def text(self, told: Told) -> str:
        """The value as text."""
        value = self.value(told)
        if isinstance(value, bool):
            return "true" if value else "false"
        return LACKING if value is None or value == "" else str(value)


_Pieces = Sequence[str | _Placeholder]


def _parse(text: str, names: Names, limit: int = VALUE_LIMIT) -> _Pieces:
    """The literals and placeholders of a text, in their order. Raises `ValueError` for an unbalanced brace, or a
    placeholder that is malformed or not known."""
    pieces: list[str | _Placeholder] = []
    literal, at = "", 0
    for found in _TOKEN.finditer(text):
        literal, at = literal + text[at : found.start()], found.end()
        token = found[0]
        if token in ("{{", "}}"):
            literal += token[0]
        elif found[1] is None:
            raise ValueError(f"unbalanced brace in {text!r}: a brace itself is written {{{{ or }}}}")
        else:
            pieces += [literal, _placeholder(found[1], names, limit)]
            literal = ""
    pieces.append(literal + text[at:])
    return [piece for piece in pieces if piece != ""]


def _placeholder(text: str, names: Names, limit: int) -> _Placeholder:
    found = _PLACEHOLDER.fullmatch(text)
    if found is None:
        raise ValueError("a placeholder without a name: {}")
    given = int(found["limit"]) if found["limit"] is not None else limit
    if given > _HIGHEST_LIMIT:
        raise ValueError(f"{{{text}}}: at most {_HIGHEST_LIMIT} characters")
    name = found["name"]
    is_as_it_is = name == "dedup_key" or _is_secret(name)
    if is_as_it_is and (found["html"] is not None or found["limit"] is not None):
        raise ValueError(f"{{{name}}} is sent as it is: it can be neither cut nor escaped")
    return _Placeholder(name, names.fact(name), given, found["html"] is not None)


def compile_text(text: str, names: Names) -> Callable[[Told], str]:
    """A template that makes a text. Raises `ValueError` for an unbalanced brace, or a placeholder that cannot be in a
    text."""
    return _joined(_parse(text, names))


def _joined(pieces: _Pieces) -> Callable[[Told], str]:
    for piece in pieces:
        if isinstance(piece, _Placeholder) and piece.name in facts.STRUCTURED:
            raise ValueError(f"{{{piece.name}}} can only be the whole of a value")

    def render(told: Told) -> str:
        return "".join(piece if isinstance(piece, str) else piece.text(told) for piece in pieces)

    return render


def compile_address(text: str, names: Names) -> Callable[[Told], str]:
    """A template that makes an address: its host is fixed, and every value is percent-encoded.

    Of a secret the ``/`` stays: it is the configuration's, and can be more than one segment of a path.

    Raises `ValueError` if the text is no address, or has a placeholder before its path.
    """
    pieces = _parse(text, names, ADDRESS_VALUE_LIMIT)
    if any(isinstance(piece, _Placeholder) and piece.name in facts.STRUCTURED for piece in pieces):
        raise ValueError("a list or an object cannot be in an address")
    check_address("".join(piece if isinstance(piece, str) else "x" for piece in pieces))
    if len(pieces) > 1 and not _ORIGIN.match(str(pieces[0])):
        raise ValueError("must have its host before the first placeholder")

    def render(told: Told) -> str:
        return "".join(piece if isinstance(piece, str) else _encoded(piece, told) for piece in pieces)

    return render


def literals_of(text: str) -> Sequence[str]:
    """The texts of a template between its placeholders."""
    return [piece for piece in _TOKEN.sub("{", text).split("{") if piece]


def _encoded(piece: _Placeholder, told: Told) -> str:
    encoded = quote(piece.text(told), safe="/" if piece.is_secret else "")
    return encoded.replace(".", "%2E") if not encoded.strip(".") else encoded  # `..` would lead out of the path


Compiled = Callable[[Told], "Json | Omitted"]


def texts_of(tree: Json, at: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The texts of a tree, each with the way to it."""
    match tree:
        case str():
            yield at, tree
        case dict():
            for name, item in tree.items():
                yield from texts_of(item, (*at, name))
        case list():
            for index, item in enumerate(tree):
                yield from texts_of(item, (*at, index))


def compile_tree(tree: Json, names: Names) -> Compiled:
    """A tree whose texts are templates. Raises `ValueError` if one of its texts (`texts_of`) is no such template."""
    match tree:
        case str():
            return _compile_value(tree, names)
        case dict():
            members = {name: compile_tree(item, names) for name, item in tree.items()}

            def members_of(told: Told) -> Json:
                made = ((name, make(told)) for name, make in members.items())
                return {name: value for name, value in made if value is not OMITTED}

            return members_of
        case list():
            items = [compile_tree(item, names) for item in tree]
            return lambda told: [value for make in items if (value := make(told)) is not OMITTED]
        case _:
            return lambda told: tree


def _compile_value(text: str, names: Names) -> Compiled:
    if text.startswith("{") and text.endswith("}") and _JSON.fullmatch(text[1:-1]):
        constant: Json = json.loads(text[1:-1])
        return lambda told: constant
    pieces = _parse(text, names)
    if len(pieces) == 1 and isinstance(placeholder := pieces[0], _Placeholder):

        def whole(told: Told) -> Json | Omitted:
            value = placeholder.value(told)
            return OMITTED if value is None or value == "" else value

        return whole
    return _joined(pieces)
