"""A provider as the configuration describes it: routes, requests, and what its answers mean."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from providers.answer import Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.classification import (
    THROTTLED,
    UNKNOWN_STATUSES,
    Reasons,
    accepted,
    classify_status,
    retry_after,
)
from providers.configured import facts
from providers.configured.facts import Json, Told
from providers.configured.keys import writer
from providers.configured.settings import Call, ConfiguredSettings
from providers.configured.template import Compiled, Names, compile_address, compile_text, compile_tree
from providers.integration import DEFAULT_ROUTE, random_name
from providers.keyed_routes import KeyedRoutes
from providers.notification import Acknowledge, Notification, Resolve, Trigger
from providers.provider import HeartbeatCalls, Request
from providers.rate import Rate
from state.violation import Violation

_OF_NOBODY: Final = Resolve("")


@dataclass(frozen=True, slots=True)
class _Call:
    """A compiled call."""

    method: str
    address: Callable[[Told], str]
    body: Compiled | None

    def request(self, told: Told, headers: Mapping[str, str]) -> Request:
        body = None if self.body is None else self.body(told)
        assert body is None or isinstance(body, dict)  # the settings take nothing else
        return Request(self.method, self.address(told), headers, body)


class ConfiguredProvider:
    """A `Provider`. ``now`` gives seconds since the epoch, for answers that say when to come back by a date.

    Raises `ValueError` if a template of the settings is wrong, which they have checked.
    """

    documented_rate = Rate(1, 10)  # nothing is documented: what any provider takes
    shares_alerts = False

    def __init__(self, name: str, settings: ConfiguredSettings, *, now: Callable[[], float] = time.time) -> None:
        self.name = name
        self.key_limit = settings.key_limit
        in_use = {route: key.get_secret_value() for route, key in settings.route_keys().items()}
        retired = [key.get_secret_value() for key in settings.retired_secrets]
        self._routes = KeyedRoutes(settings.address, in_use, retired)
        self.routes: Sequence[str] = self._routes.names
        self.retired_routes: Sequence[str] = self._routes.retired

        named = [secret.get_secret_value() for secret in settings.secrets.values()]
        self._reasons = Reasons([*self._routes.keys.values(), *named, *settings.concealed()])
        self._write = writer(settings.key, settings.key_limit)
        self._severities: Mapping[str, Json] = {
            label: compile_tree(value, Names(facts.OF_NOTHING))(Told(_OF_NOBODY, "", ""))
            for label, value in settings.severity_mapping.items()
        }
        self._answers = settings.answers
        self._now = now

        of_nothing = settings.names(facts.OF_NOTHING)
        self._headers = {
            route: {
                header: compile_text(value, of_nothing)(Told(_OF_NOBODY, "", key))
                for header, value in settings.headers.items()
            }
            for route, key in self._routes.keys.items()
        }
        calls = {name: _compiled(call, settings, known) for name, call, known in settings.calls()}
        self._trigger = calls["trigger"]
        self._update = calls["trigger"] if settings.update is None else calls.get("update")
        self._acknowledge = calls.get("acknowledge")
        self._resolve = calls.get("resolve")
        self._check = None if settings.checking is None else calls.get("check") or self._resolve
        self.heartbeat = self._heartbeat(settings)

    def route_of(self, violation: Violation) -> str:
        """The route of the guard, else of the tenant, else of the severity, else the default one."""
        return self._routes.of(violation)

    def knows(self, route: str) -> bool:
        """Whether triggers can go through the route."""
        return self._routes.takes_triggers(route)

    def integration_of(self, route: str) -> str:
        """A digest of the route's secret and the address; of the address alone where there is no secret."""
        return self._routes.integration(route)

    def requests(self, route: str, notification: Notification) -> Sequence[Request]:
        """One request, or none if this provider is not told such a thing. A route that there is not means the default
        one."""
        match notification:
            case Trigger():
                # The provider may no longer have an alert that is being reopened, so it is triggered, not updated.
                call = self._update if notification.again and not notification.reopens else self._trigger
            case Acknowledge():
                call = self._acknowledge
            case Resolve():
                call = self._resolve
        return () if call is None else (self._request(call, route, notification),)

    def check(self, route: str) -> Request | None:
        """The check that is configured, or the resolve of an alert that cannot exist."""
        return None if self._check is None else self._request(self._check, route, Resolve(random_name()))

    def _request(self, call: _Call, route: str, notification: Notification) -> Request:
        severity: Json = None
        if isinstance(notification, Trigger):
            severity = self._severities[notification.severity.label]
        told = Told(notification, self._write(notification.dedup_key), self._routes.key(route), severity)
        return call.request(told, self._headers.get(route) or self._headers[DEFAULT_ROUTE])

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """What an HTTP answer means: what the configuration says, else what its status usually does."""
        meaning = self._answers.meaning(status)
        if meaning == "accepted":
            return accepted(headers)
        reason, now = self._reasons.read(status, body), self._now()
        match meaning:
            case "refused":
                return RouteRefused(status, reason)
            case "rejected":
                return Rejected(status, reason)
            case "later" if status == THROTTLED:
                return Throttled(reason, retry_after(headers, now))
            case "later":
                return Unavailable(status, reason, retry_after(headers, now), unknown=status in UNKNOWN_STATUSES)
            case _:
                return classify_status(status, headers, reason, now)

    def _heartbeat(self, settings: ConfiguredSettings) -> HeartbeatCalls | None:
        beat = settings.heartbeat
        if beat is None or not beat.enabled:
            return None
        told = Told(_OF_NOBODY, "", self._routes.key(DEFAULT_ROUTE))
        url = compile_address(beat.address, settings.names(facts.OF_NOTHING))(told)
        ping = Request(beat.method, url)
        return HeartbeatCalls(self.name, beat.interval_minutes * 60, ping, beat.status, None, 0, self._reasons.read)


def _compiled(call: Call, settings: ConfiguredSettings, known: facts.Known) -> _Call:
    names = settings.names(known)
    address = compile_address(call.address or settings.address, names)
    body = None if call.body is None else compile_tree(call.body, names)
    return _Call(call.method or settings.method, address, body)
