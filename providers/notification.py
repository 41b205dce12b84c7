"""The statements to a provider about an alert (design section 2, "notification")."""

from msgspec import Struct

from state.alert import Alert, Ending
from state.violation import Severity, Violation


class AlertSummary(Struct, frozen=True, gc=False):
    """The history of an alert in short, told when the alert is triggered again (design section 8).

    ``first_seen`` and ``last_seen`` are event times in seconds since the epoch.
    """

    occurrences: int
    first_seen: float
    last_seen: float
    highest_severity: Severity


class Origin(Struct, frozen=True, gc=False):
    """Where the record of an event stands in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}, partition {self.partition}, offset {self.offset}"


class Trigger(Struct, frozen=True, gc=False):
    """Open the alert, or add to it.

    ``severity`` is the highest severity of the owed occurrences; the provider's severity or priority is mapped from it.
    ``again``: the provider has been told of this alert before. ``raised``: ``severity`` is higher than what it was told
    then. ``origin`` is where the event was read (None: nowhere, as in a test of the keys). ``reopens``: the provider
    may have ended the alert since, so that there may be nothing to add to.
    """

    dedup_key: str
    violation: Violation
    severity: Severity
    alert_summary: AlertSummary
    again: bool = False
    raised: bool = False
    origin: Origin | None = None
    reopens: bool = False

    @classmethod
    def of(cls, alert: Alert, violation: Violation) -> "Trigger":
        """What an alert that owes a trigger has to say; ``violation`` is the event in the record that is owed."""
        owed, told = alert.owed, alert.last_notified
        assert owed is not None
        return cls(
            alert.dedup_key,
            violation,
            owed.severity,
            AlertSummary(alert.occurrences, alert.first_seen, alert.last_seen, alert.highest),
            again=told is not None,
            raised=told is not None and owed.severity > told.severity,
            origin=Origin(owed.record.topic, owed.record.partition, owed.record.offset),
            reopens=told is not None and (not alert.is_at_provider or alert.unsettled or owed.repeat),
        )


class Acknowledge(Struct, frozen=True, gc=False):
    """An operator's command has acknowledged the alert."""

    dedup_key: str


class Resolve(Struct, frozen=True, gc=False):
    """The problem is over. ``ended_by`` says what ended it; None if that is not known."""

    dedup_key: str
    ended_by: Ending | None = None


Notification = Trigger | Acknowledge | Resolve
