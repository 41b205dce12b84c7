"""Lets a client whose brokers are all gone ask the bootstrap addresses again (KIP-899, KIP-1102).

aiokafka 0.14 requests metadata only from the brokers of its last metadata. When all of these have come back at other
addresses, it asks the old addresses for ever. Kafka's own clients then begin again with ``bootstrap.servers``, and so
do ours. The client stays, and so does its membership of the group: no other code has to guess the reason of a long
silence.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import CloseReason
from aiokafka.errors import KafkaError

from consumer.kafka.opened import closing_if_cancelled

CONNECT_SECONDS = 10.0
"""Time limit for setting up a connection, with its authentication (KIP-601). The client's own limit is that of a
request, 40 s, and it sets up one connection at a time."""

KNOWN_BROKERS_SECONDS = 25.0
"""Time limit for getting metadata from any of the known brokers, all together: one or two of them may hang."""

BOOTSTRAP_SECONDS = 20.0
"""Time limit for getting metadata by way of any of the bootstrap addresses, all together."""

BOOTSTRAP_REQUEST_SECONDS = 5.0
"""Time limit for each request to a bootstrap address, and for connecting to it."""

INTERVAL_SECONDS = 5.0
"""The shortest time between two attempts of one client to use the bootstrap addresses."""


class Rebootstrap:
    """Renews the metadata of one client: from the brokers that it knows, else by way of the bootstrap addresses."""

    def __init__(
        self,
        client: AIOKafkaClient,
        fresh: Callable[[], AIOKafkaClient],
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._fresh = fresh
        self._clock = clock
        self._ask_known_brokers = client._metadata_update
        self._connect = client._get_conn
        self._asked_at: float | None = None

    @classmethod
    def of(
        cls,
        client: AIOKafkaClient,
        fresh: Callable[[], AIOKafkaClient],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make ``client`` use the bootstrap addresses when its brokers are gone.

        ``fresh`` makes another client that knows only these addresses.
        """
        way = cls(client, fresh, clock)
        client._metadata_update, client._get_conn = way.update, way.connection

    async def update(self, cluster: ClusterMetadata, topics: Collection[str] | None) -> bool:
        """Renew the metadata in ``cluster``. Replaces the client's own method. Returns whether that was possible."""
        try:
            async with asyncio.timeout(KNOWN_BROKERS_SECONDS):
                if await self._ask_known_brokers(cluster, topics):
                    return True
        except TimeoutError:
            pass  # a broker that accepts connections and never answers counts as gone
        return await self._ask_bootstrap(cluster, topics)

    async def connection(self, node: int, **options: Any) -> Any:
        """A connection to this broker, None if it cannot be set up. Replaces the client's own method."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await self._connect(node, **options)
        except TimeoutError:
            self._client.force_metadata_update()  # the broker may have moved
            return None

    async def _ask_bootstrap(self, cluster: ClusterMetadata, topics: Collection[str] | None) -> bool:
        now = self._clock()
        if self._asked_at is not None and now - self._asked_at < INTERVAL_SECONDS:
            return False
        self._asked_at = now
        try:
            async with asyncio.timeout(BOOTSTRAP_SECONDS), bootstrapped(self._fresh()) as fresh:
                # ``fresh`` asks the brokers that the bootstrap addresses have named: these must answer to be believed.
                if not await fresh._metadata_update(cluster, topics):
                    return False
        except (KafkaError, OSError, TimeoutError):
            return False
        if cluster is self._client.cluster:
            self._leave_the_old_addresses()
        return True

    def _leave_the_old_addresses(self) -> None:
        """Close the connections to addresses that no broker has now: requests on them fail at once, not after 40 s."""
        for (node, _), connection in list(self._client._conns.items()):
            broker = self._client.cluster.broker_metadata(node)
            if broker is None or (broker.host, broker.port) != (connection.host, connection.port):
                connection.close(reason=CloseReason.OUT_OF_SYNC)


@asynccontextmanager
async def bootstrapped(client: AIOKafkaClient) -> AsyncIterator[Any]:
    """The client, once it has found a broker by way of the bootstrap addresses. It is closed after the block.

    Raises `KafkaConnectionError` if none of the addresses leads to a broker.
    """
    try:
        await closing_if_cancelled(client.bootstrap())
        yield client
    finally:
        await client.close()
