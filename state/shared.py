"""Texts that very many alerts have in common: each is kept as one object."""

from functools import lru_cache
from typing import Final

TEXTS: Final = 8192
"""How many texts are cached. Events are hostile, so this is bounded; some releases of Python never free what
`sys.intern` was given."""


@lru_cache(maxsize=TEXTS)
def shared(text: str) -> str:
    """An equal text: while it is cached, the same object for all alerts that have it."""
    return text
