"""An outage of one integration: since when nothing is taken through it, and who is told of that (design section 13).
Pure; the monotonic clock comes as an argument.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

LASTING_SECONDS: Final = 10.0
"""A failure behind which nothing is accepted for so long is an outage, whatever has been before."""

CALM_SECONDS: Final = 60.0
"""Within so long of an outage's last failure the next failure is no news: a provider that refuses one request in twenty
would otherwise begin to fail, and work again, every few seconds."""


class Condition(Enum):
    """What can be wrong with a route."""

    REFUSED = "refused"
    """The provider refuses its key."""
    FAILING = "failing"
    """Nothing is accepted through it."""
    THROTTLED = "throttled"
    """Less is accepted than should be."""


@dataclass(frozen=True, slots=True)
class RouteTrouble:
    """What is wrong with a route, since when (seconds since the epoch), and what the provider said last.

    ``status`` is that of its answer; None if there was none.
    """

    route: str
    condition: Condition
    since: float
    reason: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that takes nothing, by what no single alert is to blame for. ``status`` is None without an answer."""

    status: int | None
    reason: str


@dataclass(slots=True)
class Outage:
    """It began at ``since``, with the first failure, of which there have been ``failures``. ``is_told``: somebody knows
    of it. ``by_check``: so far only checks of the key have failed."""

    since: float
    last: Failure
    failures: int = 1
    is_told: bool = False
    by_check: bool = False


class Outages:
    """Makes one outage of the failures behind which nothing is accepted."""

    def __init__(self) -> None:
        self.current: Outage | None = None
        """The one that goes on."""
        self._failed_at = float("-inf")

    def failed(self, failure: Failure, now: float, *, is_certain: bool = False, by_check: bool = False) -> bool:
        """Nothing has been accepted since this failure's request first left. Whether somebody is to be told now that an
        outage has begun. ``is_certain``: many failures stand behind this one."""
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
        """Something was accepted, or nobody waits any more: gives the outage that is over, if somebody knows of it."""
        outage, self.current = self.current, None
        return outage if outage is not None and outage.is_told else None

    def lasts(self, now: float) -> bool:
        """Whether there is one that is more than a failure or two."""
        return self.current is not None and now >= self.current.since + LASTING_SECONDS
