"""Unwraps an event from a CloudEvent, or from the frame of a schema registry (design section 19).

The event is the data of the CloudEvent. In *binary* mode (headers ``ce_…``) the data are the whole value; in
*structured* mode they are the member ``data`` of the value, or ``data_base64`` (CloudEvents 1.0.2, JSON event format,
and its bindings for Kafka and HTTP). A registry's serialiser writes ``0x00`` and the four bytes of a schema's id before
the event.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable
from typing import Any, Final

from msgspec import Raw, Struct
from msgspec.json import Decoder

from consumer.events.schema import UNREADABLE, Poison, parsed

STRUCTURED: Final = "application/cloudevents+json"
"""The media type of one structured CloudEvent."""

_CONTENT_TYPE = "content-type"
_FRAME = b"\0"
_FRAME_BYTES = 5


class _Envelope(Struct, gc=False):
    """The members of a structured CloudEvent that are read; the data stay as they are written."""

    specversion: str
    data: Raw = Raw(b"")
    data_base64: str | None = None


class _Parsed(Struct):
    """The same members, parsed, to say what is wrong with a CloudEvent."""

    specversion: str
    data: Any = None
    data_base64: str | None = None


_ENVELOPE: Final = Decoder(_Envelope)


def unwrapped(value: bytes, headers: Iterable[tuple[str, bytes | None]]) -> bytes | Poison:
    """The event in the value of a record with these headers, byte for byte; poison if it cannot be unwrapped."""
    value = unframed(value)
    for name, text in headers:
        if name == _CONTENT_TYPE and text is not None and is_structured(text.decode(errors="replace")):
            return data_of(value)
    return value


def unframed(value: bytes) -> bytes:
    """The value without the frame of a schema registry, if it has one. No JSON begins with ``0x00``."""
    return value[_FRAME_BYTES:] if value.startswith(_FRAME) and len(value) >= _FRAME_BYTES else value


def is_structured(content_type: str) -> bool:
    """Whether a ``Content-Type`` is that of one structured CloudEvent, whatever its parameters."""
    return media_type(content_type) == STRUCTURED


def media_type(content_type: str) -> str:
    """A ``Content-Type`` without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def data_of(envelope: bytes) -> bytes | Poison:
    """The data of a structured CloudEvent, byte for byte; poison if it has none."""
    try:
        read = _ENVELOPE.decode(envelope)
    except UNREADABLE:
        found = parsed(envelope, _Parsed)
        if isinstance(found, Poison):
            return found
        # The two parsers differ about what valid JSON is; the stricter one decides.
        return Poison("", "not JSON", "not_json")
    data = bytes(read.data)
    if data and not (data == b"null" and read.data_base64 is not None):
        return data
    if read.data_base64 is None:
        return Poison("data", "Field required", "missing_field")
    try:
        return b64decode(read.data_base64, validate=True)
    except (Base64Error, ValueError):
        return Poison("data_base64", "not base64", "invalid_value")
