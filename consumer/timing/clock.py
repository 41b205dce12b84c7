"""The two clocks of the service. They are passed in, so that tests can control them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from msgspec import Struct

_monotonic: Callable[[], float] = time.monotonic
"""Seconds that never run back and, where the system has such a clock, go on while the machine is suspended: a member
must notice that it was stopped before it sends anything, whether its process or its machine was stopped."""
if hasattr(time, "CLOCK_BOOTTIME"):
    _monotonic = partial(time.clock_gettime, time.CLOCK_BOOTTIME)


class Moment(Struct, frozen=True, gc=False):
    """One moment by both clocks, in seconds."""

    wall: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class Clock:
    """``wall`` is seconds since the epoch by the system's clock, which may be wrong: no promise depends on it.
    ``monotonic`` is seconds that never run back, for waits, proofs and quiet."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]

    def moment(self) -> Moment:
        """This moment by both clocks."""
        return Moment(self.wall(), self.monotonic())

    @classmethod
    def system(cls) -> "Clock":
        """This machine's clocks."""
        return cls(time.time, _monotonic)
