"""A file of silences, as ``silences export`` prints them."""

import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from consumer.cli.terminal import plain
from consumer.silences.records import MalformedSilence, from_json
from consumer.silences.silence import Silence
from providers.errors import Mistake


def read_silences_file(file: str) -> tuple[str, Sequence[Silence]]:
    """The silences of this file (``-``: standard input), and its name. Raises `Mistake` if it cannot be read, or if one
    of them is none or is there twice."""
    name = "standard input" if file == "-" else file
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Mistake(f"{name}: {error.strerror}") from None
    try:
        given = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Mistake(f"{name}: not JSON: {error.msg}, line {error.lineno}") from None
    if not isinstance(given, list):
        raise Mistake(f"{name}: must be a list of silences")
    found: dict[str, Silence] = {}
    for number, facts in enumerate(given):
        try:
            one = from_json(facts)
        except MalformedSilence as error:
            dot = "." if isinstance(facts, dict) else ": "
            raise Mistake(f"{name}: [{number}]{dot}{plain(str(error))}") from None
        if one.id in found:
            raise Mistake(f"{name}: [{number}].id: {plain(one.id)} is there twice")
        found[one.id] = one
    return name, list(found.values())
