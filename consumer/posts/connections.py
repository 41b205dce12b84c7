"""The connections of senders: how many there are, which of them has to go, and what is said to what is no request.

A connection says nothing for a while and is closed. A thousand that say nothing keep nobody out who has something to
say: where there are too many, the one goes that has been silent for the longest. One with a request is left alone.
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
"""A connection on which there is no request for so long is closed: before the first, within its head, and after it."""

LINGER_SECONDS = 2.0
"""For so long is read, and thrown away, what comes behind an answer: else the sender may not see the answer."""

READ_BYTES = 16 * 1024
"""Of one connection that are read ahead."""

AT_ONCE_BYTES = 32 * 1024
"""Of one connection that are read in one step: asyncio would take 256 KiB, which can be chunks of a byte each."""


class Connections:
    """All connections of the way in, at most ``most``."""

    def __init__(self, most: int, clock: Callable[[], float] = monotonic) -> None:
        self.most = most
        self._clock = clock
        self._silent: dict[Connection, float] = {}  # which has been silent for the longest comes first
        self._busy: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._silent) + len(self._busy)

    def opened(self, connection: "Connection") -> None:
        """There is one more."""
        if len(self) >= self.most:
            (next(iter(self._silent)) if self._silent else connection).evict()
        if not connection.is_closing:
            self._silent[connection] = self._clock()

    def closed(self, connection: "Connection") -> None:
        """It is not there any more."""
        self._silent.pop(connection, None)
        self._busy.discard(connection)

    def began(self, connection: "Connection") -> None:
        """There is a request on it."""
        if self._silent.pop(connection, None) is not None:
            self._busy.add(connection)

    def ended(self, connection: "Connection") -> None:
        """The request was answered."""
        if connection in self._busy:
            self._busy.remove(connection)
            self._silent[connection] = self._clock()

    def protocols(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """What speaks with each connection, for `consumer.telemetry.server.serving`."""
        loop = asyncio.get_running_loop()
        return lambda: Connection(self, server, loop)

    def of(self, request: web.BaseRequest) -> "Connection":
        """The connection of a request."""
        return cast(Connection, request.protocol)


class Connection(web.RequestHandler):
    """aiohttp's, with what it leaves to others: it is counted, and what is no request gets one line and no log."""

    __slots__ = ("_connections",)

    def __init__(self, connections: Connections, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        self._connections = connections
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=SILENT_SECONDS,
            lingering_time=LINGER_SECONDS,
            read_bufsize=READ_BYTES,
            access_log=None,  # type: ignore[arg-type] # which is how to have none
            auto_decompress=False,  # how large it becomes is ours to see
        )

    @property
    def is_closing(self) -> bool:
        """Whether it is on its way out."""
        return self.transport is None or self.transport.is_closing()

    def evict(self) -> None:
        """Close it at once."""
        self._connections.closed(self)
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's."""
        transport.max_size = AT_ONCE_BYTES  # type: ignore[attr-defined] # asyncio's, for what it asks of the system
        super().connection_made(transport)
        self._connections.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """asyncio's."""
        self._connections.closed(self)
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be read as a request. aiohttp would repeat it, and what it says can be a token."""
        return Refused(status, "this is no HTTP request that can be read", closes=True).response()


def descriptors(most: int, limits: tuple[int, int]) -> tuple[int, int]:
    """How many connections there can be where ``limits`` are the soft and the hard limit of open files (-1: none), and
    what the soft one is to be. Pure.

    All that there is: in one process with `run`, half of it is for tasks, of which each has connections to Kafka.
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
