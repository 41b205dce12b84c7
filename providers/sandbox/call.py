"""A provider's requests and answers, apart from HTTP."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import orjson


class CallMoment(NamedTuple):
    """One instant by both clocks: seconds since the epoch, and monotonic seconds (comparable between processes)."""

    wall: float
    monotonic: float

    @classmethod
    def now(cls) -> "CallMoment":
        """This instant."""
        return cls(time.time(), time.monotonic())


@dataclass(frozen=True, slots=True)
class Reply:
    """A provider's answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, status: int, value: Any, headers: Mapping[str, str] | None = None) -> "Reply":
        """An answer whose body is JSON."""
        return cls(status, orjson.dumps(value), headers=headers or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request as it came: ``address`` is its path, still percent-encoded, and its query.

    ``body`` is None when it was larger than the sandbox reads.
    """

    method: str
    address: str
    headers: Mapping[str, str]
    body: bytes | None

    @property
    def path(self) -> str:
        """The address without the query."""
        return self.address.partition("?")[0]

    @property
    def query(self) -> str:
        """The query, without the question mark."""
        return self.address.partition("?")[2]


@dataclass(slots=True, kw_only=True)
class Call:
    """A request as one provider understands it, before it has any effect.

    ``path`` is as sent, with the query. ``key`` is the secret key that it came with: PagerDuty's routing key,
    OpsGenie's API key. ``action`` is in the provider's own words (`providers.sandbox.pagerduty.ACTIONS`,
    `providers.sandbox.opsgenie.ACTIONS`). ``target`` is the name in the path (of an alert, a request, a heartbeat), and
    ``target_type`` its type (``id``, ``alias``, …). ``refusal`` is the answer to a request that cannot be read further.
    ``fails_with`` is why it fails after it was accepted (OpsGenie, Jira Service Management; None: it does not).
    """

    method: str
    path: str
    provider: str | None
    action: str
    key: str | None = None
    dedup_key: str | None = None
    event_id: str | None = None
    target: str | None = None
    target_type: str | None = None
    body: Any = None
    refusal: Reply | None = None
    fails_with: str | None = None


class Api(Protocol):
    """One provider: `read` parses a request into a call, `answer` lets the call take effect."""

    name: str

    def read(self, received: Received) -> Call | None:
        """The request as a call; None if its path is not this provider's."""
        ...

    def answer(self, call: Call, now: CallMoment) -> Reply:
        """Check the call, apply it, and return the answer. Nothing is applied unless the status is 2xx."""
        ...

    def reset(self) -> None:
        """Return to the state of the start."""
        ...


def text(value: Any) -> str | None:
    """The value if it is text, else None."""
    return value if isinstance(value, str) else None


def event_id_in(details: Any) -> str | None:
    """The engine's event id in ``custom_details`` or ``details``."""
    return text(details.get("event_id")) if isinstance(details, dict) else None


def occurrences_in(details: Any) -> int | None:
    """How many events a problem has had so far, as ``custom_details`` (a number) or ``details`` (a text) says."""
    told = str(details.get("occurrences", "")) if isinstance(details, dict) else ""
    return int(told) if told.isdecimal() and len(told) < 10 else None
