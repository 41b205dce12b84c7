"""The lag of the event loop: the longest is known for a minute, and one of a second is told."""

import asyncio
import time
from typing import Any

from consumer.telemetry.lag import LOOK_SECONDS, TELL_SECONDS, WINDOW_SECONDS, LoopLag
from tests.support.loop import VirtualLoop


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def warning(self, name: str, **fields: Any) -> None:
        self.lines.append((name, fields))


def lag_of(now: list[float]) -> tuple[LoopLag, Log]:
    log: Any = Log()
    return LoopLag(log, lambda: now[0]), log


def test_the_longest_of_the_last_minute() -> None:
    now = [1000.0]
    lag, _ = lag_of(now)
    assert lag.longest == 0
    for seconds in (0.01, 0.3, 0.02):
        lag.note(seconds, now[0])
    assert lag.longest == 0.3
    now[0] += WINDOW_SECONDS
    lag.note(0.05, now[0])
    assert lag.longest == 0.3, "whoever asks once a minute finds it"
    now[0] += WINDOW_SECONDS / 4
    assert lag.longest == 0.05
    now[0] += 2 * WINDOW_SECONDS
    assert lag.longest == 0, "even where nothing has been noted since"


def test_nothing_is_kept_for_longer() -> None:
    now = [0.0]
    lag, _ = lag_of(now)
    for _ in range(100_000):
        now[0] += LOOK_SECONDS
        lag.note(0.001, now[0])
    assert len(lag._parts) <= 8


def test_a_long_lag_is_told() -> None:
    lag, log = lag_of([0.0])
    lag.note(TELL_SECONDS * 0.99, 0.0)
    assert log.lines == []
    lag.note(TELL_SECONDS, 0.0)
    assert log.lines == [("event_loop_lagged", {"seconds": TELL_SECONDS})]


def test_a_loop_that_is_never_late_has_no_lag() -> None:
    loop = VirtualLoop()
    log: Any = Log()
    lag = LoopLag(log, loop.time)
    task = loop.create_task(lag.run())
    loop.advance(10)
    assert lag.longest < 1e-6
    task.cancel()
    loop.settle()


async def test_a_step_that_takes_long_is_seen() -> None:
    log: Any = Log()
    lag = LoopLag(log)
    task = asyncio.create_task(lag.run())
    await asyncio.sleep(2 * LOOK_SECONDS)
    time.sleep(0.2)  # noqa: ASYNC251 (which is what is measured)
    await asyncio.sleep(2 * LOOK_SECONDS)
    task.cancel()
    assert lag.longest >= 0.2 - LOOK_SECONDS - 0.001
