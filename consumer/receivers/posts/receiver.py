"""A receiver from its first connection to its last answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from consumer.config import TlsConfig
from consumer.receivers.posts.answering import Answering
from consumer.receivers.posts.connections import Connections
from consumer.receivers.posts.tls import over_tls, server_context
from consumer.receivers.posts.writer import CLOSE_SECONDS, Writer
from consumer.telemetry.server import SHUTDOWN_SECONDS, Protocols, serving

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
    tls: TlsConfig | None,
    answer_within: float,
    grace: float,
    log: FilteringBoundLogger,
) -> AsyncIterator[int]:
    """Receive for the length of the block; yields the port. ``section`` of the configuration says host, port and
    ``tls``.

    All of its end takes ``grace`` seconds at most: posts that are here are answered, and what was handed over goes out.

    Raises `ServerError` if the address cannot be listened on, and `UnusableFiles` if a certificate file cannot be used.
    """
    protocols: Protocols = connections.protocols
    if tls is not None:
        protocols = over_tls(connections, server_context(tls, section, log))
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
            protocols=protocols,
            shutdown_seconds=max(_LEAST_SECONDS, min(SHUTDOWN_SECONDS, grace * _FAREWELL)),
            before_end=stop,
        ) as bound:
            yield bound
    finally:
        connections.close()
        writing.cancel()
        await asyncio.wait([writing])
        left = CLOSE_SECONDS if end is None else end - loop.time()
        await writer.close(max(_LEAST_SECONDS, min(CLOSE_SECONDS, left)))


async def ended_with(stopping: asyncio.Event, stack: AsyncExitStack) -> None:
    """Leave the blocks of a stack as soon as this is stopping, beside whatever else has to end."""
    await stopping.wait()
    await stack.aclose()
