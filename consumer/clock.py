"""The two clocks of the service, passed in so that tests can hold them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

_monotonic: Callable[[], float] = time.monotonic
"""Seconds that never run back and, where the system can tell, go on while it is suspended: whoever was asleep has to
find out before it speaks, whether its process or its machine was stopped."""
if hasattr(time, "CLOCK_BOOTTIME"):
    _monotonic = partial(time.clock_gettime, time.CLOCK_BOOTTIME)


def _steady_wall() -> Callable[[], float]:
    """Seconds since the epoch, read once and carried on by the monotonic clock: a system clock that is set while we run
    must neither make a live problem look quiet for an hour nor an old one new."""
    offset = time.time() - _monotonic()
    return lambda: offset + _monotonic()


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment by both clocks, in seconds."""

    wall: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class Clock:
    """``wall`` is seconds since the epoch; ``monotonic`` is seconds that never run back, for waits and proofs."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]

    def moment(self) -> Moment:
        """This moment by both clocks."""
        return Moment(self.wall(), self.monotonic())

    @classmethod
    def system(cls) -> "Clock":
        """This machine's clocks."""
        return cls(_steady_wall(), _monotonic)
