"""What must be true of a request at the moment when it leaves."""

from collections.abc import Sequence

from consumer.input.progress import FRESH_SECONDS
from state.alert import Status
from state.due import Due, due
from tests.support.simulation.events import Events
from tests.support.simulation.fates import Fates
from tests.support.simulation.incidents import Incidents
from tests.support.simulation.member import Member
from tests.support.simulation.pipeline import QUIET
from tests.support.simulation.routing import Routing
from tests.support.simulation.silences import Silences
from tests.support.simulation.state_topic import StateTopic
from tests.support.simulation.world import World
from tests.support.wire import OnTheWire


class LeavingPromises:
    """Judges each request by what the task knows, what the state topic holds and what is open at the provider."""

    def __init__(
        self,
        world: World,
        events: Events,
        fates: Fates,
        silences: Silences,
        routing: Routing,
        incidents: Incidents,
        member: Member,
        state_topic: StateTopic,
    ) -> None:
        self._world = world
        self._events = events
        self._fates = fates
        self._silences = silences
        self._routing = routing
        self._incidents = incidents
        self._member = member
        self._state_topic = state_topic

    def check(self, leaving: OnTheWire, wire: Sequence[OnTheWire]) -> None:
        """``wire`` are the requests that have left before, and are not answered."""
        if not self._member.proofs.is_valid:
            self._world.breaks("a request without a fresh proof", str(leaving))
        if any(other.key == leaving.key for other in wire):
            self._world.breaks("two requests at a time about one alert", str(leaving))
        if leaving.is_trigger:
            self._check_trigger(leaving)
        elif due(leaving.dispatch.token) is Due.RESOLVE_FORMER and leaving.dispatch.token.is_at_provider:
            at = self._routing.place(leaving.dispatch.token.integration)
            if at == leaving.place or (at, leaving.key) not in self._incidents.open:
                self._world.breaks("no live problem is resolved", f"{leaving}: it is told nowhere else")
        else:
            self._check_resolve(leaving)

    def _check_trigger(self, leaving: OnTheWire) -> None:
        if leaving.covers and all(map(self._silences.hold, leaving.covers)):
            self._world.breaks("what is silenced tells nobody", str(leaving))
        store = self._member.task.work.store
        if leaving.dispatch.token.repeat is False and store.state_holds_another(leaving.key):
            self._fates.unpromised.add(leaving.key)  # it has waited for too long

    def _check_resolve(self, leaving: OnTheWire) -> None:
        alert = leaving.dispatch.token
        if not self._state_topic.holds(alert) or alert.status is not Status.RESOLVING or alert.owed is not None:
            held = self._state_topic.held(leaving.key)
            self._world.breaks("a resolve without its intent committed", f"{leaving}: {held}")
        now, position, produced_at = self._world.loop.time(), self._member.task.position, self._events.produced_at
        if any(produced_at[offset] <= now - FRESH_SECONDS for offset in range(position, len(produced_at))):
            self._world.breaks("a resolve from a task that is not caught up", str(leaving))
        decided = [
            offset for offset in self._events.of(leaving.key) if offset < position and offset not in self._fates.muted
        ]
        last = max((produced_at[offset] for offset in decided), default=0.0)
        if self._events.last_end.get(leaving.key, 0.0) < last and now - last < QUIET:
            self._world.breaks("no live problem is resolved", f"{leaving}: an event {now - last:.1f} s ago")
