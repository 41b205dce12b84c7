"""What a provider's answer to a trigger or a resolve makes of the alert, or that no answer came (design section 8).

Pure functions, like those of `state.occurrences`. This module knows nothing of requests on the wire or checkpoints.
Whoever calls `resolve_answered` keeps those rules (design section 6).
"""

from msgspec.structs import replace

from state.alert import NOTHING_HEARD, Alert, Heard, Notified, Owed, Source, Status, source
from state.due import former_due
from state.held import is_changed_by_silence_only, left_silenced, untold
from state.shared import shared


def trigger_accepted(
    alert: Alert, sent: Owed, route: str, date: float | None, now: float, sent_at: float | None = None
) -> Alert:
    """The provider has accepted the trigger that was ``sent`` at ``sent_at``, by our clock.

    Occurrences that were counted while the request was on the wire are suppressed into the alert that the provider now
    has, unless one is of higher severity than the sent trigger: then a trigger of that severity is owed.
    """
    resolving, heard = alert.status is Status.RESOLVING, alert.heard
    severity = (
        sent.severity
        if alert.last_notified is None or not alert.is_at_provider
        else max(alert.last_notified.severity, sent.severity)
    )
    unsettled, left = alert.unsettled, _never_sent(alert.owed, sent)
    if left is None and unsettled and not resolving:
        left, unsettled = replace(sent, since=now, attempts=0, repeat=True, last_status=None, last_error=None), False
    return replace(
        alert,
        route=route,
        last_notified=Notified(severity, now, date, sent.record.offset, alert.occurrences, _left(alert, date), sent_at),
        is_at_provider=not resolving,
        unsettled=unsettled,
        owed=left,
        overflow=None,
        source=_source_of(sent),
        heard=None if heard is None else _heard_before(heard, alert),
        held=alert.held if resolving else None,
    )


def _heard_before(heard: Heard, alert: Alert) -> Heard:
    """What was heard before the provider has accepted a trigger of the alert, into which what is held is counted."""
    repeated = heard.repeated
    if repeated is not None and alert.held is not None and alert.status is not Status.RESOLVING:
        repeated += alert.held.occurrences
    return replace(heard, sent_resolve=False, repeated=repeated)


def _left(alert: Alert, date: float | None) -> float | None:
    """`Notified.left` of the alert, one of whose triggers was accepted at ``date``: that of the first trigger that its
    integration has accepted, where the alert has left an incident at another."""
    if alert.last_notified is not None:
        return alert.last_notified.left
    return date if any(not one.until_over for one in (*alert.former, *alert.orphans)) else None


def trigger_attempted(
    alert: Alert, route: str, unknown: bool, now: float, status: int | None = None, error: str | None = None
) -> Alert:
    """An attempt to send the owed trigger was not accepted: because of ``error`` (without secrets, at most
    `LONGEST_ERROR` characters), and with the HTTP ``status`` if there was an answer.

    ``unknown``: the request may still land. Then the alert stays with this route, if it has none yet.
    """
    owed = alert.owed
    if owed is not None:
        first_attempt = now if owed.first_attempt is None else owed.first_attempt
        owed = replace(
            owed,
            attempts=owed.attempts + 1,
            first_attempt=first_attempt,
            last_attempt=now,
            last_status=status,
            last_error=None if error is None else shared(error),  # in an outage all alerts have the same error
        )
    return replace(alert, route=route if unknown and alert.route is None else alert.route, owed=owed)


def trigger_refused(alert: Alert, sent: Owed, now: float) -> tuple[Alert | None, Owed]:
    """The trigger that was ``sent``, and that the alert still `owes`, was rejected or is given up. Returns the alert
    afterwards, and what to dead-letter.

    Occurrences that were counted meanwhile go into the dead letter, unless they are of higher severity: that severity
    was never sent and stays owed.

    Where the provider has the alert, the trigger was an update of it. The alert then counts as told at that severity
    until it is due to be told again; else each further event would make one more dead letter.

    Where the provider may have an incident that we do not know of, the alert stays (design section 8): the next event
    triggers anew, and the end of the threat is told, so that no incident stays open.
    """
    owed, left = alert.owed, _never_sent(alert.owed, sent)
    assert owed is not None
    if left is None:
        dead = replace(owed, record=sent.record)
    else:
        attempts = owed.attempts, owed.first_attempt, owed.last_attempt
        dead = replace(sent, attempts=attempts[0], first_attempt=attempts[1], last_attempt=attempts[2])
    # Where a resolve may still land, it is not known whether the provider has the alert, and no trigger is repeated.
    if left is not None or (alert.is_at_provider and not alert.unsettled):
        told = alert.last_notified
        if alert.is_at_provider and told is not None:
            told = replace(told, severity=max(told.severity, sent.severity), at=now)
        return replace(alert, owed=left, last_notified=told, source=_source_without(alert, sent)), dead
    if alert.route is not None:
        return replace(
            alert, owed=None, last_notified=None, is_at_provider=False, source=_source_of(sent), held=untold(alert)
        ), dead
    # No sent trigger can have arrived; but integrations that the alert has left may have incidents of it.
    if alert.former or (alert.orphans and alert.status is not Status.RESOLVING):
        source, held = _source_of(sent), untold(alert)
        return replace(
            alert, owed=None, last_notified=None, is_at_provider=False, integration=None, source=source, held=held
        ), dead
    return left_silenced(alert), dead


def overflowed(alert: Alert) -> Alert | None:
    """Take the owed trigger from the alert, for want of room: it was dead-lettered to make room, or found none.

    The alert stays, marked by ``overflow``, and counts on. Returns None if the alert is gone: it was resolving, and
    this trigger was all that it had to tell.
    """
    assert alert.owed is not None
    if alert.status is Status.RESOLVING and alert.route is None and not alert.former:
        return left_silenced(alert)
    severity = alert.owed.severity
    if alert.overflow is not None and alert.overflow > severity:
        severity = alert.overflow
    return replace(alert, owed=None, overflow=severity, source=_source_without(alert, alert.owed))


def attempted(alert: Alert) -> Alert:
    """An attempt to send the acknowledge or resolve that is due was not accepted."""
    return replace(alert, failed=alert.failed + 1)


def resolve_answered(alert: Alert, sent: Alert) -> Alert | None:
    """The provider has accepted or rejected a resolve; ``sent`` is the alert as it was when the resolve left.

    The answer ends the alert (None) only if the alert has not changed since, and has no open incident at an integration
    that it has left. Silenced occurrences are no change: they are what is left of the alert.
    """
    if alert is not sent and not is_changed_by_silence_only(alert, sent):
        return replace(alert, unsettled=False)
    if alert.former:
        return replace(alert, route=None, integration=None, last_notified=None, is_at_provider=False, failed=0)
    return left_silenced(alert)


def former_answered(alert: Alert, integration: str | None) -> Alert | None:
    """The provider has accepted or rejected the resolve of the incident at this ``integration``, which the alert has
    left. Returns None if that was the last thing that the alert had to tell."""
    former = tuple(one for one in alert.former if one.integration != integration)
    if not former and alert.status is Status.RESOLVING and alert.owed is None and alert.route is None:
        return left_silenced(replace(alert, former=()))
    return replace(alert, former=former, failed=0, heard=_with_resolve_sent(alert))


def former_attempted(alert: Alert) -> Alert:
    """An attempt to resolve the incident at an integration that the alert has left was not accepted: the others come
    first next time."""
    tried = former_due(alert)
    others = tuple(one for one in alert.former if one is not tried)
    former = others if tried is None else (*others, tried)
    return replace(alert, former=former, failed=alert.failed + 1, heard=_with_resolve_sent(alert))


def _with_resolve_sent(alert: Alert) -> Heard:
    return replace(alert.heard or NOTHING_HEARD, sent_resolve=True)


def _source_of(owed: Owed) -> Source:
    """The source of the event in an owed trigger."""
    return source(owed.guard, owed.tenant, owed.record.topic, owed.record.partition)


def _source_without(alert: Alert, untold: Owed) -> Source | None:
    """The source that the alert keeps once it no longer owes ``untold``, which the provider did not accept."""
    return alert.source if alert.last_notified is not None else _source_of(untold)


def _never_sent(owed: Owed | None, sent: Owed) -> Owed | None:
    """What is owed besides ``sent``: occurrences of a higher severity that came while ``sent`` was on the wire."""
    if owed is None or owed.severity <= sent.severity:
        return None
    if owed.first_offset <= sent.last_offset:  # else it replaced a repeat, whose occurrences it does not count
        owed = replace(
            owed,
            first_offset=sent.last_offset + 1,
            pins_offset=None if owed.pins_offset is None else max(owed.pins_offset, sent.last_offset + 1),
            occurrences=max(1, owed.occurrences - sent.occurrences),
        )
    return replace(owed, attempts=0, first_attempt=None, last_attempt=None, last_status=None, last_error=None)
