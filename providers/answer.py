"""What a provider's answer means (design section 9).

A provider classifies an answer; what follows from it is decided elsewhere (delivery, the alert's transitions).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has it. ``date`` is its own clock (header ``Date``), seconds since the epoch, if it said so."""

    date: float | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The provider will never take this notification. ``reason`` is its text, without secrets, bounded."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class RouteRefused:
    """The key, the plan or the address of the route is wrong: it is no fault of the notification."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """An outage: to be tried again, not before ``retry_after`` seconds if the provider asked for that.

    ``unknown`` is true when the request may still land (it timed out or broke off after it may have been sent;
    design section 6.7). ``status`` is None when there was no answer.
    """

    status: int | None
    reason: str
    retry_after: float | None = None
    unknown: bool = False


Answer = Accepted | Rejected | RouteRefused | Unavailable
