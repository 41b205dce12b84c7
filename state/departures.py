"""An alert leaves its integration, or goes back to one that it had left (design section 18). Pure functions."""

from msgspec.structs import replace

from state.alert import Alert, Former, Status
from state.held import untold


def departed(alert: Alert, left: Former | None) -> Alert:
    """The alert leaves its integration. ``left`` is that integration if it may have an incident of the alert, or None.

    For the integration that the alert gets next, the alert is new. What was silenced while the provider had it was
    counted into what it had.
    """
    status, owed, unsettled = alert.status, alert.owed, False
    if left is not None and left.until_over:  # a resolve on the wire may end the alert that the next trigger opens
        unsettled = alert.unsettled or (owed is not None and owed.repeat)
    if owed is not None:
        status = Status.OPEN if status is Status.ACKNOWLEDGED else status
        owed = replace(owed, attempts=0, repeat=False, last_status=None, last_error=None)
    return replace(
        alert,
        status=status,
        route=None,
        integration=None,
        last_notified=None,
        is_at_provider=False,
        unsettled=unsettled,
        owed=owed,
        failed=0,
        former=alert.former if left is None else (*alert.former, left),
        held=untold(alert),
    )


def returned(alert: Alert, former: Former) -> Alert:
    """The alert, which has no integration, goes back to one that it had left.

    A resolve whose answer is not known may still land there, so the alert is unsettled.
    """
    return replace(
        alert,
        route=former.route,
        integration=former.integration,
        unsettled=True,
        former=tuple(one for one in alert.former if one is not former),
    )
