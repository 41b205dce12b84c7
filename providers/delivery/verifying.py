"""Which requests of an integration are verified, and when their questions leave (`providers.verification`)."""

from collections.abc import Awaitable, Callable

from providers.answer import Accepted, Answer
from providers.delivery.integration import Integration
from providers.provider import Verify

TakeToken = Callable[[float, bool], Awaitable[bool]]
"""Waits for a token, that many seconds at most, before what has not begun (True) or behind it; whether there is one."""


class Verifying:
    """A `Verifier` for one notification. One question at a time of an integration goes before what has not begun; the
    others take what that leaves of the rate, so that pages are told before it is known what has become of others."""

    def __init__(self, integration: Integration, take_token: TakeToken, heard: Callable[[Answer], None]) -> None:
        self._integration = integration
        self._take_token = take_token
        self._heard = heard

    def wants(self, verify: Verify) -> bool:
        """Each request, or those until one has come about, or nobody could say."""
        return verify.always or not self._integration.is_proved

    async def may_ask(self, seconds: float) -> bool:
        """Wait for a token."""
        is_ahead = not self._integration.is_asking
        if not is_ahead:
            return await self._take_token(seconds, False)
        self._integration.is_asking = True
        try:
            return await self._take_token(seconds, True)
        finally:
            self._integration.is_asking = False

    def heard(self, answer: Answer) -> None:
        """The limiter is told."""
        self._heard(answer)

    def ended(self, verify: Verify, answer: Answer) -> None:
        """What was accepted has come about, or it cannot be known: the next ones are believed."""
        if isinstance(answer, Accepted):
            self._integration.is_proved = True
