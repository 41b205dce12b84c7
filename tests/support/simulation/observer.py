"""What delivery tells (`providers.delivery.outbox.Observer`): some comes into the trace, and faults break promises."""

from providers.answer import Answer, Rejected
from providers.delivery.outbox import Dispatch
from tests.support.simulation.world import World


class Observer:
    """It hears everything, and does nothing about it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def answered(self, *_: object) -> None:
        pass

    rejected = fails_alone = failing = given_up = throttled = unthrottled = answered

    def failed(self, dispatch: Dispatch, error: BaseException) -> None:
        self._world.breaks("a fault", repr(error))

    def follow_up_rejected(self, dispatch: Dispatch, answer: Rejected) -> None:
        pass

    def checked(self, route: str, answer: Answer) -> None:
        self._world.say(f"checked: {type(answer).__name__}")

    def refused(self, *_: object) -> None:
        self._world.say("refused")

    def works(self, *_: object) -> None:
        self._world.say("works")
