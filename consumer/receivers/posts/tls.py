"""TLS of a receiver. A connection counts from its first byte, not only once its handshake is done: who never ends one
takes no place that another cannot have."""

import asyncio
import socket
import ssl
from collections.abc import Callable

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from consumer.config import TlsConfig
from consumer.kafka.tls import CertificateFiles, RenewingContext
from consumer.receivers.posts.connections import AT_ONCE_BYTES, Connections, peer_of_transport
from consumer.telemetry.server import Protocols

HANDSHAKE_SECONDS = 5.0
"""The longest time for a handshake: it takes two round trips."""


def server_context(files: TlsConfig, section: str, log: FilteringBoundLogger) -> RenewingContext:
    """What a receiver presents: the certificate that stands in its files at each new connection.

    Raises `UnusableFiles` if these cannot be used.
    """
    return RenewingContext(
        CertificateFiles(
            ca_file=None, cert_file=files.cert_file, key_file=files.key_file, section=f"{section}.tls", is_server=True
        ),
        log,
    )


def over_tls(connections: Connections, context: ssl.SSLContext) -> Protocols:
    """Makes the protocols of connections that begin with a handshake, for `consumer.telemetry.server.serving`."""

    def protocols(server: web.Server) -> Callable[[], asyncio.Protocol]:
        make = connections.protocols(server)
        return lambda: Handshake(connections, context, make)

    return protocols


class Handshake(asyncio.Protocol):
    """A connection whose handshake is not done yet. ``make`` makes the protocol that goes on with it."""

    def __init__(self, connections: Connections, context: ssl.SSLContext, make: Callable[[], asyncio.Protocol]) -> None:
        self.peer = ""
        self._connections = connections
        self._context = context
        self._make = make
        self._transport: asyncio.Transport | None = None
        self._shaking: asyncio.Task[None] | None = None
        self._early = bytearray()
        self._is_lost = self._has_ended = False

    @property
    def is_closing(self) -> bool:
        """Whether the connection is closed or being closed."""
        return self._transport is None or self._transport.is_closing()

    def evict(self) -> None:
        """Close the connection at once."""
        self._connections.closed(self)
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio: the connection is open, and nothing is said yet."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.peer = transport, peer_of_transport(transport)
        # As without TLS not much is read in one step: the kernel gives no more than it may hold, which is twice this.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, AT_ONCE_BYTES // 2)
        self._connections.opened(self)
        if not self.is_closing:
            self._shaking = asyncio.get_running_loop().create_task(self._shake(transport))

    def data_received(self, data: bytes) -> None:
        """Called by asyncio: what comes behind the handshake before the next protocol is there."""
        self._early += data

    def eof_received(self) -> None:
        """Called by asyncio: nothing more will come."""
        self._has_ended = True

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by asyncio: the connection is closed."""
        self._is_lost = True
        self._connections.closed(self)

    async def _shake(self, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        try:
            encrypted = await loop.start_tls(
                transport, self, self._context, server_side=True, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except OSError:  # it speaks no TLS, trusts somebody else, was too slow, or has left: nothing of ours
            transport.abort()
            return
        finally:
            self._connections.closed(self)
        if encrypted is None or self._is_lost or encrypted.is_closing():
            return
        protocol = self._make()
        encrypted.set_protocol(protocol)
        protocol.connection_made(encrypted)
        if self._early:
            protocol.data_received(bytes(self._early))
        if self._has_ended:
            protocol.eof_received()
