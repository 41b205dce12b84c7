"""The meanings of a provider's answer (design sections 9 and 13).

A provider only classifies an answer. Delivery and the alert's transitions decide what follows from it.
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
    """The provider does not accept this notification. ``reason`` is its text, without secrets, bounded.

    No text tells for sure whether the notification or the route is at fault: a check of the route decides that.
    ``is_plain``: the answer is about the alert alone, as a 404 to an action on an alias is; then no check is needed.
    """

    status: int
    reason: str
    is_plain: bool = False


@dataclass(frozen=True, slots=True)
class RouteRefused:
    """The provider says, in a text that we know, that the route's key is wrong: the notification is not at fault."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Throttled:
    """Too many requests with this key: nothing may leave through it for a while; for ``retry_after`` seconds, if the
    provider named a time."""

    reason: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """An outage: the request is to be tried again, not before ``retry_after`` seconds if the provider asked for that.

    ``unknown``: the request may still land, because it timed out or broke off after it may have been sent (design
    section 6.7). ``status`` is None if there was no answer.
    """

    status: int | None
    reason: str
    retry_after: float | None = None
    unknown: bool = False


Answer = Accepted | Rejected | RouteRefused | Throttled | Unavailable
