"""The protocol of a provider: pure payloads and pure classification; sending is `providers.http`'s.

A provider is two things, and a `ProviderKind` names both: a model of its settings
(`providers.settings.ProviderSettings`), which is the section ``exporters.alerting.NAME``, and a class that keeps the
protocol `Provider`, made of such settings. Those of this distribution stand in `providers.table`. Another distribution
brings one by an entry point of the group `ENTRY_POINTS`, whose name is the provider's and whose object is a
`ProviderKind`; in its ``pyproject.toml``::

    [project.entry-points."clawdstrike_alerting.providers"]
    shout = "shout_alerting:KIND"

    # shout_alerting.py
    KIND = ProviderKind(ShoutSettings, Shout)

Topics, groups, metrics, logs and commands follow from the name. The protocol's methods are called in the event loop,
some for each event: they have to return at once, and do no I/O. Whatever they raise is contained
(`providers.contained`): it is an outage of this provider, or a mistake of its section at start, and no other provider
notices. `tests/support/shout` is a whole one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from providers.answer import Answer
from providers.notification import Notification
from providers.rate import Rate
from providers.settings import PipelineSettings
from state.violation import Violation

Classify = Callable[[int, Mapping[str, str], bytes], Answer]
"""Reads an answer, as `Provider.classify` does: its status, headers and body become what it means."""
ENTRY_POINTS: Final = "clawdstrike_alerting.providers"
"""The group of entry points by which a distribution brings providers; each is a `ProviderKind`."""
MAX_ANSWER: Final = 64 * 1024
"""How many bytes of an answer's body are read, unless its request names another number."""


@dataclass(frozen=True, slots=True)
class Request:
    """One idempotent HTTP request. ``body`` is JSON or None. Secrets can stand in ``url``, ``headers`` and ``body``,
    which therefore do not show in its repr. ``url`` is already percent-encoded. ``is_action`` says that it acts on an
    alert which it names: a 404 means then that there is no such alert.

    ``read`` says what its answer means, where that is not as `Provider.classify` says. ``verify`` is how it is asked
    what has become of it (None: accepted is done). ``followed_by`` makes the requests that come next, out of the
    receipt of its acceptance. ``is_beside``: it goes to another API than the integration's, of which its answer says
    nothing. So many bytes of the answer are read as ``largest_answer``.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    is_action: bool = False
    read: Classify | None = field(default=None, repr=False, compare=False)
    verify: "Verify | None" = field(default=None, repr=False, compare=False)
    followed_by: Callable[[str], Sequence["Request"]] | None = field(default=None, repr=False, compare=False)
    largest_answer: int = MAX_ANSWER
    is_beside: bool = False


@dataclass(frozen=True, slots=True)
class Verify:
    """How it is asked what has become of an accepted request: ``ask`` makes the question out of the receipt of the
    acceptance (`providers.verification` says what its answers mean).

    ``always``: of each request. Else until an integration has been found to do what it accepts.
    """

    ask: Callable[[str], Request]
    always: bool


@dataclass(frozen=True, slots=True)
class HeartbeatCalls:
    """The requests of a provider's heartbeat: it calls somebody when the pings stop.

    It is to be told within every ``interval`` seconds. ``ping`` tells it, and is accepted by ``ping_status``, also
    where there is no heartbeat of that ``name``; ``exists`` asks for it (None: nothing can be asked). ``read`` gives
    the reason of an answer by its status and body, without secrets. A request that has a ``read`` of its own is read by
    that. ``ping_otherwise`` is what tells it where ``ping`` is answered by 405.
    """

    name: str
    interval: float
    ping: Request
    ping_status: int
    exists: Request | None
    exists_status: int
    read: Callable[[int, bytes], str]
    ping_otherwise: Request | None = None


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
        """The requests of one notification, in order; none where the provider is not told such a thing.

        The first request makes the statement. The follow-ups (a priority, a note) may be rejected without harm.
        """
        ...

    def check(self, route: str) -> Request | None:
        """A request that shows whether the key of a route works, and notifies nobody (design section 13, "The route
        check"): it ends an alert that cannot exist, by 128 random bits made for this request. None: there is none, for
        no route."""
        ...

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """The meaning of an HTTP answer. The status decides; an unreadable body changes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class ProviderKind:
    """A provider, as it is configured and made: ``build`` takes settings of the type ``settings``.

    What it raises is a mistake of the configuration, told without a traceback.
    """

    settings: type[PipelineSettings]
    build: Callable[[Any], Provider]
