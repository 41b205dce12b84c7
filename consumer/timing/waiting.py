"""Waiting for an event no longer than a while, for work no longer than until an event, and work beside a block."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, at most ``seconds``. Returns whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def unless_set(event: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of the work; None if the event is set before.

    In that case the work is cancelled, and this waits until it has ended: work that is cut off at the end of the event
    loop would leave clients open. Raises what the work raises.
    """
    working, asked = asyncio.create_task(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait((working, asked), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        asked.cancel()
        await asyncio.wait((working, asked))


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Run this work, which never ends by itself, for the length of the block. At the end of the block it is cancelled,
    and the block waits until it has ended. An error of the work is not raised here: the work has to report its errors
    itself."""
    working = asyncio.create_task(work)
    try:
        yield
    finally:
        working.cancel()
        await asyncio.wait((working,))
