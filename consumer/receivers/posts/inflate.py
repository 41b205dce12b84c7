"""Decompresses a body in pieces, so that a caller can stop at its limit: ``gzip``, or ``deflate``. Pure."""

import zlib
from collections.abc import Iterator

_EITHER = 32 + zlib.MAX_WBITS
"""The first bytes say which of the two it is."""
_PIECE = 64 * 1024
"""How many bytes are decompressed at a time."""

MOST_MEMBERS = 16
"""The most gzip members of one body; senders make one. The bytes after each member are copied, and a megabyte can hold
50,000 empty members."""


class NotCompressed(Exception):
    """The bytes are not compressed, or end too early."""


class Inflate:
    """Decompresses one body. Several members one after another make one body (RFC 1952)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_EITHER)
        self._has_begun = False
        self._members = 1

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Decompress the next bytes, in pieces of at most 64 KiB, each when it is asked for.

        The end of a member also ends a piece, even an empty one, so that no step is long.

        Raises `NotCompressed` if the bytes are not compressed, or have more than `MOST_MEMBERS` members.
        """
        while chunk:
            if self._member.eof:
                self._members += 1
                if self._members > MOST_MEMBERS:
                    raise NotCompressed(f"the body has more than {MOST_MEMBERS} members of gzip")
                self._member, self._has_begun = zlib.decompressobj(_EITHER), False
            try:
                piece = self._member.decompress(chunk, _PIECE)
            except zlib.error:
                raise NotCompressed("the body is not compressed as Content-Encoding says") from None
            self._has_begun = True
            if piece or self._member.eof:
                yield piece
            chunk = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def end(self) -> None:
        """There are no further bytes. Raises `NotCompressed` if the compressed data is not complete."""
        if not self._has_begun or not self._member.eof:
            raise NotCompressed("the compressed body ends too early")
