"""PagerDuty, Events API v2: routes, requests, and what its answers mean.

https://developer.pagerduty.com/docs/events-api-v2-overview
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from providers.answer import Answer, RouteRefused
from providers.classification import Reasons, accepted, classify_status, error_list, json_object
from providers.inspection import Inspector
from providers.integration import digest, random_name, retired_route
from providers.notification import Notification, Resolve
from providers.pagerduty.payload import Payloads
from providers.pagerduty.rest import RestInspector, rest_base
from providers.pagerduty.settings import PagerDutySettings, is_global
from providers.provider import HeartbeatCalls, Request
from providers.rate import Rate
from state.violation import Violation

DEFAULT_ROUTE: Final = "default"


class PagerDuty:
    """A `Provider`. ``now`` gives seconds since the epoch, for answers that say when to come back by a date.

    Raises:
        ValueError: a template of the settings has an unknown placeholder.
    """

    name = "pagerduty"
    key_limit = 255
    documented_rate = Rate(1.5, 30)  # with a full burst, 120 in any minute for each integration key
    shares_alerts = False
    heartbeat: HeartbeatCalls | None = None

    def __init__(self, settings: PagerDutySettings, *, now: Callable[[], float] = time.time) -> None:
        base = settings.api_endpoint.rstrip("/")
        self._url = f"{base}/v2/enqueue"
        self._change_url = f"{base}/v2/change/enqueue"
        in_use = {route: key.get_secret_value() for route, key in settings.route_keys().items()}
        keys = [key.get_secret_value() for key in settings.retired_routing_keys]
        retired = {retired_route(digest(self._url, key)): key for key in keys}
        self._keys = {**in_use, **retired}
        self._integrations = {route: digest(self._url, key) for route, key in self._keys.items()}
        self._payloads = Payloads(settings)
        changes = settings.change_events
        self.changes: Collection[str] = frozenset(changes.categories if changes.enabled else ())
        self.inspector: Inspector | None = None
        if settings.rest_token is not None:
            rest = settings.rest_endpoint or rest_base(settings.api_endpoint)
            self.inspector = RestInspector(rest, settings.rest_token, in_use)
        self._takes_no_changes = {route for route, key in settings.route_keys().items() if is_global(key)}
        self._reasons = Reasons(self._keys.values())
        self._now = now
        self.routes: Sequence[str] = tuple(self._keys)
        self.retired_routes: Sequence[str] = tuple(retired)

    def route_of(self, violation: Violation) -> str:
        """The integration of the guard, else of the tenant, else of the severity, else the default one."""
        candidates = [f"by_guard:{violation.guard}", f"by_severity:{violation.severity.label}"]
        if violation.tenant_id is not None:
            candidates.insert(1, f"by_tenant:{violation.tenant_id}")
        return next((route for route in candidates if route in self._keys), DEFAULT_ROUTE)

    def knows(self, route: str) -> bool:
        """Whether triggers can go through the route."""
        return route in self._keys and route not in self.retired_routes

    def requests(self, route: str, notification: Notification) -> Sequence[Request]:
        """One request, through the integration of ``route``.

        A route that is no longer configured means the default one: a trigger still pages somebody, and a resolve does
        no harm there, though it cannot reach an incident of the other integration. Callers log it (see `knows`).
        """
        key = self._keys.get(route) or self._keys[DEFAULT_ROUTE]
        return (Request("POST", self._url, body=self._payloads.body(key, notification)),)

    def change(self, violation: Violation) -> Request | None:
        """The change event about an action that was allowed, to where a page about it would go.

        None where that is an event orchestration: PagerDuty takes no change event by its global integration key.
        """
        route = self.route_of(violation)
        if route in self._takes_no_changes:
            return None
        return Request("POST", self._change_url, body=self._payloads.change(self._keys[route], violation))

    def integration_of(self, route: str) -> str:
        """A digest of the integration key and the address."""
        return self._integrations.get(route) or self._integrations[DEFAULT_ROUTE]

    def check(self, route: str) -> Request:
        """The resolve of an incident that cannot exist: PagerDuty accepts it if the integration key is one."""
        (request,) = self.requests(route, Resolve(random_name()))
        return request

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """What an HTTP answer means: 202 is accepted, a 400 about the routing key is the route's fault."""
        if status == 202:
            return accepted(headers)
        reason = self._reasons.read(status, body)
        if status == 400 and _refuses_routing_key(body):
            return RouteRefused(status, reason)
        return classify_status(status, headers, reason, self._now())


def _refuses_routing_key(body: bytes) -> bool:
    """A key that no integration has is answered by plain text, a malformed one by JSON whose errors name the field.

    When in doubt it is the key: taken for rejected events, a revoked key would dead-letter every page.
    """
    said = json_object(body)
    texts = [body.decode("utf-8", "replace")] if said is None else [*error_list(said), str(said.get("message"))]
    return any("routing_key" in text or "invalid routing key" in text.lower() for text in texts)
