"""What is around an event is taken off, byte for byte, and is poison where it hides nothing that can be read."""

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.events.event import Decoder, Poison, SecurityEvent, violation_of
from consumer.events.filter import EndRules, Filter
from consumer.events.wrapping import STRUCTURED, data_of, is_structured, unwrapped
from state.violation import Record
from tests.support.events import encode, event

DECODER = Decoder(Filter(), EndRules(on_session_end=True), 262_144)
FRAME = b"\x00\x00\x00\x00\x07"
AS_STRUCTURED = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
AS_BINARY = (("ce_specversion", b"1.0"), ("ce_type", b"x"), ("ce_id", b"1"), ("content-type", b"application/json"))


def envelope(**fields: Any) -> bytes:
    return orjson.dumps({"specversion": "1.0", "id": "1", "source": "/hushd", "type": "clawdstrike.event", **fields})


def record(value: bytes, headers: tuple[tuple[str, bytes | None], ...] = ()) -> Record:
    return Record("t", 0, 0, 0, None, value, headers)


EVENT = event(event_id="e-1")


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (encode(EVENT), ()),
        (encode(EVENT), AS_BINARY),
        (envelope(data=EVENT), AS_STRUCTURED),
        (envelope(data_base64=base64.b64encode(encode(EVENT)).decode()), AS_STRUCTURED),
        (envelope(data=None, data_base64=base64.b64encode(encode(EVENT)).decode()), AS_STRUCTURED),
        (FRAME + encode(EVENT), ()),
        (FRAME + encode(EVENT), AS_BINARY),
        (FRAME + envelope(data=EVENT), AS_STRUCTURED),
    ],
    ids=[
        "bare",
        "binary",
        "structured",
        "base64",
        "base64 beside null",
        "framed",
        "framed binary",
        "framed structured",
    ],
)
def test_an_event_is_the_same_however_it_is_wrapped(
    value: bytes, headers: tuple[tuple[str, bytes | None], ...]
) -> None:
    decoded = DECODER.decode(record(value, headers))
    assert isinstance(decoded, SecurityEvent)
    assert decoded.alertable
    assert decoded.event_id == "e-1"
    assert violation_of(record(value, headers)) == violation_of(record(encode(EVENT)))


def test_data_are_taken_byte_for_byte() -> None:
    data = b'{ "a" :\t[1.0, 1e2, "\\u00e9"], "a":2 }'
    assert data_of(b'{"data": ' + data + b' , "specversion" : "1.0"}') == data


@pytest.mark.parametrize(
    ("value", "path", "error_class"),
    [
        (b"", "", "empty"),
        (b"{", "", "not_json"),
        (b"[]", "", "wrong_type"),
        (b'{"data": {}}', "specversion", "missing_field"),
        (envelope(), "data", "missing_field"),
        (envelope(data_base64="!"), "data_base64", "invalid_value"),
        (envelope(data_base64="é"), "data_base64", "invalid_value"),
        (envelope(data_base64=1), "data_base64", "wrong_type"),
        (envelope(data="text"), "", "wrong_type"),
        (b'{"specversion": "1.0", "data": {"a": NaN}}', "", "not_json"),
        (b"[" * 100_000, "", "not_json"),
    ],
)
def test_an_envelope_that_holds_no_event_is_poison(value: bytes, path: str, error_class: str) -> None:
    found = DECODER.decode(record(value, AS_STRUCTURED))
    assert isinstance(found, Poison)
    assert (found.path, found.error_class) == (path, error_class)
    with pytest.raises(ValueError, match=r"^no event: "):
        violation_of(record(value, AS_STRUCTURED))


@pytest.mark.parametrize(("value", "error_class"), [(FRAME, "empty"), (FRAME[:4], "not_json"), (FRAME[:1], "not_json")])
def test_a_frame_without_anything_in_it_is_poison(value: bytes, error_class: str) -> None:
    found = DECODER.decode(record(value))
    assert isinstance(found, Poison)
    assert found.error_class == error_class


@pytest.mark.parametrize(
    ("content_type", "structured"),
    [
        (STRUCTURED, True),
        ("Application/CloudEvents+JSON ; charset=utf-8", True),
        ("application/cloudevents-batch+json", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_structured_is_told_by_the_content_type(content_type: str, structured: bool) -> None:
    assert is_structured(content_type) is structured


@given(
    st.binary(),
    st.sampled_from([(), AS_BINARY, AS_STRUCTURED, (("content-type", None),), (("content-type", b"\xff"),)]),
)
def test_whatever_the_bytes_nothing_is_raised(value: bytes, headers: tuple[tuple[str, bytes | None], ...]) -> None:
    assert isinstance(unwrapped(value, headers), bytes | Poison)
    DECODER.decode(record(value, headers))


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=5))
def test_any_json_comes_back(data: Any) -> None:
    assert data_of(envelope(data=data)) == orjson.dumps(data)
