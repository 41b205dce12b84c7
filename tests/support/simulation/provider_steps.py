"""Steps of what the provider, the wire to it and people at it do."""

from collections.abc import Callable, Mapping

from providers.answer import Answer, RouteRefused, Throttled, Unavailable
from tests.support.simulation.people import People
from tests.support.simulation.provider import Provider
from tests.support.wire import OnTheWire


class ProviderSteps:
    """The number of a step says which request is meant, or which incident, or which webhook."""

    def __init__(self, provider: Provider, people: People) -> None:
        self._provider = provider
        self.steps: Mapping[str, Callable[[int], None]] = {
            "land": self.land,
            "answer": self.answer,
            "revoke": lambda number: provider.turn_key(),
            "reject": provider.reject,
            "outage": self.outage,
            "throttle": self.throttle,
            "refuse": self.refuse,
            "break": self.break_off,
            "late": provider.land_late,
            "take": people.take,
            "close": people.close,
            "hear": people.hear,
            "twice": people.hear_twice,
            "hear_all": lambda number: people.hear_all(),
        }

    def land(self, number: int) -> None:
        """A request lands, and is not answered yet."""
        self._provider.land(self._not_landed(number))

    def answer(self, number: int) -> None:
        """A request lands, if it has not before, and is answered so."""
        if (request := self._provider.pick(number)) is not None:
            self._provider.take(request, number)

    def outage(self, number: int) -> None:
        """A request is answered with 503, whether it has landed or not."""
        self._provider.answer(self._provider.pick(number), Unavailable(503, "down"))

    def throttle(self, number: int) -> None:
        """A request comes too soon, says the provider."""
        self._turn_away(number, Throttled("slow", retry_after=3.0))

    def refuse(self, number: int) -> None:
        """The key is not one, says the provider, whether it is or not."""
        self._turn_away(number, RouteRefused(400, "Invalid routing key"))

    def break_off(self, number: int) -> None:
        """The connection of a request breaks off."""
        if (request := self._provider.pick(number)) is not None:
            self._provider.cut_off(request)
            self._provider.answer(request, Unavailable(None, "broke off", unknown=True))

    def _turn_away(self, number: int, answer: Answer) -> None:
        self._provider.answer(self._not_landed(number), answer)

    def _not_landed(self, number: int) -> OnTheWire | None:
        return self._provider.pick(number, lambda request: not request.landed)
