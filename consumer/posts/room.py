"""How many bytes are here at a time: what was received and is not in Kafka. Pure."""

from collections.abc import Iterator
from contextlib import contextmanager


class NoRoom(Exception):
    """More is waiting than may wait."""


class Room:
    """So many bytes, at most. What Kafka is given is counted until Kafka has it, also if nobody waits any more."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be received."""
        return self.taken >= self.size

    def take(self, size: int) -> None:
        """For what has been received already, and goes on from one place to another: it is there anyhow."""
        self.taken += size

    def give(self, size: int) -> None:
        """So many bytes are not here any more."""
        self.taken -= size

    @contextmanager
    def lease(self) -> Iterator["Lease"]:
        """Room for one request, as it comes in; given back with the block."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            lease.end()


class Lease:
    """What one request takes up."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = 0

    def grow(self, size: int) -> None:
        """So many bytes more have come. Raises `NoRoom`, and takes nothing then."""
        if self._room.taken + size > self._room.size:
            raise NoRoom
        self._room.take(size)
        self._size += size

    def end(self) -> None:
        """All of it is gone, or counted elsewhere."""
        self._room.give(self._size)
        self._size = 0
