"""Reads the text of a YAML file as a tree of mappings, lists, texts and nulls.

A scalar stays text, quoted or not: the model knows which settings are numbers, so nothing is guessed. A tenant named
``no`` is no ``false``, a key of digits is no number, and a value from the environment is read like one from the file.

The tree is built from the parser's events. PyYAML's own constructor would silently take the last of two equal keys,
recurse as deep as the text is nested, and let aliases of aliases grow without limit.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from consumer.config.problem import ConfigError, Location, Problem, dotted

Tree = dict[str, "Tree"] | list["Tree"] | str | None

MAX_TEXT = 1 << 20
"""The longest file, in characters."""

_BOOL = TypeAdapter(bool)
_MAX_DEPTH = 32
_MAX_NODES = 100_000
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TEXT_TAGS = frozenset({None, "!", "tag:yaml.org,2002:str"})
_BAD_CHARACTER = "not valid YAML: it has a character that YAML does not allow"
# The parser's message may quote a piece of an unquoted secret. The names of its own tokens ('<block end>') are no
# secret.
_QUOTED = re.compile(r" ?(?:'(?!<[a-z ]+>')[^']*'?|\"[^\"]*\"?)")


def is_true(value: Any) -> bool:
    """Whether a scalar of a file means true. (The model reports a scalar that is neither true nor false.)"""
    try:
        return _BOOL.validate_python(value)
    except ValidationError:
        return False


def at(tree: Any, location: Location, default: Any = None) -> Any:
    """The value at this place in the tree; ``default`` if there is none."""
    for key in location:
        if not isinstance(tree, dict) or key not in tree:
            return default
        tree = tree[key]
    return tree


def parse_document(text: str) -> tuple[Tree, list[Problem]]:
    """The document in ``text``, and the problems after which reading could go on (keys that are given twice).

    Raises `ConfigError` if the text is no valid YAML, or is too large for a configuration.
    """
    if len(text) > MAX_TEXT:
        raise ConfigError([Problem(dotted(()), f"the file is larger than {MAX_TEXT} characters")])
    failure: Problem
    try:
        return _Composer(text).compose()
    except _Unreadable as error:
        failure = error.problem
    except yaml.YAMLError as error:
        failure = _syntax_problem(error)
    except ValueError:  # text that UTF-8 cannot hold
        failure = Problem(dotted(()), _BAD_CHARACTER)
    # Raised outside the ``except`` blocks, so that the parser's error, which quotes the file, is not its context.
    raise ConfigError([failure])


class _Unreadable(Exception):
    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(path, message)


def _line(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _syntax_problem(error: yaml.YAMLError) -> Problem:
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(dotted(()), _BAD_CHARACTER)
    mark = error.problem_mark or error.context_mark
    reason = _QUOTED.sub("", error.problem or "")
    return Problem(_line(mark) if mark else dotted(()), f"not valid YAML: {reason}".rstrip(" :"))


@dataclass(slots=True)
class _Composer:
    text: str
    problems: list[Problem] = field(default_factory=list)
    nodes: int = 0
    # The value of each anchor, and the number of its nodes: each alias counts as that many nodes.
    anchors: dict[str, tuple[Tree, int]] = field(default_factory=dict)
    next: Callable[[], Any] = field(init=False)

    def compose(self) -> tuple[Tree, list[Problem]]:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self.next = yaml.parse(self.text, Loader=loader).__next__
        self.next()  # the start of the stream
        if isinstance(self.next(), yaml.StreamEndEvent):
            return None, self.problems
        tree = self._node(self.next(), ())
        self.next()  # the end of the document
        if not isinstance(event := self.next(), yaml.StreamEndEvent):
            raise _Unreadable(_line(event.start_mark), "a second document begins: the configuration is one")
        return tree, self.problems

    def _node(self, event: Any, at: Location) -> Tree:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise _Unreadable(_line(event.start_mark), "an alias (*) of nothing: quote a text that begins with *")
            value, size = self.anchors[event.anchor]
            self._count(size)
            return value
        before = self.nodes
        self._count(1)
        if len(at) > _MAX_DEPTH:
            raise _Unreadable(_line(event.start_mark), f"nested more than {_MAX_DEPTH} deep")
        value = self._value(event, at)
        if event.anchor is not None:
            self.anchors[event.anchor] = value, self.nodes - before
        return value

    def _count(self, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > _MAX_NODES:
            raise _Unreadable(dotted(()), f"the file has more than {_MAX_NODES} values")

    def _value(self, event: Any, at: Location) -> Tree:
        if isinstance(event, yaml.ScalarEvent):
            if event.tag not in _TEXT_TAGS:
                raise _Unreadable(_line(event.start_mark), "a tag (!): quote a text that begins with !")
            plain: bool = event.implicit[0]
            text: str = event.value
            return None if plain and text in _NULLS else text
        if event.tag not in (None, "!"):
            raise _Unreadable(_line(event.start_mark), "a tag (!): there are none in a configuration")
        return self._list(at) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(at)

    def _list(self, at: Location) -> Tree:
        items: list[Tree] = []
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            items.append(self._node(event, (*at, len(items))))
        return items

    def _mapping(self, at: Location) -> Tree:
        items: dict[str, Tree] = {}
        lines: dict[str, int] = {}
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise _Unreadable(_line(event.start_mark), "a key must be text")
            key: str = event.value
            value = self._node(self.next(), (*at, key))
            mark: Any = event.start_mark
            line = mark.line + 1
            if key in items:
                twice = Problem(dotted((*at, key)), f"given twice, in lines {lines[key]} and {line}")
                self.problems.append(twice)
            else:
                items[key], lines[key] = value, line
        return items
