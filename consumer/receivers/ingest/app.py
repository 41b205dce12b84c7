"""The HTTP application of ingest: posts of events, health and metrics. Every answer to a sender is one line."""

from time import perf_counter

from aiohttp import web
from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from consumer.receivers.ingest.handler import PostHandler
from consumer.receivers.ingest.metrics import IngestMetrics
from consumer.receivers.posts.connections import Connections
from consumer.receivers.posts.one_line import one_line
from consumer.receivers.posts.refusal import RequestRefused
from consumer.receivers.posts.writer import Writer
from consumer.telemetry.server import metrics_of, verdict_of

PATH = "/v1/events"


def create_app(
    handler: PostHandler,
    writer: Writer,
    connections: Connections,
    metrics: IngestMetrics,
    registry: CollectorRegistry,
    log: FilteringBoundLogger,
) -> web.Application:
    """The application with ``POST /v1/events``, ``/healthz`` (200 whenever it answers), ``/readyz`` (events are taken),
    ``/readyz/traffic`` (it has started; trouble with Kafka concerns every process, so it does not count here) and
    ``/metrics``."""

    async def post(request: web.Request) -> web.StreamResponse:
        began, status = perf_counter(), 500
        try:
            response = await handler.post(request)
            status = response.status
            return response
        except RequestRefused as refused:
            status = refused.status
            raise
        finally:
            metrics.request(status, perf_counter() - began)

    async def always(_: web.Request) -> web.Response:
        return verdict_of((), {})

    async def ready(_: web.Request) -> web.Response:
        trouble = writer.trouble()
        return verdict_of(() if trouble is None else (trouble,), {})

    app = web.Application(middlewares=[one_line(connections, log, f"events are posted to {PATH}")])
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
