"""Steps in which much happens, so that a random walk comes to what would hardly ever come about by single steps."""

from collections.abc import Callable, Mapping

from tests.support.simulation.input_steps import InputSteps
from tests.support.simulation.member import Member
from tests.support.simulation.member_steps import MemberSteps
from tests.support.simulation.pipeline import QUIET
from tests.support.simulation.promises import Promises
from tests.support.simulation.provider import Provider
from tests.support.simulation.world import World


class LongSteps:
    """Time passes in them, and the promises are looked at in between."""

    def __init__(
        self,
        world: World,
        member: Member,
        provider: Provider,
        promises: Promises,
        of_input: InputSteps,
        of_member: MemberSteps,
    ) -> None:
        self._world = world
        self._member = member
        self._provider = provider
        self._promises = promises
        self._of_input = of_input
        self._of_member = of_member
        self.steps: Mapping[str, Callable[[int], None]] = {
            "pass": self.pass_silences,
            "calm": self.calm,
            "resolve": self.resolve,
        }

    def pass_silences(self, number: int) -> None:
        """Time passes beyond the ends of silences, with all decided."""
        self._member.decide_all()
        for _ in range((6, 18)[number % 2]):
            self._settle()
            self._second()

    def calm(self, number: int) -> None:
        """Everything is decided, and nothing happens for a while; long enough to be quiet, or just to be caught up."""
        self._member.decide_all()
        self._settle()
        for _ in range(int(QUIET) + 2 if number >= 5 else 5):
            self._second()
            self._promises.look()

    def resolve(self, number: int) -> None:
        """All is told and over, and the resolve leaves."""
        self._of_input.end(number)
        self._member.decide_all()
        for _ in range(3):
            self._world.loop.settle()
            for request in [request for request in self._provider.wire if request.is_trigger]:
                self._provider.take(request)
            self._settle()
            self._second()
            self._promises.look()

    def _settle(self) -> None:
        self._world.loop.settle()
        self._promises.look()

    def _second(self) -> None:
        self._of_member.tick()
        self._of_member.commit()
