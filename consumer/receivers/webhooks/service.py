"""The way back in the process of ``run``: from its first connection to its last answer."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from consumer.config import Config, WebhooksConfig
from consumer.kafka.clients import BATCH_BYTES, KafkaClients
from consumer.kafka.record_clock import RecordClock
from consumer.receivers.posts.connections import Connections, most_connections
from consumer.receivers.posts.limits import Limits
from consumer.receivers.posts.producer import Producer, kafka_producer
from consumer.receivers.posts.receiver import receiving
from consumer.receivers.posts.room import Room
from consumer.receivers.posts.writer import Writer
from consumer.receivers.webhooks.access import PagerDutyAccess, TokenAccess
from consumer.receivers.webhooks.app import create_app
from consumer.receivers.webhooks.handler import ANSWER_SECONDS, LARGEST_BODY, WebhookHandler, WebhookSender
from consumer.receivers.webhooks.metrics import WebhookMetrics
from consumer.timing.clock import Clock
from providers.notify import Sender
from providers.opsgenie.webhook import read as read_opsgenie
from providers.pagerduty.rest import rest_base
from providers.pagerduty.settings import PagerDutySettings
from providers.pagerduty.webhook import read as read_pagerduty
from providers.pagerduty.webhook_rest import WebhookRest
from providers.webhook import DedupKeys

MAX_CONNECTIONS = 200
MAX_WAITING_BYTES = 16 * LARGEST_BODY
MAX_UNPROVED_BYTES = 16 * LARGEST_BODY
"""How many bytes may be received of webhooks whose signature cannot be checked yet, because they have not come in
completely."""

LOOKUP_SECONDS = 3.0
"""The longest time for each request to a provider's REST API, in seconds: a webhook is answered within
`ANSWER_SECONDS`."""

PAGERDUTY, OPSGENIE, JSM = "pagerduty", "opsgenie", "jsm"

Make = Callable[[], Awaitable[Producer]]
"""Makes a producer, not started."""


def feedback_producers(clients: KafkaClients) -> Make:
    """Makes producers for the feedback topic of a configuration."""
    topic = clients.config.topics.feedback
    limits, clock = Limits(topic, LARGEST_BODY, BATCH_BYTES), RecordClock(Clock.system())

    async def make() -> Producer:
        return kafka_producer(clients, topic, limits, clock)

    return make


@asynccontextmanager
async def taking_webhooks(
    config: Config,
    make: Make,
    registry: CollectorRegistry,
    log: FilteringBoundLogger,
    dedup_keys: Mapping[str, DedupKeys] | None = None,
    *,
    answer_within: float = ANSWER_SECONDS,
) -> AsyncIterator[int]:
    """Take webhooks for the length of the block; yields the port. ``dedup_keys`` look up, by provider, those of an
    incident that a webhook names by its id only. ``answer_within`` is in seconds. Raises `ServerError` if the address
    cannot be listened on, and `UnusableFiles` if a certificate file cannot be used."""
    settings, log = config.webhooks, log.bind(section="webhooks")
    room = Room(MAX_WAITING_BYTES)
    connections = Connections(most_connections(MAX_CONNECTIONS, log), MAX_UNPROVED_BYTES)
    access = PagerDutyAccess(settings.pagerduty) if settings.pagerduty.is_set else None
    senders = _senders(settings, access, dedup_keys or {})
    metrics = WebhookMetrics(registry, [sender.provider for sender in senders])
    writer = Writer(make, room, log)
    handler = WebhookHandler(
        connections=connections,
        room=room,
        writer=writer,
        topic=config.kafka.topics.feedback,
        answer_within=answer_within,
        metrics=metrics,
        log=log,
    )
    metrics.watch(oldest=lambda: writer.oldest, open=lambda: len(connections))
    credentials = None if access is None else access.credentials
    async with receiving(
        create_app(handler, senders, credentials, connections, log),
        answering=handler.answering,
        connections=connections,
        writer=writer,
        host=settings.host,
        port=settings.port,
        section="webhooks",
        tls=settings.tls,
        answer_within=answer_within,
        grace=config.delivery.shutdown_grace,
        log=log,
    ) as port:
        log.info("webhooks_started", port=port, providers=[sender.provider for sender in senders])
        yield port


def pagerduty_rest(config: Config, sender: Sender) -> WebhookRest | None:
    """The client of PagerDuty's REST API; None without its token."""
    section = config.sections.get(PAGERDUTY)
    if not isinstance(section, PagerDutySettings) or section.rest_token is None:
        return None
    base = section.rest_endpoint or rest_base(section.api_endpoint)
    return WebhookRest(sender, base, section.rest_token, LOOKUP_SECONDS)


def _senders(
    settings: WebhooksConfig, pagerduty: PagerDutyAccess | None, dedup_keys: Mapping[str, DedupKeys]
) -> list[WebhookSender]:
    senders = []
    if pagerduty is not None:
        senders.append(WebhookSender(PAGERDUTY, pagerduty, read_pagerduty, dedup_keys.get(PAGERDUTY)))
    for name, section in ((OPSGENIE, settings.opsgenie), (JSM, settings.jsm)):
        if section.token is not None:
            senders.append(WebhookSender(name, TokenAccess(section), read_opsgenie))
    return senders
