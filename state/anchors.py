"""Anchors: a few decided records of the input by which a task knows its log again (design section 17). Pure.

They lie the closer together the nearer they are to the newest one: wherever a log was cut off, one of them is left that
is not much further from its end than it has to be.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Protocol

MAX_ANCHORS = 24
"""How many are kept. They stand in every checkpoint: 24 take about a kilobyte."""

DIGEST_BYTES = 8

Anchors = tuple["Anchor", ...]
"""The newest first."""


class AnchorRecord(Protocol):
    """What an anchor is made of."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Anchor:
    """One record: its offset, its timestamp in milliseconds, and `digest` of its key and value."""

    offset: int
    timestamp: int
    digest: bytes


def digest(key: bytes | None, value: bytes | None) -> bytes:
    """Eight bytes that stand for a key and a value.

    BLAKE2b, because it gives the same in every process and release (Python's ``hash`` does not), takes its length as a
    parameter, and lets nobody make up a record that passes for another, as a checksum would.
    """
    hashed = blake2b(digest_size=DIGEST_BYTES)
    for part in (key, value):
        hashed.update(b"\xff" if part is None else len(part).to_bytes(8, "big"))  # no length begins with 0xff
        hashed.update(part or b"")
    return hashed.digest()


def anchor_of(record: AnchorRecord) -> Anchor:
    """The anchor that this record makes."""
    return Anchor(record.offset, record.timestamp, digest(record.key, record.value))


def with_decided(anchors: Anchors, records: Sequence[AnchorRecord]) -> Anchors:
    """The anchors once these records are decided as well, which are in order and lie behind all of them.

    Nothing is read back for it: of the records those at distance 0, 1, 2, 4, … from their end come before those that
    are there, and what lies too close to its neighbours goes.
    """
    return thinned((*map(anchor_of, _candidates(records)), *anchors))


def _candidates(records: Sequence[AnchorRecord]) -> Iterable[AnchorRecord]:
    distance = 0
    while distance < len(records):
        yield records[-1 - distance]
        distance = max(1, 2 * distance)


def thinned(anchors: Anchors) -> Anchors:
    """Without those that others make unnecessary, and at most `MAX_ANCHORS`.

    From new to old, the middle ``b`` of neighbours ``a, b, c`` goes if ``a - c <= 2 * (newest - a + 1)``. Of a log of
    many millions that leaves more than `MAX_ANCHORS`; then the one goes that is closest, for its distance, to its
    neighbours. So the oldest stays, and what was cut off far back is not taken for another log.
    """
    if len(anchors) < 3:
        return anchors
    newest, kept = anchors[0].offset, [anchors[0]]
    for b, c in pairwise(anchors[1:]):
        a = kept[-1]
        if a.offset - c.offset > 2 * (newest - a.offset + 1):
            kept.append(b)
    kept.append(anchors[-1])
    while len(kept) > MAX_ANCHORS:
        del kept[min(range(1, len(kept) - 1), key=lambda middle: _spacing(kept, middle))]
    return tuple(kept)


def _spacing(anchors: Sequence[Anchor], middle: int) -> float:
    a, c = anchors[middle - 1].offset, anchors[middle + 1].offset
    return (a - c) / (anchors[0].offset - a + 1)


def below(anchors: Anchors, offset: int) -> Anchors:
    """Those of records before this offset: what is left of them once a task begins there."""
    return tuple(anchor for anchor in anchors if anchor.offset < offset)
