"""Routes that are named by what they are for (a guard, a tenant, a severity), each with a key of its own."""

from collections.abc import Iterable, Mapping, Sequence

from providers.integration import DEFAULT_ROUTE, digest, retired_route
from state.violation import Severity, Violation


class KeyedRoutes:
    """The routes of one provider at one ``address``: those ``in_use`` by their names, and one for each ``retired`` key.

    A route that there is not means the default one.
    """

    def __init__(self, address: str, in_use: Mapping[str, str], retired: Iterable[str]) -> None:
        past = {retired_route(digest(address, key)): key for key in retired}
        self.keys: Mapping[str, str] = {**in_use, **past}
        """The key of each route."""
        self.names: Sequence[str] = tuple(self.keys)
        self.retired: Sequence[str] = tuple(past)
        """The routes of retired keys: only acknowledges and resolves go through them."""
        self._by_guard = _named(self.names, "by_guard:")
        self._by_tenant = _named(self.names, "by_tenant:")
        by_severity = _named(self.names, "by_severity:")
        self._otherwise = tuple(by_severity.get(each.label, DEFAULT_ROUTE) for each in Severity)
        self._integrations = {route: digest(address, key) for route, key in self.keys.items()}

    def of(self, violation: Violation) -> str:
        """The route of the guard, else of the tenant, else of the severity, else the default one."""
        route = self._by_guard.get(violation.guard)
        if route is None and violation.tenant_id is not None:
            route = self._by_tenant.get(violation.tenant_id)
        return self._otherwise[violation.severity] if route is None else route

    def takes_triggers(self, route: str) -> bool:
        """Whether the route is there and its key is in use."""
        return route in self.keys and route not in self.retired

    def key(self, route: str) -> str:
        """The key by which requests through the route are made."""
        return self.keys.get(route) or self.keys[DEFAULT_ROUTE]

    def integration(self, route: str) -> str:
        """A digest of the route's key and the address."""
        return self._integrations.get(route) or self._integrations[DEFAULT_ROUTE]


def _named(routes: Iterable[str], kind: str) -> dict[str, str]:
    """The routes of this kind, by what they are for."""
    return {route.removeprefix(kind): route for route in routes if route.startswith(kind)}
