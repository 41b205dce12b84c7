"""The connections of senders: how many there may be, which one is closed for another, and the answer to bytes that are
no request.

A connection without a request is closed after a while. A thousand silent connections keep no sender out: where there
are too many, the one is closed that has been silent for the longest. A connection with a request stays, unless all have
one: then the new connection is closed.
"""

import asyncio
import resource
from collections.abc import Callable
from time import monotonic
from typing import cast

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from consumer.posts.refusal import Refused

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


class Connections:
    """All connections of senders, at most ``most``."""

    def __init__(self, most: int, clock: Callable[[], float] = monotonic) -> None:
        self.most = most
        self._clock = clock
        self._silent: dict[Connection, float] = {}  # the one that has been silent for the longest first
        self._busy: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._silent) + len(self._busy)

    def opened(self, connection: "Connection") -> None:
        """Count a new connection; if there are too many, close the longest silent one, or else this one."""
        if len(self) >= self.most:
            (next(iter(self._silent)) if self._silent else connection).evict()
        if not connection.is_closing:
            self._silent[connection] = self._clock()

    def closed(self, connection: "Connection") -> None:
        """The connection is closed."""
        self._silent.pop(connection, None)
        self._busy.discard(connection)

    def began(self, connection: "Connection") -> None:
        """A request has begun on the connection."""
        if self._silent.pop(connection, None) is not None:
            self._busy.add(connection)

    def ended(self, connection: "Connection") -> None:
        """The request on the connection was answered."""
        if connection in self._busy:
            self._busy.remove(connection)
            self._silent[connection] = self._clock()

    def protocols(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """Makes the protocol of each connection, for `consumer.telemetry.server.serving`."""
        loop = asyncio.get_running_loop()
        return lambda: Connection(self, server, loop)

    def of(self, request: web.BaseRequest) -> "Connection":
        """The connection of a request."""
        return cast(Connection, request.protocol)


class Connection(web.RequestHandler):
    """aiohttp's protocol of one connection, which is also counted. Bytes that are no request get an answer of one line,
    and are not logged."""

    __slots__ = ("_connections",)

    def __init__(self, connections: Connections, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        self._connections = connections
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=SILENT_SECONDS,
            lingering_time=LINGER_SECONDS,
            read_bufsize=READ_BYTES,
            access_log=None,  # type: ignore[arg-type] # None means no access log
            auto_decompress=False,  # `consumer.ingest.inflate` does that, and bounds the size
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
        return Refused(status, "this is no HTTP request that can be read", closes=True).response()


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
