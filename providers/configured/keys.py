"""How a dedup key is written for a provider (``key`` of its section).

Whatever the way, two keys that are written alike are the same key: another alert's would be updated, or resolved. The
one exception are digests, of at least 128 bits.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Final, Literal

Writing = Literal["as_is", "hash", "lower_case_safe"]

_MARK: Final = "^"
_DIGEST_MARK: Final = "^~"
_DIGEST_DIGITS: Final = 32

# What a provider that has no regard to case, and trims, leaves alone: lower-case letters, digits, and the other visible
# ASCII, but for the mark itself. Upper-case letters beyond ASCII are many, and their lower case is not always one
# letter, so everything beyond ASCII is written as its bytes.
_UNSAFE: Final = re.compile(r"[^ !-@\[-\]_-~]|\A | \Z")
_CUT_ESCAPE: Final = re.compile(r"\^(?:0[0-9a-f]?)?\Z")


def writer(writing: Writing, limit: int) -> Callable[[str], str]:
    """The function that writes a dedup key in at most ``limit`` characters. With ``as_is`` it cuts nothing, because the
    key template has already kept the key within its limit."""
    if writing == "lower_case_safe":
        return lambda key: lower_case_safe(key, limit)
    ways: Mapping[Writing, Callable[[str], str]] = {"as_is": str, "hash": hashed}
    return ways[writing]


def hashed(key: str) -> str:
    """The SHA-256 of the key, in hexadecimal digits: 64 characters of any provider's alphabet."""
    return hashlib.sha256(key.encode()).hexdigest()


def lower_case_safe(key: str, limit: int) -> str:
    """The key such that no other one is equal to it without regard to case, and without spaces at its ends.

    ``^a`` is a capital A, ``^0xx`` is the byte xx of UTF-8, of whatever is not visible ASCII. What is longer than
    ``limit`` keeps a readable prefix and ends in ``^~`` and a digest of the whole key, which nothing else does.
    """
    written = _UNSAFE.sub(_escaped, key)
    if len(written) <= limit:
        return written
    tail = _DIGEST_MARK + hashed(key)[:_DIGEST_DIGITS]
    return _CUT_ESCAPE.sub("", written[: limit - len(tail)]) + tail


def _escaped(match: re.Match[str]) -> str:
    text = match[0]
    if "A" <= text <= "Z":
        return _MARK + text.lower()
    return "".join(f"{_MARK}0{byte:02x}" for byte in text.encode())
