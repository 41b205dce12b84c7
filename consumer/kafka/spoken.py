"""Whether TLS is spoken at an address, or Kafka without it: asked over a connection of its own, after a failure.

The client says of both mistakes no more than that the connection was closed. What is at the address says it by the
first bytes of its answer: to a question that brokers answer before anybody has a password, then to a hello of TLS.
"""

import asyncio
import ssl
import struct
from contextlib import suppress
from enum import Enum
from typing import Final

ASK_SECONDS: Final = 2.0
"""For each of the two questions."""

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
    """What is spoken there; None if nobody says, within `ASK_SECONDS` for each question. Raises nothing."""
    answer = await _answer(host, port, _QUESTION)
    if answer[4:8] == _QUESTION[8:12]:
        return Spoken.PLAIN
    if not _is_tls(answer):
        answer = await _answer(host, port, _hello())
    return Spoken.TLS if _is_tls(answer) else None


def _is_tls(answer: bytes) -> bool:
    return answer[:2] in _TLS_RECORDS


async def _answer(host: str, port: int, question: bytes) -> bytes:
    """The first bytes of the answer, empty without one."""
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
    """The first message of a client of TLS, whoever it talks to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    sent = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent).do_handshake()
    return sent.read()
