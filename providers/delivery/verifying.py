"""Which requests of an integration are verified, and when their questions leave (`providers.verification`)."""

from collections.abc import Awaitable, Callable
from typing import Final

from providers.answer import Accepted, Answer
from providers.provider import Verify
from providers.verification import Enough

TakeToken = Callable[[float, bool], Awaitable[bool]]
"""Waits at most so many seconds for a token. True: ahead of notifications that have not begun; False: behind them.
Returns whether it got one."""

MORE_TO_SAY: Final = "the alert had more to say before it was known"
NO_PLACE: Final = "too much was asked about at once"


class Questions:
    """The questions about what one integration has accepted, whichever notification they are about."""

    def __init__(self) -> None:
        self.is_proved = False
        """Whether an accepted request is believed to succeed without a question. This becomes true once the questions
        about one were answered: it has succeeded, or nobody could say."""
        self.has_first = False
        """Whether the questions about one notification leave ahead of notifications that have not begun."""
        self._until_proved: dict[Verifying, None] = {}

    def begin(self, one: "Verifying") -> None:
        """Note that questions about this notification are asked until the integration is proved."""
        self._until_proved[one] = None

    def end(self, one: "Verifying") -> None:
        """Note that no question about this notification is asked any more."""
        self._until_proved.pop(one, None)

    def proved(self) -> None:
        """Believe from now on what the integration accepts, and end the questions that are being asked."""
        self.is_proved = True
        while self._until_proved:
            self._until_proved.popitem()[0].enough(None)


class Verifying:
    """A `Verifier` for one notification. The questions about one notification of an integration at a time leave ahead
    of notifications that have not begun. Questions about others take what is left of the rate, because a page is more
    urgent than to know what became of another one.

    ``begin`` takes a place for questions, if there is one, and gives up the place of the notification; ``end`` gives it
    back.
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
        """Whether to ask what became of this request: always with ``verify: true``, else until the integration is known
        to work, or nobody could say when it was asked."""
        return verify.always or not self._questions.is_proved

    def began(self, verify: Verify, enough: Enough) -> str | None:
        """Take a place for questions. Returns why there is none, else None."""
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
        """Wait at most ``seconds`` for a token. Returns whether a question may leave."""
        if not self._questions.has_first:
            self._is_first = self._questions.has_first = True
        return await self._take_token(seconds, self._is_first)

    def heard(self, answer: Answer) -> None:
        """Pass the answer to the limiter, which counts a 429."""
        self._has_heard = True
        self._heard(answer)

    def ended(self, answer: Answer | None) -> None:
        """Give the place for questions back. If a question was answered and the request counts as accepted, later
        requests are believed. If none was answered (the task had to be silent), that says nothing about the
        integration."""
        self._enough = None
        self._questions.end(self)
        self._end()
        if self._is_first:
            self._questions.has_first = False
        if isinstance(answer, Accepted) and self._has_heard:
            self._questions.proved()
