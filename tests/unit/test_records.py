"""State records: what is written comes back the same, and what is not ours is refused by name."""

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from consumer.events.event import violation_of
from state.alert import Alert, Ending, Former, Heard, Held, Notified, Owed, Status, source
from state.anchors import Anchor
from state.held import is_silenced
from state.records import (
    CHECKPOINT_KEY,
    CorruptState,
    InputPlace,
    Position,
    decode_alert,
    decode_position,
    encode_alert,
    encode_key,
    encode_position,
)
from state.violation import Record, Severity
from tests.released.v0_1 import records as release_0_1

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.floats(0, 4e9)
OFFSETS = st.integers(0, 2**63 - 1)
BYTES = st.none() | st.binary(max_size=30)
SEVERITIES = st.sampled_from(Severity)

RECORDS = st.builds(
    Record,
    topic=TEXT,
    partition=st.integers(0, 10_000),
    offset=OFFSETS,
    timestamp=st.integers(-1, 2**53),
    key=BYTES,
    value=BYTES,
    headers=st.lists(st.tuples(TEXT, BYTES), max_size=3).map(tuple),
)
OWED = st.builds(
    Owed,
    record=RECORDS,
    severity=SEVERITIES,
    since=TIMES,
    first_offset=OFFSETS,
    last_offset=OFFSETS,
    occurrences=st.integers(1, 10**9),
    attempts=st.integers(0, 10**6),
    first_attempt=st.none() | TIMES,
    last_attempt=st.none() | TIMES,
    repeat=st.booleans(),
    pins_offset=st.none() | OFFSETS,
    guard=st.none() | TEXT,
    tenant=st.none() | TEXT,
    last_status=st.none() | st.integers(100, 599),
    last_error=st.none() | TEXT,
)
SOURCES = st.builds(source, st.none() | TEXT, st.none() | TEXT, TEXT, st.integers(0, 10_000))
HELD = st.builds(
    Held,
    silences=st.lists(st.tuples(TEXT, TIMES), max_size=3).map(tuple),
    severity=SEVERITIES,
    time=TIMES,
    source=SOURCES,
    offset=OFFSETS,
    first_offset=OFFSETS,
    last_offset=OFFSETS,
    first_seen=TIMES,
    last_seen=TIMES,
    decided=TIMES,
    last_at=TIMES,
    not_silenced=st.none() | TIMES,
    occurrences=st.integers(1, 10**9),
)
TOLD = st.builds(
    Notified,
    SEVERITIES,
    TIMES,
    st.none() | TIMES,
    st.none() | OFFSETS,
    st.none() | st.integers(0, 10**9),
    st.none() | TIMES,
    st.none() | TIMES,
)
ALERTS = st.builds(
    Alert,
    dedup_key=TEXT.filter(bool),
    status=st.sampled_from(Status),
    session_id=st.none() | TEXT,
    occurrences=st.integers(1, 10**9),
    first_seen=TIMES,
    last_seen=TIMES,
    decided=TIMES,
    highest=SEVERITIES,
    route=st.none() | TEXT,
    last_notified=st.none() | TOLD,
    is_at_provider=st.booleans(),
    unsettled=st.booleans(),
    owed=st.none() | OWED,
    acknowledging=st.booleans(),
    integration=st.none() | TEXT,
    former=st.lists(st.builds(Former, st.none() | TEXT, TEXT, st.booleans()), max_size=3).map(tuple),
    key=BYTES,
    ended_by=st.none() | st.sampled_from(Ending),
    source=st.none() | SOURCES,
    begun=st.none() | TIMES,
    heard=st.none()
    | st.builds(Heard, st.none() | TIMES, st.none() | TEXT, st.booleans(), st.none() | OFFSETS, st.none() | TIMES),
    held=st.none() | HELD,
)


def test_what_has_ended_an_alert_and_only_a_later_release_knows_is_not_known() -> None:
    alert = Alert("a", Status.RESOLVING, None, 1, 1.0, 1.0, 1.0, Severity.HIGH, ended_by=Ending.OPERATOR)
    later = {**orjson.loads(encode_alert(alert)), "ended_by": "weather"}
    assert decode_alert(b"a", orjson.dumps(later)) == replace(alert, ended_by=None)


@given(ALERTS)
def test_an_alert_comes_back_as_it_was(alert: Alert) -> None:
    back = decode_alert(encode_key(alert.dedup_key), encode_alert(alert))
    assert back == alert
    assert isinstance(back.highest, Severity)
    assert isinstance(back.first_seen, float)


@given(ALERTS, HELD)
def test_to_the_release_before_a_silenced_alert_is_open_and_owes_what_is_known_of_it(alert: Alert, held: Held) -> None:
    alert = replace(alert, status=Status.OPEN, is_at_provider=False, owed=None, held=held)
    assert is_silenced(alert)
    before = release_0_1.decode_alert(encode_key(alert.dedup_key), encode_alert(alert))
    assert before.owed is not None
    assert alert.held is not None
    assert (before.status.value, before.owed.severity.value) == (alert.status.value, alert.held.severity.value)
    assert before.owed.holds is None, "it holds back no offset of the group"
    owed = before.owed.record
    event = violation_of(Record(owed.topic, owed.partition, owed.offset, owed.timestamp, owed.key, owed.value))
    assert (event.severity, event.tenant_id) == (alert.held.severity, alert.held.source.tenant)
    # What it writes of that is owed, whatever it was.
    back = decode_alert(encode_key(alert.dedup_key), release_0_1.encode_alert(before))
    assert back.held is None
    assert back.owed is not None


def test_which_of_the_integrations_it_has_left_are_orphans_is_not_stored() -> None:
    gone, there = Former("1f2e", "by_guard:x"), Former(None, "default")
    alert = Alert("a", Status.OPEN, None, 1, 1.0, 1.0, 1.0, Severity.HIGH, former=(there,), orphans=(gone,))
    back = decode_alert(encode_key("a"), encode_alert(alert))
    assert (back.former, back.orphans) == ((there, gone), ())


FEEDBACK = st.dictionaries(st.integers(0, 10_000), OFFSETS, max_size=3)


ANCHORS = st.lists(st.builds(Anchor, OFFSETS, st.integers(-1, 2**53), st.binary(min_size=8, max_size=8)), max_size=24)
HANDS = st.none() | st.integers(0, 9)
POSITIONS = st.builds(
    Position,
    topic=TEXT,
    partition=st.integers(0, 10_000),
    offset=OFFSETS,
    feedback=FEEDBACK,
    anchors=ANCHORS.map(tuple),
    proof=st.none() | OFFSETS,
    obeyed=st.none() | OFFSETS,
    hands=HANDS,
    inputs=st.dictionaries(TEXT, st.builds(InputPlace, OFFSETS, ANCHORS.map(tuple), HANDS), max_size=3),
)


@given(POSITIONS)
def test_a_position_comes_back_as_it_was(position: Position) -> None:
    assert decode_position(encode_position(position)) == position


@given(POSITIONS)
def test_the_last_release_reads_a_position(position: Position) -> None:
    before = release_0_1.decode_position(encode_position(position))
    assert (before.topic, before.partition, before.offset, before.feedback) == (
        position.topic, position.partition, position.offset, position.feedback
    )  # fmt: skip


def test_a_position_of_the_last_release_has_no_anchors() -> None:
    before = b'{"v":1,"topic":"events","partition":0,"position":7,"feedback":{"0":3}}'
    assert decode_position(before) == Position("events", 0, 7, {0: 3})


def test_what_a_later_release_says_of_an_anchor_is_passed_over() -> None:
    later = b'{"v":1,"topic":"events","partition":0,"position":7,"anchors":[[6,5,"00ff00ff00ff00ff","more"]]}'
    assert decode_position(later).anchors == (Anchor(6, 5, bytes.fromhex("00ff00ff00ff00ff")),)


@pytest.mark.parametrize("anchors", ["[[6]]", "[[6,5]]", '[[6,5,"00"]]', '[[6,5,"zzzzzzzzzzzzzzzz"]]', "[7]", "7"])
def test_a_checkpoint_with_anchors_that_are_none_is_refused(anchors: str) -> None:
    with pytest.raises(CorruptState, match="checkpoint"):
        decode_position(f'{{"v":1,"topic":"t","partition":0,"position":7,"anchors":{anchors}}}'.encode())


ALERT = Alert(
    "forbidden_path:s1",
    Status.OPEN,
    "s1",
    3,
    1.0,
    2.0,
    2.5,
    Severity.CRITICAL,
    last_notified=Notified(Severity.HIGH, 2.0),
    owed=Owed(Record("events", 0, 7, 5, b"k", b"\xff\x00", (("h", b"\xfe"), ("none", None))), Severity.HIGH, 1.0, 7, 7),
)


def test_what_an_alert_lacks_is_not_written() -> None:
    plain = Alert("a", Status.OPEN, None, 1, 1.0, 1.0, 1.0, Severity.HIGH)
    assert orjson.loads(encode_alert(plain)).keys() == {
        "v", "status", "occurrences", "first_seen", "last_seen", "decided", "highest",
    }  # fmt: skip


def without(*path: str) -> bytes:
    json = orjson.loads(encode_alert(ALERT))
    part = json
    for name in path[:-1]:
        part = part[name]
    del part[path[-1]]
    return orjson.dumps(json)


def changed(**fields: Any) -> bytes:
    return orjson.dumps({**orjson.loads(encode_alert(ALERT)), **fields})


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"not json",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"{}",
        without("status"),
        without("occurrences"),
        without("decided"),
        without("owed", "record"),
        without("owed", "record", "value"),
        without("owed", "severity"),
        changed(status="closed"),
        changed(highest=9),
        changed(highest="high"),
        changed(told=[1]),
        changed(owed=7),
        changed(owed={"record": {}}),
    ],
)
def test_a_corrupt_alert_is_refused_and_its_key_is_named(value: bytes) -> None:
    with pytest.raises(CorruptState, match="forbidden_path:s1"):
        decode_alert(encode_key(ALERT.dedup_key), value)


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(CorruptState, match="xff"):
        decode_alert(b"\xff", encode_alert(ALERT))


def test_base64_that_is_none_is_refused() -> None:
    json = orjson.loads(encode_alert(ALERT))
    json["owed"]["record"]["value"] = "!!!"
    with pytest.raises(CorruptState, match="forbidden_path:s1"):
        decode_alert(b"forbidden_path:s1", orjson.dumps(json))


@pytest.mark.parametrize("value", [b"", b"\xff", b"null", b"[]", b"7", b"{}", b'{"topic": "t", "partition": 1}'])
def test_a_corrupt_checkpoint_is_refused(value: bytes) -> None:
    with pytest.raises(CorruptState, match="checkpoint"):
        decode_position(value)


def test_no_dedup_key_is_the_checkpoints_key() -> None:
    assert CHECKPOINT_KEY.startswith(b"\0"), "control characters never stand in a dedup key as they are"


@given(st.binary(max_size=60))
def test_whatever_the_bytes_only_corrupt_state_is_raised(value: bytes) -> None:
    for decode in (lambda: decode_alert(b"k", value), lambda: decode_position(value)):
        with suppress(CorruptState):
            decode()
