"""What somebody has seen of an alert, and what is news since then (design section 8).

Who commands something about an alert means what was shown. By the time that the command is taken, the alert may be
another: it was over, and has come back; or it is worse. Pure, and no clock is asked: times are compared with times that
the alert itself has had.
"""

from collections.abc import Collection
from enum import Enum

from msgspec import Struct

from state.alert import Alert
from state.violation import Severity


class News(Enum):
    """What has become of an alert since somebody has seen it."""

    CAME_BACK = "it has come back since"
    """What was seen is over: this is another life of its key."""
    GOT_WORSE = "it has got worse since"
    """It is of a higher severity."""
    OCCURRED = "it has occurred again since"


class Seen(Struct, frozen=True, gc=False):
    """An alert as it was seen: what tells its life from others, and how bad it was. See `Alert`."""

    begun: float | None
    first_seen: float
    last_seen: float
    occurrences: int
    highest: Severity


def seen_of(alert: Alert) -> Seen:
    """What is seen of an alert."""
    return Seen(alert.begun, alert.first_seen, alert.last_seen, alert.occurrences, alert.highest)


def news(alert: Alert, seen: Collection[Seen]) -> News | None:
    """What an operator cannot have meant who has ``seen`` these alerts of its key, of which there can be several.

    That it has occurred more often is none of that.
    """
    known = _of_its_life(alert, seen)
    if not known:
        return News.CAME_BACK
    return News.GOT_WORSE if alert.highest > max(one.highest for one in known) else None


def last_seen(alert: Alert, seen: Collection[Seen]) -> float | None:
    """The event time of the last occurrence of the alert that was seen; None if it was not."""
    return max((one.last_seen for one in _of_its_life(alert, seen)), default=None)


def _of_its_life(alert: Alert, seen: Collection[Seen]) -> list[Seen]:
    return [one for one in seen if _is_of_its_life(alert, one)]


def _is_of_its_life(alert: Alert, seen: Seen) -> bool:
    if alert.begun is not None:
        return alert.begun == seen.begun
    # The state of a release that does not say when a life has begun: within one, counts only grow, and the first
    # occurrence only moves back.
    return alert.first_seen <= seen.first_seen and alert.occurrences >= seen.occurrences
