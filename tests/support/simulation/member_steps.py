"""Steps of what happens to the member: time, commits, crashes, and owners with other keys."""

from collections.abc import Callable, Mapping

from tests.support.simulated_kafka import Outcome
from tests.support.simulation.events import Events
from tests.support.simulation.fates import Fates
from tests.support.simulation.incidents import Incidents
from tests.support.simulation.member import Member
from tests.support.simulation.pipeline import INTERVAL
from tests.support.simulation.promises import Promises
from tests.support.simulation.provider import Provider
from tests.support.simulation.routing import Routing
from tests.support.simulation.state_topic import StateTopic
from tests.support.simulation.world import World
from tests.support.walks import SKEWS, WAITS


class MemberSteps:
    """A member that is started again is looked at before anything else happens."""

    def __init__(
        self,
        world: World,
        events: Events,
        fates: Fates,
        routing: Routing,
        incidents: Incidents,
        member: Member,
        provider: Provider,
        state_topic: StateTopic,
        promises: Promises,
    ) -> None:
        self._world = world
        self._events = events
        self._fates = fates
        self._routing = routing
        self._incidents = incidents
        self._member = member
        self._provider = provider
        self._state_topic = state_topic
        self._promises = promises
        self.steps: Mapping[str, Callable[[int], None]] = {
            "tick": lambda number: self.tick(),
            "wait": self.wait,
            "clock": self.clock,
            "commit": lambda number: self.commit(),
            "commit_fails": self.commit_fails,
            "crash": self.crash,
            "reconfigure": self.reconfigure,
            "hand_over": self.hand_over,
            "proof": lambda number: self.proof(),
        }

    def tick(self) -> None:
        """A second, and what a member does once in it."""
        self._world.say("tick")
        self._world.loop.advance(1.0)
        self._member.tick()

    def wait(self, number: int) -> None:
        """So much time passes: one of `WAITS`."""
        self._world.say(f"wait {WAITS[number]}")
        self._world.loop.advance(WAITS[number])

    def clock(self, number: int) -> None:
        """The wall clock of the member is set: it is wrong by one of `SKEWS`."""
        self._world.skew = SKEWS[number]
        self._world.say(f"the wall clock is off by {self._world.skew:g} s")

    def commit(self) -> None:
        """The checkpoint that waits for it, or the next one, is committed."""
        kafka = self._member.kafka
        if kafka.waiting is None:
            self._world.loop.advance(INTERVAL)
        if kafka.conclude(Outcome.DONE):
            self._world.say("commit")
            self._world.loop.settle()

    def commit_fails(self, number: int) -> None:
        """The commit that is under way fails, and comes about all the same or not."""
        if self._member.kafka.conclude(Outcome.UNKNOWN if number % 2 else Outcome.FAILED):
            self._world.say(f"commit fails, {'' if number % 2 else 'not '}applied")

    def crash(self, number: int) -> None:
        """What is on the wire has been accepted, or is lost or adrift; a commit under way comes about or not."""
        self._world.say(f"crash {number}")
        self._die(number)
        self._member.start(self._provider)
        self._promises.look()

    def reconfigure(self, number: int) -> None:
        """A crash, and a next owner with other keys."""
        keys = self._routing.configuration(number)
        if keys == self._routing.keys:
            return
        self._world.say(f"from now on {keys}")
        self._die(number)
        self._routing.change_to(keys)
        if not self._routing.shares_alerts:
            self._forget_what_nobody_knows()
        self._member.restart_as_configured(self._provider)
        self._promises.look()

    def hand_over(self, number: int) -> None:
        """A rebalance gives the partition to the same member again."""
        if not self._member.is_handing_over and self._member.task.is_running:
            self._world.say("hand over")
            self._member.hand_over(number % 3)

    def proof(self) -> None:
        """The proof that the member owns the partition gets stale, or is fresh again."""
        if not self._member.is_handing_over:
            proofs = self._member.proofs
            proofs.is_valid = not proofs.is_valid
            self._world.say(f"proof {'fresh' if proofs.is_valid else 'stale'}")
            self._member.delivery.wake()

    def _die(self, number: int) -> None:
        for index, request in enumerate(sorted(self._provider.wire, key=lambda request: request.key)):
            if number >> (index % 2) & 1:
                self._provider.land(request)
        if number & 4:
            self._member.kafka.conclude(Outcome.UNKNOWN)
        self._member.close()

    def _forget_what_nobody_knows(self) -> None:
        """An incident that was opened since the last checkpoint is not in the state, and with other keys it need not be
        opened again: nobody can know of it."""
        written = self._state_topic.written()
        for integration, key in list(self._incidents.open):
            alert = written.get(key)
            if alert is not None and any(one.integration == integration for one in alert.former):
                continue
            is_within_reach = integration in self._routing.keys.within_reach
            if alert is not None and alert.integration == integration and (alert.route is not None or is_within_reach):
                continue
            del self._incidents.open[integration, key]
            self._fates.told_at -= {(integration, offset) for offset in self._events.of(key)}
