"""PagerDuty, Events API v2: routes, requests, and what its answers mean.

https://developer.pagerduty.com/docs/events-api-v2-overview
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from providers.answer import Answer, RouteRefused
from providers.classification import Reasons, accepted, classify_status, error_list, json_object
from providers.inspection import Inspector
from providers.integration import random_name
from providers.keyed_routes import KeyedRoutes
from providers.notification import Notification, Resolve
from providers.pagerduty.payload import Payloads
from providers.pagerduty.rest import RestInspector, rest_base
from providers.pagerduty.settings import PagerDutySettings, is_global
from providers.provider import HeartbeatCalls, Request
from providers.rate import Rate
from state.violation import Violation


class PagerDuty:
    """A `Provider`. ``now`` gives seconds since the epoch, for answers that say when to come back by a date.

    Raises `ValueError` if a template of the settings has an unknown placeholder.
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
        retired = [key.get_secret_value() for key in settings.retired_routing_keys]
        self._routes = KeyedRoutes(self._url, in_use, retired)
        self._payloads = Payloads(settings)
        changes = settings.change_events
        self.changes: Collection[str] = frozenset(changes.categories if changes.enabled else ())
        self.inspector: Inspector | None = None
        if settings.rest_token is not None:
            rest = settings.rest_endpoint or rest_base(settings.api_endpoint)
            self.inspector = RestInspector(rest, settings.rest_token, in_use)
        self._takes_no_changes = {route for route, key in settings.route_keys().items() if is_global(key)}
        self._reasons = Reasons(self._routes.keys.values())
        self._now = now
        self.routes: Sequence[str] = self._routes.names
        self.retired_routes: Sequence[str] = self._routes.retired

    def route_of(self, violation: Violation) -> str:
        """The integration of the guard, else of the tenant, else of the severity, else the default one."""
        return self._routes.of(violation)

    def knows(self, route: str) -> bool:
        """Whether triggers can go through the route."""
        return self._routes.takes_triggers(route)

    def requests(self, route: str, notification: Notification) -> Sequence[Request]:
        """One request, through the integration of ``route``.

        A route that is no longer configured means the default one: a trigger still pages somebody, and a resolve does
        no harm there, though it cannot reach an incident of the other integration. Callers log it (see `knows`).
        """
        return (Request("POST", self._url, body=self._payloads.body(self._routes.key(route), notification)),)

    def change(self, violation: Violation) -> Request | None:
        """The change event about an action that was allowed, to where a page about it would go.

        None where that is an event orchestration: PagerDuty takes no change event by its global integration key.
        """
        route = self.route_of(violation)
        if route in self._takes_no_changes:
            return None
        return Request("POST", self._change_url, body=self._payloads.change(self._routes.key(route), violation))

    def integration_of(self, route: str) -> str:
        """A digest of the integration key and the address."""
        return self._routes.integration(route)

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
