"""Reads the body of a request, with a limit of bytes and of time."""

import asyncio
from typing import Protocol

from aiohttp import ClientError, web

from consumer.posts.inflate import Inflate, NotGzip
from consumer.posts.refusal import Refused, busy, too_large
from consumer.posts.room import Lease, NoRoom

BODY_SECONDS = 10.0
"""The longest time for a body to come in: a slower sender would hold memory for nothing."""


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


async def read_body(request: Body, encoding: str, lease: Lease, limit: int) -> bytes:
    """The body, decompressed if ``encoding`` (a ``Content-Encoding``) says so, of at most ``limit`` bytes.

    The lease grows with each piece of the body.

    Raises `Refused`: 400, 408, 413, 415, 503.
    """
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise Refused(415, "the Content-Encoding must be gzip, or none", closes=True)
    if request.content_length is not None and request.content_length > limit:
        raise too_large(limit)
    content, is_gzip = request.content, encoding.endswith("gzip")
    try:
        if content.is_eof():  # most bodies, which are small: nothing to wait for
            return await _read(content, is_gzip, lease, limit)
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(content, is_gzip, lease, limit)
    except TimeoutError:
        raise Refused(408, f"the body did not come within {BODY_SECONDS:g} s", closes=True) from None
    except NotGzip as error:
        raise Refused(400, str(error), closes=True) from None
    except NoRoom:
        raise busy("too much is waiting for Kafka (ingest.max_waiting_bytes)") from None
    except (ClientError, web.PayloadAccessError, web.RequestPayloadError, ConnectionError):
        raise Refused(400, "the body could not be read to its end", closes=True) from None


async def _read(content: Content, is_gzip: bool, lease: Lease, limit: int) -> bytes:
    received, size = 0, 0
    pieces: list[bytes] = []
    inflate = Inflate() if is_gzip else None
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
