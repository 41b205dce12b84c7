"""Records of the feedback topic that a task takes strictly in order, and how far it has taken them."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Lane(Generic[T]):
    """What waits to be taken. Positions are by partition; one that is missing is the beginning."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, int, T]] = deque()
        self._handed: dict[int, int] = {}
        self._taken: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def start(self, positions: Mapping[int, int]) -> None:
        """Nothing is handed or taken yet from these positions on."""
        self._handed, self._taken = dict(positions), dict(positions)

    def next_offset(self, partition: int) -> int:
        """From which offset on nothing has been handed of this partition."""
        return self._handed.get(partition, 0)

    def reset(self, partition: int, offset: int) -> None:
        """The partition is another one than it was: this is where it begins."""
        self._handed[partition] = self._taken[partition] = offset

    def hand(self, partition: int, records: Iterable[tuple[int, T]], position: int) -> None:
        """Records of a partition with their offsets, in order; whoever reads is at ``position`` now. Those that were
        handed already are skipped."""
        begin = self.next_offset(partition)
        self._waiting.extend((partition, offset, record) for offset, record in records if offset >= begin)
        self._handed[partition] = max(begin, position)

    @property
    def head(self) -> tuple[int, int, T] | None:
        """The partition, the offset and the record that is to be taken next."""
        return self._waiting[0] if self._waiting else None

    def took(self) -> None:
        """It is taken."""
        partition, offset, _ = self._waiting.popleft()
        self._taken[partition] = offset + 1

    @property
    def positions(self) -> Mapping[int, int]:
        """How far records have been taken: what a checkpoint holds."""
        if not self._waiting:
            self._taken.update(self._handed)
        return dict(self._taken)
