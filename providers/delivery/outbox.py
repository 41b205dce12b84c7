"""What delivery and a task say to each other about an alert.

A task keeps what is owed, and its `Outbox` answers delivery's questions: what is pending, what leaves now, and here is
what came of it. Delivery keeps the order, the attempts' moments, the rates and the condition of the routes.
"""

from enum import IntEnum
from typing import Any, Protocol

from msgspec import Struct

from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.delivery.outage import Failure
from providers.notification import Notification
from state.violation import Severity


class Lane(IntEnum):
    """What is pending, in the order in which it leaves (design section 13, "Order")."""

    NEW = 0
    """A trigger of a new problem, or of one that has become worse."""
    AGAIN = 1
    """A trigger of a problem that the provider has."""
    ACKNOWLEDGE = 2
    RESOLVE = 3


class Pending(Struct, frozen=True, gc=False):
    """What an alert has to say next.

    ``since`` is wall-clock time (its age), ``not_before`` is by the monotonic clock. ``failures`` counts its attempts
    so far. ``size`` is how many bytes are kept in memory until a trigger is told. One that is not ``is_ready`` waits
    for its task, which says so by `Delivery.changed`.
    """

    route: str
    lane: Lane
    severity: Severity
    since: float
    failures: int = 0
    not_before: float = 0.0
    size: int = 0
    is_ready: bool = True

    @property
    def is_trigger(self) -> bool:
        """Whether it counts for what its route may owe."""
        return self.lane <= Lane.AGAIN

    def continues(self, before: "Pending") -> bool:
        """Whether this is still what the alert had to say ``before``, with whatever has been counted into it since. A
        trigger that comes to be owed after another was told or given up is a new one."""
        if self.is_trigger:
            return before.is_trigger and self.since == before.since
        return self.lane is before.lane


class Dispatch(Struct, frozen=True, gc=False):
    """A notification that leaves now. ``token`` is the outbox's own: what the answer will be compared with.
    ``partition`` is that of the task, for the log."""

    dedup_key: str
    route: str
    notification: Notification
    token: Any
    partition: int | None = None


Outcome = Accepted | Rejected | RouteRefused | Unavailable
"""What came of a notification: accepted; rejected for good, which is the alert's own fault; or still owed."""


class Outbox(Protocol):
    """A task, as delivery sees it. Outboxes are told apart by identity."""

    def pending(self, dedup_key: str) -> Pending | None:
        """What the alert has to say next; None if nothing."""
        ...

    def may_resolve(self) -> bool:
        """Whether resolves may leave at this moment; `Delivery.may_resolve_again` says when that has come back."""
        ...

    def take(self, dedup_key: str, route: str) -> Dispatch | None:
        """What leaves for this alert through this route now, or None where nothing may; then delivery asks again only
        after `Delivery.changed`."""
        ...

    def told(self, dispatch: Dispatch, outcome: Outcome) -> None:
        """What came of it. Then delivery asks for what is pending."""
        ...

    def make_room(self, dedup_key: str) -> bool:
        """The route owes too much: let go of the trigger that this alert owes, if that may be."""
        ...


class Observer(Protocol):
    """What delivery tells about its work; metrics and logs listen."""

    def answered(self, dispatch: Dispatch, answer: Answer, seconds: float, attempt: int) -> None:
        """A notification was answered after ``seconds``, at its attempt of this number."""
        ...

    def rejected(self, dispatch: Dispatch, answer: Rejected) -> None:
        """The provider takes this notification at no time: it is given up."""
        ...

    def fails_alone(self, dispatch: Dispatch, answer: Unavailable, attempt: int) -> None:
        """Its route accepts others, and not this notification, which is tried again; said once of each alert."""
        ...

    def follow_up_rejected(self, dispatch: Dispatch, answer: Rejected) -> None:
        """A further request of an accepted notification (a priority, a note) was rejected."""
        ...

    def failed(self, dispatch: Dispatch, error: BaseException) -> None:
        """A notification could not be made into requests: a fault of this program."""
        ...

    def checked(self, route: str, answer: Answer) -> None:
        """The key of the route was checked."""
        ...

    def failing(self, routes: tuple[str, ...], failure: Failure, waiting: int) -> None:
        """From now on nothing is taken through these routes, which share a key; ``waiting`` triggers are owed."""
        ...

    def refused(self, routes: tuple[str, ...], failure: Failure, waiting: int) -> None:
        """The provider refuses the key of these routes from now on; ``waiting`` triggers are owed."""
        ...

    def works(self, routes: tuple[str, ...], seconds: float, failures: int, waiting: int) -> None:
        """What was told of these routes is over, after so long and so many failures. ``waiting`` triggers are owed."""
        ...

    def given_up(self, routes: tuple[str, ...], seconds: float) -> None:
        """What was told of these routes concerns nobody here any more: their alerts are another member's, or gone."""
        ...

    def throttled(self, routes: tuple[str, ...], answer: Throttled, waiting: int) -> None:
        """The provider limits the rate of these routes, below what it is known to take; ``waiting`` are owed."""
        ...

    def unthrottled(self, routes: tuple[str, ...], seconds: float) -> None:
        """The limit of these routes is as it should be again, after so long."""
        ...
