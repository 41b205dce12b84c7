"""Routes that are named by what they are for (a guard, a tenant, a severity), each with a key of its own."""

from collections.abc import Iterable, Mapping, Sequence

from providers.integration import DEFAULT_ROUTE, digest, retired_route
from state.violation import Violation


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
        """The routes through which only what was opened by their keys is ended."""
        self._integrations = {route: digest(address, key) for route, key in self.keys.items()}

    def of(self, violation: Violation) -> str:
        """The route of the guard, else of the tenant, else of the severity, else the default one."""
        candidates = [f"by_guard:{violation.guard}", f"by_severity:{violation.severity.label}"]
        if violation.tenant_id is not None:
            candidates.insert(1, f"by_tenant:{violation.tenant_id}")
        return next((route for route in candidates if route in self.keys), DEFAULT_ROUTE)

    def takes_triggers(self, route: str) -> bool:
        """Whether the route is there and its key is in use."""
        return route in self.keys and route not in self.retired

    def key(self, route: str) -> str:
        """The key by which requests through the route are made."""
        return self.keys.get(route) or self.keys[DEFAULT_ROUTE]

    def integration(self, route: str) -> str:
        """A digest of the route's key and the address."""
        return self._integrations.get(route) or self._integrations[DEFAULT_ROUTE]
