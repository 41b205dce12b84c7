"""An operator's command acknowledges an alert, and the provider answers (design section 8). Pure functions."""

from msgspec.structs import replace

from state.alert import Alert, Status
from state.held import is_silenced


def acknowledge(alert: Alert) -> Alert:
    """An operator's command acknowledges the alert: the provider is owed an acknowledge. Only an open alert changes,
    and none that is silenced: the provider has nothing of it to acknowledge."""
    if alert.status is not Status.OPEN or alert.acknowledging or is_silenced(alert):
        return alert
    return replace(alert, acknowledging=True, failed=0)


def acknowledge_answered(alert: Alert, accepted: bool) -> Alert:
    """The provider has accepted or rejected an acknowledge. After a rejection the acknowledge is dropped, and the alert
    is open as before.

    An alert that was over meanwhile owes no acknowledge any more, and the answer changes nothing.
    """
    if not alert.acknowledging:
        return alert
    return replace(alert, status=Status.ACKNOWLEDGED if accepted else alert.status, acknowledging=False, failed=0)
