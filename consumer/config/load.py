"""Turns the text of a configuration into the checked model, or into an error with everything that is wrong with it."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from consumer.config.document import MAX_TEXT, parse_document
from consumer.config.engine import is_of_the_daemon, translated
from consumer.config.interpolation import Interpolation, ReadFile
from consumer.config.known_keys import advice
from consumer.config.models import Config
from consumer.config.problem import ConfigError, Location, Problem, dotted

_MESSAGES = {
    "extra_forbidden": "unknown key",
    "missing": "is required",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_too_long": "must be at most {max_length} characters",
    "too_long": "must have at most {max_length} items",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "literal_error": "must be one of {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "value_error": "{error}",
}


def read_text(path: str) -> str:
    """The text of a file of at most 1 MiB.

    Raises `OSError` if the file cannot be read, `ValueError` if it is not UTF-8 or is larger.
    """
    with Path(path).open("rb") as file:
        content = file.read(MAX_TEXT + 1)
    if len(content) > MAX_TEXT:
        raise ValueError("the file is larger than 1 MiB")
    return content.decode("utf-8-sig")


def load_config(path: str | os.PathLike[str], environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration in the file at ``path``. Raises `ConfigError` if it is wrong, with everything that is wrong
    with it."""
    name = os.fspath(path)
    failure: str
    mistaken: ConfigError
    try:
        text = read_text(name)
    except OSError as error:
        failure = error.strerror or "unknown error"
    except UnicodeDecodeError:
        failure = "it is not UTF-8"
    except ValueError as error:
        failure = str(error)
    else:
        try:
            return parse_config(text, environ, read_text)
        except ConfigError as error:
            mistaken = error.within(name)
        raise mistaken
    raise ConfigError([Problem(name, f"cannot be read: {failure}")])


def parse_config(text: str, environ: Mapping[str, str], read_file: ReadFile) -> Config:
    """The configuration in ``text``; references are resolved with ``environ`` and ``read_file``.

    Raises `ConfigError` if the text is wrong, with everything that is wrong with it.
    """
    tree, problems = parse_document(text)
    if not isinstance(tree, dict):
        raise ConfigError([*problems, Problem(dotted(()), "must be a mapping, such as `exporters: …`")])
    interpolation = Interpolation(environ, read_file)
    daemon = translated(tree, interpolation) if is_of_the_daemon(tree) else None
    resolved = interpolation.resolve(tree) if daemon is None else daemon.tree
    place = daemon.origin if daemon is not None else _as_it_is
    mistakes = [*interpolation.problems, *(daemon.mistakes if daemon is not None else ())]
    config: Config | None = None
    try:
        config = Config.model_validate(resolved)
        config.take_notes(daemon.notes if daemon is not None else ())
    except ValidationError as error:
        unresolved = {location for location, _ in interpolation.problems}
        mistakes += _mistakes(error, unresolved, place)
    problems += (Problem(dotted(location), message) for location, message in mistakes)
    # Raised outside the ``except`` block, so that the validation error, which holds the input, is not its context.
    if problems or config is None:
        raise ConfigError(problems)
    return config


def _as_it_is(location: Location) -> Location:
    return location


def _mistakes(
    error: ValidationError, unresolved: set[Location], place: Callable[[Location], Location]
) -> Iterator[tuple[Location, str]]:
    """The mistakes, each with its ``place`` in the file. Those at ``unresolved`` places have been reported before."""
    for mistake in error.errors(include_url=False, include_input=False):
        location = mistake["loc"]
        if location[-1:] == ("[key]",):  # pydantic writes this where the key itself is wrong
            location = location[:-1]
        # A reference that could not be resolved has been reported; that UNRESOLVED has the wrong type adds nothing.
        there = place(location)
        told = any(there[:length] in unresolved for length in range(1, len(there) + 1))
        if not told or mistake["type"] == "extra_forbidden":
            message = _message(mistake["type"], mistake.get("ctx", {}), mistake["msg"])
            said = advice(location) if mistake["type"] == "extra_forbidden" else ""
            yield there, f"{message}: {said}" if said else message


def _message(kind: str, context: dict[str, Any], fallback: str) -> str:
    return _MESSAGES[kind].format(**context) if kind in _MESSAGES else fallback
