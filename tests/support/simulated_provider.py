"""A provider in memory, with the keys that its routes have by one configuration or another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from providers.answer import Answer
from providers.notification import Notification, Resolve, Trigger
from providers.provider import HeartbeatCalls, Request
from providers.rate import Rate
from state.violation import Severity, Violation


@dataclass(frozen=True, slots=True)
class Keys:
    """A configuration: the key of each route, of which the last one is for critical events, and retired keys."""

    of_route: Mapping[str, str]
    retired: Sequence[str] = ()

    @property
    def in_use(self) -> frozenset[str]:
        """The keys that triggers go through."""
        return frozenset(self.of_route.values())

    @property
    def within_reach(self) -> frozenset[str]:
        """The keys that anything goes through."""
        return self.in_use | set(self.retired)


ONE_KEY = Keys({"default": "key"})

CONFIGURATIONS = (
    Keys({"default": "A", "critical": "B"}),
    Keys({"default": "A", "urgent": "B"}),
    Keys({"default": "A", "critical": "C"}, retired=("B",)),
    Keys({"default": "D", "critical": "B"}, retired=("A",)),
    Keys({"default": "A"}, retired=("B",)),
    Keys({"default": "A"}),
    Keys({"default": "D", "critical": "C"}),
    Keys({"default": "B", "critical": "A"}),
)
"""What a routed simulation begins with, and what it may become: a route renamed, keys rotated, routes removed, with the
old keys listed as retired or not, and two routes whose keys are exchanged."""


SHARED_CONFIGURATIONS = (
    Keys({"default": "A"}),
    Keys({"default": "B"}, retired=("A",)),
    Keys({"default": "C"}, retired=("B", "A")),
    Keys({"default": "A"}, retired=("B",)),
    Keys({"default": "B"}),
    Keys({"default": "C"}),
    Keys({"default": "B"}, retired=("C",)),
    Keys({"default": "C"}, retired=("A",)),
)
"""The same where all keys are of an account that shares its alerts."""

ACCOUNT = "account"


class SimulatedProvider:
    """One request for every notification."""

    name = "simulated"
    heartbeat: HeartbeatCalls | None = None
    key_limit = 255
    documented_rate = Rate(1.5, 30)

    def __init__(self, keys: Keys, *, shares_alerts: bool = False) -> None:
        self.shares_alerts = shares_alerts
        retired = {f"retired:{key}": key for key in keys.retired}
        self._keys = {**keys.of_route, **retired}
        self._critical = list(keys.of_route)[-1]
        self.routes: Sequence[str] = tuple(self._keys)
        self.retired_routes: Sequence[str] = tuple(retired)

    def route_of(self, violation: Violation) -> str:
        return self._critical if violation.severity is Severity.CRITICAL else "default"

    def integration_of(self, route: str) -> str:
        return self._keys.get(route, self._keys["default"])

    def knows(self, route: str) -> bool:
        return route in self._keys

    def requests(self, route: str, notification: Notification) -> Sequence[Request]:
        assert isinstance(notification, Trigger | Resolve)
        return (Request("POST", "https://simulated"),)

    def check(self, route: str) -> Request:
        return Request("POST", "https://simulated/check")

    def classify(self, status: int, headers: object, body: bytes) -> Answer:
        raise NotImplementedError
