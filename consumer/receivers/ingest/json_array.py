"""Splits a JSON array that may have very many values, up to a given number of them. Pure.

msgspec is ten times as fast, but would make a million parts of ``[0,0,0,…`` before they could be counted.
"""

import re
from collections.abc import Sequence
from json import JSONDecoder
from typing import Any

_SPACE = re.compile(r"[ \t\r\n]*")


class NotAnArray(Exception):
    """The bytes are no JSON array."""


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = JSONDecoder(parse_constant=_no_constant)


def first_parts(array: bytes, most: int) -> Sequence[bytes]:
    """The first ``most`` values of a JSON array, byte for byte. ``array`` has no spaces around it.

    Raises `NotAnArray` if that is not JSON, as far as it is read.
    """
    parts: list[bytes] = []
    try:
        text = array.decode()
        at = _skipped(text, 1)
        last = len(text) - 1
        if at == last and text[at] == "]":
            return parts
        while len(parts) < most:
            _, end = _DECODER.raw_decode(text, at)
            parts.append(text[at:end].encode())
            end = _skipped(text, end)
            if end == last and text[end] == "]":
                return parts
            if text[end] != ",":
                raise NotAnArray
            at = _skipped(text, end + 1)
    except (ValueError, IndexError, RecursionError):
        raise NotAnArray from None
    return parts


def _skipped(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None  # the pattern matches an empty text, too
    return found.end()
