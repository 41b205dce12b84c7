"""Which events have been written of late: a sender that heard nothing sends again (design section 19). Pure.

The ids are not kept, but digests of them, so that no choice of ids makes two events one.
"""

from hashlib import blake2b

REMEMBERED_SECONDS = 600.0
MOST_REMEMBERED = 100_000
"""Of each half; some 10 MiB. With more events than that in ten minutes the earliest are forgotten sooner."""

_DIGEST_BYTES = 16


def digest_of(kind: bytes, text: bytes) -> bytes:
    """What stands for one thing to be written: of a ``kind`` of eight bytes at most, told by this text."""
    return blake2b(text, digest_size=_DIGEST_BYTES, person=kind).digest()


class Written:
    """Remembers for ten minutes at least, unless there are too many, and for less than thirty.

    There are two halves, of which the older one is forgotten as a whole.
    """

    def __init__(self, seconds: float = REMEMBERED_SECONDS, most: int = MOST_REMEMBERED) -> None:
        self._seconds = seconds
        self._most = most
        self._new: set[bytes] = set()
        self._old: set[bytes] = set()
        self._began = 0.0

    def has(self, digest: bytes, now: float) -> bool:
        """Whether that was written. ``now`` is monotonic, in seconds."""
        self._turn(now)
        return digest in self._new or digest in self._old

    def add(self, digest: bytes, now: float) -> None:
        """It has been."""
        self._turn(now)
        if len(self._new) >= self._most:
            self._old, self._new, self._began = self._new, set(), now
        self._new.add(digest)

    def _turn(self, now: float) -> None:
        if not self._new and not self._old:
            self._began = now  # from the first of them on
        if now - self._began >= self._seconds:
            # What is twice as old, and so all of it, is forgotten where nothing has come meanwhile.
            self._old = self._new if now - self._began < 2 * self._seconds else set()
            self._new, self._began = set(), now
