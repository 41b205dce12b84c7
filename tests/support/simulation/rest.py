"""When everything is at rest, and what must be true then: here and at the provider there is the same."""

from state.alert import Alert, Status
from state.due import due
from tests.support.history_account import histories, wrong_at_rest
from tests.support.simulation.events import Events
from tests.support.simulation.fates import Fates
from tests.support.simulation.incidents import Incidents
from tests.support.simulation.member import Member
from tests.support.simulation.people import People
from tests.support.simulation.provider import Provider
from tests.support.simulation.routing import Routing
from tests.support.simulation.state_topic import StateTopic
from tests.support.simulation.world import World


class Rest:
    """Everything is delivered, heard of and committed."""

    def __init__(
        self,
        world: World,
        events: Events,
        fates: Fates,
        routing: Routing,
        incidents: Incidents,
        member: Member,
        people: People,
        provider: Provider,
        state_topic: StateTopic,
    ) -> None:
        self._world = world
        self._events = events
        self._fates = fates
        self._routing = routing
        self._incidents = incidents
        self._member = member
        self._people = people
        self._provider = provider
        self._state_topic = state_topic

    def is_reached(self) -> bool:
        """Whether nothing is left to be done."""
        task = self._member.task
        store = task.work.store
        return (
            not self._member.is_handing_over
            and task.is_running
            and task.position == self._events.count
            and not self._people.webhooks
            and task.work.effects.inbox.positions.get(0, 0) == len(self._people.feedback)
            and not (self._provider.wire or self._provider.adrift or store.has_changes)
            and self._member.kafka.waiting is None
            and all(due(alert) is None for alert in self._member.alerts())
            and not store.silenced_count
            and not (task.waiting or task.is_refused)  # a checkpoint that has failed is to be written again
        )

    def check(self) -> None:
        """Note every promise that is broken."""
        alerts = {alert.dedup_key: alert for alert in self._member.alerts()}
        self._check_open_here(alerts)
        self._check_open_there(alerts)
        if missing := self._events.key_of.keys() - self._fates.accounted:
            self._world.breaks("no alertable event is lost", str(sorted(missing)))
        written = self._state_topic.written()
        if written.keys() != alerts.keys() or not all(map(self._state_topic.holds, alerts.values())):
            self._world.breaks("the state topic holds what the task knows", str(written))
        if wrong := list(wrong_at_rest(histories(self._member.kafka.steps).values(), alerts)):
            self._world.breaks("the history is complete and in order", "; ".join(wrong))

    def _check_open_here(self, alerts: dict[str, Alert]) -> None:
        # Nothing has been told: kept for its end, because a trigger that was rejected may have landed before.
        untold = {
            key
            for key, alert in alerts.items()
            if alert.overflow is not None or (alert.last_notified is None and (alert.route is not None or alert.former))
        }
        excused = untold & (alerts.keys() if self._routing.has_changed else self._fates.dead_keys)
        excused |= {key for key, alert in alerts.items() if alert.orphans and alert.route is None}
        places = self._routing.within_reach
        within_reach = {key for place, key in self._incidents.open if place in places}
        if only_here := alerts.keys() - within_reach - excused:
            self._world.breaks("what is open here is open at the provider", str(only_here))
        taken = {key for _, key in self._incidents.taken}
        if untaken := {key for key, one in alerts.items() if one.status is Status.ACKNOWLEDGED} - taken:
            self._world.breaks("nobody counts as having taken what nobody has", str(untaken))

    def _check_open_there(self, alerts: dict[str, Alert]) -> None:
        places = self._routing.within_reach
        for place, key in self._incidents.open:
            alert = alerts.get(key)
            had = (alert.integration, *(one.integration for one in alert.former)) if alert is not None else ()
            if place in places:
                if place not in map(self._routing.place, had) and key not in self._fates.admitted:
                    self._world.breaks("what is open at the provider is open here", f"{key} at {place}")
            elif key not in self._fates.left_behind and not _is_orphan(alert, place):
                self._world.breaks("what is out of reach is told of", f"{key} at {place}")


def _is_orphan(alert: Alert | None, integration: str) -> bool:
    return alert is not None and any(one.integration == integration for one in alert.orphans)
