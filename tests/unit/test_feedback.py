"""Records of the feedback topic: what is written is read back, and whatever else stands there is only malformed."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from consumer.dlq.dead_letter import DeadLetter, decode
from consumer.feedback.records import (
    HISTORY_BYTES,
    FeedbackKind,
    FromProvider,
    MalformedFeedback,
    OperatorCommand,
    Replay,
    decode_feedback,
    encode_command,
    encode_from_provider,
    history_of,
    replay_headers,
    replay_id_of,
)
from state.provider_feedback import Happened, What
from state.seen import Seen
from state.violation import Record, Severity, size_of

NOW = 1_800_000_000_000
TEXT = st.text(st.characters(codec="utf-8"))
BYTES = st.none() | st.binary()
HEADERS = st.lists(
    st.tuples(
        TEXT | st.sampled_from(["alerting.topic", "alerting.kind", "alerting.replay", "alerting.provider"]),
        BYTES | st.just(b"replay"),
    ),
    max_size=6,
).map(tuple)
TIMES = st.floats(0, 4e9)
SEEN = st.builds(
    Seen,
    begun=st.none() | TIMES,
    first_seen=TIMES,
    last_seen=TIMES,
    occurrences=st.integers(1, 2**53),
    highest=st.sampled_from(Severity),
)
RECORD = Record("clawdstrike.events", 3, 42, 1_716_213_600_000, b"sess-1", b'{"a": 1}', (("trace", b"1"), ("no", None)))


def letter(record: Record = RECORD, **changes: Any) -> DeadLetter:
    facts: dict[str, Any] = {
        "provider": "pagerduty", "stage": "deliver", "event_id": "e", "error_class": "rejected_400", "error": "no",
        "retryable": False, "attempts": 1, "first_attempt": 1.0, "last_attempt": 1.0, "occurrences": 1,
        "first_offset": record.offset, "last_offset": record.offset,
    }  # fmt: skip
    return DeadLetter(record=record, **{**facts, **changes})


def replayed(dead: DeadLetter, replay_id: str = "0/7", limit: int | None = None) -> Replay:
    """The replay of a dead letter, by way of Kafka."""
    key, value, headers = dead.encode(limit)
    found = decode_feedback(key, value, replay_headers(headers, replay_id), NOW)
    assert isinstance(found, Replay)
    return found


def test_a_letter_that_was_cut_cannot_be_decided_again() -> None:
    key, value, headers = letter(structs.replace(RECORD, value=b"v" * 5000)).encode(2000)
    with pytest.raises(MalformedFeedback, match="was cut"):
        decode_feedback(key, value, replay_headers(headers, "0/7"), NOW)


# commands

RESOLVE = [("alerting.provider", b"p"), ("alerting.kind", b"resolve")]
SEEN_JSON = b'[{"begun": 1, "first_seen": 1, "last_seen": 2, "occurrences": 3, "highest": %b, "more": []}]'


def test_a_command_without_what_was_seen_is_one_all_the_same_and_a_later_release_may_say_more() -> None:
    for value in (b'{"at": 1, "by": "me"}', b'{"at": 1, "by": "me", "seen": null, "more": 7}'):
        assert decode_feedback(b"k", value, RESOLVE, NOW) == OperatorCommand(FeedbackKind.RESOLVE, "p", "k", 1.0, "me")
    seen = Seen(1.0, 1.0, 2.0, 3, Severity.HIGH)
    value = b'{"at": 1, "by": "me", "seen": %b}' % (SEEN_JSON % b"3")
    assert decode_feedback(b"k", value, RESOLVE, NOW) == OperatorCommand(
        FeedbackKind.RESOLVE, "p", "k", 1.0, "me", (seen,)
    )


@given(
    st.sampled_from([FeedbackKind.ACKNOWLEDGE, FeedbackKind.RESOLVE]),
    TEXT,
    TEXT.filter(lambda text: 0 < len(text.encode()) < 2000),
    st.floats(0, 4e9),
    TEXT.map(lambda text: text[:200]),
    st.lists(SEEN, max_size=3).map(tuple),
)
def test_a_command_comes_back_as_it_was(
    kind: FeedbackKind, provider: str, dedup_key: str, at: float, by: str, seen: tuple[Seen, ...]
) -> None:
    command = OperatorCommand(kind, provider, dedup_key, at, by, seen)
    assert decode_feedback(*encode_command(command), NOW) == replace(command, at=min(at, NOW / 1000))


@given(
    TEXT,
    TEXT.filter(lambda text: 0 < len(text.encode()) < 2000),
    st.sampled_from(What),
    st.floats(0, 4e9),
    st.none() | TEXT.map(lambda text: text[:200]),
    st.booleans(),
    st.none() | st.floats(0, 4e9),
    TEXT.map(lambda text: text[:200]),
)
def test_what_has_happened_at_a_provider_comes_back_as_it_was_and_its_time_is_the_provider_s(
    provider: str,
    dedup_key: str,
    what: What,
    at: float,
    incident: str | None,
    by_integration: bool,
    opened: float | None,
    by: str,
) -> None:
    found = FromProvider(provider, dedup_key, Happened(what, at, incident, by_integration, opened), by)
    assert decode_feedback(*encode_from_provider(found), 1_420_070_400_001) == found


@pytest.mark.parametrize("more", [b'"incident": 3', b'"by_integration": 1', b'"by_integration": null'])
def test_what_is_of_another_type_there_is_malformed(more: bytes) -> None:
    headers = [("alerting.provider", b"p"), ("alerting.kind", b"resolved")]
    with pytest.raises(MalformedFeedback, match="unreadable feedback"):
        decode_feedback(b"k", b'{"at": 1, "by": "", %b}' % more, headers, NOW)


@pytest.mark.parametrize(
    ("key", "value", "headers", "why"),
    [
        (b"k", b"{}", [], "no header alerting.kind"),
        (b"k", b"{}", [("alerting.kind", b"explode")], "unknown alerting.kind: b'explode'"),
        (b"k", b"{}", [("alerting.kind", None)], "no header alerting.kind"),
        (b"k", b'{"at": 1, "by": ""}', [("alerting.kind", b"resolve")], "no header alerting.provider"),
        (None, b'{"at": 1, "by": ""}', [("alerting.provider", b"p"), ("alerting.kind", b"resolve")], "no dedup key"),
        (b"", b'{"at": 1, "by": ""}', [("alerting.provider", b"p"), ("alerting.kind", b"resolve")], "no dedup key"),
        (b"x" * 9999, b'{"at": 1, "by": ""}', [("alerting.provider", b"p"), ("alerting.kind", b"resolve")], "no dedup"),
        (b"\xff", b'{"at": 1, "by": ""}', [("alerting.provider", b"p"), ("alerting.kind", b"resolve")], "unreadable"),
        (b"k", b'{"at": 1, "by": 3}', [("alerting.provider", b"p"), ("alerting.kind", b"resolve")], "by is no text"),
        (b"k", b"[]", [("alerting.provider", b"p"), ("alerting.kind", b"acknowledge")], "unreadable command"),
        (b"k", None, [("alerting.provider", b"p"), ("alerting.kind", b"acknowledge")], "unreadable command"),
        (b"k", b"{}", [("alerting.kind", b"replay"), ("alerting.replay", b"0/1")], "no dead letter"),
        *(
            (b"k", b'{"at": 1, "by": "", "seen": %b}' % seen, RESOLVE, "unreadable command")
            for seen in (b"7", b'"ab"', b"[7]", b"[{}]", SEEN_JSON % b"9", SEEN_JSON % b'"high"', SEEN_JSON % b"[]")
        ),
    ],
)
def test_what_is_no_feedback_is_malformed(key: bytes | None, value: bytes | None, headers: Any, why: str) -> None:
    with pytest.raises(MalformedFeedback, match=why):
        decode_feedback(key, value, headers, NOW)


@given(BYTES, BYTES, HEADERS, st.booleans())
def test_any_bytes_are_feedback_or_malformed(
    key: bytes | None, value: bytes | None, headers: Any, replay: bool
) -> None:
    said = "."
    try:
        decode_feedback(key, value, replay_headers(headers, "0/1") if replay else headers, NOW)
    except MalformedFeedback as error:
        said = str(error)
    assert len(said.splitlines()) == 1
    assert len(said) < 300


# replays


@given(BYTES, BYTES, HEADERS)
def test_a_replay_is_the_dead_letter_byte_for_byte(key: bytes | None, value: bytes | None, headers: Any) -> None:
    record = Record("events", 3, 42, 5, key, value, headers)
    found = replayed(letter(record))
    assert (found.provider, found.replay_id) == ("pagerduty", "0/7")
    assert structs.replace(found.record, headers=()) == structs.replace(record, headers=())
    history = found.record.headers
    assert history[: len(headers)] == headers or any(name == "alerting.topic" for name, _ in headers)
    assert history[-1] == ("alerting.replay", b"0/7")


def test_it_fails_again_with_its_history_and_its_old_place() -> None:
    first = letter(error="the first error")
    second = letter(replayed(first, "0/7").record, error="the second error")
    key, value, headers = second.encode()
    names = [name for name, _ in headers]
    assert names.count("alerting.topic") == 2
    again = decode(key, value, headers)
    assert (again.record.topic, again.record.partition, again.record.offset) == ("clawdstrike.events", 3, 42)
    assert (again.error, history_of(again)) == ("the second error", ["0/7"])
    third = letter(replayed(again, "0/9").record)
    assert history_of(third) == ["0/7", "0/9"]
    assert replayed(third).original.headers == RECORD.headers


def test_an_event_cannot_pass_for_a_replay_or_hide_from_one() -> None:
    hostile = structs.replace(RECORD, headers=(("alerting.kind", b"replay"), ("alerting.replay", b"9/9")))
    found = replayed(letter(hostile), "0/1")
    assert (found.replay_id, found.original.headers) == ("0/1", hostile.headers)
    assert replay_id_of(letter(hostile).encode()[2]) is None


def test_the_history_is_bounded_and_the_latest_is_kept() -> None:
    dead = letter(error="x" * 1000)
    for number in range(20):
        dead = letter(replayed(dead, f"0/{number}").record, error="x" * 1000)
    found = replayed(dead, "0/20")
    assert size_of(None, None, found.record.headers) <= size_of(None, None, RECORD.headers) + HISTORY_BYTES + 100
    assert history_of(letter(found.record))[-1] == "0/20"
    assert found.original.headers == RECORD.headers


def test_a_letter_without_room_for_its_time_is_of_now_at_the_latest() -> None:
    large = structs.replace(RECORD, value=b"x" * 5000)
    found = replayed(letter(large), limit=5300)
    assert found.record.timestamp == NOW


@pytest.mark.parametrize(("name", "value"), [("partition", "-1"), ("offset", "-5"), ("offset", str(2**70))])
def test_a_letter_of_no_place_is_malformed(name: str, value: str) -> None:
    key, content, headers = letter().encode()
    headers = [(header, value.encode() if header == f"alerting.{name}" else text) for header, text in headers]
    with pytest.raises(MalformedFeedback):
        decode_feedback(key, content, replay_headers(headers, "0/1"), NOW)
