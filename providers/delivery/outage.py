"""An outage of one integration: since when it accepts nothing, and whether that is to be told (design section 13).
Pure; the monotonic clock comes as an argument.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

LASTING_SECONDS: Final = 10.0
"""If nothing is accepted for so many seconds after a failure, that is told as an outage, however lately the last one
was."""

CALM_SECONDS: Final = 60.0
"""A failure within so many seconds after the last failure is not told as a new outage. Else a provider that refuses one
request in twenty would begin to fail, and work again, every few seconds."""


class Condition(Enum):
    """What can be wrong with a route."""

    REFUSED = "refused"
    """The provider refuses the route's key."""
    FAILING = "failing"
    """The provider accepts nothing through the route."""
    THROTTLED = "throttled"
    """The provider limits the rate, below what it should accept."""


@dataclass(frozen=True, slots=True)
class RouteTrouble:
    """What is wrong with a route, since when (seconds since the epoch), and what the provider said last.

    ``status`` is the HTTP status of its last answer; None if there was no answer.
    """

    route: str
    condition: Condition
    since: float
    reason: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed request for which no single alert is to blame. ``status`` is the HTTP status, None without an answer."""

    status: int | None
    reason: str


@dataclass(slots=True)
class Outage:
    """An outage, which began at ``since`` with its first failure; ``failures`` is how many there have been.
    ``is_told``: its beginning was told. ``by_check``: so far only checks of the key have failed."""

    since: float
    last: Failure
    failures: int = 1
    is_told: bool = False
    by_check: bool = False


class Outages:
    """Makes one outage of all failures between which nothing was accepted."""

    def __init__(self) -> None:
        self.current: Outage | None = None
        """The outage that goes on; None if there is none."""
        self._failed_at = float("-inf")

    def failed(self, failure: Failure, now: float, *, is_certain: bool = False, by_check: bool = False) -> bool:
        """A request has failed, and nothing has been accepted since the alert's first failed request left (or the
        check). Returns whether the beginning of an outage is to be told now. ``is_certain``: more than this failure
        shows the outage (an open breaker, a refusal)."""
        is_calm, self._failed_at = now >= self._failed_at + CALM_SECONDS, now
        outage = self.current
        if outage is None:
            outage = self.current = Outage(now, failure, by_check=by_check, is_told=is_calm)
            if is_calm:
                return True
        else:
            outage.last = failure
            outage.failures += 1
            outage.by_check &= by_check
        if not outage.is_told and (is_certain or now >= outage.since + LASTING_SECONDS):
            outage.is_told = True
            return True
        return False

    def over(self) -> Outage | None:
        """The outage is over: something was accepted, or no alert waits any more. Returns the outage if its beginning
        was told, else None."""
        outage, self.current = self.current, None
        return outage if outage is not None and outage.is_told else None

    def lasts(self, now: float) -> bool:
        """Whether there is an outage that has lasted for `LASTING_SECONDS`."""
        return self.current is not None and now >= self.current.since + LASTING_SECONDS
