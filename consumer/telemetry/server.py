"""Health and metrics over HTTP: ``/healthz``, ``/readyz``, ``/readyz/traffic``, ``/metrics``."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry

from consumer.telemetry.exposition import Exposition
from consumer.telemetry.health import PipelineHealth, liveness, readiness, takes_traffic
from providers.errors import UserError
from providers.timestamps import utc

SHUTDOWN_SECONDS = 1.0
"""How long the end of the server waits for answers that are under way."""

Health = Callable[[], Sequence[PipelineHealth]]
Protocols = Callable[[web.Server], Callable[[], asyncio.Protocol]]
"""Makes, for a server, the factory of the protocols that handle its accepted connections (asyncio's term)."""


class ServerError(UserError):
    """The server cannot listen: one line for the user, which names the setting."""


def create_app(
    health: Health, registry: CollectorRegistry, notes: Callable[[], Sequence[str]] = tuple
) -> web.Application:
    """The application; ``health`` is asked at each request for the state of every pipeline, ``notes`` for what somebody
    should know besides.

    ``/healthz`` (is a restart needed?), ``/readyz`` (do pages get through?) and ``/readyz/traffic`` (the readiness
    probe of a pod) answer 200 or 503, with the reasons as JSON; ``/metrics`` answers in the format that the client
    accepts.
    """

    def verdict(ask: Callable[[Sequence[PipelineHealth]], list[str]]) -> Handler:
        async def answer(_: web.Request) -> web.Response:
            pipelines = health()
            facts: dict[str, Any] = {"pipelines": {one.name: _facts(one) for one in pipelines}}
            if noted := notes():
                facts["notes"] = noted
            return verdict_of(ask(pipelines), facts)

        return answer

    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", verdict(liveness)),
            web.get("/readyz", verdict(readiness)),
            web.get("/readyz/traffic", verdict(takes_traffic)),
            web.get("/metrics", metrics_of(registry)),
        ]
    )
    return app


def metrics_of(registry: CollectorRegistry) -> Handler:
    """A handler that answers with all metrics of a registry."""
    exposition = Exposition(registry)

    async def metrics(request: web.Request) -> web.Response:
        body, content_type = await exposition.text(request.headers.get("Accept", ""))
        response = web.Response(body=body, headers={"Content-Type": content_type})
        response.enable_compression()
        return response

    return metrics


def verdict_of(reasons: Sequence[str], facts: Mapping[str, Any]) -> web.Response:
    """The answer of a probe: 503 if there are ``reasons``, else 200; with further ``facts`` for people."""
    body = {"status": "failing" if reasons else "ok", "reasons": reasons, **facts}
    return web.Response(
        status=503 if reasons else 200,
        body=orjson.dumps(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


@asynccontextmanager
async def serving(
    app: web.Application,
    host: str,
    port: int,
    *,
    section: str = "server",
    protocols: Protocols = lambda server: server,
    shutdown_seconds: float = SHUTDOWN_SECONDS,
    before_end: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[int]:
    """Serve the application until the block ends. Yields the port: with port 0 the system has chosen it.

    Host and port come from ``section`` of the configuration. At the end no more connections are accepted; then
    ``before_end`` runs, while requests are still answered; then the server waits up to ``shutdown_seconds`` for answers
    that are under way. Raises `ServerError` if it cannot listen on the address.
    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=shutdown_seconds)
    await runner.setup()
    try:
        assert runner.server is not None  # it is set up
        loop = asyncio.get_running_loop()
        try:
            listener = await loop.create_server(protocols(runner.server), host, port, backlog=128)
        except (OSError, OverflowError) as error:
            raise ServerError(
                f"{section}.host, {section}.port: cannot listen on {host}:{port}: {_why(error)}"
            ) from None
        try:
            bound: int = listener.sockets[0].getsockname()[1]
            yield bound
        finally:
            listener.close()
            if before_end is not None:
                await before_end()
    finally:
        await runner.cleanup()


def _facts(pipeline: PipelineHealth) -> dict[str, Any]:
    facts = asdict(pipeline)
    del facts["name"]
    facts["routes"] = [{**asdict(route), "since": utc(route.since)} for route in pipeline.routes]
    return {**facts, "reasons": sorted({*liveness([pipeline]), *readiness([pipeline])})}


def _why(error: OSError | OverflowError) -> str:
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)  # asyncio's own text repeats the address
    return str(error.strerror or error) if isinstance(error, OSError) else str(error)
