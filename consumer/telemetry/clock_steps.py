"""Logs and counts steps of the host's clock (design section 14)."""

import asyncio
from collections.abc import Callable
from typing import Final

from structlog.typing import FilteringBoundLogger

from consumer.timing.clock import Clock, Moment

STEP_SECONDS: Final = 30.0
"""A change by less is an ordinary correction of the clock, not a step."""

LOOK_SECONDS: Final = 5.0


def step_between(before: Moment, now: Moment) -> float:
    """By how many seconds the wall clock was stepped between two moments; 0 without a step."""
    step = (now.wall - before.wall) - (now.monotonic - before.monotonic)
    return step if abs(step) > STEP_SECONDS else 0.0


async def watch_clock(clock: Clock, stepped: Callable[[], None], log: FilteringBoundLogger) -> None:
    """Log each step of the wall clock, and call ``stepped`` for each, until cancelled."""
    before = clock.moment()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = clock.moment()
        if step := step_between(before, now):
            log.warning("clock_stepped", seconds=round(step, 1))
            stepped()
        before = now
