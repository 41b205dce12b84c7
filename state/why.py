"""Why an occurrence came to what it came to: the reasons of `occurred` (`state.occurrences`), in its order (design
section 8)."""

from enum import Enum

from state.alert import Alert, Status
from state.policy import Policy
from state.violation import Severity


class Why(Enum):
    """The rule that decided."""

    NEW = "new"
    """There was no alert of the occurrence's dedup key."""
    REOPENED = "reopened"
    """The alert was being resolved."""
    COUNTED = "counted"
    """A trigger of the alert was owed already."""
    NOT_TOLD = "not_told"
    """The provider has nothing of this alert: it was told nothing, or has taken nothing since the last resolve."""
    RAISED = "raised"
    """The occurrence is of higher severity than the provider was told."""
    RENOTIFIED = "renotified"
    """The provider was told ``renotify_seconds`` ago, or longer."""
    AFTER_WINDOW = "after_window"
    """The last occurrence was more than ``window_seconds`` ago."""
    ACKNOWLEDGED = "acknowledged"
    """A person has the alert."""
    WITHIN_WINDOW = "within_window"
    """The last occurrence was at most ``window_seconds`` ago."""


def why(alert: Alert | None, severity: Severity, time: float, now: float, policy: Policy) -> Why:
    """Why an event of this severity and event time, decided ``now``, comes to what it comes to; ``alert`` is as it was
    before (None: there was none)."""
    if alert is None:
        return Why.NEW
    told = alert.last_notified
    if alert.owed is not None and not (alert.owed.repeat and alert.status is not Status.RESOLVING):
        return Why.COUNTED
    if alert.status is Status.RESOLVING:
        return Why.REOPENED
    if told is None or (alert.owed is None and not alert.is_at_provider):
        return Why.NOT_TOLD
    if severity > told.severity:
        return Why.RAISED
    if alert.status is Status.ACKNOWLEDGED:
        return Why.ACKNOWLEDGED
    if now - min(told.at, now) >= policy.renotify_seconds:
        return Why.RENOTIFIED
    return Why.AFTER_WINDOW if time - min(alert.last_seen, now) > policy.window_seconds else Why.WITHIN_WINDOW
