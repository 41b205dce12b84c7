"""The protocol of a provider: pure payloads and pure classification; sending is `providers.http`'s."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from providers.answer import Answer
from providers.notification import Notification
from providers.rate import Rate
from state.violation import Violation


@dataclass(frozen=True, slots=True)
class Request:
    """One idempotent HTTP request. ``body`` is JSON or None; secrets stand in ``headers`` or ``body`` only,
    which therefore do not show in its repr. ``url`` is already percent-encoded."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Mapping[str, Any] | None = field(default=None, repr=False)


class Provider(Protocol):
    """One provider's form of a notification and the meaning of its answers. No I/O."""

    name: str
    """``pagerduty`` or ``opsgenie``: the name of the pipeline, in topics, groups, metrics and logs."""

    routes: Sequence[str]
    """The names of all routes, ``default`` first."""

    key_limit: int
    """How many characters a dedup key may have."""

    documented_rate: Rate
    """What the provider takes through one route."""

    def route_of(self, violation: Violation) -> str:
        """The route that a first trigger of this violation goes through."""
        ...

    def requests(self, route: str, notification: Notification) -> Sequence[Request]:
        """The requests of one notification, in order; it is accepted when the last one is."""
        ...

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """What an HTTP answer means. The status decides; an unreadable body changes nothing."""
        ...
