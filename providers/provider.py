"""The protocol of a provider: pure payloads and pure classification. `providers.http` does the sending."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from providers.answer import Answer
from providers.notification import Notification
from providers.rate import Rate
from state.violation import Violation


@dataclass(frozen=True, slots=True)
class Request:
    """One idempotent HTTP request. ``body`` is JSON or None. Secrets stand in ``headers`` or ``body`` only, so the repr
    does not show these. ``url`` is already percent-encoded. ``is_action``: the request acts on an alert that it names,
    so a 404 means that there is no such alert."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    is_action: bool = False


@dataclass(frozen=True, slots=True)
class HeartbeatCalls:
    """The requests of a provider's heartbeat: it calls somebody when the pings stop.

    The provider expects a ping within every ``interval`` seconds. It answers ``ping`` with ``ping_status``, also if it
    has no heartbeat of this ``name``. ``exists`` asks whether there is one, and is answered with ``exists_status`` if
    so. ``read`` returns the reason of an answer by its status and body, without secrets.
    """

    name: str
    interval: float
    ping: Request
    ping_status: int
    exists: Request
    exists_status: int
    read: Callable[[int, bytes], str]


class Provider(Protocol):
    """Turns notifications into one provider's requests, and its answers into their meaning. No I/O."""

    name: str
    """The name in `providers.table`, which is also the pipeline's, in topics, groups, metrics and logs."""

    heartbeat: HeartbeatCalls | None
    """None if no heartbeat is configured, or if the provider has no heartbeats."""

    routes: Sequence[str]
    """The names of all routes, ``default`` first, those of retired keys last."""

    retired_routes: Sequence[str]
    """The routes of retired keys: only acknowledges and resolves go through them (design section 18)."""

    key_limit: int
    """How many characters a dedup key may have."""

    documented_rate: Rate
    """The rate that the provider documents for one integration key."""

    shares_alerts: bool
    """Whether the integrations of one account share their alerts: an account has one open alert of a dedup key, and
    every key of the account acts on it."""

    def integration_of(self, route: str) -> str:
        """The digest of the route's integration, which gives no clue to the key. Routes with the same key and host have
        the same digest."""
        ...

    def knows(self, route: str) -> bool:
        """Whether triggers can go through the route."""
        ...

    def route_of(self, violation: Violation) -> str:
        """The route that the first trigger of an alert takes if this violation opens it."""
        ...

    def requests(self, route: str, notification: Notification) -> Sequence[Request]:
        """The requests of one notification, in order.

        The first request makes the statement. The follow-ups (a priority, a note) may be rejected without harm.
        """
        ...

    def check(self, route: str) -> Request:
        """A request that shows whether the key of a route works and notifies nobody (design section 13, "The route
        check"): it resolves an alert that cannot exist, as its name has 128 random bits made for this request."""
        ...

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """The meaning of an HTTP answer. The status decides; an unreadable body changes nothing."""
        ...
