"""Does long work on the event loop in slices, so that everything else goes on meanwhile."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")

SLICE_SECONDS = 0.005

TURNS_BETWEEN = 4
"""How many turns the event loop gets between two slices. A request takes some twenty turns; with one turn between
slices it would have to wait for a slice at each of them. A turn in which nobody else has anything to do takes 30 µs."""


class Turns:
    """Divides the time of the event loop among all who have long work to do: one of them gets a slice at a time.

    All tasks of a member share one `Turns`. If each task took slices of its own, ninety-six tasks that begin at the
    same moment would hold up everything else for a second.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter, seconds: float = SLICE_SECONDS) -> None:
        self._clock = clock
        self._seconds = seconds
        self._spent = 0.0
        self._later: deque[Iterable[object]] = deque()
        self._is_asked = asyncio.Event()
        self._lock = asyncio.Lock()  # asyncio gives it to those who wait in the order in which they asked

    async def take(self, items: Iterator[T]) -> list[T]:
        """As many of the items as can be made in one slice, or in the rest that others have left of it; none at the
        end.

        If the slice is used up, others get their turn before the next slice begins.
        """
        taken: list[T] = []
        async with self._lock:
            if self._spent >= self._seconds:
                for _ in range(TURNS_BETWEEN):
                    await asyncio.sleep(0)
                self._spent = 0.0
            before = self._clock()
            end = before + self._seconds - self._spent
            for item in items:
                taken.append(item)
                if self._clock() >= end:
                    break
            self._spent += self._clock() - before
        return taken

    async def through(self, work: Iterable[object]) -> None:
        """Do all of this work. It may be interrupted after each of its items."""
        items = iter(work)
        while await self.take(items):
            pass

    def later(self, work: Iterable[object]) -> None:
        """Let `run` do this work, since nobody waits for it."""
        self._later.append(work)
        self._is_asked.set()

    async def run(self) -> None:
        """Do the work that was given to `later`, until cancelled."""
        while True:
            await self._is_asked.wait()
            while self._later:
                await self.through(self._later.popleft())
            self._is_asked.clear()
