"""A problem is over: its alert is to be resolved, or is gone (design section 8). Pure functions."""

from msgspec.structs import replace

from state.alert import Alert, Ending, Status
from state.held import with_held_counted, with_held_over


def over(alert: Alert, ended_by: Ending | None = None) -> Alert | None:
    """The threat is over, for the reason ``ended_by`` (None: not known). A trigger that is still owed is sent before
    the resolve.

    Returns None if the alert is gone: no notification of it can have reached the provider (its trigger was
    dead-lettered unsent, or it was silenced), or it has incidents only where no configured key reaches them.
    """
    if alert.status is Status.RESOLVING:
        return with_held_over(alert)
    owed = alert.owed
    if owed is not None and owed.repeat:
        owed = None  # the repeat was to keep the incident open
    if owed is None and alert.route is None and not alert.former:
        return None
    return replace(
        alert,
        status=Status.RESOLVING,
        is_at_provider=False,
        owed=owed,
        acknowledging=False,
        failed=0,
        ended_by=ended_by,
        held=None,
    )


def is_over_by(alert: Alert, end: float) -> bool:
    """Whether an end of this event time, which was decided before the alert's last occurrence, has ended the alert: all
    its occurrences are earlier. If the alert is resolving, whether it has ended what was silenced since.

    No time of an alert is later than the clock by which it was decided. That can be far behind, and then the occurrence
    may be later than it seems: a live problem must not look over.
    """
    if alert.status is Status.RESOLVING:
        if alert.held is None:
            return False
        alert = with_held_counted(alert)
    return alert.last_seen < min(end, alert.decided)


def may_be_resolved(alert: Alert) -> bool:
    """Whether a resolve of this alert that may still land would end what the next trigger opens. A resolve at an
    integration that the alert has left does not, unless both integrations may have the same alert."""
    return alert.route is not None or any(one.until_over for one in alert.former)
