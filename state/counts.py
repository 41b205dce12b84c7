"""The counts of an alert that owes a trigger: all that changes while events are counted into it, but its owed record.

An owed record can have 250 KB, and a hundred events a second may be counted into its alert: then only the counts are
written. The error of the last attempt is one of them; else each attempt would write the record again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from state.alert import Alert
from state.violation import Severity


@dataclass(frozen=True, slots=True)
class Counts:
    """The counts of an alert that owes a trigger, and of that trigger (``owed_…``); see `Alert` and `Owed`."""

    occurrences: int
    first_seen: float
    last_seen: float
    decided: float
    highest: Severity
    owed_first_offset: int
    owed_last_offset: int
    owed_occurrences: int
    owed_attempts: int
    owed_first_attempt: float | None
    owed_last_attempt: float | None
    owed_last_status: int | None = None
    owed_last_error: str | None = None


def counts_of(alert: Alert) -> Counts:
    """The counts of an alert that owes a trigger."""
    owed = alert.owed
    assert owed is not None
    return Counts(
        alert.occurrences,
        alert.first_seen,
        alert.last_seen,
        alert.decided,
        alert.highest,
        owed.first_offset,
        owed.last_offset,
        owed.occurrences,
        owed.attempts,
        owed.first_attempt,
        owed.last_attempt,
        owed.last_status,
        owed.last_error,
    )


def with_counts(alert: Alert, counts: Counts) -> Alert:
    """The alert, which owes a trigger, with these counts instead of its own."""
    assert alert.owed is not None
    return replace(
        alert,
        occurrences=counts.occurrences,
        first_seen=counts.first_seen,
        last_seen=counts.last_seen,
        decided=counts.decided,
        highest=counts.highest,
        owed=replace(
            alert.owed,
            first_offset=counts.owed_first_offset,
            last_offset=counts.owed_last_offset,
            occurrences=counts.owed_occurrences,
            attempts=counts.owed_attempts,
            first_attempt=counts.owed_first_attempt,
            last_attempt=counts.owed_last_attempt,
            last_status=counts.owed_last_status,
            last_error=counts.owed_last_error,
        ),
    )


def up_to_date(alert: Alert, counts: Mapping[str, Counts]) -> Alert:
    """The alert of a state record, with the newer counts that the checkpoint holds of it, if there are any.

    ``counts`` are those of the checkpoint, by dedup key.
    """
    found = counts.get(alert.dedup_key)
    return alert if found is None or alert.owed is None else with_counts(alert, found)
