"""Records by which the home of a key moves: what is written is read back, whatever else is only malformed."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.feedback.moves import (
    MOVE,
    Forwarded,
    HandOver,
    Move,
    Moved,
    MovingTask,
    decode_move,
    encode_move,
    is_move,
)
from consumer.feedback.records import KIND, MalformedFeedback, decode_feedback
from consumer.kafka.partitioning import Scheme
from state.alert import Alert, Notified, Owed, Status
from state.held import is_silenced
from state.joined import joined
from state.occurrences import ELSEWHERE, Occurrence
from state.silenced import silenced
from state.violation import Record, Severity

NOW = 1_800_000_000.0
TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
BYTES = st.none() | st.binary(max_size=60)
HOSTILE = st.sampled_from([KIND, MOVE, "alerting.provider", "alerting.replay", "alerting.topic"])
HEADERS = st.lists(st.tuples(TEXT | HOSTILE, BYTES | st.sampled_from([b"replay", b"resolve", b"moved"])), max_size=5)
SCHEMES = st.builds(Scheme, st.integers(1, 1000), st.integers(0, 9))
OFFSETS = st.integers(0, 2**63 - 1)
PARTITIONS = st.integers(0, 2**31 - 1)
SENDERS = st.builds(
    MovingTask, TEXT, PARTITIONS, SCHEMES, st.dictionaries(PARTITIONS, OFFSETS, max_size=3), TEXT
)  # fmt: skip
RECORDS = st.builds(
    Record, TEXT, PARTITIONS, OFFSETS, st.integers(-1, 2**62), BYTES, BYTES, HEADERS.map(tuple)
)  # fmt: skip
DEDUP_KEYS = TEXT.filter(bool)
ALERTS = st.builds(
    lambda key, status, record: Alert(
        key, status, "s-1", 3, NOW, NOW, NOW, Severity.HIGH, "default", Notified(Severity.HIGH, NOW),
        owed=Owed(record, Severity.CRITICAL, NOW, 1, 2), key=record.key,
    ),
    DEDUP_KEYS, st.sampled_from(Status), RECORDS,
)  # fmt: skip
TIMES = st.none() | st.floats(0, 2e9)
HAND_OVERS = ALERTS.flatmap(
    lambda alert: st.builds(
        HandOver, SENDERS, PARTITIONS, st.just(alert.dedup_key), st.sampled_from([alert, None]), TIMES, BYTES
    )
)
MOVES: st.SearchStrategy[Move] = (
    HAND_OVERS
    | st.builds(Forwarded, SENDERS, PARTITIONS, RECORDS, BYTES, st.booleans())
    | st.builds(Moved, SENDERS, st.none() | SCHEMES)
)

SENDER = MovingTask("pagerduty", 1, Scheme(4), {0: 12})
EVENT = Record("clawdstrike.events", 1, 42, 1_716_213_600_000, b"s-1", b'{"at": 1, "by": "me"}', ())


@given(MOVES)
def test_what_is_written_is_read_back(move: Move) -> None:
    key, value, headers = encode_move(move)

    assert is_move(headers)
    assert decode_move(key, value, headers) == move


@given(MOVES)
def test_a_release_that_does_not_know_them_ignores_them(move: Move) -> None:
    """`decode_feedback` is as the last release has it: such a record is malformed to it, and is passed over."""
    key, value, headers = encode_move(move)

    with pytest.raises(MalformedFeedback):
        decode_feedback(key, value, headers, int(NOW * 1000))


def test_a_forwarded_event_cannot_pass_for_a_command_in_a_release_that_does_not_know_it() -> None:
    hostile = [("alerting.provider", b"pagerduty"), (KIND, b"resolve")]
    value = orjson.dumps({"v": 1, "at": NOW, "by": "somebody"})
    assert decode_feedback(b"forbidden_path:s-1", value, hostile, int(NOW * 1000))

    record = Record("clawdstrike.events", 1, 42, 0, b"forbidden_path:s-1", value, tuple(hostile))
    key, value_sent, headers = encode_move(Forwarded(SENDER, 3, record))

    with pytest.raises(MalformedFeedback, match=r"unknown alerting\.kind: b'forwarded'"):
        decode_feedback(key, value_sent, headers, int(NOW * 1000))


def test_a_command_or_a_replay_is_no_move() -> None:
    assert not is_move([("alerting.provider", b"pagerduty"), (KIND, b"resolve")])
    assert not is_move([(MOVE, b"{}"), (KIND, b"moved")])
    assert not is_move([])


def facts(**changes: Any) -> dict[str, Any]:
    plain = {"v": 1, "provider": "pagerduty", "from": 1, "scheme": [4, 0], "home": 3, "place": ["events", 1, 42, 7]}
    return {**plain, **changes}


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("moved", {"v": 2}),
        ("moved", {"provider": None}),
        ("moved", {"from": -1}),
        ("moved", {"from": True}),
        ("moved", {"scheme": [0, 0]}),
        ("moved", {"scheme": [4]}),
        ("moved", {"feedback": {"x": 1}}),
        ("moved", {"feedback": [1]}),
        ("moved", {"before": "four"}),
        ("forwarded", {"home": 2**31}),
        ("forwarded", {"place": ["events", 1, 42]}),
        ("forwarded", {"place": [1, 1, 42, 7]}),
        ("hand_over", {"ended_at": "later"}),
        ("hand_over", {"key": "?"}),
        ("forwarded", {"key": 7}),
        ("moved", {"group": None}),
        ("resolve", {}),
    ],
)
def test_what_is_wrong_is_malformed(kind: str, changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedFeedback, match=r"^unreadable alerting\.move: \w+$"):
        decode_move(b"k", None, [(KIND, kind.encode()), (MOVE, orjson.dumps(facts(**changes)))])


@given(BYTES, BYTES, HEADERS, st.sampled_from(["moved", "forwarded", "hand_over"]), st.binary(max_size=60))
def test_whatever_stands_there_is_a_value_or_malformed(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], kind: str, last: bytes
) -> None:
    with pytest.raises(MalformedFeedback):
        decode_move(key, value, [*headers, (KIND, kind.encode()), (MOVE, last)])


def test_a_handed_over_alert_that_is_none_is_malformed() -> None:
    key, _, headers = encode_move(HandOver(SENDER, 3, "forbidden_path:s-1", None, NOW))

    with pytest.raises(MalformedFeedback, match="CorruptState"):
        decode_move(key, b'{"v": 7}', headers)


def test_a_mark_says_from_where_to_where() -> None:
    key, value, headers = encode_move(Moved(SENDER, before=Scheme(2)))

    assert decode_move(key, value, headers) == Moved(SENDER, before=Scheme(2))
    assert (key, value) == (b"pagerduty", None)


def test_a_forwarded_record_is_byte_for_byte_what_came() -> None:
    key, value, headers = encode_move(Forwarded(SENDER, 3, EVENT))

    assert (key, value) == (EVENT.key, EVENT.value)
    found = decode_move(key, value, headers)
    assert isinstance(found, Forwarded)
    assert found.record == EVENT


def test_an_alert_that_moves_keeps_what_holds_it() -> None:
    occurrence = Occurrence(Severity.HIGH, NOW, Record("events", 3, 17, int(NOW * 1000), None, b"{}"))
    alert = silenced(None, "forbidden_path:s-1", "s-1", occurrence, {"release": NOW + 60}, NOW)
    key, value, headers = encode_move(HandOver(SENDER, 3, alert.dedup_key, alert))
    found = decode_move(key, value, headers)
    assert isinstance(found, HandOver)
    assert found.alert == alert
    home_s = joined(None, alert)
    assert home_s is not None
    assert is_silenced(home_s)
    assert home_s.held is not None
    assert (home_s.held.source.partition, home_s.held.offset) == (3, 17), "where its worst event is read again"
    assert home_s.held.first_offset == ELSEWHERE, "no offset of the home's"
