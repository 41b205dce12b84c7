"""Counts the bytes that were received and are not in Kafka yet, and bounds them. Pure."""

from collections.abc import Iterator
from contextlib import contextmanager


class NoRoom(Exception):
    """More bytes would wait than may wait."""


class Room:
    """Room for ``size`` bytes. Bytes that were handed to the producer count until Kafka has them, also if their sender
    no longer waits."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be received."""
        return self.taken >= self.size

    def take(self, size: int) -> None:
        """Count bytes that are in memory already, even beyond ``size``."""
        self.taken += size

    def give(self, size: int) -> None:
        """Count so many bytes less."""
        self.taken -= size

    @contextmanager
    def lease(self) -> Iterator["Lease"]:
        """Room for one request, which grows as its body comes in; given back at the end of the block."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            lease.end()


class Lease:
    """The bytes that one request takes up."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = 0

    def grow(self, size: int) -> None:
        """Count so many bytes more. Raises `NoRoom`, without counting them, if they are too many."""
        if self._room.taken + size > self._room.size:
            raise NoRoom
        self._room.take(size)
        self._size += size

    def end(self) -> None:
        """Give all bytes back: they are gone, or counted elsewhere."""
        self._room.give(self._size)
        self._size = 0
