"""What all parts of a simulation share: virtual time, the trace of what has happened, the first broken promise."""

from consumer.timing.clock import Clock
from tests.support.loop import VirtualLoop

EPOCH = 1_800_000_000.0
"""The true time, in seconds since the epoch, when the virtual loop says 0."""


class BrokenPromise(AssertionError):
    """What was promised, and the walk that broke it."""


class World:
    """The loop on which everything runs, and what is said about it.

    ``skew`` is by how many seconds the wall clock of the member is wrong; ``clock`` is that clock.
    """

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.skew = 0.0
        self.clock = Clock(wall=lambda: self.true_time() + self.skew, monotonic=self.loop.time)
        self.trace: list[str] = []
        self._broken: str | None = None

    def true_time(self) -> float:
        """Seconds since the epoch, by a clock that is right."""
        return EPOCH + self.loop.time()

    def say(self, what: str) -> None:
        """Write a line to the trace."""
        self.trace.append(f"{self.loop.time() - 1000:6.1f} {what}")

    def breaks(self, promise: str, what: str) -> None:
        """Note that a promise was broken; the first one is kept, for the others may follow from it."""
        if self._broken is None:
            self._broken = f"{promise}: {what}"

    def check(self) -> None:
        """Raises `BrokenPromise` if a promise was broken, or if something on the loop has failed."""
        if self.loop.errors:
            self.breaks("a fault", repr(self.loop.errors[0]))
        if self._broken is not None:
            raise BrokenPromise("\n  ".join([self._broken, *self.trace]))
