"""A dead letter: the original record byte for byte, and headers that say what became of it (design section 9).

Ours come behind the headers of the original and begin with ``alerting.topic``. A dead letter that was processed again
has older ones of ours among its original headers: the last ``alerting.topic`` is where the original ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.released.v0_1.violation import Record

Headers = Sequence[tuple[str, bytes | None]]

_OURS: Final = "alerting."
_FIRST: Final = "alerting.topic"
_LAST_RESORT: Final = 4
"""Topic, partition, offset, provider: with less than these a dead letter cannot be replayed."""

_BATCH_OVERHEAD: Final = 100
"""Bytes, at most, that a batch of one record has around its key, value and headers."""

_CUT: Final = "…"
_MAX_ECHO: Final = 120  # characters of an unreadable header in an error


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """What could not become a notification, and why.

    ``stage`` is where it ended: ``decode`` (poison), ``deliver`` (rejected or given up), ``stale`` (too old to page).
    ``error_class`` is a word for filters and metrics, ``error`` the text for people. ``retryable`` says whether a
    replay can help. ``attempts`` counts requests, from ``first_attempt`` to ``last_attempt`` (seconds since the epoch;
    None without any). ``occurrences`` were counted into it, at offsets from ``first_offset`` to ``last_offset``.
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

    def encode(self, limit: int | None = None) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]:
        """Key, value and headers for Kafka, as a batch at most ``limit`` bytes (the topic's ``max.message.bytes``).

        To fit, our own headers give way: first the error text is shortened, then headers are left out, the most
        useful last; topic, partition, offset and provider go together. The original is never cut. If it is over the
        limit alone, so is the result, without any header of ours: see ``encoded_size``.
        """
        record = self.record
        original = list(record.headers)
        ours = self._our_headers()
        if limit is None:
            return record.key, record.value, original + ours
        room = limit - encoded_size(record.key, record.value, original)
        resort = ours[:_LAST_RESORT]
        room -= sum(map(_header_size, resort))
        if room < 0:
            # Without its place a letter is worth little, but one that the broker refuses would be tried for ever.
            return record.key, record.value, original
        kept = resort
        for header in ours[_LAST_RESORT:]:
            if header[0] == "alerting.error":
                header = _shortened(header, room)
            size = _header_size(header)
            if size <= room:
                kept.append(header)
                room -= size
        return record.key, record.value, original + kept

    def _our_headers(self) -> list[tuple[str, bytes | None]]:
        """All of our headers, the most useful first; what is None has none."""
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

    What was left out for want of room reads as nothing: empty texts, no attempts, one occurrence, not retryable.
    Raises ValueError with a message of one line if the record is no dead letter, or one that cannot be read.
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
            timestamp=int(ours.get("timestamp", -1)),  # Kafka's own word for "none"
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
        )
    except KeyError as missing:
        raise ValueError(f"no dead letter: it has no header {_OURS}{missing.args[0]}") from None
    except ValueError as error:
        raise ValueError(f"a dead letter with an unreadable header: {str(error)[:_MAX_ECHO]}") from None


def encoded_size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes, at most, of an uncompressed batch with this record alone: what ``max.message.bytes`` bounds."""
    size = _BATCH_OVERHEAD + _field_size(len(key or b"")) + _field_size(len(value or b""))
    return size + sum(map(_header_size, headers))


def _header_size(header: tuple[str, bytes | None]) -> int:
    name, value = header
    return _field_size(len(name.encode())) + _field_size(len(value or b""))


def _field_size(length: int) -> int:
    """A field's bytes: its length as a signed variable-length integer (seven bits a byte), and the field."""
    return length + length.bit_length() // 7 + 1


def _shortened(header: tuple[str, bytes | None], room: int) -> tuple[str, bytes | None]:
    """The header with as much of its text as fits; unchanged if not even its beginning does."""
    excess = _header_size(header) - room
    text = header[1] or b""
    keep = len(text) - excess - len(_CUT.encode())
    if excess <= 0 or keep <= 0:
        return header
    return header[0], text[:keep].decode(errors="ignore").encode() + _CUT.encode()


def _encoded(text: str) -> bytes:
    return text.encode(errors="backslashreplace")
