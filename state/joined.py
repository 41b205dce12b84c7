"""An alert that is handed over to the key's new home, and one that the home has already (design section 17, rule 6).

Both tell of one problem: the old home's of what came there, the new one's of what came here meanwhile. Pure functions,
as those of `state.alert`.
"""

from dataclasses import replace

from state.alert import Alert, Owed, Status, Told, over

ELSEWHERE = -1
"""The offset of what is owed because of events of another partition: before all of this one. So it counts as inherited,
which it is: the old home may have sent it."""


def handed_over(alert: Alert) -> Alert:
    """The alert as its new home takes it: what it owes holds no offset of the home's log."""
    owed = alert.owed
    if owed is None:
        return alert
    return replace(alert, owed=replace(owed, first_offset=ELSEWHERE, last_offset=ELSEWHERE, holds=None))


def joined(own: Alert | None, handed: Alert, over_at: float | None = None) -> Alert | None:
    """What the home knows of the key, now that it is handed an alert.

    ``own`` is the alert that it has already, None if it has none. ``over_at`` is the event time of the latest end that
    the home has been told of meanwhile: what has occurred only before that is over. None: the alert is gone.
    """
    handed = handed_over(handed)
    alert = handed if own is None else _joined(own, handed)
    if alert.status is not Status.RESOLVING and over_at is not None and alert.last_seen <= over_at:
        return over(alert)
    return alert


def left_route(own: Alert | None, handed: Alert) -> str | None:
    """The route that the joined alert does not go on with, and through which it may have an incident as well."""
    if own is None or own.route is None or handed.route is None or own.route == handed.route:
        return None
    return own.route if _is_older(handed, own) else handed.route


def _joined(own: Alert, handed: Alert) -> Alert:
    is_over = _is_over(own, handed)
    live = [alert for alert in (own, handed) if alert.status is not Status.RESOLVING]
    status, is_acknowledging = (Status.RESOLVING, False) if is_over else _taken_by_somebody(live)
    owed, is_repeat_due = _owed(own.owed, handed.owed)
    if is_over and owed is not None and owed.repeat:
        owed = None  # it was to keep the incident open
    # The resolve of the one that is resolving may be under way, and land behind what is told of the other.
    may_be_resolved = not is_over and len(live) == 1
    later = handed if handed.last_seen > own.last_seen else own
    return replace(
        _with_the_route(own, handed),  # and with all else that belongs to its incident
        status=status,
        session_id=own.session_id or handed.session_id,
        occurrences=own.occurrences + handed.occurrences,
        first_seen=min(own.first_seen, handed.first_seen),
        last_seen=max(own.last_seen, handed.last_seen),
        decided=max(own.decided, handed.decided),
        highest=max(own.highest, handed.highest),
        told=_told(own.told, handed.told),
        has=not is_over and any(alert.has for alert in live),
        unsettled=own.unsettled or handed.unsettled or may_be_resolved or is_repeat_due,
        owed=owed,
        acknowledging=is_acknowledging,
        failed=0,
        overflow=max((each.overflow for each in (own, handed) if each.overflow is not None), default=None),
        key=later.key,
    )


def _is_over(own: Alert, handed: Alert) -> bool:
    """What is over is so with all that occurred before; what occurred later, or at the same time, is live."""
    match own.status is Status.RESOLVING, handed.status is Status.RESOLVING:
        case True, False:
            return own.last_seen > handed.last_seen
        case False, True:
            return handed.last_seen > own.last_seen
        case is_own, _:
            return is_own


def _taken_by_somebody(live: list[Alert]) -> tuple[Status, bool]:
    """Whether the problem is acknowledged, or to be: it is not if it has become worse than what somebody has taken."""
    highest = max(alert.highest for alert in live)
    taken = [alert for alert in live if alert.highest >= highest]
    if any(alert.status is Status.ACKNOWLEDGED for alert in taken):
        return Status.ACKNOWLEDGED, False
    return Status.OPEN, any(alert.acknowledging for alert in taken)


def _is_older(one: Alert, other: Alert) -> bool:
    return one.first_seen < other.first_seen


def _with_the_route(own: Alert, handed: Alert) -> Alert:
    """The older alert, or the one that has a route: there the incident is."""
    older, younger = (own, handed) if _is_older(own, handed) else (handed, own)
    return younger if older.route is None and younger.route is not None else older


def _told(own: Told | None, handed: Told | None) -> Told | None:
    if own is None or handed is None:
        return own or handed
    later = handed if handed.at > own.at else own
    return Told(max(own.severity, handed.severity), later.at, later.date)


def _owed(own: Owed | None, handed: Owed | None) -> tuple[Owed | None, bool]:
    """What is owed of both, and whether a repeat was among it whose place something else takes."""
    if own is None or handed is None:
        return own or handed, False
    if own.repeat != handed.repeat:
        return (handed if own.repeat else own), True
    first, second = (handed, own) if handed.since < own.since else (own, handed)
    worst = second if second.severity > first.severity else first
    attempts = [each for each in (own.first_attempt, handed.first_attempt) if each is not None]
    last_attempts = [each for each in (own.last_attempt, handed.last_attempt) if each is not None]
    return Owed(
        worst.record,
        worst.severity,
        first.since,
        min(own.first_offset, handed.first_offset),
        max(own.last_offset, handed.last_offset),
        own.occurrences + handed.occurrences,
        max(own.attempts, handed.attempts),
        min(attempts, default=None),
        max(last_attempts, default=None),
        own.repeat and handed.repeat,
        own.holds,
    ), False
