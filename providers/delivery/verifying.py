"""Which requests of an integration are verified, and when their questions leave (`providers.verification`)."""

from collections.abc import Awaitable, Callable

from providers.answer import Accepted, Answer
from providers.delivery.integration import Integration
from providers.provider import Verify

TakeToken = Callable[[float, bool], Awaitable[bool]]
"""Waits for a token, that many seconds at most, before what has not begun (True) or behind it; whether there is one."""


class Verifying:
    """A `Verifier` for one notification. The questions about one at a time of an integration go before what has not
    begun; those about others take what is left of the rate: pages go before what is only to be known of others.
    """

    def __init__(self, integration: Integration, take_token: TakeToken, heard: Callable[[Answer], None]) -> None:
        self._integration = integration
        self._take_token = take_token
        self._heard = heard
        self._is_ahead = False
        self._has_heard = False

    def wants(self, verify: Verify) -> bool:
        """Each request, or those until one has come about, or nobody could say when it was asked."""
        return verify.always or not self._integration.is_proved

    async def may_ask(self, seconds: float) -> bool:
        """Wait for a token."""
        if not self._integration.is_asking:
            self._is_ahead = self._integration.is_asking = True
        return await self._take_token(seconds, self._is_ahead)

    def heard(self, answer: Answer) -> None:
        """The limiter is told."""
        self._has_heard = True
        self._heard(answer)

    def ended(self, answer: Answer | None) -> None:
        """What was accepted has come about, or it cannot be known: the next ones are believed. What was never asked
        about (its task had to be silent) says nothing."""
        if self._is_ahead:
            self._integration.is_asking = False
        if isinstance(answer, Accepted) and self._has_heard:
            self._integration.is_proved = True
