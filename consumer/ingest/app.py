"""The HTTP application of ingest: posts of events, health and metrics. Every answer to a sender is one line."""

from time import perf_counter

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from consumer.ingest.connections import Connections
from consumer.ingest.metrics import IngestMetrics
from consumer.ingest.refusal import Refused
from consumer.ingest.way import Way
from consumer.ingest.writer import Writer
from consumer.telemetry.server import metrics_of, verdict_of

PATH = "/v1/events"


def create_app(
    way: Way,
    writer: Writer,
    connections: Connections,
    metrics: IngestMetrics,
    registry: CollectorRegistry,
    log: FilteringBoundLogger,
) -> web.Application:
    """The application with ``POST /v1/events``, ``/healthz`` (200 whenever it answers), ``/readyz`` (events are taken),
    ``/readyz/traffic`` (it has started; trouble with Kafka concerns every process, so it does not count here) and
    ``/metrics``."""

    @web.middleware
    async def one_line(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = connections.of(request)
        connections.began(connection)
        try:
            return await handler(request)
        except Refused as refused:
            return refused.response()
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            return Refused(405, f"only {allowed} here", closes=True, headers={"Allow": allowed}).response()
        except web.HTTPException as error:
            return Refused(error.status, f"events are posted to {PATH}", closes=True).response()
        except Exception as error:  # a bug
            log.error("ingest_failed", exc_info=error)
            return Refused(500, "a fault of this service: its log says more", closes=True).response()
        finally:
            connections.ended(connection)

    async def post(request: web.Request) -> web.StreamResponse:
        began, status = perf_counter(), 500
        try:
            response = await way.post(request)
            status = response.status
            return response
        except Refused as refused:
            status = refused.status
            raise
        finally:
            metrics.request(status, perf_counter() - began)

    async def always(_: web.Request) -> web.Response:
        return verdict_of((), {})

    async def ready(_: web.Request) -> web.Response:
        trouble = writer.trouble()
        return verdict_of(() if trouble is None else (trouble,), {})

    app = web.Application(middlewares=[one_line])
    app.add_routes(
        [
            web.post(PATH, post),
            web.get("/healthz", always),
            web.get("/readyz", ready),
            web.get("/readyz/traffic", always),
            web.get("/metrics", metrics_of(registry)),
        ]
    )
    return app
