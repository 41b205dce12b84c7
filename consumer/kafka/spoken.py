"""Finds out, after a failure and over a new connection, whether an address speaks TLS, or Kafka without TLS.

Whichever of the two was configured by mistake, the client says only that the connection was closed. The first bytes of
an answer show what is spoken: first the answer to a request that brokers answer without authentication, then the answer
to a TLS hello.
"""

import asyncio
import ssl
import struct
from contextlib import suppress
from enum import Enum
from typing import Final

ASK_SECONDS: Final = 2.0
"""Time limit for each of the two questions."""

_CORRELATION: Final = 0x636C6177
_QUESTION: Final = struct.pack(">ihhih", 10, 18, 0, _CORRELATION, -1)
"""ApiVersions, version 0, of a client without a name."""

_TLS_RECORDS: Final = (b"\x15\x03", b"\x16\x03")
"""How a record of TLS begins: an alert, or a handshake."""


class Spoken(Enum):
    """What is spoken at an address."""

    TLS = "TLS"
    PLAIN = "Kafka without TLS"


async def spoken(host: str, port: int) -> Spoken | None:
    """What the address speaks; None if no answer shows it (`ASK_SECONDS` for each question). Raises nothing."""
    answer = await _answer(host, port, _QUESTION)
    if answer[4:8] == _QUESTION[8:12]:
        return Spoken.PLAIN
    if not _is_tls(answer):
        answer = await _answer(host, port, _hello())
    return Spoken.TLS if _is_tls(answer) else None


def _is_tls(answer: bytes) -> bool:
    return answer[:2] in _TLS_RECORDS


async def _answer(host: str, port: int, question: bytes) -> bytes:
    """The first bytes of the answer; empty without an answer."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(ASK_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(question)
            return await reader.read(16)
    except (OSError, TimeoutError):
        return b""
    finally:
        if writer is not None:
            writer.transport.abort()


def _hello() -> bytes:
    """The first message of a TLS client that checks no host name and no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    sent = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent).do_handshake()
    return sent.read()
