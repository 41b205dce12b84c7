"""Alerts beside records that cannot be read, and how the two become one again (design section 17, "Versions").

A record of the state that this release cannot read may say of a dedup key what a later release knew, also what it owed:
so it is never written over. An event of that key is a new problem here, for it has to be told (a provider joins it
with the incident that it may have already), and its alert is written beside that record, under a key of its own. Once
the record can be read, or is gone, they are one alert.
"""

from dataclasses import replace

from state.alert import Alert, Former, Owed, Status, Told


def joined(older: Alert, newer: Alert) -> Alert:
    """One alert of both. ``newer`` is what was written beside ``older`` while that could not be read.

    Nothing that either owes is lost. What is over by the newer one is over, as it has decided last; what lives by it
    lives, and the provider may still have a resolve of the older one under way. Where the two were told through two
    integrations, the newer one's is kept, and what the other may have there is to be resolved.
    """
    former = _united(older.former, newer.former)
    if older.integration is None and older.route is None:
        older = replace(older, integration=newer.integration)
    elif newer.integration is not None and newer.integration != older.integration:
        if older.integration is None and older.route == newer.route:  # by a release that kept the name only
            older = replace(older, integration=newer.integration)
        elif newer.route is not None:
            former = _united(former, (Former(older.integration, older.route),) if older.route is not None else ())
            older = replace(older, integration=newer.integration, route=newer.route, told=None, has=False)
    former = tuple(one for one in former if one.integration is None or one.integration != older.integration)
    status, unsettled = newer.status, older.unsettled or newer.unsettled
    if older.status is Status.RESOLVING and status is not Status.RESOLVING:
        unsettled = True
    told = _told(older.told, newer.told)
    if older.status is Status.ACKNOWLEDGED and status is Status.OPEN and _is_no_worse(newer, older):
        status = Status.ACKNOWLEDGED
    return replace(
        older,
        status=status,
        session_id=older.session_id if older.session_id is not None else newer.session_id,
        occurrences=older.occurrences + newer.occurrences,
        first_seen=min(older.first_seen, newer.first_seen),
        last_seen=max(older.last_seen, newer.last_seen),
        decided=max(older.decided, newer.decided),
        highest=max(older.highest, newer.highest),
        route=older.route if older.route is not None else newer.route,
        told=told,
        has=(older.has or newer.has) and status is not Status.RESOLVING,
        unsettled=unsettled,
        owed=_owed(older.owed, newer.owed),
        acknowledging=(older.acknowledging or newer.acknowledging) and status is Status.OPEN,
        failed=0,
        overflow=max((one for one in (older.overflow, newer.overflow) if one is not None), default=None),
        former=former,
    )


def _united(some: tuple[Former, ...], others: tuple[Former, ...]) -> tuple[Former, ...]:
    return tuple(dict.fromkeys((*some, *others)))


def _is_no_worse(newer: Alert, older: Alert) -> bool:
    return newer.highest <= (older.told.severity if older.told is not None else older.highest)


def _told(older: Told | None, newer: Told | None) -> Told | None:
    if older is None or newer is None:
        return older or newer
    last = newer if newer.at >= older.at else older
    return replace(last, severity=max(older.severity, newer.severity))


def _owed(older: Owed | None, newer: Owed | None) -> Owed | None:
    if older is None or newer is None:
        return older or newer
    if older.repeat or newer.repeat:  # what is only said again adds nothing to what is new
        return older if newer.repeat else newer
    kept = newer if newer.severity > older.severity else older
    holds = [one for one in (older.holds, newer.holds) if one is not None]
    first = [one for one in (older.first_attempt, newer.first_attempt) if one is not None]
    last = [one for one in (older.last_attempt, newer.last_attempt) if one is not None]
    return Owed(
        kept.record,
        kept.severity,
        min(older.since, newer.since),
        min(older.first_offset, newer.first_offset),
        max(older.last_offset, newer.last_offset),
        older.occurrences + newer.occurrences,
        older.attempts + newer.attempts,
        min(first, default=None),
        max(last, default=None),
        holds=min(holds, default=None),
    )
