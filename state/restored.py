"""An alert as a new owner of its partition takes it (design section 6.2)."""

from msgspec.structs import replace

from state.alert import Alert


def restored(alert: Alert, now: float) -> Alert:
    """The alert as a new owner takes it: a time in the future becomes ``now`` (an earlier owner's clock was ahead)."""
    told, owed = alert.last_notified, alert.owed
    if told is not None and told.at > now:
        told = replace(told, at=now)
    if owed is not None and owed.since > now:
        owed = replace(owed, since=now)
    held = alert.held
    if held is not None and (held.decided > now or held.last_seen > now):
        held = replace(
            held,
            first_seen=min(held.first_seen, now),
            last_seen=min(held.last_seen, now),
            decided=min(held.decided, now),
            not_silenced=None if held.not_silenced is None else min(held.not_silenced, now),
        )
    is_same = told is alert.last_notified and owed is alert.owed and held is alert.held
    if is_same and alert.decided <= now and alert.last_seen <= now:
        return alert
    return replace(
        alert,
        first_seen=min(alert.first_seen, now),
        last_seen=min(alert.last_seen, now),
        decided=min(alert.decided, now),
        last_notified=told,
        owed=owed,
        held=held,
    )
