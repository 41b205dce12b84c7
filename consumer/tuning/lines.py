"""Recorded events as lines of JSON: what ``simulate --export`` writes, and what is read again (design section 23).

A line is a record, with where and when it stood in Kafka, or an event alone::

    {"record":{"topic":"clawdstrike.events","partition":0,"offset":7,"timestamp":1790000000000,"key":"s-1"},"value":{…}}
    {"event_id":"…","event_type":"guard_block","timestamp":"2026-09-21T13:33:20Z",…}

``value`` is the record's value byte for byte. Where it cannot stand in a line as it is (no JSON, or of several lines)
it is ``value_base64``; so are keys and headers that are no text. A tombstone has neither.
"""

from base64 import b64decode, b64encode
from typing import Final

from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType, ValidationError
from msgspec.json import Decoder, Encoder

from consumer.events.event import FetchedRecord
from consumer.events.schema import epoch_seconds
from state.violation import Record

Text = str | None


class _Facts(Struct, gc=False, omit_defaults=True):
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: Text = None
    key_base64: Text = None
    headers: tuple[tuple[str, Text], ...] = ()
    """Values in base64."""


class _Line(Struct, gc=False, omit_defaults=True):
    record: _Facts | None = None
    value: Raw | UnsetType = UNSET
    value_base64: Text = None
    timestamp: Text = None
    """The time of an event that stands alone in its line, without a record."""


class _Anything(Struct, gc=False):
    """An object whose members are not as they are in a line of ours."""


_LINE: Final = Decoder(_Line)
_OBJECT: Final = Decoder(_Anything)
_VALUE: Final = Decoder(Raw)
_ENCODER: Final = Encoder()


class BrokenLine(ValueError):
    """A line that is neither a record nor an event; the error says why."""


def record_of(line: bytes, number: int) -> Record:
    """The record in a line; an event alone has its own time, and the line's ``number`` for an offset. One whose time
    is none has the timestamp 0.

    Raises `BrokenLine` if the line is no JSON object, or a record that lacks something.
    """
    try:
        read = _LINE.decode(line)
    except ValidationError as error:
        if line.lstrip().startswith(b'{"record"'):
            raise BrokenLine(f"not a record: {error}") from None
        return _alone(line, number, None)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenLine(f"not JSON: {error}") from None
    facts = read.record
    if facts is None:
        return Record("", 0, number, _milliseconds(read.timestamp), None, line)
    key = None if facts.key is None else facts.key.encode()
    value = None if read.value is UNSET else bytes(read.value)
    # Most records are text without headers, and there is nothing to decode.
    if facts.key_base64 is None and read.value_base64 is None and not facts.headers:
        return Record(facts.topic, facts.partition, facts.offset, facts.timestamp, key, value)
    try:
        if facts.key_base64 is not None:
            key = b64decode(facts.key_base64, validate=True)
        if read.value_base64 is not None:
            value = b64decode(read.value_base64, validate=True)
        headers = tuple(
            (name, None if text is None else b64decode(text, validate=True)) for name, text in facts.headers
        )
    except ValueError as error:
        raise BrokenLine(f"not a record: {error}") from None
    return Record(facts.topic, facts.partition, facts.offset, facts.timestamp, key, value, headers)


def line_of(record: FetchedRecord) -> bytes:
    """The line of a record, without its end."""
    key, value = record.key, record.value
    facts = _Facts(record.topic, record.partition, record.offset, record.timestamp)
    if key is not None:
        facts.key = _text(key)
        facts.key_base64 = None if facts.key is not None else b64encode(key).decode()
    facts.headers = tuple((name, None if text is None else b64encode(text).decode()) for name, text in record.headers)
    line = _Line(facts)
    if value is not None:
        if _stands_in_a_line(value):
            line.value = Raw(value)
        else:
            line.value_base64 = b64encode(value).decode()
    return _ENCODER.encode(line)


def _alone(line: bytes, number: int, timestamp: Text) -> Record:
    try:
        _OBJECT.decode(line)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        raise BrokenLine("not a JSON object") from None
    return Record("", 0, number, _milliseconds(timestamp), None, line)


def _milliseconds(timestamp: Text) -> int:
    try:
        return 0 if timestamp is None else int(epoch_seconds(timestamp) * 1000)
    except ValueError:
        return 0


def _text(key: bytes) -> Text:
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None


def _stands_in_a_line(value: bytes) -> bool:
    """Whether it is one JSON object in UTF-8, on one line, with nothing around it."""
    if not (value.startswith(b"{") and value.endswith(b"}")) or b"\n" in value or b"\r" in value:
        return False
    try:
        _VALUE.decode(value)
        return value.isascii() or bool(value.decode())
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return False
