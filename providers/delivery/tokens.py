"""Waiting for a token of an integration's rate, for requests that belong to what is on the wire already, and for checks
(design section 13). What has not begun waits in its queue instead.
"""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final

from providers.delivery.integration import Integration

_LEAST_SECONDS: Final = 0.001
_LOOK_SECONDS: Final = 1.0
"""The longest sleep between two looks for a token: the member's share, and with it the rate, can change meanwhile."""


class Tokens:
    """``clock`` is monotonic, in seconds; ``free_again`` is told of which integration no request waits any more."""

    def __init__(self, clock: Callable[[], float], free_again: Callable[[Integration], None]) -> None:
        self._clock = clock
        self._free_again = free_again

    async def take_spare(self, integration: Integration, may_leave: Callable[[], bool]) -> bool:
        """For a request that can wait: it leaves when nothing else waits for a token. False if it may not any more."""
        limiter = integration.limiter
        while may_leave():
            now = self._clock()
            if not (integration.is_held_up or integration.awaiting) and limiter.has_token(now):
                limiter.take(now)
                return True
            await asyncio.sleep(_LOOK_SECONDS)
        return False

    async def take(
        self, integration: Integration, may_leave: Callable[[], bool] = lambda: True, longest: float = inf
    ) -> bool:
        """Wait for a token for a follow-up request or a check; it goes before notifications that have not begun.

        Returns False, without a token, if the request may not leave any more, or if the limiter lets nothing leave for
        longer than ``longest`` seconds: then the notification goes back to its place in the queue, where it holds up
        nobody. But it waits however slow the rate is: a notification that went back would begin anew with its first
        request, and never get further.
        """
        limiter = integration.limiter
        integration.awaiting += 1
        try:
            while may_leave():
                now = self._clock()
                if limiter.has_token(now):
                    limiter.take(now)
                    return True
                if limiter.withheld_for(now) > longest:
                    break
                await asyncio.sleep(min(_LOOK_SECONDS, max(_LEAST_SECONDS, limiter.next_at(now) - now)))
            return False
        finally:
            integration.awaiting -= 1
            if not integration.awaiting:
                self._free_again(integration)
