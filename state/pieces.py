"""A mapping that can have millions of keys."""

from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_COUNT = 64  # a power of two
_LARGE = 8192
"""A mapping is divided from this number of keys on. Until then it is one dict, and takes no more memory than one."""


class Pieces(Generic[K, V]):
    """A mapping in which no single step takes long, however large it is.

    A dict of a million keys blocks for a tenth of a second each time that it grows, and again when it is freed. Here
    each key belongs to one of many dicts, each of which grows on its own; `taken` empties them bit by bit.
    """

    __slots__ = ("_last", "_pieces")

    def __init__(self) -> None:
        self._pieces: tuple[dict[K, V], ...] = ({},)
        self._last = 0

    def of(self, key: K) -> dict[K, V]:
        """The dict that this key belongs to, for callers that need it more than once. It is valid until another key is
        set."""
        if not self._last and len(self._pieces[0]) >= _LARGE:
            self._divide()
        return self._pieces[hash(key) & self._last]

    def get(self, key: K) -> V | None:
        """The value of this key; None without one."""
        return self._pieces[hash(key) & self._last].get(key)

    def __contains__(self, key: object) -> bool:
        return key in self._pieces[hash(key) & self._last]

    def __getitem__(self, key: K) -> V:
        return self._pieces[hash(key) & self._last][key]

    def __setitem__(self, key: K, value: V) -> None:
        if not self._last and len(self._pieces[0]) >= _LARGE:  # as in `of`: a call less for each change of an alert
            self._divide()
        self._pieces[hash(key) & self._last][key] = value

    def pop(self, key: K) -> V | None:
        """Remove this key and return its value; None if it was not there."""
        return self._pieces[hash(key) & self._last].pop(key, None)

    def __len__(self) -> int:
        return sum(map(len, self._pieces))

    def __bool__(self) -> bool:
        return any(self._pieces)

    def __iter__(self) -> Iterator[K]:
        for piece in self._pieces:
            yield from piece

    def values(self) -> Iterator[V]:
        """The values of all keys."""
        for piece in self._pieces:
            yield from piece.values()

    def items(self) -> Iterator[tuple[K, V]]:
        """All keys with their values."""
        for piece in self._pieces:
            yield from piece.items()

    def keys_in_pieces(self) -> Iterator[list[K]]:
        """The keys of one dict after the other, copied when its turn comes. A key that is set meanwhile may be
        missing."""
        for piece in self._pieces:
            yield list(piece)

    def taken(self) -> Iterator[tuple[K, V]]:
        """Remove and return all items one after the other. If the caller stops before the end, the rest stays."""
        for piece in self._pieces:
            while piece:
                yield piece.popitem()

    def _divide(self) -> None:
        (whole,) = self._pieces
        self._pieces, self._last = tuple({} for _ in range(_COUNT)), _COUNT - 1
        for key, value in whole.items():
            self._pieces[hash(key) & self._last][key] = value
