"""The provider that answers, and the wire to it.

A request is *on the wire* until it is answered, times out or breaks off. It *lands* when the provider takes it, which
may be before that or never; one that was cut off may land up to ``TIMEOUT`` afterwards, where ``late`` allows it.
"""

import asyncio
from collections.abc import Callable

from providers.answer import Accepted, Answer, Rejected, RouteRefused, Unavailable
from providers.notification import Trigger
from providers.provider import Request
from state.provider_feedback import What
from tests.support.simulation.events import Events
from tests.support.simulation.fates import Fates
from tests.support.simulation.incidents import Here, Incidents
from tests.support.simulation.leaving import leaving as dispatch_that_leaves
from tests.support.simulation.leaving_promises import LeavingPromises
from tests.support.simulation.member import Member
from tests.support.simulation.people import People
from tests.support.simulation.pipeline import TIMEOUT
from tests.support.simulation.routing import Routing
from tests.support.simulation.world import World
from tests.support.wire import OnTheWire


class Provider:
    """``wire`` are the requests that have left and are not answered; ``adrift`` those that were cut off and may still
    land. ``landings`` are all that have landed, with the true time."""

    def __init__(
        self,
        world: World,
        events: Events,
        fates: Fates,
        routing: Routing,
        incidents: Incidents,
        member: Member,
        people: People,
        promises: LeavingPromises,
        *,
        late: bool,
    ) -> None:
        self._world = world
        self._events = events
        self._fates = fates
        self._routing = routing
        self._incidents = incidents
        self._member = member
        self._people = people
        self._promises = promises
        self._late = late
        self.key_works = True
        self.wire: list[OnTheWire] = []
        self.adrift: list[OnTheWire] = []
        self.landings: list[tuple[float, OnTheWire]] = []

    # what leaves

    async def send(self, request: Request, classify: object, timeout: float) -> Answer:
        """What delivery calls to make a request (`providers.sender.Sender`)."""
        if request.url.endswith("/check"):
            self._world.say(f"check: {'accepted' if self.key_works else 'refused'}")
            return Accepted() if self.key_works else Rejected(400, "no")
        leaving = self._leaving()
        self._world.say(f"leaves: {leaving}")
        self._promises.check(leaving, self.wire)
        self.wire.append(leaving)
        try:
            async with asyncio.timeout(timeout):
                return await leaving.answer
        except TimeoutError:
            self._world.say(f"times out: {leaving}")
            self.cut_off(leaving)
            return Unavailable(None, "no answer", unknown=True)
        except asyncio.CancelledError:
            self._world.say(f"cut off: {leaving}")
            self.cut_off(leaving)
            raise
        finally:
            self.wire.remove(leaving)

    def _leaving(self) -> OnTheWire:
        dispatch = dispatch_that_leaves()
        covers: frozenset[int] = frozenset()
        if isinstance(dispatch.notification, Trigger):
            owed = dispatch.token
            covers = frozenset(self._events.between(dispatch.dedup_key, owed.first_offset, owed.last_offset))
        place = self._routing.place(self._routing.provider.integration_of(dispatch.route))
        return OnTheWire(dispatch, place, self._routing.keys, covers, self._world.loop.create_future())

    def pick(self, number: int, which: Callable[[OnTheWire], bool] = lambda request: True) -> OnTheWire | None:
        """One of the requests on the wire; None if there is none such."""
        # By key, for what leaves at the same moment leaves in any order.
        possible = sorted(filter(which, self.wire), key=lambda request: request.key)
        return possible[number % len(possible)] if possible else None

    # what lands

    def land(self, request: OnTheWire | None) -> None:
        """The provider takes the request, if its key works and it has not taken it before."""
        if request is None or request.landed or not self.key_works:
            return
        request.landed = True
        self.landings.append((self._world.true_time(), request))
        self._world.say(f"lands: {request}")
        here = (request.place, request.key)
        if request.is_trigger:
            self._land_trigger(request, here)
        else:
            if here in self._incidents.open:
                self._people.tell(here, What.RESOLVED, by_integration=True)
            self._incidents.close(here)

    def _land_trigger(self, request: OnTheWire, here: Here) -> None:
        if here not in self._incidents.open and request.key not in self._fates.unpromised:
            self._check_first(request)
        self._fates.told |= request.covers
        self._fates.told_at |= {(request.place, offset) for offset in request.covers}
        notification = request.dispatch.notification
        assert isinstance(notification, Trigger)
        self._incidents.trigger(here, notification.severity)

    def _check_first(self, request: OnTheWire) -> None:
        """This trigger opens an incident: nobody may have been told of the same by another."""
        key, in_use = request.key, self._routing.in_use
        others = in_use if self._routing.shares_alerts else in_use - self._left(key)
        told_at = {offset for place, offset in self._fates.told_at if place in others}
        is_second = any((other, key) in self._incidents.open for other in others) and key not in self._fates.admitted
        if is_second or request.covers <= told_at:
            self._world.breaks("an occurrence opens a second incident", str(request))

    def _left(self, key: str) -> set[str | None]:
        """The integrations that the alert is known to have left, where its incident will be resolved."""
        alert = self._member.alert(key)
        return {one.integration for one in alert.former} if alert is not None else set()

    # what is answered

    def answer(self, request: OnTheWire | None, answer: Answer) -> None:
        """Answer the request, whether it has landed or not."""
        if request is not None and not request.answer.done():
            self._world.say(f"answer to {request}: {type(answer).__name__}")
            request.answer.set_result(answer)

    def take(self, request: OnTheWire, number: int = 0) -> None:
        """The request lands and is answered so; or it is refused, in one way or another, if the key does not work."""
        self.land(request)
        if request.landed:
            self.answer(request, Accepted(float(int(self._world.true_time()))))
        else:  # the key is not one: the provider says so in words that are known, or others
            refusals = (Rejected(400, "no"), RouteRefused(400, "Invalid routing key"), Rejected(403, "who?"))
            self.answer(request, refusals[number % len(refusals)])

    def reject(self, number: int) -> None:
        """A request is rejected for what it says; what was accepted once is not rejected when repeated."""
        request = self.pick(number, lambda request: not request.landed and not (request.covers and self._has(request)))
        if request is not None and self.key_works:
            self._fates.own_fault.add(request.key)
            if not request.is_trigger:
                self._fates.admitted.add(request.key)
            self.answer(request, Rejected(400, "no"))

    def _has(self, request: OnTheWire) -> bool:
        return {(request.place, offset) for offset in request.covers} <= self._fates.told_at

    def turn_key(self) -> None:
        """The key is revoked, or put right; not so soon that no check has seen it."""
        if self.key_works or not any(one.suspects for one in self._member.delivery._integrations):
            self.key_works = not self.key_works
            self._world.say(f"the key {'works' if self.key_works else 'is revoked'}")

    # what is cut off

    def cut_off(self, request: OnTheWire) -> None:
        """Nobody waits for the answer any more."""
        if self._late and not request.landed:
            request.deadline = self._world.loop.time() + TIMEOUT
            self.adrift.append(request)

    def land_late(self, number: int) -> None:
        """A request that was cut off lands after all, or is lost."""
        if self.adrift:
            self.adrift.sort(key=lambda request: (request.deadline, request.key))
            request = self.adrift.pop(number % len(self.adrift))
            self._fates.unpromised.add(request.key)
            if request.keys == self._routing.keys or self._is_known(request):
                self.land(request)

    def _is_known(self, request: OnTheWire) -> bool:
        """Whether the alert has been where this request, of an owner with other keys, lands: else nobody can know."""
        alert = self._member.alert(request.key)
        if alert is None:
            return False
        left = (one.integration for one in (*alert.former, *alert.orphans))
        return request.place in map(self._routing.place, (alert.integration, *left))

    def lose_what_is_too_late(self) -> None:
        """Requests that have been adrift for too long will not land."""
        now = self._world.loop.time()
        self.adrift = [request for request in self.adrift if request.deadline is None or now < request.deadline]
