"""Delays answers, many at once and with little CPU."""

import asyncio
import math

TICKS = 20
"""Answers leave in batches, so many in one latency, so that they do not wake the event loop one by one."""


class Latency:
    """Delays every answer by ``seconds``, or up to a twentieth of that longer."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._tick = seconds / TICKS
        self._batches: dict[int, asyncio.Event] = {}

    async def pass_by(self) -> None:
        """Wait for the delay of one answer."""
        if not self._seconds:
            return
        loop = asyncio.get_running_loop()
        number = math.ceil((loop.time() + self._seconds) / self._tick)
        batch = self._batches.get(number)
        if batch is None:
            batch = self._batches[number] = asyncio.Event()
            loop.call_at(number * self._tick, self._release, number)
        await batch.wait()

    def _release(self, number: int) -> None:
        self._batches.pop(number).set()
