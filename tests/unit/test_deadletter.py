"""Dead letters: the original byte for byte, and what became of it (design section 9)."""

import hashlib
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from consumer.dlq.dead_letter import CutOriginal, DeadLetter, decode, encoded_size
from state.violation import Record

RECORD = Record(
    "clawdstrike.events", 3, 42, 1_716_213_600_000, b"sess-1", b'{"a": 1}', (("trace", b"1"), ("none", None))
)


def dead_letter(record: Record = RECORD, **changes: Any) -> DeadLetter:
    facts: dict[str, Any] = {
        "provider": "pagerduty",
        "stage": "deliver",
        "event_id": "0190a6e4",
        "error_class": "rejected",
        "error": "400: Event object is invalid",
        "retryable": False,
        "attempts": 2,
        "first_attempt": 1_716_213_600.25,
        "last_attempt": 1_716_213_601.5,
        "occurrences": 7,
        "first_offset": 40,
        "last_offset": 61,
    }
    return DeadLetter(record=record, **{**facts, **changes})


OFFSETS = st.integers(0, 2**63 - 1)
TIMES = st.none() | st.floats(0, 4e9)
TEXTS = st.text(st.characters(codec="utf-8"))
HEADER_NAMES = TEXTS | st.sampled_from(["alerting.topic", "alerting.error", "alerting.provider"])
RECORDS = st.builds(
    Record,
    topic=TEXTS,
    partition=st.integers(0, 2**31 - 1),
    offset=OFFSETS,
    timestamp=st.integers(-1, 2**62),
    key=st.none() | st.binary(),
    value=st.none() | st.binary() | st.just(b"v" * 9000),
    headers=st.lists(st.tuples(HEADER_NAMES, st.none() | st.binary()), max_size=5).map(tuple),
)
DEAD_LETTERS = st.builds(
    DeadLetter,
    record=RECORDS,
    provider=TEXTS,
    stage=TEXTS,
    event_id=st.none() | TEXTS,
    error_class=TEXTS,
    error=TEXTS | st.just("é" * 500),
    retryable=st.booleans(),
    attempts=st.integers(0, 10**6),
    first_attempt=TIMES,
    last_attempt=TIMES,
    occurrences=st.integers(1, 10**9),
    first_offset=OFFSETS,
    last_offset=OFFSETS,
)


def test_ours_stand_behind_the_original_and_are_named() -> None:
    key, value, headers = dead_letter().encode()
    assert (key, value, tuple(headers[:2])) == (RECORD.key, RECORD.value, RECORD.headers)
    assert dict(headers[2:]) == {
        "alerting.topic": b"clawdstrike.events",
        "alerting.partition": b"3",
        "alerting.offset": b"42",
        "alerting.timestamp": b"1716213600000",
        "alerting.provider": b"pagerduty",
        "alerting.stage": b"deliver",
        "alerting.event_id": b"0190a6e4",
        "alerting.error_class": b"rejected",
        "alerting.error": b"400: Event object is invalid",
        "alerting.retryable": b"false",
        "alerting.attempts": b"2",
        "alerting.first_attempt": b"1716213600.25",
        "alerting.last_attempt": b"1716213601.5",
        "alerting.occurrences": b"7",
        "alerting.first_offset": b"40",
        "alerting.last_offset": b"61",
    }


@given(DEAD_LETTERS)
def test_reads_back_as_it_was(letter: DeadLetter) -> None:
    assert decode(*letter.encode()) == letter


PLACE = 4  # of our headers: topic, partition, offset, provider


@given(DEAD_LETTERS, st.data())
def test_the_original_is_whole_wherever_it_fits_beside_its_place(letter: DeadLetter, data: st.DataObject) -> None:
    record = letter.record
    ours = letter.encode()[2][len(record.headers) :]
    needed = encoded_size(record.key, record.value, [*record.headers, *ours[:PLACE]])
    limit = data.draw(st.integers(needed, encoded_size(*letter.encode()) + 10))
    encoded = letter.encode(limit)
    assert encoded_size(*encoded) <= limit
    read = decode(*encoded)
    timestamp = read.record.timestamp  # is among what may be left out
    assert read.record == replace(record, timestamp=timestamp)
    assert (read.provider, read.cut) == (letter.provider, None)
    assert not letter.is_cut_at(limit)


@given(DEAD_LETTERS, st.data())
@example(
    dead_letter(replace(RECORD, key=b"k" * 70_000, value=b"v" * 70_000, headers=(("h", b"h" * 70_000),) * 3)), None
)
def test_cut_to_any_limit_it_fits_reads_back_and_says_what_it_lacks(
    letter: DeadLetter, data: st.DataObject | None
) -> None:
    record = letter.record
    ours = letter.encode()[2][len(record.headers) :]
    needed = encoded_size(record.key, record.value, [*record.headers, *ours[:PLACE]])
    limits = [0, 1, 1000, 20_000, needed - 1] if data is None else [data.draw(st.integers(0, needed - 1))]
    least = encoded_size(*letter.encode(0))
    for limit in (limit for limit in limits if limit < needed):
        encoded = letter.encode(limit)
        assert letter.is_cut_at(limit)
        assert encoded_size(*encoded) <= max(limit, least)
        read = decode(*encoded)
        assert read.cut == CutOriginal(
            key_bytes=None if record.key is None else len(record.key),
            value_bytes=None if record.value is None else len(record.value),
            header_count=len(record.headers),
            value_sha256=None if record.value is None else hashlib.sha256(record.value).hexdigest(),
        )
        part = read.record
        assert (part.topic, part.partition, part.offset) == (record.topic, record.partition, record.offset)
        assert read.provider == letter.provider
        assert _is_beginning(part.key, record.key)
        assert _is_beginning(part.value, record.value)
        rest = iter(record.headers)
        assert all(header in rest for header in part.headers)  # in their order


def _is_beginning(part: bytes | None, whole: bytes | None) -> bool:
    return part is whole if part is None or whole is None else whole.startswith(part)


def test_what_a_cut_one_needs_is_less_than_a_kilobyte() -> None:
    longest = "t" * 249  # that Kafka allows a topic's name to be
    record = replace(RECORD, topic=longest, partition=2**31 - 1, offset=2**63 - 1, key=b"k" * 10**6, value=b"v" * 10**6)
    assert encoded_size(*dead_letter(record).encode(0)) < 1000


def test_cut_the_value_has_what_room_there_is() -> None:
    letter = dead_letter(replace(RECORD, key=b"k" * 90_000, value=b"v" * 60_000))
    read = decode(*letter.encode(20_000))
    assert read.record.value is not None
    assert len(read.record.value) > 9_000
    assert read.record.key is not None
    assert len(read.record.key) > 9_000
    assert (read.record.headers, read.error) == (RECORD.headers, letter.error)


@given(RECORDS)
@example(replace(RECORD, headers=(("n" * 64, b"v" * 8192),) * 100))
def test_the_size_is_at_least_what_kafka_makes_of_it(record: Record) -> None:
    builder = DefaultRecordBatchBuilder(2, 0, 1, 1, 1, 1, 10**9)
    builder.append(0, 0, record.key, record.value, list(record.headers))
    actual = len(builder.build())
    assert actual <= encoded_size(record.key, record.value, record.headers) <= actual + 50


def test_the_error_text_is_cut_before_anything_is_left_out() -> None:
    letter = dead_letter(error="é" * 500)
    full = encoded_size(*letter.encode())
    _, _, headers = letter.encode(full - 300)
    cut = decode(None, None, headers)
    assert len(headers) == len(letter.encode()[2])
    assert cut.error.endswith("é…")
    assert set(cut.error[:-1]) == {"é"}
    assert cut.event_id == letter.event_id


def test_in_need_the_place_and_the_provider_are_what_is_kept() -> None:
    letter = dead_letter()
    needed = encoded_size(letter.record.key, letter.record.value, letter.encode()[2][:6])
    cut = decode(*letter.encode(needed))
    assert cut == dead_letter(
        record=Record("clawdstrike.events", 3, 42, -1, RECORD.key, RECORD.value, RECORD.headers),
        stage="",
        event_id=None,
        error_class="",
        error="",
        attempts=0,
        first_attempt=None,
        last_attempt=None,
        occurrences=1,
        first_offset=42,
        last_offset=42,
    )
    assert decode(*letter.encode(needed - 1)).cut is not None


def test_a_dead_letter_of_a_dead_letter_keeps_the_headers_of_both() -> None:
    key, value, headers = dead_letter(error="the first time").encode()
    again = Record("clawdstrike.events", 0, 7, 0, key, value, tuple(headers))
    read = decode(*dead_letter(again, error="the second time").encode())
    assert read.error == "the second time"
    assert read.record == again
    assert decode(read.record.key, read.record.value, read.record.headers).error == "the first time"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ([], "no header alerting.topic"),
        ([("alerting.topic", b"t"), ("alerting.partition", b"1")], "no header alerting.offset"),
        ([("alerting.topic", b"t"), ("alerting.offset", b"x" * 1000)], "unreadable header"),
        ([("alerting.topic", b"\xff"), ("alerting.offset", b"1")], "unreadable header"),
    ],
)
def test_what_is_no_dead_letter_is_refused_in_one_line(headers: list[tuple[str, bytes | None]], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        decode(None, None, headers)
    assert len(str(refusal.value)) < 250
    assert "\n" not in str(refusal.value)
