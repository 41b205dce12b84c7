"""A gzip body, as far as it may be: what it would become beyond that is never made. Pure."""

import zlib
from collections.abc import Iterator

_GZIP = 16 + zlib.MAX_WBITS
_PIECE = 64 * 1024
"""Bytes that are made at a time."""


class NotGzip(Exception):
    """It is no gzip, or not all of it."""


class Inflate:
    """Decompresses one body. Several members one after another are one (RFC 1952)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._has_begun = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """What becomes of the next bytes, in pieces of 64 KiB at most; nothing is made that is not asked for.

        Raises `NotGzip`.
        """
        while chunk:
            if self._member.eof:
                self._member, self._has_begun = zlib.decompressobj(_GZIP), False
            try:
                piece = self._member.decompress(chunk, _PIECE)
            except zlib.error:
                raise NotGzip("the body is not gzip, as Content-Encoding says") from None
            self._has_begun = True
            if piece:
                yield piece
            chunk = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def end(self) -> None:
        """There are no further bytes. Raises `NotGzip` if there should be."""
        if not self._has_begun or not self._member.eof:
            raise NotGzip("the body is gzip that ends too early")
