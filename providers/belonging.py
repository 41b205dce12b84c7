"""Which integration an alert belongs to under today's configuration (design section 18). Pure.

An alert remembers the digest of the integration that it was opened through. Between two starts routes are renamed and
removed, and keys are rotated. What that means for an alert is found out anew at each start and never stored: so with an
old configuration that comes back the alert is as it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from msgspec.structs import replace

from providers.provider import Provider
from state.alert import Alert, Former
from state.departures import departed, returned


class Standing(Enum):
    """What has become of an alert's integration since the alert was stored."""

    THE_SAME = "the same"
    RENAMED = "renamed"
    """The integration's route has another name now."""
    RETIRED = "retired"
    """The integration's key is listed as retired, or that of another integration where the alert still has an incident:
    only acknowledges and resolves go through a retired key."""
    ORPHANED = "orphaned"
    """The integration's key is not configured, or that of another integration where the alert may have an incident."""
    OWED = "owed"
    """The integration's key is not configured, and the alert owes a trigger, which goes through today's route."""


CHANGED: Final = (Standing.RENAMED, Standing.RETIRED, Standing.ORPHANED, Standing.OWED)
"""The standings that ``check-config --state`` and the start of ``run`` report."""


@dataclass(frozen=True, slots=True)
class Integrations:
    """The integrations of one configuration. ``in_use`` and ``retired`` have the name of one route of each, by digest;
    ``of_route`` has the digest of each route in use, by name.

    ``account`` is set where the integrations of an account share their alerts: the digest of one in use, which reaches
    whatever any other has opened.
    """

    in_use: dict[str, str]
    retired: dict[str, str]
    of_route: dict[str, str]
    account: str | None = None

    @classmethod
    def of(cls, provider: Provider) -> "Integrations":
        """The integrations of a provider."""
        in_use: dict[str, str] = {}
        retired: dict[str, str] = {}
        for route in provider.routes:
            kind = retired if route in provider.retired_routes else in_use
            kind.setdefault(provider.integration_of(route), route)
        routes = (route for route in provider.routes if route not in provider.retired_routes)
        account = next(iter(in_use)) if provider.shares_alerts else None
        return cls(in_use, retired, {route: provider.integration_of(route) for route in routes}, account)

    def route(self, integration: str | None, name: str | None = None) -> str | None:
        """The name of a route to this integration: ``name`` if that is one; None if its key is not configured."""
        if integration is None:
            return None
        if name is not None and self.of_route.get(name) == integration:
            return name
        return self.in_use.get(integration) or self.retired.get(integration)

    def standing(self, alert: Alert) -> Standing:
        """What has become of the integration of a stored alert."""
        if alert.integration in self.in_use and not alert.former and self._is_named(alert):
            return Standing.THE_SAME  # most alerts
        in_use = self._is_in_use(alert)
        if self.orphans(alert):
            return Standing.OWED if alert.owed is not None and not in_use else Standing.ORPHANED
        if any(one.integration in self.retired for one in alert.former):
            return Standing.RETIRED
        if in_use:
            return Standing.THE_SAME if alert.integration is None or self._is_named(alert) else Standing.RENAMED
        if alert.integration in self.retired:
            return Standing.RETIRED
        return Standing.OWED if alert.owed is not None and alert.integration is not None else Standing.THE_SAME

    def orphans(self, alert: Alert) -> Sequence[Former]:
        """The integrations where a stored alert may have incidents that no configured key reaches."""
        if self.account is not None:
            return ()
        orphans = [one for one in alert.former if not self._is_within_reach(one)]
        if alert.route is not None and not self._is_in_use(alert) and alert.integration not in self.retired:
            orphans.append(Former(alert.integration, alert.route))
        return orphans

    def placed(self, alert: Alert) -> Alert:
        """A stored alert as it is under today's configuration: with an integration that is in use, or with none.

        The alert leaves an integration that is retired or gone, so that its next event tells the problem through
        today's route. An incident that it may have there is resolved, or is an orphan. The alert goes back to an
        integration that it had left and that is in use again. Where integrations share their alerts there are no
        orphans, and an incident at a left integration is resolved when the problem is over.
        """
        if alert.integration in self.in_use and not alert.former:
            return alert  # most alerts
        if not self._is_in_use(alert) and (alert.integration is not None or alert.route is not None):
            alert = departed(alert, self._left(alert))
        alert = self._with_orphans(alert)
        if alert.route is None and alert.integration is None:
            home = next((one for one in reversed(alert.former) if one.integration in self.in_use), None)
            if home is not None:
                alert = returned(alert, home)
        return alert

    def _is_named(self, alert: Alert) -> bool:
        """Whether the alert's route still leads to its integration, or no trigger of the alert has left yet."""
        return alert.route is None or self.of_route.get(alert.route) == alert.integration

    def _is_in_use(self, alert: Alert) -> bool:
        if alert.integration is None:  # by a release that kept the name only
            return alert.route in self.of_route
        return alert.integration in self.in_use

    def _is_within_reach(self, former: Former) -> bool:
        return self.route(former.integration) is not None

    def _left(self, alert: Alert) -> Former | None:
        """The integration that the alert leaves, if the alert may have an incident there. A trigger that was not seen
        to leave may have left just before its owner died. If the integration's key is retired, a resolve for that costs
        nothing. If the key is gone, this is not called an orphan: else every alert that owes a trigger would be one."""
        route = alert.route if alert.route is not None else self.retired.get(alert.integration or "")
        return Former(alert.integration, route, self.account is not None) if route is not None else None

    def _of_account(self, former: Former) -> Former:
        integration = former.integration if self._is_within_reach(former) else self.account
        return Former(integration, former.route, until_over=True)

    def _with_orphans(self, alert: Alert) -> Alert:
        if self.account is not None:
            former = tuple(map(self._of_account, alert.former))
            return alert if former == alert.former else replace(alert, former=former)
        if all(map(self._is_within_reach, alert.former)):
            return alert
        former = tuple(one for one in alert.former if self._is_within_reach(one))
        orphans = tuple(one for one in alert.former if not self._is_within_reach(one))
        return replace(alert, former=former, orphans=orphans)
