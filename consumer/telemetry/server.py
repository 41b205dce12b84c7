"""Health and metrics over HTTP: ``/healthz``, ``/readyz``, ``/readyz/traffic``, ``/metrics``."""

import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
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
from providers.story import utc

SHUTDOWN_SECONDS = 1.0
"""So long are answers on their way waited for at the end."""

Health = Callable[[], Sequence[PipelineHealth]]


class ServerError(UserError):
    """The server cannot listen: one line for the user, which names the setting."""


def create_app(health: Health, registry: CollectorRegistry) -> web.Application:
    """The application; ``health`` is asked at each request for the state of every pipeline.

    ``/healthz`` (to be started again?), ``/readyz`` (do pages get through?) and ``/readyz/traffic`` (the readiness
    probe of a pod) answer 200 or 503, with the reasons as JSON; ``/metrics`` in the format that is asked for.
    """

    def verdict(ask: Callable[[Sequence[PipelineHealth]], list[str]]) -> Handler:
        async def answer(_: web.Request) -> web.Response:
            pipelines = health()
            return _verdict(ask(pipelines), pipelines)

        return answer

    exposition = Exposition(registry)

    async def metrics(request: web.Request) -> web.Response:
        body, content_type = await exposition.text(request.headers.get("Accept", ""))
        response = web.Response(body=body, headers={"Content-Type": content_type})
        response.enable_compression()
        return response

    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", verdict(liveness)),
            web.get("/readyz", verdict(readiness)),
            web.get("/readyz/traffic", verdict(takes_traffic)),
            web.get("/metrics", metrics),
        ]
    )
    return app


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve the application until the block ends; yields the port, which port 0 leaves to the system.

    Raises:
        ServerError: the address cannot be listened on.
    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except (OSError, OverflowError) as error:
            raise ServerError(f"server.host, server.port: cannot listen on {host}:{port}: {_why(error)}") from None
        bound: int = runner.addresses[0][1]
        yield bound
    finally:
        await runner.cleanup()


def _verdict(reasons: Sequence[str], pipelines: Sequence[PipelineHealth]) -> web.Response:
    body: dict[str, Any] = {
        "status": "failing" if reasons else "ok",
        "reasons": reasons,
        "pipelines": {pipeline.name: _facts(pipeline) for pipeline in pipelines},
    }
    return web.Response(
        status=503 if reasons else 200,
        body=orjson.dumps(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _facts(pipeline: PipelineHealth) -> dict[str, Any]:
    facts = asdict(pipeline)
    del facts["name"]
    facts["routes"] = [{**asdict(route), "since": utc(route.since)} for route in pipeline.routes]
    return {**facts, "reasons": sorted({*liveness([pipeline]), *readiness([pipeline])})}


def _why(error: OSError | OverflowError) -> str:
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)  # asyncio's own text repeats the address
    return str(error.strerror or error) if isinstance(error, OSError) else str(error)
