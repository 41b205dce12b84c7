"""Makes texts of events fit for a provider: one line, within a limit, valid UTF-8.

The texts come from outside and are hostile: whoever provokes a violation chooses parts of them. A line break could
forge a heading in an alert's description. Databases behind the APIs refuse NUL. A text that is too long gets the whole
request rejected, and the page would never come.
"""

import re
from collections.abc import Sequence
from typing import Final

ELLIPSIS: Final = "…"
"""The end of a text that was cut."""

# Control characters, line and paragraph separators; bidirectional overrides, which would reverse the text after them;
# and surrogates, which UTF-8 and so JSON cannot carry.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")


def one_line(text: str) -> str:
    """The text without line breaks, control characters and lone surrogates; each run of them becomes one space."""
    if text.isprintable():  # nearly all texts; no unfit character is printable
        return text
    return _UNFIT.sub(" ", text).strip(" ")


def shorten(text: str, limit: int) -> str:
    """The text in at most ``limit`` characters; a longer text is cut and ends in an ellipsis.

    The providers do not say how they count characters, so this counts UTF-16 code units, which are never fewer than
    code points: a text within the limit by that count is within it by code points, too. No code point is split.
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
