"""A receiver from its first connection to its last answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from consumer.posts.answering import Answering
from consumer.posts.connections import Connections
from consumer.posts.writer import CLOSE_SECONDS, Writer
from consumer.telemetry.server import SHUTDOWN_SECONDS, serving

_ANSWERS, _FAREWELL = 0.7, 0.05
"""Of the time for stopping: until posts are answered that Kafka has not taken, and twice, for the answers to be
read. The rest is for what Kafka was handed over."""

_LEAST_SECONDS = 0.05


@asynccontextmanager
async def receiving(
    app: web.Application,
    *,
    answering: Answering,
    connections: Connections,
    writer: Writer,
    host: str,
    port: int,
    section: str,
    answer_within: float,
    grace: float,
) -> AsyncIterator[int]:
    """Receive for the length of the block; yields the port. ``section`` of the configuration says host and port.

    All of its end takes ``grace`` seconds at most: posts that are here are answered, and what was handed over goes out.

    Raises `ServerError`.
    """
    writing = asyncio.create_task(writer.run())
    loop = asyncio.get_running_loop()
    end: float | None = None

    async def stop() -> None:
        nonlocal end
        end = loop.time() + grace
        writing.cancel()  # there is not going to be another producer
        await answering.stop(loop.time() + min(answer_within, grace * _ANSWERS))

    try:
        async with serving(
            app,
            host,
            port,
            section=section,
            protocols=connections.protocols,
            shutdown_seconds=max(_LEAST_SECONDS, min(SHUTDOWN_SECONDS, grace * _FAREWELL)),
            before_end=stop,
        ) as bound:
            yield bound
    finally:
        writing.cancel()
        await asyncio.wait([writing])
        left = CLOSE_SECONDS if end is None else end - loop.time()
        await writer.close(max(_LEAST_SECONDS, min(CLOSE_SECONDS, left)))


async def ended_with(stopping: asyncio.Event, stack: AsyncExitStack) -> None:
    """Leave the blocks of a stack as soon as this is stopping, beside whatever else has to end."""
    await stopping.wait()
    await stack.aclose()
