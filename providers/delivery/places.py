"""How many requests of a member may be on the wire at once (design section 13).

A notification has a place from its first request to its last. While it is only asked what has become of one of them, it
leaves its place to others: a question never holds a page back. Questions have places of their own.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from providers.delivery.integration import Integration
from providers.delivery.queue import Entry

QUESTIONS: Final = 64
"""About how many notifications a member asks the provider at the same time. A question can hang, so there is a limit;
about a notification beyond it no question is asked."""


class Places:
    """The ``most`` places of a member for notifications that are on the wire, through so many ``integrations``.
    ``freed`` is called with the integration of each place that becomes free."""

    def __init__(self, most: int, integrations: int, freed: Callable[[Integration], None]) -> None:
        self._most = most
        self._integrations = integrations
        self._freed = freed
        self._taken = 0
        self._asking = 0
        self._returning: deque[asyncio.Future[None]] = deque()

    @property
    def is_any_free(self) -> bool:
        """Whether there is a free place at all."""
        return self._taken < self._most

    def has_one_for(self, integration: Integration) -> bool:
        """Whether one more request of this integration may be on the wire. An integration takes at most as many places
        as it leaves free, so that a key whose requests hang cannot take all places from the others."""
        free = self._most - self._taken
        return free > 0 and (self._integrations == 1 or integration.in_flight < max(1, free))

    def take(self, integration: Integration, entry: Entry) -> "Place":
        """Take a place for a notification, which has `Integration.started`."""
        self._taken += 1
        return Place(self, integration, entry)

    def ask(self) -> bool:
        """Take a place for questions. Returns whether there was one."""
        if self._asking >= QUESTIONS:
            return False
        self._asking += 1
        return True

    def asked(self) -> None:
        """Give a place for questions back."""
        self._asking -= 1

    def left(self, integration: Integration) -> None:
        """Note that a notification has left its place. The place goes to a notification that waits to come back to its
        own, if there is one."""
        self._taken -= 1
        self._offer()
        self._freed(integration)

    def _offer(self) -> None:
        while self._returning:
            returning = self._returning.popleft()
            if not returning.done():
                returning.set_result(None)
                return

    async def take_again(self, integration: Integration) -> None:
        """Wait for a place for a notification that has left its own, and take it."""
        while not self.is_any_free:
            returning = asyncio.get_running_loop().create_future()
            self._returning.append(returning)
            try:
                await returning
            except asyncio.CancelledError:
                if not returning.cancelled():  # it was offered to this one
                    self._offer()
                raise
        self._taken += 1
        integration.in_flight += 1


class Place:
    """The place of one notification."""

    def __init__(self, places: Places, integration: Integration, entry: Entry) -> None:
        self._places = places
        self._integration = integration
        self._entry = entry
        self._was_left = False
        self._is_taken = True

    def leave(self) -> None:
        """Leave the place to other notifications, for now or for good."""
        if not self._is_taken:
            return
        self._is_taken = False
        if self._was_left:
            self._integration.in_flight -= 1
        else:
            self._was_left = True
            self._integration.finished(self._entry)
        self._places.left(self._integration)

    async def take_again(self) -> None:
        """If the place was left, wait until there is one again, and take it."""
        if not self._is_taken:
            await self._places.take_again(self._integration)
            self._is_taken = True
