"""From the body of a request to its events, byte for byte (design section 19). Pure.

One event, a JSON array, or one event a line (NDJSON); as they are, or as CloudEvents: structured, a batch, or binary,
of which the body is the event. Which of these it is the body tells; only CloudEvents are told by the ``Content-Type``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Raw
from msgspec.json import Decoder

from consumer.events.schema import UNREADABLE, Poison, parsed
from consumer.events.wrapping import STRUCTURED, data_of, media_type, unframed
from consumer.ingest.dense import NotAnArray, first_parts

BATCH: Final = "application/cloudevents-batch+json"
"""The media type of several structured CloudEvents."""

MOST_EVENTS: Final = 10_000
"""In one request. Events are larger than what a body may have for more of them."""

_SPARSE = 12
"""Bytes to a comma, at least, in an array of events; where there are more commas, they may be of many more values."""

_LOOKED_AT = 100
"""Lines of which one must be an object, for all of them to be taken for events."""

_CLOUDEVENTS = "application/cloudevents"
_ARRAY: Final = Decoder(list[Raw])
_VALUE: Final = Decoder(Raw)
_SPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Whole:
    """The parts of a body, in their order: events, or ``is_wrapped``, the structured CloudEvents that hold them."""

    parts: Sequence[bytes]
    is_wrapped: bool = False

    def __iter__(self) -> Iterator[tuple[bytes, Poison | None]]:
        """Each event; where there is none in a part, the part, and why."""
        if not self.is_wrapped:
            return ((part, None) for part in self.parts)
        return map(_data, self.parts)


@dataclass(frozen=True, slots=True)
class Unsplittable:
    """There is nothing in it that could be told apart: why, and the status that says so."""

    reason: str
    status: int = 400


def split(body: bytes, content_type: str = "") -> Whole | Unsplittable:
    """What a body of this ``Content-Type`` holds. Raises nothing, whatever the bytes."""
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
    """One JSON value, however many lines it has; else one on each line, of which one at least, among the first, must
    be an object: a broken event over many lines has such lines hardly ever."""
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
    """Whether it is one value, none of which is made: a megabyte takes a millisecond or two.

    That it is UTF-8 is seen where it is not skipped but read."""
    try:
        _VALUE.decode(body)
        return body.isascii() or bool(body.decode())
    except UNREADABLE:
        return False


def _too_many() -> str:
    return f"a body has at most {MOST_EVENTS} events"
