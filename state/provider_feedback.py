"""What people do at the provider, and what that makes of an alert (design section 20).

Pure, as `state.occurrences` is. What comes back comes late, repeated, out of order, or not at all. So it is
placed by the provider's own times: that of what has happened, and the ``Date`` of the last trigger that it accepted.
Where these leave the order open, the trigger is repeated, for a page too many is better than one that does not come.
But once only, as long as nothing occurs: else a program that resolves every incident at once would have each page
repeated without end.
"""

from dataclasses import dataclass
from enum import Enum
from math import inf, nextafter

from msgspec import Struct
from msgspec.structs import replace

from state.alert import NOTHING_HEARD, Alert, Ending, Heard, Notified, Owed, Status
from state.held import not_silenced, untold, without_held
from state.occurrences import ELSEWHERE
from state.violation import Record

DATE_SECONDS = 1.0
"""How many seconds a ``Date`` can be off: it has whole seconds."""


class What(Enum):
    """What has happened to an incident at the provider."""

    ACKNOWLEDGED = "acknowledged"
    UNACKNOWLEDGED = "unacknowledged"
    RESOLVED = "resolved"
    REOPENED = "reopened"
    REASSIGNED = "reassigned"
    ANNOTATED = "annotated"
    PRIORITY_CHANGED = "priority_changed"


_CHANGES = frozenset({What.ACKNOWLEDGED, What.UNACKNOWLEDGED, What.RESOLVED, What.REOPENED})
"""The happenings that change the alert; all others only stand in its history."""


class Happened(Struct, frozen=True, gc=False):
    """One thing that has happened at the provider, ``at`` a time by its clock, in seconds since the epoch.

    ``incident`` is the provider's id of the incident, and ``opened`` is when that was opened, by the same clock; each
    is None if the provider did not say. ``by_integration``: a program did it through the provider's API for events, as
    this service does, and no person.
    """

    what: What
    at: float
    incident: str | None = None
    by_integration: bool = False
    opened: float | None = None


class Why(Enum):
    """Why something that has happened changes nothing."""

    HISTORY = "it is for the history only"
    OLDER = "something that happened later was heard of before"
    BEFORE = "it is from before the last trigger that the provider accepted"
    OTHER_INCIDENT = "it is about an older incident"
    ECHO = "this service has resolved it"
    RESOLVING = "the alert is being resolved"
    UNTOLD = "the provider has not accepted this life of the alert yet"


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing changes; ``alert`` is the alert with the note that this was heard, None if that is of no use."""

    why: Why
    alert: Alert | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """The alert afterwards; None: it is gone."""

    alert: Alert | None


@dataclass(frozen=True, slots=True)
class TellAgain:
    """The alert lives, and its provider may have no incident of it any more: the event that was told last is to be told
    again, for which its record is needed (`told_again`). ``is_repeat``: the incident may still be there."""

    is_repeat: bool


def happened(alert: Alert, it: Happened, timeout_seconds: float) -> Ignored | Applied | TellAgain:
    """What this makes of the alert. ``timeout_seconds``: for so long may a request still land."""
    if (why := _why_ignored(alert, it)) is not None:
        if why is Why.BEFORE and _was_taken_before(alert, it):
            return Applied(replace(alert, status=Status.OPEN, heard=replace(_heard(alert, it), incident=None)))
        return Ignored(why, _with_note(alert, it) if why in (Why.RESOLVING, Why.UNTOLD) else None)
    if it.what is not What.RESOLVED:
        status = Status.ACKNOWLEDGED if it.what is What.ACKNOWLEDGED else Status.OPEN
        acknowledging = alert.acknowledging and status is not Status.ACKNOWLEDGED
        return Applied(replace(alert, status=status, acknowledging=acknowledging, heard=_heard(alert, it)))
    if alert.owed is not None:
        # It is never taken away. What it opens nobody has taken, and is new to the provider.
        return Applied(_closed(alert, it))
    told = alert.last_notified
    assert told is not None  # else it was ignored
    if told.date is None or alert.unsettled or _may_be_of_left(told, it):
        return TellAgain(is_repeat=True)
    if it.at <= told.date + DATE_SECONDS + timeout_seconds:
        if (alert.heard or NOTHING_HEARD).repeated != not_silenced(alert):
            return TellAgain(is_repeat=True)
        # What was repeated is over as well, and nothing has occurred since. It may land yet: so a resolve follows.
        return Applied(_resolving(alert, it))
    if _has_occurred_since(alert, it.at):
        return Applied(_silenced(alert, it)) if _is_silenced_since(alert, told, it) else TellAgain(is_repeat=False)
    if alert.former:  # there are incidents elsewhere, which are over with it
        return Applied(
            replace(
                _closed(alert, it),
                status=Status.RESOLVING,
                route=None,
                integration=None,
                last_notified=None,
                ended_by=Ending.PROVIDER,
            )
        )
    return Applied(None)


def told_again(alert: Alert, it: Happened, record: Record, is_repeat: bool, now: float) -> Alert:
    """The alert as it is after `TellAgain`: it owes the trigger of the event that was told last, whose ``record`` this
    is. ``now`` is in seconds since the epoch.

    What the provider has resolved was one life of the key, and this begins another, unless it is only a repeat.
    """
    told, source = alert.last_notified, alert.source
    assert told is not None
    owed = Owed(
        record,
        told.severity,
        now,
        ELSEWHERE,
        ELSEWHERE,
        repeat=is_repeat,
        guard=None if source is None else source.guard,
        tenant=None if source is None else source.tenant,
    )
    closed = _closed(alert, it)
    heard = replace(closed.heard or NOTHING_HEARD, repeated=not_silenced(alert) if is_repeat else None)
    if is_repeat:
        return replace(closed, owed=owed, is_at_provider=alert.is_at_provider, heard=heard, held=alert.held)
    begun = now if now != alert.begun else nextafter(now, inf)
    return replace(closed, owed=owed, begun=begun, heard=heard)


def _why_ignored(alert: Alert, it: Happened) -> Why | None:
    heard, told = alert.heard or NOTHING_HEARD, alert.last_notified
    if it.what not in _CHANGES:
        return Why.HISTORY
    if heard.at is not None and it.at < heard.at:
        return Why.OLDER
    if it.what is not What.RESOLVED and _is_before_ours(heard, it):
        return Why.OLDER
    if it.what is What.RESOLVED and it.by_integration and _has_sent_resolve(alert):
        return Why.ECHO
    if alert.status is Status.RESOLVING:
        return Why.RESOLVING
    if told is None or not alert.is_at_provider:
        return Why.UNTOLD
    # Of what is surely earlier nothing is taken; a resolve is doubted, and not ignored, for some time before that.
    doubted = DATE_SECONDS if it.what is What.RESOLVED else 0.0
    if told.date is not None and it.at < told.date - doubted and not _takes_back(alert, heard, it):
        return Why.BEFORE
    if _is_of_other_incident(heard, it, told.date):
        return Why.OTHER_INCIDENT
    # Whoever has taken another incident may not have seen this one. (A resolve is doubted.)
    if it.what is What.ACKNOWLEDGED and _may_be_of_left(told, it):
        return Why.OTHER_INCIDENT
    return None


def _takes_back(alert: Alert, heard: Heard, it: Happened) -> bool:
    """Whether nobody has taken the incident any more of which the provider has said before that somebody has."""
    is_taken = alert.status is Status.ACKNOWLEDGED and heard.at is not None and heard.at < it.at
    return is_taken and it.what in (What.UNACKNOWLEDGED, What.REOPENED)


def _is_before_ours(heard: Heard, it: Happened) -> bool:
    """Whether the provider has accepted an acknowledge of this service after that."""
    return heard.acknowledged is not None and it.at < heard.acknowledged


def _was_taken_before(alert: Alert, it: Happened) -> bool:
    """Whether what somebody had taken was resolved before the last accepted trigger, which has opened another."""
    return (
        it.what is What.RESOLVED
        and alert.status is Status.ACKNOWLEDGED
        and not _is_before_ours(alert.heard or NOTHING_HEARD, it)
    )


def _has_sent_resolve(alert: Alert) -> bool:
    """Whether a resolve was sent since the last accepted trigger, or may be under way: about an incident that the alert
    has left."""
    is_under_way = any(not one.until_over for one in alert.former)
    return is_under_way or (alert.heard is not None and alert.heard.sent_resolve)


def _may_be_of_left(told: Notified, it: Happened) -> bool:
    """Whether it may be about an incident that the alert has left at another integration: one that was opened before
    the first trigger was accepted here, or of which the provider does not say when it was opened."""
    return told.left is not None and (it.opened is None or it.opened < told.left - DATE_SECONDS)


def _is_of_other_incident(heard: Heard, it: Happened, date: float | None) -> bool:
    """Whether it is about another incident than the one that is there since the last accepted trigger, as far as that
    one's id was heard since."""
    if heard.incident is None or it.incident is None or heard.at is None or date is None:
        return False
    return heard.at >= date and heard.incident != it.incident


def _has_occurred_since(alert: Alert, at: float) -> bool:
    """Whether an occurrence was suppressed after the provider's time ``at``. It may have been so before the answer was
    heard, which is that of the last of the notification's requests, and they may wait.

    Each clock is compared with itself: how long after the request that was accepted, by ours, and after the acceptance,
    by the provider's. That cannot have been before the request left, and its whole seconds count for the occurrence.
    Where our clock was put back meanwhile, it may be so.
    """
    told = alert.last_notified
    assert told is not None  # else it was ignored
    assert told.date is not None  # else it is told again
    decided, sent_at = alert.decided, told.at if told.sent_at is None else min(told.sent_at, told.at)
    if told.occurrences is not None:
        if alert.occurrences <= told.occurrences:
            decided = min(decided, told.at)  # the answer was heard behind it
        elif decided < told.at:
            return True
    return decided - sent_at > at - told.date - DATE_SECONDS


def _is_silenced_since(alert: Alert, told: Notified, it: Happened) -> bool:
    """Whether all that has occurred since this happened is silenced; where that is not known, all since the provider
    was told last."""
    if alert.held is None:
        return False
    if (before := without_held(alert)) is not None:
        return not _has_occurred_since(before, it.at)
    return told.occurrences is not None and not_silenced(alert) <= told.occurrences


def _with_note(alert: Alert, it: Happened) -> Alert | None:
    """The alert with the note that its incident is nobody's, or resolved: an acknowledge from before that may be heard
    later, when the provider has accepted the next trigger, within the same second."""
    if it.what is What.ACKNOWLEDGED:
        return None
    heard = alert.heard or NOTHING_HEARD
    incident = None if it.what is What.RESOLVED else heard.incident
    at = it.at if heard.at is None else max(heard.at, it.at)
    return replace(alert, heard=replace(heard, at=at, incident=incident))


def _resolving(alert: Alert, it: Happened) -> Alert:
    """The alert without its incident, to be resolved before what was silenced since."""
    resolving = replace(_closed(alert, it), status=Status.RESOLVING, ended_by=Ending.PROVIDER)
    if alert.held is None or not _has_occurred_since(alert, it.at):
        return resolving
    return replace(resolving, occurrences=not_silenced(alert), held=alert.held)


def _silenced(alert: Alert, it: Happened) -> Alert:
    """The alert without its incident, and silenced: another life of its key."""
    begun = it.at if alert.begun is None else nextafter(alert.begun, inf)
    return replace(_closed(alert, it), last_notified=None, begun=begun, held=alert.held)


def _heard(alert: Alert, it: Happened) -> Heard:
    heard = alert.heard or NOTHING_HEARD
    return replace(heard, at=it.at, incident=it.incident or heard.incident)


def _closed(alert: Alert, it: Happened) -> Alert:
    """The alert after its incident was closed. It has no incident, and no longer the silenced occurrences that counted
    into that one. If the same closing is told again, it is older than what the alert has heard, and is ignored. The
    next incident has another id."""
    heard = replace(_heard(alert, it), at=nextafter(it.at, inf), incident=None)
    return replace(
        alert, status=Status.OPEN, acknowledging=False, is_at_provider=False, failed=0, heard=heard, held=untold(alert)
    )
