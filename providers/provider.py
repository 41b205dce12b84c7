"""The protocol of a provider: pure payloads and pure classification; sending is `providers.http`'s."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from providers.answer import Answer
from providers.notification import Notification
from providers.rate import Rate
from state.violation import Violation

MAX_ANSWER: Final = 64 * 1024
"""Bytes of an answer's body that are read, unless its request says another number."""


@dataclass(frozen=True, slots=True)
class Request:
    """One idempotent HTTP request. ``body`` is JSON or None; secrets stand in ``headers`` or ``body`` only,
    which therefore do not show in its repr. ``url`` is already percent-encoded. ``is_action`` says that it acts on an
    alert which it names: a 404 means then that there is no such alert. So many bytes of the answer are read as
    ``largest_answer``."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    is_action: bool = False
    largest_answer: int = MAX_ANSWER


@dataclass(frozen=True, slots=True)
class HeartbeatCalls:
    """How a provider is told that all is well, and calls somebody when it is not told any more.

    It is to be told within every ``interval`` seconds. ``ping`` tells it, and is accepted by ``ping_status``, also
    where there is no heartbeat of that ``name``; ``exists`` asks for it. ``read`` gives the reason of an answer by its
    status and body, without secrets.
    """

    name: str
    interval: float
    ping: Request
    ping_status: int
    exists: Request
    exists_status: int
    read: Callable[[int, bytes], str]


class Provider(Protocol):
    """One provider's form of a notification and the meaning of its answers. No I/O."""

    name: str
    """As in `providers.table`: the name of the pipeline, in topics, groups, metrics and logs."""

    heartbeat: HeartbeatCalls | None
    """None: none is configured, or this provider has no such thing."""

    routes: Sequence[str]
    """The names of all routes, ``default`` first, those of retired keys last."""

    retired_routes: Sequence[str]
    """Those of keys that are retired: only acknowledges and resolves go through them (design section 18)."""

    key_limit: int
    """How many characters a dedup key may have."""

    documented_rate: Rate
    """What the provider takes through one integration key."""

    shares_alerts: bool
    """Whether the integrations of one account share their alerts: of one dedup key there is one open alert in the
    account, and every key of it acts on that."""

    def integration_of(self, route: str) -> str:
        """What the routes with the same key and address have in common: a digest, which tells nothing of the key."""
        ...

    def knows(self, route: str) -> bool:
        """Whether triggers can go through the route."""
        ...

    def route_of(self, violation: Violation) -> str:
        """The route that a first trigger of this violation goes through."""
        ...

    def requests(self, route: str, notification: Notification) -> Sequence[Request]:
        """The requests of one notification, in order.

        The first one makes the statement; those that follow it up (a priority, a note) may be rejected.
        """
        ...

    def check(self, route: str) -> Request:
        """A request that shows whether the key of a route works, and notifies nobody (design section 13, "The route
        check"): it ends an alert that cannot exist, by 128 random bits made for this request."""
        ...

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """What an HTTP answer means. The status decides; an unreadable body changes nothing."""
        ...
