"""Ingest as a service: from the wait for Kafka to the last answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient
from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from consumer.config import Config
from consumer.events.severities import Severities
from consumer.kafka.clients import BATCH_BYTES, KafkaClients
from consumer.kafka.record_clock import RecordClock
from consumer.kafka.startup import StartupError, unreachable_in, when_kafka_answers
from consumer.kafka.topic_specs import KAFKA_MAX_MESSAGE_BYTES
from consumer.kafka.topics import ask_max_bytes
from consumer.kafka.topics_there import topics_there
from consumer.receivers.ingest.app import create_app
from consumer.receivers.ingest.handler import PostHandler
from consumer.receivers.ingest.judge import Judge
from consumer.receivers.ingest.metrics import IngestMetrics
from consumer.receivers.posts.bearer import Bearer
from consumer.receivers.posts.connections import Connections, most_connections
from consumer.receivers.posts.limits import Limits
from consumer.receivers.posts.producer import Producer, kafka_producer
from consumer.receivers.posts.receiver import receiving
from consumer.receivers.posts.room import Room
from consumer.receivers.posts.writer import Writer
from consumer.telemetry.garbage import search_everything_when_short
from consumer.telemetry.lag import LoopLag
from consumer.telemetry.log_metrics import DroppedLines
from consumer.telemetry.process_metrics import process_metrics
from consumer.timing.clock import Clock
from consumer.timing.turns import Turns
from consumer.timing.waiting import unless_set

_AROUND_BYTES = 1024
"""How many bytes of a topic's limit are left for a batch's overhead around its records."""


async def run_ingest(
    config: Config, stopping: asyncio.Event, log: FilteringBoundLogger, *, dropped_lines: DroppedLines = dict
) -> None:
    """Take events until ``stopping`` is set, then answer the posts that were taken, and return.

    Raises `UnusableFiles` if a certificate file cannot be used, `StartupError` if Kafka or its topics are not as they
    must be, and `ServerError` if the address cannot be listened on.
    """
    clients = KafkaClients(config.kafka, log=log)
    if not await _await_topics(config, clients, stopping, log):
        return
    lag = LoopLag(log)
    registry = process_metrics(lag, dropped_lines)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ingesting(config, kafka_producers(config, clients), registry, log))
        beside = [asyncio.create_task(work) for work in (lag.run(), search_everything_when_short())]
        await stopping.wait()
        for task in beside:
            task.cancel()
    log.info("ingest_stopped")


Make = Callable[[PostHandler], Awaitable[Producer]]
"""Makes a producer, not started, and gives the `PostHandler` the limits that the topics have at this moment."""


def kafka_producers(config: Config, clients: KafkaClients) -> Make:
    """Makes producers for the topics of a configuration."""
    topics = config.kafka.topics
    limits = Limits(topics.events, config.delivery.max_event_bytes, BATCH_BYTES)
    clock = RecordClock(Clock.system())

    async def make(handler: PostHandler) -> Producer:
        takes = [await ask_max_bytes(clients, name) or KAFKA_MAX_MESSAGE_BYTES for name in (topics.events, topics.dlq)]
        limit = min(config.delivery.max_event_bytes, takes[0] - _AROUND_BYTES)
        limits.told(limit, takes[1], min(BATCH_BYTES, *takes) - _AROUND_BYTES)
        handler.judge, handler.dead_letter_limit = judge_of(config, limits.event), limits.dead_letter
        return kafka_producer(clients, topics.events, limits, clock)

    return make


def judge_of(config: Config, max_event_bytes: int) -> Judge:
    """What checks events, and keys them as the pipelines of this configuration expect it."""
    return Judge(config.kafka.event_key, max_event_bytes, Severities(config.exporters.alerting.treat_denied_info_as))


@asynccontextmanager
async def ingesting(
    config: Config, make: Make, registry: CollectorRegistry, log: FilteringBoundLogger
) -> AsyncIterator[int]:
    """Take events for the length of the block; yields the port. At the end of the block, posts that are here are
    answered and records that were handed over are sent; all that takes at most ``delivery.shutdown_grace``.

    Raises `ServerError` if the address cannot be listened on.
    """
    ingest, topics, grace = config.ingest, config.kafka.topics, config.delivery.shutdown_grace
    log = log.bind(section="ingest")
    room, metrics = Room(ingest.max_waiting_bytes), IngestMetrics(registry)
    connections = Connections(most_connections(ingest.max_connections, log))

    writer = Writer(lambda: make(handler), room, log)
    handler = PostHandler(
        bearer=Bearer(token.get_secret_value() for token in ingest.tokens),
        connections=connections,
        room=room,
        judge=judge_of(config, config.delivery.max_event_bytes),
        writer=writer,
        events_topic=topics.events,
        dead_letter_topic=topics.dlq,
        limit=ingest.max_body_bytes,
        answer_within=ingest.answer_within,
        turns=Turns(),
        metrics=metrics,
        log=log,
    )
    metrics.watch(waiting=lambda: room.taken, oldest=lambda: writer.oldest, open=lambda: len(connections))
    app = create_app(handler, writer, connections, metrics, registry, log)
    async with receiving(
        app,
        answering=handler.answering,
        connections=connections,
        writer=writer,
        host=ingest.host,
        port=ingest.port,
        section="ingest",
        tls=ingest.tls,
        answer_within=ingest.answer_within,
        grace=grace,
        log=log,
    ) as port:
        log.info("ingest_started", port=port, topic=topics.events, max_connections=connections.most)
        yield port


async def _await_topics(
    config: Config, clients: KafkaClients, stopping: asyncio.Event, log: FilteringBoundLogger
) -> bool:
    """Wait until Kafka answers. Returns False if ``stopping`` is set before.

    Raises `StartupError` if a topic does not exist.
    """

    async def look(admin: AIOKafkaAdminClient) -> Sequence[str]:
        there = await topics_there(admin)
        return [name for name in (config.kafka.topics.events, config.kafka.topics.dlq) if not there.get(name)]

    missing = await unless_set(stopping, when_kafka_answers(clients, look, unreachable_in(log, config.kafka)))
    if missing is None:
        return False
    if missing:
        raise StartupError(
            f"topic {missing[0]} does not exist, or this user may not see it: "
            "run `clawdstrike-alerting topics create --config …`"
        )
    return True
