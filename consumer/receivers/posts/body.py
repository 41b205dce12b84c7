"""Reads the body of a request, with a limit of bytes and of time, and decompresses it."""

import asyncio
from typing import Protocol

from aiohttp import ClientError, hdrs, web
from multidict import MultiMapping

from consumer.receivers.posts.inflate import Inflate, NotCompressed
from consumer.receivers.posts.refusal import RequestRefused, too_large

BODY_SECONDS = 10.0
"""The longest time for a body to come in: a slower sender would hold memory for nothing."""

_COMPRESSIONS = frozenset({"gzip", "x-gzip", "deflate"})
_NONE = frozenset({"", "identity"})


class Body(Protocol):
    """The part of aiohttp's request that is read here."""

    @property
    def content_length(self) -> int | None: ...
    @property
    def content(self) -> "Content": ...


class Content(Protocol):
    """A stream of bytes."""

    async def readany(self) -> bytes:
        """The next bytes as they come; empty at the end."""
        ...

    def is_eof(self) -> bool:
        """Whether all bytes have come."""
        ...


class Growing(Protocol):
    """What counts the bytes of a body as they come in: `consumer.receivers.posts.room.Lease`, or
    `consumer.receivers.posts.connections.UnprovedBody`."""

    def grow(self, size: int) -> None:
        """Count so many bytes more. Raises `NoRoom` if they are too many."""
        ...


def is_compressed(headers: "MultiMapping[str]") -> bool | None:
    """Whether the ``Content-Encoding`` (RFC 9110, section 8.4: a list, in any case) says that the body is compressed
    once, in a way that is known here; None if it says anything else."""
    listed = ",".join(headers.getall(hdrs.CONTENT_ENCODING, ())).lower().split(",")
    codings = [coding for coding in map(str.strip, listed) if coding not in _NONE]
    return None if len(codings) > 1 or not _COMPRESSIONS.issuperset(codings) else bool(codings)


async def read_body(request: Body, lease: Growing, limit: int, *, compressed: bool = False) -> bytes:
    """The body, decompressed if it is ``compressed``, of at most ``limit`` bytes before and after.

    The lease grows with each piece of the body.

    Raises `NoRoom` if the lease does, and `RequestRefused` if the body is broken (400), late (408) or too large (413).
    """
    if request.content_length is not None and request.content_length > limit:
        raise too_large(limit)
    content = request.content
    try:
        if content.is_eof():  # most bodies, which are small: nothing to wait for
            return await _read(content, compressed, lease, limit)
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(content, compressed, lease, limit)
    except TimeoutError:
        raise RequestRefused(408, f"the body did not come within {BODY_SECONDS:g} s", closes=True) from None
    except NotCompressed as error:
        raise RequestRefused(400, str(error), closes=True) from None
    except (ClientError, web.PayloadAccessError, web.RequestPayloadError, ConnectionError):
        raise RequestRefused(400, "the body could not be read to its end", closes=True) from None


async def decompressed(body: bytes, lease: Growing, limit: int) -> bytes:
    """A body that was read as it came, decompressed.

    Raises `NotCompressed` if it is not compressed or not complete, `NoRoom` if the lease does, and `RequestRefused` if
    it has more than ``limit`` bytes.
    """
    return await _read(_Read(body), True, lease, limit)


class _Read:
    """Bytes that have come."""

    def __init__(self, body: bytes) -> None:
        self._left = body

    async def readany(self) -> bytes:
        left, self._left = self._left, b""
        return left

    def is_eof(self) -> bool:
        return True


async def _read(content: Content, compressed: bool, lease: Growing, limit: int) -> bytes:
    received, size = 0, 0
    pieces: list[bytes] = []
    inflate = Inflate() if compressed else None
    while chunk := await content.readany():
        received += len(chunk)
        if received > limit:
            raise too_large(limit)
        for piece in (chunk,) if inflate is None else inflate.feed(chunk):
            size += len(piece)
            if size > limit:
                raise too_large(limit)
            lease.grow(len(piece))
            pieces.append(piece)
            if inflate is not None:
                await asyncio.sleep(0)  # one chunk can become a thousand times as much
    if inflate is not None:
        inflate.end()
    return b"".join(pieces)
