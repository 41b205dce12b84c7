"""Remembers which events were written lately, as a sender that got no answer sends again (design section 19). Pure.

Digests of whole events are kept, so that nobody can make two events count as one by a choice of ids.
"""

from hashlib import blake2b

REMEMBERED_SECONDS = 600.0
MOST_REMEMBERED = 100_000
"""The most digests in each half, some 10 MiB. With more events in ten minutes the earliest are forgotten sooner."""

_DIGEST_BYTES = 16


def digest_of(kind: bytes, text: bytes) -> bytes:
    """The digest that stands for one record to be written. ``kind`` (at most 16 bytes) tells apart equal texts."""
    return blake2b(text, digest_size=_DIGEST_BYTES, person=kind).digest()


class RecentlyWritten:
    """Remembers digests for at least ten minutes, unless there are too many, and for less than thirty.

    There are two halves, and the older one is forgotten as a whole.
    """

    def __init__(self, seconds: float = REMEMBERED_SECONDS, most: int = MOST_REMEMBERED) -> None:
        self._seconds = seconds
        self._most = most
        self._new: set[bytes] = set()
        self._old: set[bytes] = set()
        self._began = 0.0

    def has(self, digest: bytes, now: float) -> bool:
        """Whether a record with this digest was written lately. ``now`` is monotonic, in seconds."""
        self._turn(now)
        return digest in self._new or digest in self._old

    def add(self, digest: bytes, now: float) -> None:
        """A record with this digest was written."""
        self._turn(now)
        if len(self._new) >= self._most:
            self._old, self._new, self._began = self._new, set(), now
        self._new.add(digest)

    def _turn(self, now: float) -> None:
        if not self._new and not self._old:
            self._began = now  # the time begins with the first digest
        if now - self._began >= self._seconds:
            # If twice the time has passed since the newer half began, it is old enough to be forgotten, too.
            self._old = self._new if now - self._began < 2 * self._seconds else set()
            self._new, self._began = set(), now
