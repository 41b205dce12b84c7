"""A mapping that can have millions of keys."""

from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_COUNT = 64  # a power of two
_LAST = _COUNT - 1


class Pieces(Generic[K, V]):
    """A mapping of which no single step takes long, however large it is.

    A dict of a million keys stands still for a tenth of a second each time that it grows, and again when it is freed.
    Here each key belongs to one of many dicts, each of which grows on its own; `emptied` frees them bit by bit.
    """

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: tuple[dict[K, V], ...] = tuple({} for _ in range(_COUNT))

    def of(self, key: K) -> dict[K, V]:
        """The dict that this key belongs to, for whoever asks more than once."""
        return self._pieces[hash(key) & _LAST]

    def get(self, key: K) -> V | None:
        """The value of this key; None without one."""
        return self._pieces[hash(key) & _LAST].get(key)

    def __getitem__(self, key: K) -> V:
        return self._pieces[hash(key) & _LAST][key]

    def __setitem__(self, key: K, value: V) -> None:
        self._pieces[hash(key) & _LAST][key] = value

    def pop(self, key: K) -> V | None:
        """Remove this key; its value, None if it was not there."""
        return self._pieces[hash(key) & _LAST].pop(key, None)

    def __len__(self) -> int:
        return sum(map(len, self._pieces))

    def __iter__(self) -> Iterator[K]:
        for piece in self._pieces:
            yield from piece

    def taken(self) -> Iterator[tuple[K, V]]:
        """Take everything out, one after the other; stopped before the end, the rest is still there."""
        for piece in self._pieces:
            while piece:
                yield piece.popitem()
