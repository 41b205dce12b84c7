"""Whether this process itself is punctual: it is the provider and the clock of a run, and shares its machine."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.chaos.happened import Window

EVERY_SECONDS = 0.1
UNPUNCTUAL_SECONDS = 0.25
"""So late it is in the way of pages: the machine has no time for the members either."""


@dataclass
class Punctuality:
    """``longest`` is the most that the event loop was late, ``windows`` when it was too late to judge others."""

    longest: float = 0.0
    windows: list[Window] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Watch for the length of the block."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def _watch(self) -> None:
        while True:
            begun, due = time.time(), time.monotonic() + EVERY_SECONDS
            await asyncio.sleep(EVERY_SECONDS)
            late = time.monotonic() - due
            self.longest = max(self.longest, late)
            if late > UNPUNCTUAL_SECONDS:
                self.windows.append(Window(begun, time.time()))
