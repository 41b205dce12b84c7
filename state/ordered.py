"""Keys in the order of their values."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Generic, TypeVar

from state.pieces import Pieces

V = TypeVar("V", bound="float | tuple[float, ...]")

_BLOCK = 1000


class Ordered(Generic[V]):
    """Values by key, ordered by value.

    Every change takes about the same time. (A heap that keeps outdated entries until they come up, or are swept out, is
    faster on average, but blocks for as long as it takes to remove a hundred thousand of them.)
    """

    def __init__(self) -> None:
        self._values = Pieces[str, V]()
        self._blocks: list[list[tuple[V, str]]] = []
        self._lasts: list[tuple[V, str]] = []

    def __len__(self) -> int:
        return len(self._values)

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        """The keys in the order of their values, the smallest first. Nothing may change meanwhile."""
        return (key for block in self._blocks for _, key in block)

    def keys_in_pieces(self) -> Iterator[list[str]]:
        """The keys in the order of their values, some at a time. Values may change meanwhile: each key whose value does
        not change is returned."""
        last: tuple[V, str] | None = None
        while True:
            at = 0 if last is None else bisect_right(self._lasts, last)
            if at == len(self._blocks):
                return
            block = self._blocks[at]
            piece = block if last is None else block[bisect_right(block, last) :]
            last = piece[-1]
            yield [key for _, key in piece]

    def set(self, key: str, value: V | None) -> None:
        """Set the value of this key; None removes it."""
        values = self._values.of(key)
        before = values.get(key)
        if value == before:
            return
        if before is not None:
            self._remove((before, key))
        if value is None:
            del values[key]
        else:
            values[key] = value
            self._add((value, key))

    def items(self) -> Iterator[tuple[V, str]]:
        """The values with their keys, the smallest first. Nothing may change meanwhile."""
        return (item for block in self._blocks for item in block)

    def first(self) -> str | None:
        """The key of the smallest value; None if there is none."""
        return self._blocks[0][0][1] if self._blocks else None

    def smallest(self) -> V | None:
        """The smallest value; None if there is none."""
        return self._blocks[0][0][0] if self._blocks else None

    def emptied(self) -> Iterator[None]:
        """Free everything bit by bit, once nobody uses it any more; yields after each step."""
        self._lasts.clear()
        while self._blocks:
            self._blocks.pop()
            yield
        for _ in self._values.taken():
            yield

    def _add(self, item: tuple[V, str]) -> None:
        blocks, lasts = self._blocks, self._lasts
        if not blocks:
            blocks.append([item])
            lasts.append(item)
            return
        at = len(lasts) - 1
        if item > lasts[at]:  # most new values are the largest
            blocks[at].append(item)
        else:
            at = bisect_left(lasts, item)
            insort(blocks[at], item)
        lasts[at] = blocks[at][-1]
        if len(blocks[at]) > 2 * _BLOCK:
            blocks.insert(at, blocks[at][:_BLOCK])
            del blocks[at + 1][:_BLOCK]
            lasts.insert(at, blocks[at][-1])

    def _remove(self, item: tuple[V, str]) -> None:
        blocks, lasts = self._blocks, self._lasts
        at = 0 if len(lasts) == 1 else bisect_left(lasts, item)
        block = blocks[at]
        del block[0 if block[0] == item else bisect_left(block, item)]  # most often the first
        if block:
            lasts[at] = block[-1]
        else:
            del blocks[at], lasts[at]
