"""A TCP proxy that knows enough of Kafka to cut off a client from its group coordinator only."""

import asyncio
import contextlib
import enum
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

_SIZE_AND_API = struct.Struct(">ih")


SHUTDOWN_SECONDS = 0.2


class Api(enum.IntEnum):
    """The keys of the requests by which a group's members are known."""

    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14


COORDINATION = frozenset(Api)


@dataclass(eq=False)
class _Connection:
    """One client's connection; `coordinates` once it has carried a request of a group member."""

    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter
    coordinates: bool = False


@dataclass
class KafkaProxy:
    """Forwards connections to a broker; can hold them up, and close and refuse them, all or only coordination.

    What is held is neither answered nor refused, as behind a firewall that drops; it passes when `restore` is called.
    Where clients come by TLS and show certificates, those of the common names ``revoked`` are turned away;
    ``turned_away`` are theirs, in order.
    """

    broker_host: str
    broker_port: int
    delay_seconds: float = 0.0
    revoked: set[str] = field(default_factory=set)
    turned_away: list[str] = field(default_factory=list)
    _connections: set[_Connection] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _all_open: asyncio.Event = field(default_factory=asyncio.Event)
    _coordination_open: asyncio.Event = field(default_factory=asyncio.Event)
    _refusing: bool = False

    def __post_init__(self) -> None:
        self.restore()

    def stall(self) -> None:
        """From now on nothing passes, in neither direction."""
        self._all_open.clear()

    def stall_coordination(self) -> None:
        """From now on no request of a group member passes; fetches, records and look-ups do."""
        self._coordination_open.clear()

    def cut(self) -> None:
        """Close every connection and refuse new ones."""
        self._refusing = True
        for connection in self._connections:
            connection.client.close()
            connection.broker.close()

    def restore(self) -> None:
        """Let everything pass again, what was held first."""
        self._refusing = False
        self._all_open.set()
        self._coordination_open.set()

    async def serve(self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        """One client's connection, for as long as it lasts."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = None
        try:
            if self._refusing or self._is_revoked(client_writer):
                return
            broker_reader, broker_writer = await asyncio.open_connection(self.broker_host, self.broker_port)
            connection = _Connection(client_writer, broker_writer)
            self._connections.add(connection)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._requests(client_reader, connection))
                pumps.create_task(self._answers(broker_reader, connection))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            client_writer.close()
            if connection is not None:
                self._connections.discard(connection)
                connection.broker.close()

    def _is_revoked(self, client: asyncio.StreamWriter) -> bool:
        shown = client.get_extra_info("peercert") or {}
        names = [value for part in shown.get("subject", ()) for name, value in part if name == "commonName"]
        self.turned_away += (revoked := [name for name in names if name in self.revoked])
        return bool(revoked)

    async def _requests(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        while True:
            head = await reader.readexactly(_SIZE_AND_API.size)
            size, api = _SIZE_AND_API.unpack(head)
            rest = await reader.readexactly(size - 2)
            connection.coordinates |= api in COORDINATION
            await self._passage(connection)
            connection.broker.write(head + rest)
            await connection.broker.drain()

    async def _answers(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        while data := await reader.read(65536):
            await self._passage(connection)
            connection.client.write(data)
            await connection.client.drain()
        raise ConnectionResetError("the broker closed")

    async def _passage(self, connection: _Connection) -> None:
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        await self._all_open.wait()
        if connection.coordinates:
            await self._coordination_open.wait()

    async def close(self) -> None:
        """End all connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def kafka_proxy(
    listen_port: int, broker_port: int, *, host: str = "127.0.0.1", ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[KafkaProxy]:
    """A proxy at `listen_port`, which the broker's listener at `broker_port` advertises as its own address.

    With a context clients come to it by TLS; from it to the broker they go in the clear.
    """
    proxy = KafkaProxy(host, broker_port)
    # A client that is cut off does not say goodbye, and is not waited for.
    goodbye = None if ssl_context is None else SHUTDOWN_SECONDS
    server = await asyncio.start_server(proxy.serve, host, listen_port, ssl=ssl_context, ssl_shutdown_timeout=goodbye)
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
