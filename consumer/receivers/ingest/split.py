"""Splits the body of a request into its events, byte for byte (design section 19). Pure.

A body is one event, a JSON array, or one event on each line (NDJSON); which one, the body itself shows. Events may be
plain or CloudEvents (structured, a batch, or binary, where the body is the event); the ``Content-Type`` says which.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Raw
from msgspec.json import Decoder

from consumer.events.schema import UNREADABLE, Poison, parsed
from consumer.events.wrapping import STRUCTURED, data_of, media_type, unframed
from consumer.receivers.ingest.json_array import NotAnArray, first_parts

BATCH: Final = "application/cloudevents-batch+json"
"""The media type of several structured CloudEvents."""

MOST_EVENTS: Final = 10_000
"""The most events in one request. Real events are so large that no more fit into a body."""

_SPARSE = 12
"""The least bytes for each comma in an array of events. An array with more commas may have far too many values."""

_LOOKED_AT = 100
"""Of so many first lines one must be a JSON object; else the lines are not taken for events."""

_CLOUDEVENTS = "application/cloudevents"
_ARRAY: Final = Decoder(list[Raw])
_VALUE: Final = Decoder(Raw)
_SPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Whole:
    """The parts of a body, in order: events, or, with ``is_wrapped``, structured CloudEvents that hold the events."""

    parts: Sequence[bytes]
    is_wrapped: bool = False

    def __iter__(self) -> Iterator[tuple[bytes, Poison | None]]:
        """Each event, with None. For a CloudEvent without an event: the CloudEvent, and what is wrong with it."""
        if not self.is_wrapped:
            return ((part, None) for part in self.parts)
        return map(_data, self.parts)


@dataclass(frozen=True, slots=True)
class Unsplittable:
    """A body that cannot be split into events: why, and the status of the answer."""

    reason: str
    status: int = 400


def split(body: bytes, content_type: str = "") -> Whole | Unsplittable:
    """Split a body with this ``Content-Type``. Raises nothing, whatever the bytes."""
    kind = media_type(content_type)
    body = unframed(body).strip(_SPACE)
    if kind.startswith(_CLOUDEVENTS) and kind not in (STRUCTURED, BATCH):
        return Unsplittable("CloudEvents are taken as JSON", 415)
    if not body:
        return Unsplittable("the body is empty")
    parts = _array(body) if body.startswith(b"[") else _lines(body)
    if isinstance(parts, Unsplittable):
        return parts
    return Whole(parts, is_wrapped=kind in (STRUCTURED, BATCH))


def _data(envelope: bytes) -> tuple[bytes, Poison | None]:
    data = data_of(envelope)
    return (envelope, data) if isinstance(data, Poison) else (data, None)


def _array(body: bytes) -> Sequence[bytes] | Unsplittable:
    try:
        if body.count(b",") > MOST_EVENTS + len(body) // _SPARSE:
            parts = first_parts(body, MOST_EVENTS + 1)
        else:
            parts = [bytes(part) for part in _ARRAY.decode(body)]
    except NotAnArray:
        return Unsplittable("not JSON")
    except UNREADABLE:
        found = parsed(body, list)
        return Unsplittable(found.reason if isinstance(found, Poison) else "not JSON")
    if not parts:
        return Unsplittable("the array is empty")
    if len(parts) > MOST_EVENTS:
        return Unsplittable(_too_many(), 413)
    return parts


def _lines(body: bytes) -> Sequence[bytes] | Unsplittable:
    """One JSON value, whatever its number of lines; else one value on each line. Then at least one of the first lines
    must be an object by itself: a single broken event on many lines hardly ever has such a line."""
    if _is_json(body):
        return [body]
    if body.count(b"\n") >= MOST_EVENTS:
        return Unsplittable(_too_many(), 413)
    lines = [line.strip(_SPACE) for line in body.split(b"\n")]
    lines = [line for line in lines if line]
    if len(lines) == 1 or not any(line.startswith(b"{") and _is_json(line) for line in lines[:_LOOKED_AT]):
        whole = parsed(body, Any)
        return Unsplittable(whole.reason if isinstance(whole, Poison) else "not JSON")
    return lines


def _is_json(body: bytes) -> bool:
    """Whether the bytes are one JSON value. No objects are made, so a megabyte takes a millisecond or two.

    msgspec does not check the UTF-8 of a value that it skips, so that is checked by decoding."""
    try:
        _VALUE.decode(body)
        return body.isascii() or bool(body.decode())
    except UNREADABLE:
        return False


def _too_many() -> str:
    return f"a body has at most {MOST_EVENTS} events"
