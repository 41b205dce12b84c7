"""Waiting for an event no longer than a while."""

import asyncio


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, at most so long. Returns whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
