"""The keys that the routes have, from one owner of the partition to the next, and the places that they lead to."""

from tests.support.simulated_provider import (
    ACCOUNT,
    CONFIGURATIONS,
    ONE_KEY,
    SHARED_CONFIGURATIONS,
    Keys,
    SimulatedProvider,
)


class Routing:
    """The configuration that holds now. Incidents are kept by place: the integration that a key belongs to, or the
    account, where all integrations have their alerts in common (``shares_alerts``)."""

    def __init__(self, *, routed: bool, shares_alerts: bool) -> None:
        self.shares_alerts = shares_alerts
        self._configurations = SHARED_CONFIGURATIONS if shares_alerts else CONFIGURATIONS if routed else (ONE_KEY,)
        self.has_changed = False
        self._use(self._configurations[0])

    def _use(self, keys: Keys) -> None:
        self.keys = keys
        self.provider = SimulatedProvider(keys, shares_alerts=self.shares_alerts)

    def configuration(self, number: int) -> Keys:
        """One of the configurations that there may be."""
        return self._configurations[number % len(self._configurations)]

    def change_to(self, keys: Keys) -> None:
        """The next owner has these keys."""
        self.has_changed = True
        self._use(keys)

    def place(self, integration: str | None) -> str:
        """Where what goes through this integration lands."""
        return ACCOUNT if self.shares_alerts else integration or ""

    @property
    def in_use(self) -> set[str]:
        """The places that triggers go to."""
        return set(map(self.place, self.keys.in_use))

    @property
    def within_reach(self) -> set[str]:
        """The places that anything goes to."""
        return set(map(self.place, self.keys.within_reach))
