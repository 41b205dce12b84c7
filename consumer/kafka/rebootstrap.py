"""The way back of a client whose brokers have all gone: it asks the bootstrap addresses again (KIP-899, KIP-1102).

aiokafka 0.14 asks for metadata only the brokers of its last metadata. When these have all come back at other addresses
it asks the old ones for ever. Kafka's own clients then begin again with ``bootstrap.servers``, and so do ours: the
client stays, and with it the membership of its group, so that nobody has to find out what a long silence means.
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

CONNECT_SECONDS = 10.0
"""For a connection to be set up, with its authentication (KIP-601). The client's own limit is the one of a request,
40 s, and while one connection is being set up no other is."""

KNOWN_BROKERS_SECONDS = 25.0
"""For the known brokers, all together and in any order, to give their metadata: one or two may hang."""

BOOTSTRAP_SECONDS = 20.0
"""For the bootstrap addresses, in any order, to lead to a broker that gives its metadata."""

BOOTSTRAP_REQUEST_SECONDS = 5.0
"""For each of them to be connected to, and to answer."""

INTERVAL_SECONDS = 5.0
"""Between two times that one client asks the bootstrap addresses."""


class Rebootstrap:
    """How one client renews its metadata: from the brokers that it knows, else from the bootstrap addresses."""

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
        """Let this client find its way back; ``fresh`` makes another one that knows the bootstrap addresses only."""
        way = cls(client, fresh, clock)
        client._metadata_update, client._get_conn = way.update, way.connection

    async def update(self, cluster: ClusterMetadata, topics: Collection[str] | None) -> bool:
        """Renew the metadata in ``cluster``, in place of the client's own method; whether that was possible."""
        try:
            async with asyncio.timeout(KNOWN_BROKERS_SECONDS):
                if await self._ask_known_brokers(cluster, topics):
                    return True
        except TimeoutError:
            pass  # nor does a broker answer that accepts connections and says nothing
        return await self._ask_bootstrap(cluster, topics)

    async def connection(self, node: int, **options: Any) -> Any:
        """A connection to this broker, None if there is none, in place of the client's own method."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await self._connect(node, **options)
        except TimeoutError:
            self._client.force_metadata_update()  # it may have moved
            return None

    async def _ask_bootstrap(self, cluster: ClusterMetadata, topics: Collection[str] | None) -> bool:
        now = self._clock()
        if self._asked_at is not None and now - self._asked_at < INTERVAL_SECONDS:
            return False
        self._asked_at = now
        try:
            async with asyncio.timeout(BOOTSTRAP_SECONDS), bootstrapped(self._fresh()) as fresh:
                # By way of the brokers that the bootstrap addresses lead to: only what answers is believed.
                if not await fresh._metadata_update(cluster, topics):
                    return False
        except (KafkaError, OSError, TimeoutError):
            return False
        if cluster is self._client.cluster:
            self._leave_the_old_addresses()
        return True

    def _leave_the_old_addresses(self) -> None:
        """Close the connections that lead elsewhere: what waits on them for an answer fails now, not after 40 s."""
        for (node, _), connection in list(self._client._conns.items()):
            broker = self._client.cluster.broker_metadata(node)
            if broker is None or (broker.host, broker.port) != (connection.host, connection.port):
                connection.close(reason=CloseReason.OUT_OF_SYNC)


@asynccontextmanager
async def bootstrapped(client: AIOKafkaClient) -> AsyncIterator[Any]:
    """A client that has found a broker by way of the bootstrap addresses, for the length of the block.

    Raises KafkaConnectionError if none of them leads to one.
    """
    try:
        await client.bootstrap()
        yield client
    finally:
        await client.close()
