"""Steps of the host's clock, which are said and counted (design section 14)."""

import asyncio
from collections.abc import Callable
from typing import Final

from structlog.typing import FilteringBoundLogger

from consumer.clock import Clock, Moment

STEP_SECONDS: Final = 30.0
"""A clock that is set by less is only corrected."""

LOOK_SECONDS: Final = 5.0


def step_between(before: Moment, now: Moment) -> float:
    """By how many seconds the wall clock was set between two moments; 0 for what is no step."""
    step = (now.wall - before.wall) - (now.monotonic - before.monotonic)
    return step if abs(step) > STEP_SECONDS else 0.0


async def watch_clock(clock: Clock, stepped: Callable[[], None], log: FilteringBoundLogger) -> None:
    """Log each step of the wall clock, and tell ``stepped``, until cancelled."""
    before = clock.moment()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = clock.moment()
        if step := step_between(before, now):
            log.warning("clock_stepped", seconds=round(step, 1))
            stepped()
        before = now
