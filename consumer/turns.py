"""Long work on the event loop, done in slices, so that everything else goes on meanwhile."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")

SLICE_SECONDS = 0.005

TURNS_BETWEEN = 4
"""Of the loop, between two slices: a request takes some twenty, and would have to wait for a slice at each. One in
which nobody else has anything to do takes 30 µs."""


class Turns:
    """Shares the event loop out among those who have long work to do: one slice at a time, of one of them.

    All tasks of a member have the same one: were each to take a slice of its own, ninety-six of them that begin at the
    same moment would hold up everything else for a second.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter, seconds: float = SLICE_SECONDS) -> None:
        self._clock = clock
        self._seconds = seconds
        self._spent = 0.0
        self._later: deque[Iterable[object]] = deque()
        self._is_asked = asyncio.Event()
        self._lock = asyncio.Lock()  # those who wait for it come in the order in which they asked

    async def take(self, items: Iterator[T]) -> list[T]:
        """As many of the items as can be made in one slice, or in what others have left of it; none if there are none.

        Where the slice is used up, others get their turn before the next one begins.
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
        """Do all of this work, which lets itself be interrupted after each of its items."""
        items = iter(work)
        while await self.take(items):
            pass

    def later(self, work: Iterable[object]) -> None:
        """Have this work done by `run`, for nobody waits for it."""
        self._later.append(work)
        self._is_asked.set()

    async def run(self) -> None:
        """Do what is to be done later, until cancelled."""
        while True:
            await self._is_asked.wait()
            while self._later:
                await self.through(self._later.popleft())
            self._is_asked.clear()
