"""Texts that very many alerts have in common, each of which is one value then."""

from functools import lru_cache
from typing import Final

TEXTS: Final = 8192
"""How many are remembered: events are hostile, and what `sys.intern` is given some releases of Python never free."""


@lru_cache(maxsize=TEXTS)
def shared(text: str) -> str:
    """The same text: of all alerts that have it, as far as it is remembered, one and the same value."""
    return text
