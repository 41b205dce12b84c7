"""The two clocks of the service, passed in so that tests can hold them."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """``wall`` is seconds since the epoch; ``monotonic`` is seconds that never run back, for waits and proofs."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
