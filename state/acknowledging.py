"""An operator's command acknowledges an alert, and the provider answers (design section 8). Pure functions."""

from msgspec.structs import replace

from state.alert import NOTHING_HEARD, Alert, Status
from state.held import is_silenced


def acknowledge(alert: Alert) -> Alert:
    """An operator's command acknowledges the alert: the provider is owed an acknowledge. Only an open alert changes,
    and none that is silenced: the provider has nothing of it to acknowledge."""
    if alert.status is not Status.OPEN or alert.acknowledging or is_silenced(alert):
        return alert
    return replace(alert, acknowledging=True, failed=0)


def acknowledge_answered(alert: Alert, accepted: bool, date: float | None = None) -> Alert:
    """The provider has accepted or rejected an acknowledge, at ``date`` by its own clock, in seconds since the epoch
    (None: it did not say). After a rejection the acknowledge is dropped, and the alert is open as before.

    An alert that was over meanwhile owes no acknowledge any more, and the answer changes nothing.
    """
    if not alert.acknowledging:
        return alert
    if not accepted:
        return replace(alert, acknowledging=False, failed=0)
    heard = alert.heard if date is None else replace(alert.heard or NOTHING_HEARD, acknowledged=date)
    return replace(alert, status=Status.ACKNOWLEDGED, acknowledging=False, failed=0, heard=heard)
