"""Anchors: a few decided records of the input by which a task recognises its log (design section 17). Pure.

The nearer anchors are to the newest one, the closer they lie together. So wherever a log is truncated, an anchor is
left that is not far from its new end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Protocol

MAX_ANCHORS = 24
"""How many anchors a task keeps. They stand in every checkpoint: 24 take about a kilobyte."""

DIGEST_BYTES = 8

Anchors = tuple["Anchor", ...]
"""Anchors of one log, the newest first."""


class AnchorRecord(Protocol):
    """The part of a record that an anchor is made of."""

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
    """One record: its offset, its timestamp in milliseconds, and the `digest` of its key and value."""

    offset: int
    timestamp: int
    digest: bytes


def digest(key: bytes | None, value: bytes | None) -> bytes:
    """Eight bytes that stand for a key and a value.

    BLAKE2b gives the same digest in every process and release (Python's ``hash`` does not) and takes its length as a
    parameter. Unlike with a checksum, nobody can make up a record that passes for another.
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
    """The anchors once these records are decided as well. ``records`` are in order and come after all anchors.

    No record is read back for this. The records at distance 0, 1, 2, 4, … from the end of ``records`` are put before
    the earlier anchors; then `thinned` removes those that lie too close to their neighbours.
    """
    return thinned((*map(anchor_of, _candidates(records)), *anchors))


def _candidates(records: Sequence[AnchorRecord]) -> Iterable[AnchorRecord]:
    distance = 0
    while distance < len(records):
        yield records[-1 - distance]
        distance = max(1, 2 * distance)


def thinned(anchors: Anchors) -> Anchors:
    """The anchors without those that lie too close to their neighbours, at most `MAX_ANCHORS` of them.

    From new to old, the middle ``b`` of neighbours ``a, b, c`` is removed if ``a - c <= 2 * (newest - a + 1)``. In a
    log of many millions of records that leaves more than `MAX_ANCHORS`; then the anchor is removed whose neighbours are
    closest for their distance from the newest. The oldest always stays: so a log that was truncated far back is not
    taken for another log.
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
    """The anchors before this offset: those that are kept when a task begins at it."""
    return tuple(anchor for anchor in anchors if anchor.offset < offset)
