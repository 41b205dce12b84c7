"""Posts that are being answered, and their end: each is answered, whatever happens."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from consumer.receivers.posts.refusal import RequestRefused, busy

T = TypeVar("T")


class Answering:
    """The posts that are here."""

    def __init__(self) -> None:
        self._open: set[asyncio.Timeout] = set()
        self._ends_at: float | None = None
        self._one_ended = asyncio.Event()

    async def outcome_of(self, work: Callable[[], Awaitable[T]]) -> T:
        """What comes of ``work``, unless all of this is being stopped.

        Raises `RequestRefused` if it is being stopped, and what ``work`` raises.
        """
        if self._ends_at is not None:
            raise _stopping()
        try:
            async with asyncio.timeout(None) as limit:
                self._open.add(limit)
                try:
                    return await work()
                finally:
                    self._open.discard(limit)
                    self._one_ended.set()
        except TimeoutError:
            raise _stopping() from None

    async def stop(self, at: float) -> None:
        """Take nothing more, and answer every post that is here by then at the latest: a time of the loop."""
        self._ends_at = at
        for limit in self._open:
            limit.reschedule(at)
        while self._open:
            self._one_ended.clear()
            await self._one_ended.wait()


def _stopping() -> RequestRefused:
    return busy("this process is being stopped", closes=True)
