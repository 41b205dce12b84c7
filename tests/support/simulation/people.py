"""What people do at the provider, and how the member hears of it: webhooks, and the feedback topic."""

from consumer.feedback.records import FromProvider
from state.provider_feedback import Happened, What
from tests.support.simulation.fates import Fates
from tests.support.simulation.incidents import Here, Incidents
from tests.support.simulation.member import Member
from tests.support.simulation.world import World


class People:
    """``webhooks`` are those that nobody has heard of yet, ``feedback`` is the feedback topic. Without ``has_webhooks``
    whatever people do is never heard of."""

    def __init__(self, world: World, fates: Fates, incidents: Incidents, member: Member, *, has_webhooks: bool) -> None:
        self._world = world
        self._fates = fates
        self._incidents = incidents
        self._member = member
        self._has_webhooks = has_webhooks
        self._happenings = 0
        self.webhooks: list[FromProvider] = []
        self.feedback: list[FromProvider] = []

    def take(self, number: int) -> None:
        """Somebody acknowledges an incident, if there is one that nobody has acknowledged."""
        if (here := self._incidents.one(number)) is not None and here not in self._incidents.taken:
            self._world.say(f"somebody takes {here}")
            self._incidents.taken.add(here)
            self.tell(here, What.ACKNOWLEDGED)

    def close(self, number: int) -> None:
        """Somebody resolves an incident, if one is open."""
        if (here := self._incidents.one(number)) is not None:
            self._world.say(f"somebody closes {here}")
            self._incidents.close(here)
            self._fates.unpromised.add(here[1])
            self.tell(here, What.RESOLVED)

    def tell(self, here: Here, what: What, *, by_integration: bool = False) -> None:
        """The provider sends a webhook; no two things happen at one moment."""
        if self._has_webhooks:
            self._happenings += 1
            at = self._world.true_time() + self._happenings * 1e-6
            self.webhooks.append(FromProvider("simulated", here[1], Happened(what, at, None, by_integration)))

    def hear(self, number: int) -> None:
        """A webhook arrives, whichever was sent first."""
        if self.webhooks and self._member.task.is_running:
            self._hear(self.webhooks.pop(number % len(self.webhooks)))

    def hear_twice(self, number: int) -> None:
        """A webhook arrives, and will again."""
        if self.webhooks and self._member.task.is_running:
            self._hear(self.webhooks[number % len(self.webhooks)])

    def hear_all(self) -> None:
        """All webhooks arrive, in order."""
        while self.webhooks:
            self._hear(self.webhooks.pop(0))
        self._member.read_feedback(self.feedback)

    def _hear(self, found: FromProvider) -> None:
        self._world.say(f"hears: {found.it.what.value} {found.dedup_key}")
        self.feedback.append(found)
        self._member.read_feedback(self.feedback)
