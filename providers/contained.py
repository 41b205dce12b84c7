"""A provider whose faults are its own: whatever it raises is an outage of it, and nothing that others notice.

The code of a provider may come from another distribution (`providers.installed`), and ours has faults, too. What a
fault says is not repeated, only of which type it is: it may quote a key.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, TypeVar

from providers.answer import Answer, Unavailable
from providers.notification import Notification
from providers.provider import Classify, HeartbeatCalls, Provider, Request
from providers.rate import Rate
from state.violation import Violation

T = TypeVar("T")

LEAST_KEY_LIMIT: Final = 64
"""How many characters of a dedup key a provider has to accept at least: a longer key that is cut ends in a digest."""


class ProviderFault(Exception):
    """A provider has raised something, or given something that is not what the protocol says. No secret is in it."""


FAULTS: Final = (Exception, SystemExit, asyncio.CancelledError)
"""Whatever a provider can raise, but for an interrupt by whoever runs the program.

Also what is not meant to be caught: code that is not ours may call ``sys.exit``, and nothing in it is awaited, so
nothing in it can be cancelled.
"""


def fault_of(what: str, error: BaseException) -> ProviderFault:
    """The fault that one of `FAULTS` is. It is raised ``from None``, so that no traceback shows what ``error`` quotes.

    Who makes something else of a fault than an exception catches `FAULTS` itself; so does what is called for each event
    or request, where that costs nothing as long as nothing is raised. All else is done within `containing`.
    """
    return error if isinstance(error, ProviderFault) else ProviderFault(f"{what}: {type(error).__name__}")


@contextmanager
def containing(what: str) -> Iterator[None]:
    """Make a `ProviderFault` of whatever of `FAULTS` is raised within."""
    try:
        yield
    except FAULTS as error:
        raise fault_of(what, error) from None


def contained_reading(classify: Classify) -> Classify:
    """What an HTTP answer means, as ``classify`` says; if it cannot, the request may have been taken or not."""

    def contained(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        return _read(classify, status, headers, body)

    return contained


def _read(classify: Classify, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    try:
        answer: object = classify(status, headers, body)
        if isinstance(answer, Answer):
            return answer
        fault = ProviderFault(f"what an answer means: must not be of the type {type(answer).__name__}")
    except FAULTS as error:
        fault = fault_of("the answer cannot be read", error)
    return Unavailable(status, str(fault), unknown=True)


class Contained:
    """A `Provider` as another one is, for as long as that keeps the protocol.

    What can be asked once is asked here. ``requests`` and ``check`` raise nothing but `ProviderFault`, of which
    `providers.notify` makes an outage; the other methods raise nothing.

    Raises `ProviderFault` if the other provider does not keep the protocol: it cannot be used at all.
    """

    def __init__(self, name: str, provider: Provider) -> None:
        self.provider = provider
        with containing("it does not keep the protocol of a provider"):
            self.name = _is(str, provider.name, "name")
            if self.name != name:
                raise ProviderFault(f"name: it is the provider {self.name[:64]!r}")
            self.key_limit = _is(int, provider.key_limit, "key_limit")
            if self.key_limit < LEAST_KEY_LIMIT:
                raise ProviderFault(f"key_limit: must be at least {LEAST_KEY_LIMIT}")
            self.documented_rate = _is(Rate, provider.documented_rate, "documented_rate")
            self.shares_alerts = _is(bool, provider.shares_alerts, "shares_alerts")
            self.routes: Sequence[str] = tuple(_is(str, route, "routes") for route in provider.routes)
            self.retired_routes: Sequence[str] = tuple(_is(str, it, "retired_routes") for it in provider.retired_routes)
            if not self.routes or self.routes[0] in self.retired_routes:
                raise ProviderFault("routes: the first must be the default one")
            self._integrations = {
                route: _is(str, provider.integration_of(route), "integration_of") for route in self.routes
            }
            self._known = {route for route in self.routes if _is(bool, provider.knows(route), "knows")}
            for method in ("route_of", "requests", "check", "classify"):
                if not callable(getattr(provider, method)):
                    raise ProviderFault(f"{method}: is no method")
            self.heartbeat = _contained(provider.heartbeat)

    def knows(self, route: str) -> bool:
        """Whether triggers can go through the route."""
        return route in self._known

    def route_of(self, violation: Violation) -> str:
        """The route that a first trigger of this violation goes through; the default one if that cannot be said: a
        page that comes elsewhere is better than none."""
        try:
            route = self.provider.route_of(violation)
            return route if route in self._known else self.routes[0]
        except FAULTS:
            return self.routes[0]

    def integration_of(self, route: str) -> str:
        """A digest of key and address of the route; of a route that there is not, that of the default one."""
        return self._integrations.get(route) or self._integrations[self.routes[0]]

    def requests(self, route: str, notification: Notification) -> Sequence[Request]:
        """The requests of one notification, in order.

        Raises `ProviderFault` if there are none, by a fault of the provider.
        """
        try:
            return tuple([_is(Request, it, "a request") for it in self.provider.requests(route, notification)])
        except FAULTS as error:
            raise fault_of("the request cannot be made", error) from None

    def check(self, route: str) -> Request | None:
        """The check of a route's key, if there is one.

        Raises `ProviderFault` if the check cannot be made, by a fault of the provider.
        """
        with containing("the check cannot be made"):
            request = self.provider.check(route)
            return None if request is None else _is(Request, request, "the check")

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """What an HTTP answer means. If that cannot be said, the request may have been taken or not."""
        return _read(self.provider.classify, status, headers, body)


def uncontained(provider: Provider) -> object:
    """The provider itself, to be asked whether it keeps another protocol besides.

    What is called of it can raise anything: whoever calls it contains that.
    """
    return provider.provider if isinstance(provider, Contained) else provider


def _is(kind: type[T], value: Any, what: str) -> T:
    if not isinstance(value, kind):
        raise ProviderFault(f"{what}: must not be of the type {type(value).__name__}")
    return value


def _contained(calls: HeartbeatCalls | None) -> HeartbeatCalls | None:
    if calls is None:
        return None
    read: Callable[[int, bytes], str] = _is(HeartbeatCalls, calls, "heartbeat").read

    def contained(status: int, body: bytes) -> str:
        try:
            return _is(str, read(status, body), "the reason of an answer")
        except FAULTS as error:
            return f"HTTP {status}: {fault_of('the answer cannot be read', error)}"

    return replace(calls, read=contained)
