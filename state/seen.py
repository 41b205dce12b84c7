"""What an operator has seen of an alert, and what is news since then (design section 8).

An operator's command is about the alert as it was shown. When the task takes the command, the alert may be another: it
was over and has come back, or its severity has risen. Pure and without a clock: times are compared only with times that
the alert itself has had.
"""

from collections.abc import Collection
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from state.alert import Alert, Status
from state.held import with_held_counted
from state.violation import Severity


class News(Enum):
    """What has happened to an alert since an operator has seen it."""

    CAME_BACK = "it has come back since"
    """The alert that was seen is over: the alert of today is another life of its key."""
    GOT_WORSE = "it has got worse since"
    """The alert is of a higher severity than any that was seen."""
    OCCURRED = "it has occurred again since"
    """The alert has had an occurrence later than the command and than what was seen; only a resolve minds that."""


class Seen(Struct, frozen=True, gc=False):
    """An alert as it was seen: the facts that tell this life of its key from others, and its severity. See `Alert`."""

    begun: float | None
    first_seen: float
    last_seen: float
    occurrences: int
    highest: Severity


def seen_of(alert: Alert) -> Seen:
    """The alert as an operator sees it now."""
    alert = with_silenced(alert)
    return Seen(alert.begun, alert.first_seen, alert.last_seen, alert.occurrences, alert.highest)


def with_silenced(alert: Alert) -> Alert:
    """The alert with all that has occurred of it: also what has been silenced while it is resolving, and does not count
    yet. Whatever ends the alert then ends that, too."""
    held = alert.held
    if held is None or alert.status is not Status.RESOLVING:
        return alert
    return replace(with_held_counted(alert), highest=max(alert.highest, held.severity))


def news(alert: Alert, seen: Collection[Seen]) -> News | None:
    """The news about the alert for an operator who has ``seen`` these alerts of its key; None if there is none.

    There can be an alert of the key in each of several partitions. That the alert has occurred more often is no news.
    """
    alert = with_silenced(alert)
    known = _of_its_life(alert, seen)
    if not known:
        return News.CAME_BACK
    return News.GOT_WORSE if alert.highest > max(one.highest for one in known) else None


def last_seen(alert: Alert, seen: Collection[Seen]) -> float | None:
    """The event time of the alert's last occurrence that was seen; None if this life of its key was not seen."""
    return max((one.last_seen for one in _of_its_life(alert, seen)), default=None)


def _of_its_life(alert: Alert, seen: Collection[Seen]) -> list[Seen]:
    return [one for one in seen if _is_of_its_life(alert, one)]


def _is_of_its_life(alert: Alert, seen: Seen) -> bool:
    if alert.begun is not None:
        return alert.begun == seen.begun
    # The state of a release that did not keep when a life began. Within one life the number of occurrences only grows,
    # and the time of the first occurrence only moves back.
    return alert.first_seen <= seen.first_seen and alert.occurrences >= seen.occurrences
