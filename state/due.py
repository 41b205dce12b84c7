"""What an alert owes its provider next, and whether that is news (design section 8). Pure functions.

This module knows nothing of requests on the wire, checkpoints or caught-up partitions. Whoever sends what `due` says
keeps those rules (design section 6).
"""

from enum import Enum

from state.alert import Alert, Former, Owed, Status


class Due(Enum):
    """The notification that an alert owes the provider next."""

    TRIGGER = "trigger"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"
    RESOLVE_FORMER = "resolve_former"
    """The resolve of an incident at an integration that the alert has left."""


def due(alert: Alert) -> Due | None:
    """The notification that the alert owes next, None if it owes none. The caller sends a resolve only if a committed
    checkpoint holds the alert exactly as it is (design section 6.6).

    An incident at an integration that the alert has left is resolved once the alert has another incident, or is over;
    with `Former.until_over` only once the alert is over.
    """
    if alert.owed is not None:
        return Due.TRIGGER
    is_over = alert.status is Status.RESOLVING
    if is_over and (alert.route is not None or not alert.former):
        return Due.RESOLVE
    if alert.acknowledging:
        return Due.ACKNOWLEDGE
    return Due.RESOLVE_FORMER if former_due(alert) is not None else None


def former_due(alert: Alert) -> Former | None:
    """The first integration that the alert has left and whose incident may be resolved now; None if there is none."""
    if alert.status is Status.RESOLVING:
        return alert.former[0] if alert.former else None
    return next((one for one in alert.former if not one.until_over), None) if alert.is_at_provider else None


def owes(alert: Alert, sent: Owed) -> bool:
    """Whether the alert still owes the trigger that was ``sent``, with whatever has been counted into it since.

    False also if the sent trigger was accepted or given up meanwhile and the alert owes a newer one: an answer to the
    sent trigger is no answer to that."""
    return alert.owed is not None and alert.owed.since == sent.since


def needs_room(alert: Alert) -> bool:
    """Whether the trigger that the alert owes may stay owed only if its route has room: an earlier trigger of the alert
    was dead-lettered for want of room, and this one is of no higher severity."""
    return alert.owed is not None and alert.overflow is not None and alert.owed.severity <= alert.overflow


def is_new_problem(alert: Alert) -> bool:
    """Whether the trigger that the alert owes tells something new: a problem that the provider may not have, or a
    higher severity. After a resolve that may have landed, the provider may not have the problem any more.
    """
    owed, told = alert.owed, alert.last_notified
    assert owed is not None
    return not alert.is_at_provider or alert.unsettled or owed.repeat or told is None or owed.severity > told.severity
