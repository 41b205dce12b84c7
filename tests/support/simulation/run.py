"""A walk, from its first step to rest: everything that the simulation consists of, put together."""

from collections.abc import Callable, Iterable, Mapping

from tests.support.simulation.events import Events
from tests.support.simulation.fates import Fates
from tests.support.simulation.incidents import Incidents
from tests.support.simulation.input_steps import InputSteps
from tests.support.simulation.leaving_promises import LeavingPromises
from tests.support.simulation.long_steps import LongSteps
from tests.support.simulation.member import Member
from tests.support.simulation.member_steps import MemberSteps
from tests.support.simulation.people import People
from tests.support.simulation.promises import Promises
from tests.support.simulation.provider import Provider
from tests.support.simulation.provider_steps import ProviderSteps
from tests.support.simulation.rest import Rest
from tests.support.simulation.routing import Routing
from tests.support.simulation.silences import Silences
from tests.support.simulation.state_topic import StateTopic
from tests.support.simulation.world import World
from tests.support.walks import Step

REST = 900
"""Seconds until all is told: an alert that fails while others are accepted waits for ten minutes."""


def simulate(
    walk: Iterable[Step],
    *,
    late: bool = False,
    tight: bool = False,
    routed: bool = False,
    shared: bool = False,
    people: bool = False,
) -> None:
    """Take the walk to its end and on to rest. Raises `BrokenPromise`."""
    simulation = Simulation(late=late, tight=tight, routed=routed, shared=shared, people=people)
    try:
        for name, number in walk:
            simulation.step(name, number)
        simulation.rest()
    finally:
        simulation.close()


class Simulation:
    """One partition of one pipeline, its provider, its Kafka, and what has happened to every event.

    ``late``: what was cut off may land afterwards. ``tight``: a route may owe one trigger only. ``routed``: there are
    routes by severity, and keys change from one owner to the next; ``shared``: they do so in an account that has one
    alert for all keys. ``people``: what people do at the provider is heard of.
    """

    def __init__(
        self,
        *,
        late: bool = False,
        tight: bool = False,
        routed: bool = False,
        shared: bool = False,
        people: bool = False,
    ) -> None:
        self.world = world = World()
        self.events = events = Events(world)
        fates, incidents, silences = Fates(), Incidents(), Silences(world)
        routing = Routing(routed=routed, shares_alerts=shared)
        self.member = member = Member(world, events, fates, silences, routing, tight=tight)
        state_topic = StateTopic(member)
        leaving = LeavingPromises(world, events, fates, silences, routing, incidents, member, state_topic)
        self._people = people_there = People(world, fates, incidents, member, has_webhooks=people)
        self.provider = provider = Provider(
            world, events, fates, routing, incidents, member, people_there, leaving, late=late
        )
        self._promises = promises = Promises(world, events, fates, routing, incidents, member, provider)
        self._rest = Rest(world, events, fates, routing, incidents, member, people_there, provider, state_topic)
        of_input = InputSteps(events, silences, member)
        of_member = MemberSteps(world, events, fates, routing, incidents, member, provider, state_topic, promises)
        self._steps: Mapping[str, Callable[[int], None]] = {
            **of_input.steps,
            **of_member.steps,
            **ProviderSteps(provider, people_there).steps,
            **LongSteps(world, member, provider, promises, of_input, of_member).steps,
        }
        member.start(provider)
        promises.look()

    @property
    def trace(self) -> list[str]:
        """What has happened, line by line."""
        return self.world.trace

    @property
    def on_the_wire(self) -> list[str]:
        """The requests that have left and are not answered."""
        return [str(request) for request in self.provider.wire]

    def step(self, name: str, number: int) -> None:
        """One step, if it is possible, and what must be true after it. Raises `BrokenPromise`."""
        with self.world.loop.running():
            self._steps[name](number)
        self.world.loop.settle()
        self._promises.look()

    def rest(self) -> None:
        """Let everything be delivered and committed; then here and the provider agree. Raises `BrokenPromise`."""
        self.world.say("rest")
        while not self.provider.key_works:
            self.step("tick", 0)
            self.step("revoke", 0)
        for _ in range(REST):
            self._do_all_there_is()
            if self._rest.is_reached():
                break
            self.step("tick", 0)
            self._land_what_is_late()
        else:
            owing = list(self.member.task.work.store.owing())
            self.world.breaks("everything owed is delivered", f"{owing}")
        self._rest.check()
        self._promises.look()

    def _do_all_there_is(self) -> None:
        if not self.member.is_handing_over and not self.member.proofs.is_valid:
            self.step("proof", 0)
        self.step("decide", 2 * self.events.count)
        if self.member.task.is_running:
            self.step("hear_all", 0)
        while self.provider.wire:
            self.step("answer", 0)
        self.step("commit", 0)

    def _land_what_is_late(self) -> None:
        """Before it would be lost: what lands late is the worse case."""
        now = self.world.loop.time
        while (adrift := self.provider.adrift) and (adrift[0].deadline or 0.0) - now() <= 1.0:
            self.step("late", 0)

    def close(self) -> None:
        """End the process; nothing that it still does is seen."""
        self.member.close()
