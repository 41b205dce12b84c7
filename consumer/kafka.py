"""How this service's Kafka clients are made: addresses, security, and the settings that correctness rests on."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.helpers import create_ssl_context

from consumer.config import KafkaConfig, SecurityConfig
from consumer.header_names import let_header_names_be_any_bytes
from consumer.watermarks import Watermarks, all_watermarks

MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""The producers' own limit; the broker's is the one that counts, and topics are checked against it at start."""

TRANSACTION_TIMEOUT_SECONDS = 60
"""After which the broker aborts a transaction whose producer is silent; a commit is given up after 30 s."""

FETCH_WAIT_MS = 100
"""How long the broker may wait for records: whatever else is asked on the same connection waits as long (the ends)."""

METADATA_MAX_AGE_MS = 30_000
"""How old what is known of topics and leaders may be: partitions that are added have to be noticed within a minute."""

BATCH_BYTES = 512 * 1024
"""How much of one partition a producer puts into one batch."""


class UnusableFiles(Exception):
    """The certificate files of ``kafka.security`` cannot be used: one line for the user."""


class KafkaClients:
    """Makes the clients of one member. Nothing is connected until a client is started.

    Raises `UnusableFiles`.
    """

    def __init__(self, config: KafkaConfig, client_id: str = "clawdstrike-alerting") -> None:
        let_header_names_be_any_bytes()
        self.config = config
        self._common_settings: dict[str, Any] = {
            "bootstrap_servers": config.bootstrap_servers,
            "client_id": client_id,
            **_security(config.security),
        }

    def member(self, group_id: str) -> AIOKafkaConsumer:
        """A group member, not subscribed yet; it never commits by itself and never resets a position silently."""
        config = self.config
        return AIOKafkaConsumer(
            **self._common_settings,
            group_id=group_id,
            group_instance_id=config.group_instance_id,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            session_timeout_ms=int(config.session_timeout * 1000),
            heartbeat_interval_ms=int(config.session_timeout * 1000 / 5),
            rebalance_timeout_ms=int(config.rebalance_timeout * 1000),
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )

    def reader(self, *, isolation_level: str = "read_committed") -> AIOKafkaConsumer:
        """A consumer without a group, for reading partitions from one offset to another."""
        return AIOKafkaConsumer(
            **self._common_settings,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level=isolation_level,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )

    def transactional(self, transactional_id: str, *, batch_bytes: int = BATCH_BYTES) -> AIOKafkaProducer:
        """A producer whose start fences every earlier one with this id (KIP-98). Only a record that is larger alone
        makes a batch larger than ``batch_bytes``."""
        return AIOKafkaProducer(
            **self._common_settings,
            transactional_id=transactional_id,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_SECONDS * 1000,
            max_request_size=MAX_REQUEST_BYTES,
            max_batch_size=batch_bytes,
        )

    def producer(self) -> AIOKafkaProducer:
        """An idempotent producer without transactions."""
        return AIOKafkaProducer(**self._common_settings, enable_idempotence=True, max_request_size=MAX_REQUEST_BYTES)

    async def watermarks(
        self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, Watermarks]:
        """How far these partitions reach, as their leaders say. Raises KafkaError if one is not told."""
        return await all_watermarks(consumer, partitions)

    def admin(self) -> AIOKafkaAdminClient:
        """An admin client."""
        return AIOKafkaAdminClient(**self._common_settings)


def _security(security: SecurityConfig) -> dict[str, Any]:
    settings: dict[str, Any] = {"security_protocol": security.protocol}
    if security.protocol in ("SSL", "SASL_SSL"):
        try:
            settings["ssl_context"] = create_ssl_context(
                cafile=security.ca_file, certfile=security.cert_file, keyfile=security.key_file
            )
        except OSError as error:  # of which ssl.SSLError is one
            reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
            raise UnusableFiles(f"kafka.security: the certificate files cannot be used: {reason or error}") from error
    if security.protocol in ("SASL_PLAINTEXT", "SASL_SSL"):
        settings["sasl_mechanism"] = security.mechanism
        settings["sasl_plain_username"] = security.username
        settings["sasl_plain_password"] = security.password.get_secret_value() if security.password else None
    return settings


@asynccontextmanager
async def started(consumer: AIOKafkaConsumer) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer for the length of the block, started in it and stopped behind it, whatever happens."""
    try:
        await consumer.start()
        yield consumer
    finally:
        await to_the_end(consumer.stop())


async def start_producer(producer: AIOKafkaProducer) -> None:
    """Start a producer. Raises aiokafka's errors, `KafkaConnectionError` if there is no broker to ask."""
    try:
        await producer.start()
    except AssertionError as error:
        # A broker that is just starting knows of none, not even of itself; aiokafka asserts that there is one.
        raise KafkaConnectionError(f"no broker is known: {error}") from error


async def close_producer(producer: AIOKafkaProducer, timeout: float = 5.0) -> None:
    """Close a producer, whatever has become of it, within ``timeout`` seconds.

    A clean stop waits for what is still to be sent, and for as long as there is no broker; nothing here depends on it,
    since what was not committed is aborted by the next initialisation.
    """
    await to_the_end(_close_producer(producer, timeout))


async def stop_consumer(consumer: AIOKafkaConsumer, timeout: float) -> None:
    """Stop a group member within ``timeout`` seconds and leave its group. Raises TimeoutError and aiokafka's errors.

    Whatever is raised, nothing of it goes on: a stop that was cut off cannot be asked for again (aiokafka 0.14).
    """
    try:
        async with asyncio.timeout(timeout):
            await consumer.stop()
    except (TimeoutError, KafkaError):
        if consumer._coordinator is not None:
            await consumer._coordinator._stop_heartbeat_task()
        if consumer._fetcher is not None:
            await consumer._fetcher.close()
        await consumer._client.close()
        raise


async def to_the_end(closing: Coroutine[Any, Any, None]) -> None:
    """Wait until it is done, also while being cancelled: half closed, a client leaves tasks and connections behind."""
    work = asyncio.ensure_future(closing)
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


async def _close_producer(producer: AIOKafkaProducer, timeout: float) -> None:
    try:
        async with asyncio.timeout(timeout):
            await producer.stop()
    except (TimeoutError, KafkaError):
        # stop() has no way to give up: its tasks wait for answers and metadata that will not come (aiokafka 0.14).
        await producer.client.close()
        await _end_tasks_of(producer._sender, producer._message_accumulator)


async def _end_tasks_of(*owners: object) -> None:
    """Cancel every task that runs a method of one of these objects, and wait for its end."""
    left = []
    for task in asyncio.all_tasks():
        frame = getattr(task.get_coro(), "cr_frame", None)
        owner = frame.f_locals.get("self") if frame is not None else None
        if owner is not None and any(owner is one for one in owners):
            task.cancel()
            left.append(task)
    await asyncio.gather(*left, return_exceptions=True)
