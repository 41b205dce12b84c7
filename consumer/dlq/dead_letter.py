"""A dead letter: the original record byte for byte, and headers that say what became of it (design section 9).

Our headers follow those of the original and begin with ``alerting.topic``. If a replayed dead letter becomes a dead
letter again, older headers of ours are among its original headers: the last ``alerting.topic`` is where the original
ends.

Where the topic does not accept the original, the dead letter is *cut*: it holds as much as there is room for, and says
what it lacks, so that nobody takes a part for the whole (design section 15).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from state.violation import Record

Headers = Sequence[tuple[str, bytes | None]]

_OURS: Final = "alerting."
_FIRST: Final = "alerting.topic"
_LAST_RESORT: Final = 4
"""How many of our headers always stay: topic, partition, offset, provider. Without them a dead letter cannot be
replayed.
"""

_BATCH_OVERHEAD: Final = 100
"""The most bytes that a batch of one record has besides its key, value and headers."""

_MAX_LENGTH_BYTES: Final = 4
"""The most bytes by which a long field's length takes more room than an empty field's length."""

_ELLIPSIS: Final = "…"
_MAX_ECHO: Final = 120  # characters of an unreadable header in an error


Encoded = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]
"""Key, value and headers of a Kafka record."""


class DeadLetterStage(StrEnum):
    """Where the way of a record has ended, as dead letters say it."""

    DECODE = "decode"
    """The record is poison: it holds no valid event."""
    STALE = "stale"
    """The record's event is too old to page anybody."""
    DECIDE = "decide"
    """A fault of this program makes the record undecidable."""
    DELIVER = "deliver"
    """The provider rejected the notification that the record led to, or that was owed for too long."""
    INGEST = "ingest"
    """The record was posted, and was poison before it got into the input."""


@dataclass(frozen=True, slots=True)
class CutOriginal:
    """Describes the original record of a dead letter that holds only a part of it.

    It has the sizes of the key and the value in bytes (None without one), the number of headers, and the SHA-256 of the
    value in hexadecimal digits. By the digest and its place, the original can be recognised where it still exists.
    """

    key_bytes: int | None
    value_bytes: int | None
    header_count: int
    value_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that could not become a notification, and why.

    ``stage`` is where it ended: a `DeadLetterStage`, or in a dead letter that was read whatever a later release has
    written. ``error_class`` is a word for filters and metrics, ``error`` the text for people. ``retryable`` says
    whether a replay can help. ``attempts`` counts requests, from ``first_attempt`` to ``last_attempt`` (seconds since
    the epoch; None without any). ``occurrences`` were counted into it, at offsets from ``first_offset`` to
    ``last_offset``. ``cut`` says that ``record`` is only a part of the original.
    """

    record: Record
    provider: str
    stage: str
    event_id: str | None
    error_class: str
    error: str
    retryable: bool
    attempts: int
    first_attempt: float | None
    last_attempt: float | None
    occurrences: int
    first_offset: int
    last_offset: int
    cut: CutOriginal | None = None

    def encode(self, limit: int | None = None) -> Encoded:
        """Key, value and headers for Kafka; a batch of this record has at most ``limit`` bytes (``max.message.bytes``).

        To make it fit, our own headers are reduced first: the error text is shortened, then headers are left out, the
        most useful last; topic, partition, offset and provider stay. If the original does not fit beside these four, it
        is cut. The result is larger than ``limit`` only if these four and the headers of a cut dead letter (less than a
        kilobyte) do not fit either.
        """
        record = self.record
        ours = self._our_headers()
        whole = record.key, record.value, [*record.headers, *ours]
        if limit is None or encoded_size(*whole) <= limit:
            return whole
        place, facts = ours[:_LAST_RESORT], ours[_LAST_RESORT:]
        room = limit - encoded_size(record.key, record.value, [*record.headers, *place])
        if room < 0:
            return self._encode_cut(place, facts, limit)
        return record.key, record.value, [*record.headers, *place, *_fitting_facts(facts, room)]

    def is_cut_at(self, limit: int) -> bool:
        """Whether ``limit`` leaves room only for a part of the original."""
        record = self.record
        place = self._our_headers()[:_LAST_RESORT]
        return encoded_size(record.key, record.value, [*record.headers, *place]) > limit

    def _encode_cut(self, place: Headers, facts: Headers, limit: int) -> Encoded:
        """As much of the original as fits. The facts, the key and the headers each get at most half of the room that is
        left at their turn; the beginning of the value gets the rest."""
        record = self.record
        ours = [*place, *_cut_headers(_cut_of(record))]
        ours += _fitting_facts(facts, (limit - encoded_size(None, None, ours)) // 2)
        room = limit - encoded_size(None, None, ours)
        key = _begin(record.key, room // 2)
        room -= len(key or b"") + _MAX_LENGTH_BYTES
        headers = _fitting(record.headers, room // 2)
        value = _begin(record.value, room - sum(map(_header_size, headers)))
        return key, value, [*headers, *ours]

    def _our_headers(self) -> list[tuple[str, bytes | None]]:
        """All of our headers, the most useful first; a fact that is None has no header."""
        record = self.record
        # repr of a float reads back as the same float
        facts = {
            "topic": record.topic,
            "partition": str(record.partition),
            "offset": str(record.offset),
            "provider": self.provider,
            "stage": self.stage,
            "error_class": self.error_class,
            "retryable": "true" if self.retryable else "false",
            "occurrences": str(self.occurrences),
            "first_offset": str(self.first_offset),
            "last_offset": str(self.last_offset),
            "timestamp": str(record.timestamp),
            "attempts": str(self.attempts),
            "first_attempt": None if self.first_attempt is None else repr(self.first_attempt),
            "last_attempt": None if self.last_attempt is None else repr(self.last_attempt),
            "event_id": self.event_id,
            "error": self.error,
        }
        return [(_OURS + name, _encoded(text)) for name, text in facts.items() if text is not None]


def decode(key: bytes | None, value: bytes | None, headers: Headers) -> DeadLetter:
    """The dead letter in a record of the dead-letter topic.

    Headers that were left out for want of room are read as: empty texts, no attempts, one occurrence, not retryable.
    Raises `ValueError` with a message of one line if the record is no dead letter, or one that cannot be read.
    """
    begin = next((index for index in reversed(range(len(headers))) if headers[index][0] == _FIRST), None)
    if begin is None:
        raise ValueError(f"no dead letter: it has no header {_FIRST}")
    ours = {name.removeprefix(_OURS): text for name, text in headers[begin:] if text is not None}
    try:
        offset = int(ours["offset"])
        record = Record(
            topic=ours["topic"].decode(),
            partition=int(ours["partition"]),
            offset=offset,
            timestamp=int(ours.get("timestamp", -1)),  # Kafka's own value for "no timestamp"
            key=key,
            value=value,
            headers=tuple(headers[:begin]),
        )
        return DeadLetter(
            record=record,
            provider=ours["provider"].decode(),
            stage=ours.get("stage", b"").decode(),
            event_id=ours["event_id"].decode() if "event_id" in ours else None,
            error_class=ours.get("error_class", b"").decode(),
            error=ours.get("error", b"").decode(),
            retryable=ours.get("retryable") == b"true",
            attempts=int(ours.get("attempts", 0)),
            first_attempt=float(ours["first_attempt"]) if "first_attempt" in ours else None,
            last_attempt=float(ours["last_attempt"]) if "last_attempt" in ours else None,
            occurrences=int(ours.get("occurrences", 1)),
            first_offset=int(ours.get("first_offset", offset)),
            last_offset=int(ours.get("last_offset", offset)),
            cut=_decode_cut(ours) if "cut" in ours else None,
        )
    except KeyError as missing:
        raise ValueError(f"no dead letter: it has no header {_OURS}{missing.args[0]}") from None
    except ValueError as error:
        raise ValueError(f"a dead letter with an unreadable header: {str(error)[:_MAX_ECHO]}") from None


def encoded_size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """The most bytes that an uncompressed batch with only this record has; ``max.message.bytes`` limits batches."""
    size = _BATCH_OVERHEAD + _field_size(len(key or b"")) + _field_size(len(value or b""))
    return size + sum(map(_header_size, headers))


def _cut_of(record: Record) -> CutOriginal:
    key, value = record.key, record.value
    return CutOriginal(
        key_bytes=None if key is None else len(key),
        value_bytes=None if value is None else len(value),
        header_count=len(record.headers),
        value_sha256=None if value is None else hashlib.sha256(value).hexdigest(),
    )


def _cut_headers(cut: CutOriginal) -> Iterator[tuple[str, bytes | None]]:
    facts = {
        "cut": "true",
        "key_bytes": cut.key_bytes,
        "value_bytes": cut.value_bytes,
        "header_count": cut.header_count,
        "value_sha256": cut.value_sha256,
    }
    return ((_OURS + name, _encoded(str(fact))) for name, fact in facts.items() if fact is not None)


def _decode_cut(ours: Mapping[str, bytes]) -> CutOriginal:
    return CutOriginal(
        key_bytes=int(ours["key_bytes"]) if "key_bytes" in ours else None,
        value_bytes=int(ours["value_bytes"]) if "value_bytes" in ours else None,
        header_count=int(ours.get("header_count", 0)),
        value_sha256=ours["value_sha256"].decode() if "value_sha256" in ours else None,
    )


def _fitting_facts(facts: Headers, room: int) -> list[tuple[str, bytes | None]]:
    """Those of our headers that fit into ``room`` bytes together; the error text, which is the last, is shortened."""
    *others, error = facts
    fitting = _fitting(others, room)
    room -= sum(map(_header_size, fitting))
    return fitting + _fitting([_shortened(error, room)], room)


def _fitting(headers: Headers, room: int) -> list[tuple[str, bytes | None]]:
    """The headers that fit into ``room`` bytes together."""
    fitting = []
    for header in headers:
        size = _header_size(header)
        if size <= room:
            fitting.append(header)
            room -= size
    return fitting


def _begin(content: bytes | None, room: int) -> bytes | None:
    """The beginning of ``content`` that adds at most ``room`` bytes to a batch."""
    return None if content is None else content[: max(0, room - _MAX_LENGTH_BYTES)]


def _header_size(header: tuple[str, bytes | None]) -> int:
    name, value = header
    return _field_size(len(name.encode())) + _field_size(len(value or b""))


def _field_size(length: int) -> int:
    """The bytes that a field takes: its length as a signed variable-length integer (seven bits a byte), and itself."""
    return length + length.bit_length() // 7 + 1


def _shortened(header: tuple[str, bytes | None], room: int) -> tuple[str, bytes | None]:
    """The header with as much of its text as fits; unchanged if not even the beginning fits."""
    excess = _header_size(header) - room
    text = header[1] or b""
    keep = len(text) - excess - len(_ELLIPSIS.encode())
    if excess <= 0 or keep <= 0:
        return header
    return header[0], text[:keep].decode(errors="ignore").encode() + _ELLIPSIS.encode()


def _encoded(text: str) -> bytes:
    return text.encode(errors="backslashreplace")
