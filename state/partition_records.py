"""The records of one state partition: collected while the partition is read, then decoded."""

import struct
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, replace

from aiokafka import ConsumerRecord

from state.alert import Alert
from state.counts import Counts, up_to_date
from state.joined import reunited
from state.pieces import Pieces
from state.records import BESIDE, BESIDE_PREFIX, CHECKPOINT_KEY, CorruptState, decode_alert

_OFFSET = struct.Struct(">q")
"""Packs a record's offset before its value. A million Python ints beside the values would take as much memory as the
values do."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A state record that this release cannot read. It is left as it is.

    ``beside`` is the alert that was written beside the record, if its dedup key has had an event since.
    """

    key: bytes
    offset: int
    reason: str
    beside: Alert | None = None


@dataclass(frozen=True, slots=True)
class Reunited:
    """An alert that was written beside an unreadable record. That record can be read now, and its alert is joined into
    this one; or the record is gone."""

    alert: Alert


Found = Alert | Unreadable | Reunited


class StateRecords:
    """The last record of each key of one state partition."""

    def __init__(self) -> None:
        self._values: Pieces[bytes, bytes] = Pieces()
        self._besides: Pieces[bytes, bytes] = Pieces()
        self.written_at: float | None = None
        """When the last checkpoint was written, in seconds since the epoch by the clock of its owner."""

    def take(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        """Take the next record of the partition."""
        key = record.key
        values = self._besides if key and key.startswith(BESIDE) else self._values
        if record.value is None:
            values.pop(key)
        else:
            values[key] = _OFFSET.pack(record.offset) + record.value
        if key == CHECKPOINT_KEY:
            self.written_at = record.timestamp / 1000

    def take_checkpoint(self) -> tuple[int, bytes] | None:
        """Remove the last checkpoint and return its offset and value; None if there is none."""
        record = self._values.pop(CHECKPOINT_KEY)
        return None if record is None else _split(record)

    def found(self, counts: Mapping[str, Counts]) -> Iterator[Found]:
        """Decode the records, each when its turn comes, and forget them. To be gone through once, after
        `take_checkpoint`. ``counts`` are those that the checkpoint holds of alerts with older records."""
        besides, are_any = self._besides, len(self._besides) > 0
        for key, record in self._values.taken():
            if are_any and (beside := besides.pop(BESIDE + (key or b""))) is not None:
                dedup_key = (key or b"").decode(errors="replace")
                known = counts.get(counts_key(dedup_key, has_beside=True))
                own = _decode(key, record, {} if known is None else {dedup_key: known})
                yield from _together(own, _decode(key, beside, counts))
            else:
                yield _decode(key, record, counts)
        for key, record in besides.taken():
            found = _decode(key.removeprefix(BESIDE), record, counts)
            yield Reunited(found) if isinstance(found, Alert) else found


def counts_key(dedup_key: str, *, has_beside: bool) -> str:
    """The key under which a checkpoint holds the counts of a record that could not be read.

    If an alert was written beside the record, that alert's counts stand under the dedup key itself, and the record's
    counts under the dedup key with `BESIDE_PREFIX`.
    """
    return BESIDE_PREFIX + dedup_key if has_beside else dedup_key


def counts_of_unread(
    counts: Mapping[str, Counts], unread: Container[str], has_beside: Callable[[str], bool]
) -> dict[str, Counts]:
    """The counts that a checkpoint holds of records that could not be read, by dedup key.

    This goes through ``counts``, which are few, and not through ``unread``, which can be a million dedup keys.
    """
    found = {}
    for key, one in counts.items():
        dedup_key = key.removeprefix(BESIDE_PREFIX)
        if dedup_key in unread and key == counts_key(dedup_key, has_beside=has_beside(dedup_key)):
            found[dedup_key] = one
    return found


def _together(own: Alert | Unreadable, beside: Alert | Unreadable) -> Iterator[Found]:
    if isinstance(beside, Unreadable):
        yield own
        yield beside
    elif isinstance(own, Unreadable):
        yield replace(own, beside=beside)
    else:
        yield Reunited(reunited(own, beside))


def _decode(key: bytes, record: bytes, counts: Mapping[str, Counts]) -> Alert | Unreadable:
    offset, value = _split(record)
    try:
        alert = decode_alert(key, value)
    except CorruptState as error:
        return Unreadable(key, offset, str(error))
    return up_to_date(alert, counts) if counts else alert


def _split(record: bytes) -> tuple[int, bytes]:
    (offset,) = _OFFSET.unpack_from(record)
    return offset, record[_OFFSET.size :]
