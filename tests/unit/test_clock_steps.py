"""Steps of the wall clock: seen, whatever else passes, and told once each."""

from typing import Any

import pytest

from consumer.telemetry.clock_steps import LOOK_SECONDS, step_between, watch_clock
from consumer.timing.clock import Clock, Moment
from tests.support.loop import VirtualLoop


@pytest.mark.parametrize(
    ("wall", "monotonic", "step"),
    [(5.0, 5.0, 0.0), (35.1, 5.0, 30.1), (35.0, 5.0, 0.0), (-3595.0, 5.0, -3600.0), (3600.0, 3600.0, 0.0)],
)
def test_a_step_is_what_the_wall_clock_has_gone_more_than_the_monotonic_one(
    wall: float, monotonic: float, step: float
) -> None:
    assert step_between(Moment(1e9, 7.0), Moment(1e9 + wall, 7.0 + monotonic)) == pytest.approx(step)


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))


def test_each_step_is_told_once() -> None:
    loop, log, counted = VirtualLoop(), Log(), list[None]()
    ahead = 0.0
    clock = Clock(lambda: 1e9 + loop.time() + ahead, loop.time)
    watching = loop.create_task(watch_clock(clock, lambda: counted.append(None), log))  # type: ignore[arg-type]
    loop.advance(10 * LOOK_SECONDS)
    assert counted == []
    for moved in (31_536_000.0, 31_536_010.0, 0.0):
        ahead = moved
        loop.advance(3 * LOOK_SECONDS)
    assert [fields["seconds"] for _, fields in log.lines] == [31_536_000.0, -31_536_010.0]
    assert len(counted) == 2
    watching.cancel()
    loop.settle()
