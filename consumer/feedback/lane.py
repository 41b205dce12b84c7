"""Records of the feedback topic that a task takes strictly in order, and how far it has taken them."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


class Lane(Generic[T]):
    """Records that wait to be taken. Positions are by partition; a missing one means offset 0."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, int, T]] = deque()
        self._handed: dict[int, int] = {}
        self._taken: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def start(self, positions: Mapping[int, int]) -> None:
        """Begin at these positions: no record from them on was handed or taken yet."""
        self._handed, self._taken = dict(positions), dict(positions)

    def next_offset(self, partition: int) -> int:
        """The offset from which on no record of this partition was handed yet."""
        return self._handed.get(partition, 0)

    def reset(self, partition: int, offset: int) -> None:
        """Begin again at ``offset``, because the topic was created anew."""
        self._handed[partition] = self._taken[partition] = offset

    def hand(self, partition: int, records: Iterable[tuple[int, T]], position: int) -> None:
        """Add records of a partition with their offsets, in order; the reader is at ``position`` now. Records that were
        handed before are skipped."""
        begin = self.next_offset(partition)
        self._waiting.extend((partition, offset, record) for offset, record in records if offset >= begin)
        self._handed[partition] = max(begin, position)

    @property
    def head(self) -> tuple[int, int, T] | None:
        """The record that is to be taken next, with its partition and offset; None if none waits."""
        return self._waiting[0] if self._waiting else None

    def behind(self, most: int) -> Iterator[T]:
        """The records behind the head, at most so many."""
        return (record for _, _, record in islice(self._waiting, 1, 1 + most))

    def took(self) -> None:
        """Note that the `head` was taken."""
        partition, offset, _ = self._waiting.popleft()
        self._taken[partition] = offset + 1

    @property
    def positions(self) -> Mapping[int, int]:
        """How far records have been taken, by partition, for the checkpoint."""
        if not self._waiting:
            self._taken.update(self._handed)
        return dict(self._taken)
