"""Measures how long tasks that are ready have to wait because something else holds the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter

from structlog.typing import FilteringBoundLogger

LOOK_SECONDS = 0.01
"""Time between two looks. A longer hold of the loop is seen; it is measured too short by this much at most."""

WINDOW_SECONDS = 60.0
"""The longest lag of this time is kept, so that a Prometheus that scrapes once a minute does not miss it."""

TELL_SECONDS = 1.0
"""A lag of this length is logged: a proof of ownership and a heartbeat to Kafka's group are delayed by as much."""

_PARTS = 6
"""The window has this many parts; each is forgotten as a whole."""


class LoopLag:
    """Measures by how much the event loop is late, and keeps the longest of the last minute."""

    def __init__(self, log: FilteringBoundLogger, clock: Callable[[], float] = perf_counter) -> None:
        self._log = log
        self._clock = clock
        self._parts: deque[tuple[float, float]] = deque()  # when each began, and the longest since

    @property
    def longest(self) -> float:
        """The longest lag of the last minute, in seconds."""
        self._forget(self._clock())
        return max((lag for _, lag in self._parts), default=0.0)

    def note(self, lag: float, now: float) -> None:
        """Take note that at ``now`` the loop was late by ``lag`` seconds."""
        if not self._parts or now - self._parts[-1][0] >= WINDOW_SECONDS / _PARTS:
            self._parts.append((now, lag))
            self._forget(now)
        elif lag > self._parts[-1][1]:
            self._parts[-1] = self._parts[-1][0], lag
        if lag >= TELL_SECONDS:
            self._log.warning("event_loop_lagged", seconds=round(lag, 3))

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            before = self._clock()
            await asyncio.sleep(LOOK_SECONDS)
            now = self._clock()
            self.note(max(0.0, now - before - LOOK_SECONDS), now)

    def _forget(self, now: float) -> None:
        while self._parts and now - self._parts[0][0] > WINDOW_SECONDS + WINDOW_SECONDS / _PARTS:
            self._parts.popleft()
