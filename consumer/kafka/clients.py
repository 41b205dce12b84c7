"""How this service's Kafka clients are made: addresses, security, and the settings that correctness rests on."""

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from consumer.config import KafkaConfig, SecurityConfig
from consumer.kafka.authentication import let_authentication_fail_as_such
from consumer.kafka.header_names import let_header_names_be_any_bytes
from consumer.kafka.instance_id import Process
from consumer.kafka.opened import close_late_connections, closing_if_cancelled
from consumer.kafka.rebootstrap import BOOTSTRAP_REQUEST_SECONDS, BOOTSTRAP_SECONDS, Rebootstrap, bootstrapped
from consumer.kafka.tls import CertificateFiles, RenewingContext
from consumer.kafka.unreadable import name_what_cannot_be_read
from consumer.kafka.watermarks import Watermarks, all_watermarks
from providers.logger import Logger

CLIENT_ID = "clawdstrike-alerting"
"""The client id of each of our clients begins with this; by it brokers and other members recognise our clients."""

MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""The largest request that our producers send. ``max.message.bytes`` of each topic is the limit that counts; at start
the events topic's is checked against this one."""

TRANSACTION_TIMEOUT_SECONDS = 60
"""The broker aborts a transaction that is open for longer (``transaction.timeout.ms``). We give up after 30 s."""

FETCH_WAIT_MS = 100
"""How long a broker may hold back the answer to a fetch until there are records. Other requests on the same connection,
such as those for the ends of partitions, wait behind the fetch."""

METADATA_SECONDS = 30.0
"""How old the metadata (topics, partitions, brokers) of a client without errors may get: added partitions have to be
noticed within a minute."""

CANCEL_SECONDS = 1.0
"""How long a start that is cancelled may go on, to reach a state in which the client can be closed completely."""

BATCH_BYTES = 512 * 1024
"""How much of one partition a producer puts into one batch."""


def task_id(group_id: str, partition: int) -> str:
    """The transactional id of a partition's task: a producer that takes this id fences the producer that had it
    before."""
    return f"{group_id}-{partition}"


class KafkaClients:
    """Makes the clients of one member. Nothing is connected until a client is started.

    Before every new connection, certificate files that have changed are read again, and ``log`` says so. ``process``
    identifies this process in the client ids of static members (`consumer.kafka.instance_id`). The client id, which
    brokers log and apply quotas to, names the instance id if there is one, else the host.

    Raises `UnusableFiles` if the certificate files cannot be used.
    """

    def __init__(
        self,
        config: KafkaConfig,
        client_id: str | None = None,
        *,
        log: Logger | None = None,
        process: Process | None = None,
    ) -> None:
        let_authentication_fail_as_such()
        let_header_names_be_any_bytes()
        name_what_cannot_be_read()
        self.config = config
        self.process = process or Process.this()
        self._common_settings: dict[str, Any] = {
            "bootstrap_servers": config.bootstrap_servers,
            "client_id": client_id or f"{CLIENT_ID}-{config.group_instance_id or socket.gethostname()}",
            **_security(config.security, log),
        }

    def member(self, group_id: str) -> AIOKafkaConsumer:
        """A group member, not subscribed yet; it never commits by itself and never resets a position silently."""
        config, settings = self.config, dict(self._common_settings)
        if config.group_instance_id is not None:
            settings["client_id"] = self.process.client_id(settings["client_id"])
        consumer = AIOKafkaConsumer(
            **settings,
            group_id=group_id,
            group_instance_id=config.group_instance_id,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            metadata_max_age_ms=int(METADATA_SECONDS * 1000),
            session_timeout_ms=int(config.session_timeout * 1000),
            heartbeat_interval_ms=int(config.session_timeout * 1000 / 5),
            rebalance_timeout_ms=int(config.rebalance_timeout * 1000),
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        self._prepare(consumer._client)
        return consumer

    def reader(
        self, *, isolation_level: str = "read_committed", fetch_bytes: int = 4 * 1024 * 1024
    ) -> AIOKafkaConsumer:
        """A consumer without a group, for reading partitions from one offset to another.

        It asks for ``fetch_bytes`` of a partition at a time."""
        consumer = AIOKafkaConsumer(
            **self._common_settings,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level=isolation_level,
            metadata_max_age_ms=int(METADATA_SECONDS * 1000),
            max_partition_fetch_bytes=fetch_bytes,
        )
        self._prepare(consumer._client)
        return consumer

    def transactional(
        self,
        transactional_id: str,
        *,
        batch_bytes: int = BATCH_BYTES,
        timeout_seconds: float = TRANSACTION_TIMEOUT_SECONDS,
    ) -> AIOKafkaProducer:
        """A producer whose start fences every earlier producer with this id (KIP-98).

        A batch is larger than ``batch_bytes`` only if it holds one record that is. The broker aborts a transaction that
        is open for longer than ``timeout_seconds``, for example because its producer has died.
        """
        return self._producer(
            batch_bytes, transactional_id=transactional_id, transaction_timeout_ms=int(timeout_seconds * 1000)
        )

    def producer(self, *, batch_bytes: int = 16 * 1024) -> AIOKafkaProducer:
        """An idempotent producer without transactions; ``batch_bytes`` as in `transactional`.

        It tries to send each record for as long as the record's partition has a leader.
        """
        return self._producer(batch_bytes, enable_idempotence=True, metadata_max_age_ms=int(METADATA_SECONDS * 1000))

    def _producer(self, batch_bytes: int, **settings: Any) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._common_settings, **settings, max_request_size=MAX_REQUEST_BYTES, max_batch_size=batch_bytes
        )
        self._prepare(producer.client)
        return producer

    async def watermarks(
        self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, Watermarks]:
        """The watermarks of these partitions, as their leaders give them. Raises `KafkaError` if one is not given."""
        return await all_watermarks(consumer, partitions)

    def admin(self) -> AIOKafkaAdminClient:
        """An admin client."""
        admin = AIOKafkaAdminClient(**self._common_settings, metadata_max_age_ms=int(METADATA_SECONDS * 1000))
        self._prepare(admin._client)
        return admin

    async def bootstrap_answers(self) -> bool:
        """Whether the bootstrap addresses lead, over new connections, to a broker that answers now."""
        try:
            async with asyncio.timeout(BOOTSTRAP_SECONDS), bootstrapped(self._bootstrap_client()):
                return True
        except (KafkaError, OSError, TimeoutError):
            return False

    def _prepare(self, client: AIOKafkaClient) -> None:
        close_late_connections(client)
        Rebootstrap.of(client, self._bootstrap_client)

    def _bootstrap_client(self) -> AIOKafkaClient:
        return AIOKafkaClient(**self._common_settings, request_timeout_ms=int(BOOTSTRAP_REQUEST_SECONDS * 1000))


def _security(security: SecurityConfig, log: Logger | None) -> dict[str, Any]:
    settings: dict[str, Any] = {"security_protocol": security.protocol}
    if security.protocol in ("SSL", "SASL_SSL"):
        files = CertificateFiles(ca_file=security.ca_file, cert_file=security.cert_file, key_file=security.key_file)
        settings["ssl_context"] = RenewingContext(files, log)
    if security.protocol in ("SASL_PLAINTEXT", "SASL_SSL"):
        settings["sasl_mechanism"] = security.mechanism
        settings["sasl_plain_username"] = security.username
        settings["sasl_plain_password"] = security.password.get_secret_value() if security.password else None
    return settings


@asynccontextmanager
async def started(consumer: AIOKafkaConsumer) -> AsyncIterator[AIOKafkaConsumer]:
    """Start the consumer for the length of the block, and stop it afterwards whatever happens."""
    try:
        await start_client(consumer.start())
        yield consumer
    finally:
        await to_the_end(stop_consumer(consumer))


async def start_producer(producer: AIOKafkaProducer) -> None:
    """Start a producer. Raises aiokafka's errors if it cannot start: `KafkaConnectionError` if no broker is known."""
    try:
        await start_client(producer.start())
    except AssertionError as error:
        # The metadata of a broker that is just starting lists no broker, not even itself; aiokafka asserts otherwise.
        raise KafkaConnectionError(f"no broker is known: {error}") from error


async def close_producer(producer: AIOKafkaProducer, timeout: float = 5.0) -> None:
    """Close a producer, in whatever state it is, within ``timeout`` seconds.

    A clean stop first sends what is left, and waits for as long as there is no broker. We need no clean stop: the next
    initialisation aborts what was not committed.
    """
    await to_the_end(_close_producer(producer, timeout))


async def stop_consumer(consumer: AIOKafkaConsumer, timeout: float | None = None) -> None:
    """Stop a consumer within ``timeout`` seconds; a group member leaves its group.

    Raises `TimeoutError` if it has not stopped by then, and aiokafka's errors if stopping fails. Before an error is
    raised, all of the consumer's tasks and connections are ended here, since ``stop`` cannot be called a second time
    after it was interrupted (aiokafka 0.14).
    """
    stopping = asyncio.ensure_future(consumer.stop())
    try:
        await asyncio.wait([stopping], timeout=timeout)
        if not stopping.done():
            raise TimeoutError(f"the consumer has not stopped within {timeout} s")
        if not stopping.cancelled():
            stopping.result()
            return
        # The stop was cancelled, but not by us: the fetcher waits for tasks that it has cancelled, and the cancellation
        # of one that was about to fetch again after an error spreads to the stop. What is left is closed below.
    finally:
        if not stopping.done() or stopping.cancelled() or stopping.exception() is not None:
            stopping.cancel()
            await asyncio.wait([stopping])
            await _end_tasks_of(consumer._coordinator, consumer._fetcher)
            await consumer._client.close()


async def start_client(starting: Coroutine[Any, Any, None]) -> None:
    """Wait until a client has started. If the caller is cancelled, the start may still go on for `CANCEL_SECONDS`."""
    work = asyncio.ensure_future(closing_if_cancelled(starting))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work], timeout=CANCEL_SECONDS)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        raise


async def to_the_end(closing: Coroutine[Any, Any, None]) -> None:
    """Wait until ``closing`` is done, even if the caller is cancelled: a half-closed client leaves tasks behind."""
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
    """Cancel every task that runs a method of one of these objects (None is skipped), and wait for its end."""
    left = []
    for task in asyncio.all_tasks():
        frame = getattr(task.get_coro(), "cr_frame", None)
        owner = frame.f_locals.get("self") if frame is not None else None
        if owner is not None and any(owner is one for one in owners) and task is not asyncio.current_task():
            task.cancel()
            left.append(task)
    await asyncio.gather(*left, return_exceptions=True)
