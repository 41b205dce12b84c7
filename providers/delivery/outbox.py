"""The protocol between delivery and a task.

A task keeps what is owed. Delivery asks its `Outbox` what is pending and what leaves now, and reports each outcome to
it. Delivery keeps the order, the moments of attempts, the rates and the condition of the routes.
"""

from enum import IntEnum
from typing import Any, Protocol

from msgspec import Struct

from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.delivery.outage import Failure
from providers.notification import Notification
from state.violation import Severity


class Lane(IntEnum):
    """Kinds of pending notifications, in the order in which they leave (design section 13, "Order")."""

    NEW = 0
    """A trigger of a new problem, or of one that has become worse."""
    AGAIN = 1
    """A trigger of a problem that the provider has."""
    ACKNOWLEDGE = 2
    RESOLVE = 3


class Pending(Struct, frozen=True, gc=False):
    """The next notification of an alert.

    ``since`` is when it came to be owed, in seconds since the epoch; ``not_before`` is by the monotonic clock.
    ``failures`` counts the attempts so far. ``size`` is how many bytes are kept in memory until a trigger is told. If
    ``is_ready`` is False, the notification waits for its task, which calls `Delivery.changed` when it is ready.
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
        """Whether it is a trigger, and so counts for what its integration may owe."""
        return self.lane <= Lane.AGAIN

    def continues(self, before: "Pending") -> bool:
        """Whether this is still the notification that was pending ``before``, with whatever has been counted into it
        since. A trigger that comes to be owed after another was told or given up is a new one."""
        if self.is_trigger:
            return before.is_trigger and self.since == before.since
        return self.lane is before.lane


class Dispatch(Struct, frozen=True, gc=False):
    """A notification that leaves now. ``token`` is the outbox's own value, with which it compares the answer.
    ``partition`` is the task's, for the log. ``at`` is the time of the outbox's own clock, None where it needs none."""

    dedup_key: str
    route: str
    notification: Notification
    token: Any
    partition: int | None = None
    at: float | None = None


Outcome = Accepted | Rejected | RouteRefused | Unavailable
"""The outcome of a notification: accepted; rejected for good, by the alert's own fault; else it is still owed."""


class Outbox(Protocol):
    """A task, as delivery sees it. Outboxes are told apart by identity."""

    def pending(self, dedup_key: str) -> Pending | None:
        """The next notification of the alert; None if there is none."""
        ...

    def may_resolve(self) -> bool:
        """Whether resolves may leave at this moment. When that becomes true again, the task calls
        `Delivery.may_resolve_again`."""
        ...

    def take(self, dedup_key: str, route: str) -> Dispatch | None:
        """The notification that leaves for this alert through this route now. None if none may leave; then delivery
        asks again only after `Delivery.changed`."""
        ...

    def told(self, dispatch: Dispatch, outcome: Outcome) -> None:
        """Take the outcome of a notification. Afterwards delivery asks for what is `pending`."""
        ...

    def make_room(self, dedup_key: str) -> bool:
        """The integration owes too much: dead-letter the trigger that this alert owes, if it may go. Returns whether it
        went."""
        ...


class Observer(Protocol):
    """Takes what delivery reports of its work, for metrics and logs."""

    def answered(self, dispatch: Dispatch, answer: Answer, seconds: float, attempt: int) -> None:
        """A notification was answered after ``seconds``; ``attempt`` counts from 1."""
        ...

    def rejected(self, dispatch: Dispatch, answer: Rejected) -> None:
        """The provider will never accept this notification, so it is given up."""
        ...

    def fails_alone(self, dispatch: Dispatch, answer: Unavailable, attempt: int) -> None:
        """The route accepts others, but not this notification, which is tried again. Reported once for each alert."""
        ...

    def follow_up_rejected(self, dispatch: Dispatch, answer: Rejected) -> None:
        """A further request of an accepted notification (a priority, a note) was rejected."""
        ...

    def failed(self, dispatch: Dispatch, error: BaseException) -> None:
        """A notification could not be sent because of a bug in this program."""
        ...

    def checked(self, route: str, answer: Answer) -> None:
        """The key of the route was checked."""
        ...

    def failing(self, routes: tuple[str, ...], failure: Failure, waiting: int) -> None:
        """An outage of these routes, which share a key, has begun; ``waiting`` triggers are owed."""
        ...

    def refused(self, routes: tuple[str, ...], failure: Failure, waiting: int) -> None:
        """The provider refuses the key of these routes from now on; ``waiting`` triggers are owed."""
        ...

    def works(self, routes: tuple[str, ...], seconds: float, failures: int, waiting: int) -> None:
        """The outage or refusal of these routes is over, after ``seconds`` and ``failures``; ``waiting`` triggers are
        owed."""
        ...

    def given_up(self, routes: tuple[str, ...], seconds: float) -> None:
        """The outage or refusal of these routes concerns no alert of this member any more: its alerts are another
        member's, or gone."""
        ...

    def throttled(self, routes: tuple[str, ...], answer: Throttled, waiting: int) -> None:
        """The provider limits the rate of these routes (429); ``waiting`` triggers are owed."""
        ...

    def unthrottled(self, routes: tuple[str, ...], seconds: float) -> None:
        """The provider no longer limits the rate of these routes; it did for ``seconds``."""
        ...
