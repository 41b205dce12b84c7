"""What is said to a provider about an alert (design section 2, "notification")."""

from dataclasses import dataclass

from state.violation import Severity, Violation


@dataclass(frozen=True, slots=True)
class Story:
    """What has become of an alert so far; told when it is triggered again (design section 8).

    ``first_seen`` and ``last_seen`` are event times in seconds since the epoch.
    """

    occurrences: int
    first_seen: float
    last_seen: float
    highest_severity: Severity


@dataclass(frozen=True, slots=True)
class Trigger:
    """Open the alert, or add to it.

    ``severity`` is the highest of what is owed, and what the provider's severity or priority is mapped from.
    ``again`` is true when the provider has been told of this alert before; ``raised`` when ``severity`` is
    higher than what it was told then.
    """

    dedup_key: str
    violation: Violation
    severity: Severity
    story: Story
    again: bool = False
    raised: bool = False


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Somebody has taken the alert."""

    dedup_key: str


@dataclass(frozen=True, slots=True)
class Resolve:
    """The problem is over."""

    dedup_key: str


Notification = Trigger | Acknowledge | Resolve
