"""Two alerts of one dedup key that become one (design section 17, rule 6 and "Versions").

Both tell of one problem. There are two ways to get two alerts. Either the key's old home hands its alert over to the
new home, which has had occurrences of the key meanwhile. Or a release could not read a state record of a later one.
Such a record is never overwritten: the next event of its dedup key opened an alert that was written beside the record,
under a key of its own (`state.records.BESIDE`).
Pure functions, like those of `state.occurrences`.
"""

from msgspec.structs import replace

from state.alert import Alert, Ending, Former, Heard, Held, LastStep, Notified, Owed, Status, last_step_of
from state.held import is_silenced, untold
from state.occurrences import ELSEWHERE
from state.over import is_over_by, over

OPENED_SECONDS = 60.0
"""For so many seconds after its acceptance a trigger may still open its incident. This is generous: a request lands
sooner."""


def handed_over(alert: Alert) -> Alert:
    """The alert as its new home takes it: what it owes, or holds, stands at no offset of the home's log."""
    owed, held = alert.owed, alert.held
    if held is not None:
        alert = replace(alert, held=replace(held, first_offset=ELSEWHERE, last_offset=ELSEWHERE))
    if owed is None:
        return alert
    return replace(alert, owed=replace(owed, first_offset=ELSEWHERE, last_offset=ELSEWHERE, pins_offset=None))


def joined(own: Alert | None, handed: Alert, over_at: float | None = None) -> Alert | None:
    """The home's alert of a key after another task has handed over an alert of that key; None if the alert is gone.

    ``own`` is the alert that the home has already, None if it has none. ``over_at`` is the event time of the latest end
    of this problem that the home has remembered: an alert whose occurrences are all earlier is over. Of an occurrence
    and an end of the same moment nobody knows which came first, and a live problem must not look over.
    """
    handed = handed_over(handed)
    alert = handed if own is None else _one_of(own, handed, is_over=_is_over(own, handed))
    if over_at is not None and is_over_by(alert, over_at):
        return over(alert, Ending.SESSION_END)
    return alert


def reunited(older: Alert, newer: Alert) -> Alert:
    """One alert of the ``older`` one, whose record could not be read for a while, and of the ``newer`` one, which was
    written beside that record.

    The newer alert has seen the latest events: the joined alert is over if the newer one is, and live if it is live.
    """
    return _one_of(newer, older, is_over=newer.status is Status.RESOLVING)


def _one_of(own: Alert, other: Alert, *, is_over: bool) -> Alert:
    if not is_over and (ending := _to_be_resolved_first(own, other)) is not None:
        return ending
    live = [alert for alert in (own, other) if alert.status is not Status.RESOLVING]
    status, is_acknowledging = (Status.RESOLVING, False) if is_over else _taken_by_somebody(live)
    owed, is_repeat_due = _owed(own.owed, other.owed)
    if is_over and owed is not None and owed.repeat:
        owed = None  # the repeat was to keep the incident open
    # If one of the two is resolving, its resolve may be on the wire and land after the next trigger of the other.
    may_be_resolved = not is_over and len(live) == 1
    later = other if other.last_seen > own.last_seen else own
    kept, left = _by_incident(own, other)
    is_one_incident = not _is_elsewhere(left, kept)
    incidents = [kept, left] if is_one_incident else [kept]
    told_last = _told_last(kept, left) if is_one_incident else kept
    is_at_provider = not is_over and any(alert.is_at_provider for alert in live if alert in incidents)
    return replace(
        kept,
        status=status,
        session_id=own.session_id or other.session_id,
        occurrences=own.occurrences + other.occurrences,
        first_seen=min(own.first_seen, other.first_seen),
        last_seen=max(own.last_seen, other.last_seen),
        decided=max(own.decided, other.decided),
        highest=max(own.highest, other.highest),
        last_notified=(
            _told((left if told_last is kept else kept).last_notified, told_last.last_notified)
            if is_one_incident
            else _told_beside(kept.last_notified, left.last_notified)
        ),
        is_at_provider=is_at_provider,
        unsettled=own.unsettled or other.unsettled or may_be_resolved or is_repeat_due,
        owed=owed,
        acknowledging=is_acknowledging,
        failed=0,
        overflow=max((each.overflow for each in (own, other) if each.overflow is not None), default=None),
        integration=kept.integration or (left.integration if is_one_incident else None),
        former=_former(kept, left, is_one_incident),
        orphans=(),
        key=later.key,
        ended_by=(own.ended_by or other.ended_by) if is_over else None,
        source=told_last.source,
        begun=(kept if kept in live or not live else live[0]).begun,
        heard=_heard(own.heard, other.heard),
        last_step=_last_step(own, other),
        held=_held(own, other, is_over=is_over, is_at_provider=is_at_provider),
    )


def _held(own: Alert, other: Alert, *, is_over: bool, is_at_provider: bool) -> Held | None:
    """What is silenced of the joined alert. What ends it ends what was silenced before that, too; and where the
    provider does not have it, what was counted into an incident that is left is not held any more."""
    held = [alert.held if is_at_provider else untold(alert) for alert in (own, other)]
    ended = [is_over and alert.status is not Status.RESOLVING for alert in (own, other)]
    left = [None if is_ended else one for one, is_ended in zip(held, ended, strict=True)]
    found = _joined_held(*left)
    if found is None:
        return None
    times = [alert.decided if one is None else one.not_silenced for alert, one in zip((own, other), left, strict=True)]
    known = [time for time in times if time is not None]
    return replace(found, not_silenced=max(known) if len(known) == len(times) else None)


def _to_be_resolved_first(own: Alert, other: Alert) -> Alert | None:
    """The joined alert if one of the two is being resolved, and the other one, which is live, is silenced: it is
    silenced once it is resolved. None if it is not so."""
    ending, silent = (own, other) if own.status is Status.RESOLVING else (other, own)
    if ending.status is not Status.RESOLVING or not is_silenced(silent):
        return None
    is_one_incident = not _is_elsewhere(silent, ending)
    return replace(
        ending,
        session_id=own.session_id or other.session_id,
        integration=ending.integration or (silent.integration if is_one_incident else None),
        unsettled=own.unsettled or other.unsettled,
        former=_former(ending, silent, is_one_incident),
        orphans=(),
        heard=_heard(own.heard, other.heard),
        held=_joined_held(ending.held, silent.held),
    )


def _is_over(own: Alert, handed: Alert) -> bool:
    """Whether the joined alert is over. If only one of the two is over, it ends the other only if that has occurred
    earlier; an occurrence later than its last one, or at the same time, keeps the joined alert live."""
    match own.status is Status.RESOLVING, handed.status is Status.RESOLVING:
        case True, False:
            return own.last_seen > handed.last_seen
        case False, True:
            return handed.last_seen > own.last_seen
        case is_own, _:
            return is_own


def _by_incident(own: Alert, other: Alert) -> tuple[Alert, Alert]:
    """The two alerts in an order: first that with whose incident, or route, the joined alert goes on. That is the one
    that may be at the provider; of two such the live one; of two such the one that was seen first."""

    def rank(alert: Alert) -> tuple[bool, bool, float]:
        return alert.route is None, alert.status is Status.RESOLVING, alert.first_seen

    return (own, other) if rank(own) <= rank(other) else (other, own)


def _is_elsewhere(alert: Alert, kept: Alert) -> bool:
    """Whether ``alert`` may have an incident other than that of the ``kept`` alert."""
    if alert.route is None:
        return False
    if alert.integration is None or kept.integration is None:  # by a release that kept the name only
        return alert.route != kept.route
    return alert.integration != kept.integration


def _former(kept: Alert, left: Alert, is_one_incident: bool) -> tuple[Former, ...]:
    """The integrations where either alert may have an incident besides the kept one. The task that takes the alert
    finds out which of them no configured key reaches."""
    former = [*kept.former, *kept.orphans, *left.former, *left.orphans]
    if not is_one_incident and left.route is not None:
        former.append(Former(left.integration, left.route))
    return tuple(one for one in dict.fromkeys(former) if one.integration is None or one.integration != kept.integration)


def _taken_by_somebody(live: list[Alert]) -> tuple[Status, bool]:
    """The status of a live joined alert, and whether an acknowledge is owed. An acknowledgement counts only if the
    other alert is of no higher severity: nobody has acknowledged the worse problem."""
    highest = max(alert.highest for alert in live)
    taken = [alert for alert in live if alert.highest >= highest]
    if any(alert.status is Status.ACKNOWLEDGED for alert in taken):
        return Status.ACKNOWLEDGED, False
    return Status.OPEN, any(alert.acknowledging for alert in taken)


def _told_last(kept: Alert, left: Alert) -> Alert:
    """The alert of which the provider was told last; if it was told of neither, the one that has a source."""
    if kept.last_notified is None or left.last_notified is None:
        is_left = left.last_notified is not None or (kept.last_notified is None and kept.source is None)
    else:
        is_left = left.last_notified.at > kept.last_notified.at
    return left if is_left else kept


def _told(own: Notified | None, last: Notified | None) -> Notified | None:
    """What the provider was told of both alerts; ``last`` is what it was told last."""
    if own is None or last is None:
        return own or last
    left = max(own.left or 0.0, last.left or 0.0) or None
    return replace(last, severity=max(own.severity, last.severity), left=left)


def _told_beside(kept: Notified | None, left: Notified | None) -> Notified | None:
    """What the provider was told of the incident that is kept. Which of the two is the older one is open, so each may
    be the one that was left."""
    if kept is None or left is None:
        return kept
    dates = [date + OPENED_SECONDS for date in (kept.date, left.date) if date is not None]
    return replace(kept, left=max((*dates, kept.left or 0.0)) or None)


def _heard(own: Heard | None, other: Heard | None) -> Heard | None:
    """What the provider has said last of either. None of both was repeated for nothing: two alerts have more
    occurrences than one."""
    if own is None or other is None:
        found = own or other
        return None if found is None else replace(found, repeated=None)
    acknowledged = max((each.acknowledged for each in (own, other) if each.acknowledged is not None), default=None)
    last = other if (other.at or 0.0) > (own.at or 0.0) else own
    sent_resolve = own.sent_resolve or other.sent_resolve
    return replace(last, sent_resolve=sent_resolve, repeated=None, acknowledged=acknowledged)


def _last_step(own: Alert, other: Alert) -> LastStep:
    """The later of the last steps of both; it counts what both have counted."""
    one, two = last_step_of(own), last_step_of(other)
    return LastStep(max(one.at, two.at), one.occurrences + two.occurrences)


def _owed(own: Owed | None, other: Owed | None) -> tuple[Owed | None, bool]:
    """The trigger that the joined alert owes, and whether that takes the place of a repeat which one of them owed."""
    if own is None or other is None:
        return own or other, False
    if own.repeat != other.repeat:
        return (other if own.repeat else own), True
    first, second = (other, own) if other.since < own.since else (own, other)
    worst = second if second.severity > first.severity else first
    attempts = [each for each in (own.first_attempt, other.first_attempt) if each is not None]
    holds = [each.pins_offset for each in (own, other) if each.pins_offset is not None]
    last_attempts = [each for each in (own.last_attempt, other.last_attempt) if each is not None]
    tried_last = other if (other.last_attempt or 0.0) > (own.last_attempt or 0.0) else own
    return Owed(
        worst.record,
        worst.severity,
        first.since,
        min(own.first_offset, other.first_offset),
        max(own.last_offset, other.last_offset),
        own.occurrences + other.occurrences,
        max(own.attempts, other.attempts),
        min(attempts, default=None),
        max(last_attempts, default=None),
        own.repeat and other.repeat,
        min(holds, default=None),
        worst.guard,
        worst.tenant,
        tried_last.last_status,
        tried_last.last_error,
    ), False


def _joined_held(own: Held | None, other: Held | None) -> Held | None:
    """What two alerts of one key hold (`state.joined`)."""
    if own is None or other is None:
        return own or other
    worst = other if other.severity > own.severity else own
    silences: dict[str, float] = dict(own.silences)
    for silence_id, until in other.silences:
        silences[silence_id] = max(until, silences.get(silence_id, until))
    return Held(
        tuple(sorted(silences.items())),
        worst.severity,
        worst.time,
        worst.source,
        worst.offset,
        min(own.first_offset, other.first_offset),
        max(own.last_offset, other.last_offset),
        min(own.first_seen, other.first_seen),
        max(own.last_seen, other.last_seen),
        max(own.decided, other.decided),
        max(own.last_at, other.last_at),
        own.occurrences + other.occurrences,
    )
