"""A gzip body, as far as it may be: what it would become beyond that is never made. Pure."""

import zlib
from collections.abc import Iterator

_GZIP = 16 + zlib.MAX_WBITS
_PIECE = 64 * 1024
"""Bytes that are made at a time."""

MOST_MEMBERS = 16
"""Of one body. A sender makes one. What is behind each of them is copied, and a megabyte can be 50,000 empty ones."""


class NotGzip(Exception):
    """It is no gzip, or not all of it."""


class Inflate:
    """Decompresses one body. Several members one after another are one (RFC 1952)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._has_begun = False
        self._members = 1

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """What becomes of the next bytes, in pieces of 64 KiB at most; nothing is made that is not asked for.

        A member that ends is a piece as well, be it an empty one, so that no step is long.

        Raises `NotGzip`.
        """
        while chunk:
            if self._member.eof:
                self._members += 1
                if self._members > MOST_MEMBERS:
                    raise NotGzip(f"the body is gzip of more than {MOST_MEMBERS} members")
                self._member, self._has_begun = zlib.decompressobj(_GZIP), False
            try:
                piece = self._member.decompress(chunk, _PIECE)
            except zlib.error:
                raise NotGzip("the body is not gzip, as Content-Encoding says") from None
            self._has_begun = True
            if piece or self._member.eof:
                yield piece
            chunk = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def end(self) -> None:
        """There are no further bytes. Raises `NotGzip` if there should be."""
        if not self._has_begun or not self._member.eof:
            raise NotGzip("the body is gzip that ends too early")
