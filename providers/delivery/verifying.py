"""Which requests of an integration are verified, and when their questions leave (`providers.verification`)."""

from collections.abc import Awaitable, Callable
from typing import Final

from providers.answer import Accepted, Answer
from providers.provider import Verify
from providers.verification import Enough

TakeToken = Callable[[float, bool], Awaitable[bool]]
"""Waits for a token, that many seconds at most, before what has not begun (True) or behind it; whether there is one."""

MORE_TO_SAY: Final = "the alert had more to say before it was known"
NO_PLACE: Final = "too much was asked about at once"


class Questions:
    """The questions about what one integration has accepted, whichever notification they are about."""

    def __init__(self) -> None:
        self.is_proved = False
        """Whether what it accepts is believed to come about: once it was asked, and has."""
        self.has_first = False
        """Whether the questions about one notification go before what has not begun."""
        self._until_proved: dict[Verifying, None] = {}

    def begin(self, one: "Verifying") -> None:
        """This one is asked about until the integration is proved."""
        self._until_proved[one] = None

    def end(self, one: "Verifying") -> None:
        """It is not asked about any more."""
        self._until_proved.pop(one, None)

    def proved(self) -> None:
        """What it accepts is believed from now on, also what is being asked about."""
        self.is_proved = True
        while self._until_proved:
            self._until_proved.popitem()[0].enough(None)


class Verifying:
    """A `Verifier` for one notification. The questions about one at a time of an integration go before what has not
    begun; those about others take what is left of the rate: pages go before what is only to be known of others.

    ``begin`` takes a place for questions, if there is one, and leaves that of the notification; ``end`` gives it back.
    """

    def __init__(
        self,
        questions: Questions,
        begin: Callable[["Verifying"], bool],
        end: Callable[[], None],
        take_token: TakeToken,
        heard: Callable[[Answer], None],
    ) -> None:
        self._questions = questions
        self._begin = begin
        self._end = end
        self._take_token = take_token
        self._heard = heard
        self._enough: Enough | None = None
        self._is_first = False
        self._has_heard = False

    def wants(self, verify: Verify) -> bool:
        """Each request, or those until one has come about, or nobody could say when it was asked."""
        return verify.always or not self._questions.is_proved

    def began(self, verify: Verify, enough: Enough) -> str | None:
        """If there is a place for its questions."""
        if not self._begin(self):
            return NO_PLACE
        self._enough = enough
        if not verify.always:
            self._questions.begin(self)
        return None

    def enough(self, reason: str | None) -> None:
        """Ask no more, if it is being asked at all."""
        enough, self._enough = self._enough, None
        if enough is not None:
            enough(reason)

    async def may_ask(self, seconds: float) -> bool:
        """Wait for a token."""
        if not self._questions.has_first:
            self._is_first = self._questions.has_first = True
        return await self._take_token(seconds, self._is_first)

    def heard(self, answer: Answer) -> None:
        """The limiter is told."""
        self._has_heard = True
        self._heard(answer)

    def ended(self, answer: Answer | None) -> None:
        """What was accepted has come about, or it cannot be known: the next ones are believed. What was never asked
        about (its task had to be silent) says nothing."""
        self._enough = None
        self._questions.end(self)
        self._end()
        if self._is_first:
            self._questions.has_first = False
        if isinstance(answer, Accepted) and self._has_heard:
            self._questions.proved()
