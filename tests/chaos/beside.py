"""What goes on beside a phase."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from tests.chaos.faults import Scene


@contextlib.asynccontextmanager
async def beside(
    scene: Scene, what: str, act: Callable[[], Awaitable[None]], over: asyncio.Event
) -> AsyncIterator[None]:
    """Something that goes on beside the block, and ends when ``over`` is set at the block's end."""
    acting = asyncio.ensure_future(act())
    try:
        yield
    finally:
        over.set()
        await asyncio.wait([acting])
        if (error := acting.exception()) is not None:
            scene.members.trouble.append(f"{what}: {error!r}")


async def passed(over: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until it is over."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(over.wait(), seconds)
