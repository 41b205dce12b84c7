"""Texts of events, made fit for a provider: one line, within a limit, valid UTF-8.

The texts come from outside and are hostile: whoever provokes a violation chooses parts of them. A line break could
forge a heading of an alert's description, NUL is refused by databases behind the APIs, and a text that is too long
gets the whole request rejected, which would be a page that never came.
"""

import re
from collections.abc import Sequence
from typing import Final

ELLIPSIS: Final = "…"
"""What a text that was cut ends with."""

# Control characters, line and paragraph separators; bidirectional overrides, which would turn round the text behind
# them; and surrogates, which UTF-8 and so JSON cannot carry.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")


def one_line(text: str) -> str:
    """The text without line breaks, control characters and lone surrogates; each run of them becomes one space."""
    if text.isprintable():  # by far the most; whatever is unfit is not printable
        return text
    return _UNFIT.sub(" ", text).strip(" ")


def shorten(text: str, limit: int) -> str:
    """The text in at most ``limit`` characters; one that is longer ends in an ellipsis.

    The providers do not say what a character is to them, so the larger count is used, UTF-16 code units: a text that
    is within the limit by it is also within the limit by code points. No code point is split.
    """
    if len(text) * 2 <= limit or units(text) <= limit:
        return text
    if limit < 1:
        return ""
    # A pair that the cut would split is dropped as a whole by "ignore".
    head = text[:limit].encode("utf-16-le", "surrogatepass")[: 2 * (limit - 1)].decode("utf-16-le", "ignore")
    return head.rstrip(" \u200d") + ELLIPSIS


def units(text: str) -> int:
    """How many characters a text has, counted as `shorten` does."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def fit(texts: Sequence[str], limit: int) -> list[str]:
    """The texts in at most ``limit`` characters together: only the longest are cut, all of them to one length."""
    lengths = [units(text) for text in texts]
    if sum(lengths) <= limit:
        return list(texts)
    room, level = max(limit, 0), 0
    for position, length in enumerate(sorted(lengths)):
        level = room // (len(lengths) - position)
        if length > level:
            break
        room -= length
    return [shorten(text, level) for text in texts]
