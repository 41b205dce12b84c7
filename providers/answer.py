"""What a provider's answer means (design section 13).

A provider classifies an answer; what follows from it is decided elsewhere (delivery, the alert's transitions).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has it. ``date`` is its own clock (header ``Date``), seconds since the epoch, if it said so.

    ``receipt`` is what the answer names for what comes next: the request whose status can be asked for, or the alert
    that was looked up. ``unverified`` says why it is not known what has become of the request, where that was asked.
    """

    date: float | None = None
    receipt: str | None = None
    unverified: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The provider does not take this notification, as it is or at all. ``reason`` is its text, without secrets,
    bounded.

    Whether the notification or the route is at fault, no text tells for sure: a check of the route decides, unless
    ``is_plain`` (the answer is about the alert alone, as a 404 to an action on an alias is).
    """

    status: int
    reason: str
    is_plain: bool = False


@dataclass(frozen=True, slots=True)
class RouteRefused:
    """The key of the route is wrong, by a known text of the provider: it is no fault of the notification."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Throttled:
    """Too many requests with this key: nothing may leave through it for a while, ``retry_after`` seconds if it said
    so."""

    reason: str
    retry_after: float | None = None


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


Answer = Accepted | Rejected | RouteRefused | Throttled | Unavailable
