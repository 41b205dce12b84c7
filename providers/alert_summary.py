"""What a trigger says of its alert, as fields that are the same at every provider (design section 8)."""

from providers.notification import AlertSummary, Trigger
from providers.timestamps import utc


def origin_fields(trigger: Trigger) -> dict[str, str | int]:
    """Where the event stands in Kafka, as fields: ``topic``, ``partition``, ``offset``; none if that is not known."""
    at = trigger.origin
    return {} if at is None else {"topic": at.topic, "partition": at.partition, "offset": at.offset}


def summary_fields(summary: AlertSummary) -> dict[str, str | int]:
    """The summary as fields: ``occurrences``, ``first_seen``, ``last_seen``, ``highest_severity``."""
    return {
        "occurrences": summary.occurrences,
        "first_seen": utc(summary.first_seen),
        "last_seen": utc(summary.last_seen),
        "highest_severity": summary.highest_severity.label,
    }
