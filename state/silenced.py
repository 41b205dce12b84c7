"""What a silenced event, and the end of its silences, make of an alert (design section 22).

A silenced event tells nobody, and nothing is lost. An alert keeps what is silenced of it (`state.alert.Held`,
`state.held`): which silences hold it, and where its worst event stands. Pure functions, like those of
`state.occurrences`.

All times are in seconds since the epoch. A silence holds by the times of records, so its end is a record's time too:
what it held is judged once everything is decided that was recorded before the end.
"""

from collections.abc import Mapping
from math import inf, nextafter

from msgspec.structs import replace

from state.alert import Alert, Ending, Held, Owed, Status, kept_name, source
from state.held import is_all_of_it, is_silenced, owed_of_held, with_held, with_held_counted, with_held_over
from state.occurrences import Occurrence, event_time, of_record_key
from state.over import may_be_resolved, over
from state.shared import shared
from state.violation import Record

Ends = Mapping[str, float]
"""The ends of silences by their ids."""


def silenced(
    alert: Alert | None,
    dedup_key: str,
    session_id: str | None,
    occurrence: Occurrence,
    silences: Ends,
    now: float,
    integration: str | None = None,
) -> Alert:
    """Count an alertable event that these ``silences`` keep silent into the alert of its dedup key, or open that. The
    other arguments are those of `state.occurrences.occurred`.

    Nothing comes to be owed. A trigger that is owed already is told whatever comes, with this occurrence counted in;
    its severity is not. Nor is it where the provider has the alert, which stays live: no false quiet ends it. While the
    alert is resolving, it is resolved first.
    """
    severity, record = occurrence.severity, occurrence.record
    time = event_time(occurrence.time, record.timestamp, now)
    if alert is None:
        return Alert(
            dedup_key, Status.OPEN, session_id, 1, time, time, now, severity,
            integration=integration, key=of_record_key(record, session_id), begun=now,
            held=_held(None, occurrence, silences, time, now, None),
        )  # fmt: skip
    key = of_record_key(record, alert.session_id)
    if alert.status is Status.RESOLVING:
        return replace(alert, key=key, held=_held(alert.held, occurrence, silences, time, now, alert.decided))
    owed, held = alert.owed, alert.held
    if owed is not None and not owed.repeat:
        owed = _counted(owed, occurrence)
    else:
        held = _held(held, occurrence, silences, time, now, alert.decided)
    is_told = alert.is_at_provider or owed is not None
    return replace(
        alert,
        status=_status(alert),
        occurrences=alert.occurrences + 1,
        first_seen=min(alert.first_seen, time),
        last_seen=max(min(alert.last_seen, now), time),
        decided=now,
        highest=alert.highest if is_told else max(alert.highest, severity),
        owed=owed,
        integration=integration if alert.integration is None else alert.integration,
        key=key,
        held=held,
    )


def owes_after_silence(alert: Alert, record: Record, now: float) -> Alert:
    """The alert is live at the end of its silences, and owes a trigger. ``record`` is that of its worst silenced event,
    read again from its place, or what stands in for it. It holds back no offset: the group passed it long ago.

    Only of an alert that is silenced, or that is resolving and has silenced occurrences.
    """
    held, owed, begun, unsettled = alert.held, alert.owed, alert.begun, alert.unsettled
    assert held is not None
    is_resolving = alert.status is Status.RESOLVING
    if is_resolving:
        begun = now if now != begun else nextafter(now, inf)
        # A resolve may be on the wire, of this task or of a dead owner's: only its answer says whether it landed.
        unsettled = unsettled or (owed is None and may_be_resolved(alert))
    if owed is None:
        owed = owed_of_held(held, record, now)
    else:
        owed = with_held(owed, held)
        if held.severity > owed.severity:
            owed = replace(
                owed, record=record, severity=held.severity, guard=held.source.guard, tenant=held.source.tenant
            )
    return replace(
        with_held_counted(alert),
        status=_status(alert),
        highest=max(alert.highest, held.severity),
        unsettled=unsettled,
        owed=owed,
        failed=0 if is_resolving else alert.failed,
        ended_by=None,
        begun=begun,
    )


def over_after_silence(alert: Alert) -> Alert | None:
    """The problem was over when its silences ended. Returns None if the alert is gone: nobody was told.

    An alert that may have been told all the same has a ``route``: its end is told. That is so of one that was restored,
    or that an earlier owner may have decided: it may not have known of the silence, or may have known its end.
    """
    return over(alert, Ending.SILENCE) if is_all_of_it(alert) else with_held_over(alert)


def possibly_told(alert: Alert, route: str) -> Alert:
    """A silenced alert of which a dead owner may have sent a trigger, through this route if it has none."""
    return replace(alert, route=route) if is_silenced(alert) and alert.route is None else alert


def _status(alert: Alert) -> Status:
    """The status of an alert that is live. What a person acknowledged may be an incident that the alert has left."""
    is_left = alert.last_notified is None and alert.route is None
    return Status.OPEN if is_left or alert.status is Status.RESOLVING else alert.status


def _held(
    before: Held | None, occurrence: Occurrence, silences: Ends, time: float, now: float, decided: float | None
) -> Held:
    """The silenced occurrences of an alert, with one more. A silence that was over when this occurrence was recorded
    keeps the alert silent no longer, because it would end before the others. A replayed occurrence counts as recorded
    ``now``. ``decided`` is when the alert's occurrence before this one was decided."""
    record = occurrence.record
    recorded = now if occurrence.is_replay else record.timestamp / 1000
    origin = source(kept_name(occurrence.guard), kept_name(occurrence.tenant), record.topic, record.partition)
    holding = {shared(silence_id): until for silence_id, until in silences.items()}
    at = now if occurrence.is_replay else event_time(occurrence.time, record.timestamp, inf)
    if at == inf:  # neither says when
        at = time
    if before is None:
        return Held(
            tuple(sorted(holding.items())), occurrence.severity, time, origin, record.offset,
            occurrence.offset, occurrence.offset, time, time, now, at, not_silenced=decided,
        )  # fmt: skip
    for silence_id, until in before.silences:
        if until > recorded:
            holding.setdefault(silence_id, until)
    is_worse = occurrence.severity > before.severity
    return Held(
        tuple(sorted(holding.items())),
        occurrence.severity if is_worse else before.severity,
        time if is_worse else before.time,
        origin if is_worse else before.source,
        record.offset if is_worse else before.offset,
        min(before.first_offset, occurrence.offset),
        max(before.last_offset, occurrence.offset),
        min(before.first_seen, time),
        max(min(before.last_seen, now), time),
        now,
        max(before.last_at, at),
        before.occurrences + 1,
        before.not_silenced,
    )


def _counted(owed: Owed, occurrence: Occurrence) -> Owed:
    """What is owed, with a silenced occurrence counted in, whose severity is not sent."""
    offset = occurrence.offset
    return replace(
        owed,
        first_offset=min(owed.first_offset, offset),
        last_offset=max(owed.last_offset, offset),
        occurrences=owed.occurrences + 1,
    )
