"""The connections of senders: how many there may be, which one is closed for another, and the answer to bytes that are
no request.

A connection without a request is closed after a while. Who knows no secret keeps nobody out who knows one: a connection
whose sender has not proved who he is gives way to a new one, and the bytes of its body to those of another. Of all such
the oldest of the peer is closed who has the most of them. A connection whose request is known to be a sender's stays
until that is answered; if all are, the new connection is closed.
"""

import asyncio
import resource
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Protocol, cast

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from consumer.receivers.posts.refusal import RequestRefused
from consumer.receivers.posts.room import NoRoom
from consumer.receivers.posts.shares import Shares, peer_of

SILENT_SECONDS = 30.0
"""A connection without a complete request head for so many seconds is closed: before the first request, within its
head, and between two."""

LINGER_SECONDS = 2.0
"""For so many seconds after an answer, further bytes of the request are read and thrown away: else the sender may not
see the answer."""

READ_BYTES = 16 * 1024
"""How many bytes of one connection are read ahead."""

AT_ONCE_BYTES = 32 * 1024
"""How many bytes of one connection are read in one step: asyncio would read 256 KiB, which can be chunks of one byte
each."""


class Counted(Hashable, Protocol):
    """A connection that is counted: whose it is, and that it can be closed for another."""

    @property
    def peer(self) -> str: ...
    @property
    def is_closing(self) -> bool: ...

    def evict(self) -> None:
        """Close the connection at once."""
        ...


class Connections:
    """All connections of senders, at most ``most``; and of bodies whose sender has not proved yet who he is, at most
    ``unproved_bytes``."""

    def __init__(self, most: int, unproved_bytes: int = 0) -> None:
        self.most = most
        self._unproved_bytes = unproved_bytes
        self._unproved: Shares[Counted] = Shares()
        self._bodies: Shares[Counted] = Shares()
        self._proved: set[Counted] = set()

    def __len__(self) -> int:
        return len(self._unproved) + len(self._proved)

    def opened(self, connection: Counted) -> None:
        """Count a new connection; if there are too many, close one that has proved nothing: this one, if all have."""
        if len(self) >= self.most:
            (self._unproved.first_to_give() or connection).evict()
        if not connection.is_closing:
            self._unproved.add(connection, connection.peer)

    def closed(self, connection: Counted) -> None:
        """The connection is closed."""
        self._unproved.remove(connection)
        self._bodies.remove(connection)
        self._proved.discard(connection)

    def close(self) -> None:
        """Close all connections that are left: nobody answers any more."""
        for connection in (*self._unproved, *self._proved):
            connection.evict()

    def proved(self, connection: "Connection") -> None:
        """The request on the connection is a sender's: it stays until that is answered."""
        if connection in self._unproved:
            self._unproved.remove(connection)
            self._proved.add(connection)

    def ended(self, connection: "Connection") -> None:
        """The request on the connection was answered."""
        if connection in self._proved:
            self._proved.remove(connection)
            self._unproved.add(connection, connection.peer)

    @contextmanager
    def unproved_body(self, connection: "Connection") -> Iterator["UnprovedBody"]:
        """Room for the body of a request whose sender is known by it only, until the end of the block."""
        try:
            yield UnprovedBody(self, connection)
        finally:
            self._bodies.remove(connection)

    def body_grew(self, connection: "Connection", size: int) -> None:
        """Count so many bytes more, and close for them whoever has the most. Raises `NoRoom` if that is this one."""
        if connection.is_closing:
            raise NoRoom
        self._bodies.add(connection, connection.peer, size)
        while self._bodies.total > self._unproved_bytes:
            first = self._bodies.first_to_give()
            if first is None or first is connection:
                raise NoRoom
            first.evict()

    def protocols(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """Makes the protocol of each connection, for `consumer.telemetry.server.serving`."""
        loop = asyncio.get_running_loop()
        return lambda: Connection(self, server, loop)

    def of(self, request: web.BaseRequest) -> "Connection":
        """The connection of a request."""
        return cast(Connection, request.protocol)


class UnprovedBody:
    """The bytes of one body whose sender is not known yet (`consumer.receivers.posts.body.Growing`)."""

    def __init__(self, connections: Connections, connection: "Connection") -> None:
        self._connections = connections
        self._connection = connection

    def grow(self, size: int) -> None:
        """Count so many bytes more. Raises `NoRoom` if they are too many."""
        self._connections.body_grew(self._connection, size)


class Connection(web.RequestHandler):
    """aiohttp's protocol of one connection, which is also counted. Bytes that are no request get an answer of one line,
    and are not logged."""

    __slots__ = ("_connections", "peer")

    def __init__(self, connections: Connections, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        self._connections = connections
        self.peer = ""
        """Whom its other end belongs to."""
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=SILENT_SECONDS,
            lingering_time=LINGER_SECONDS,
            read_bufsize=READ_BYTES,
            access_log=None,  # type: ignore[arg-type] # None means no access log
            auto_decompress=False,  # `consumer.receivers.ingest.inflate` does that, and bounds the size
        )

    @property
    def is_closing(self) -> bool:
        """Whether the connection is closed or being closed."""
        return self.transport is None or self.transport.is_closing()

    def evict(self) -> None:
        """Close the connection at once."""
        self._connections.closed(self)
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio: the connection is open."""
        transport.max_size = AT_ONCE_BYTES  # type: ignore[attr-defined] # how much asyncio reads at a time
        super().connection_made(transport)
        self.peer = peer_of_transport(transport)
        self._connections.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by asyncio: the connection is closed."""
        self._connections.closed(self)
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer bytes that could not be read as a request. aiohttp's own answer would repeat them, and they may hold a
        token."""
        return RequestRefused(status, "this is no HTTP request that can be read", closes=True).response()


def peer_of_transport(transport: asyncio.BaseTransport) -> str:
    """Whom the other end of a connection belongs to; empty if that is not known."""
    name = transport.get_extra_info("peername")
    return peer_of(name[0]) if isinstance(name, tuple) else ""


def descriptors(most: int, limits: tuple[int, int]) -> tuple[int, int]:
    """How many connections there can be, at most ``most``, and the new soft limit of open files. Pure.

    ``limits`` are the present soft and hard limit (-1: no limit). The soft limit is raised as far as possible. Half of
    it is left for the tasks, which may run in the same process: each has connections to Kafka.
    """
    soft, hard = limits
    if soft == -1:
        return most, soft
    soft = max(soft, 2 * most) if hard == -1 else hard
    return min(most, max(1, soft // 2)), soft


def most_connections(most: int, log: FilteringBoundLogger) -> int:
    """How many connections there can be; the limit of open files is raised as far as it may be."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections, soft = descriptors(most, limits)
    try:
        if soft != limits[0]:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, limits[1]))
    except (ValueError, OSError):  # the system has a limit beyond these
        connections, soft = descriptors(most, (limits[0], limits[0]))
    if connections < most:
        log.warning("receiver_connections_limited", max_connections=connections, open_files=soft)
    return connections
