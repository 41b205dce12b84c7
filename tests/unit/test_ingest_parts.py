"""The pure parts of the way in: who may send, how much, what a body holds, how events are keyed, what was written."""

import contextlib
import gzip
import time
import tracemalloc
import zlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.events.schema import Poison, parsed
from consumer.events.wrapping import STRUCTURED
from consumer.receivers.ingest.json_array import NotAnArray, first_parts
from consumer.receivers.ingest.judge import NAME, Judge, Judgement, Unfit, dead_letter_of
from consumer.receivers.ingest.split import BATCH, MOST_EVENTS, Unsplittable, Whole, split
from consumer.receivers.posts.bearer import Bearer
from consumer.receivers.posts.connections import descriptors
from consumer.receivers.posts.inflate import Inflate, NotCompressed
from consumer.receivers.posts.limits import Limits
from consumer.receivers.posts.log_limit import LogLimit
from consumer.receivers.posts.room import NoRoom, Room
from consumer.receivers.posts.written import RecentlyWritten, digest_of
from tests.support.events import encode, event, session_end

TOKEN = "t0ken-of-the-daemon"

# who may send


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN} ", True),
        ("Bearer the-other-one-0123", True),
        (None, False),
        ("", False),
        ("Bearer ", False),
        (TOKEN, False),
        (f"Basic {TOKEN}", False),
        (f"Bearer {TOKEN}x", False),
        (f"Bearer {TOKEN[:-1]}", False),
        (f"Bearer {TOKEN}" + " " * 10_000, False),
        ("Bearer \udcff\ud800", False),
    ],
)
def test_only_a_token_lets_in(header: str | None, allowed: bool) -> None:
    assert Bearer([TOKEN, "the-other-one-0123"]).allows(header) is allowed


def test_without_tokens_nobody_is_let_in() -> None:
    assert not Bearer([]).allows("Bearer ")


def test_each_token_is_compared_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    bearer = Bearer(["first-first-first", "second-second-se", "third-third-third"])
    for header in ("Bearer first-first-first", "Bearer third-third-third", "Bearer none", "Basic x"):
        compared.clear()
        bearer.allows(header)
        assert len(compared) == 3
        assert all(len(digest) == 32 for digest in compared), "the length of a token does not matter either"


@given(st.text())
def test_no_header_raises_anything(text: str) -> None:
    assert Bearer([TOKEN]).allows(text) is False


# how much


def test_room_is_taken_as_a_body_comes_in_and_given_back_with_it() -> None:
    room = Room(100)
    with room.lease() as lease:
        lease.grow(60)
        with pytest.raises(NoRoom):
            lease.grow(41)
        assert room.taken == 60
        lease.grow(40)
        assert room.is_full
        lease.end()
        assert room.taken == 0
    assert room.taken == 0


def test_what_goes_on_to_kafka_is_counted_beyond_the_room() -> None:
    room = Room(100)
    room.take(150)
    assert room.is_full
    room.give(150)
    assert not room.is_full


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 50))
def test_gzip_comes_back_however_it_is_cut_and_joined(parts: list[bytes], step: int) -> None:
    packed = b"".join(map(gzip.compress, parts))
    inflate = Inflate()
    body = b"".join(piece for at in range(0, len(packed), step) for piece in inflate.feed(packed[at : at + step]))
    inflate.end()
    assert body == b"".join(parts)


@given(st.binary(max_size=60))
def test_what_is_no_gzip_is_told_and_nothing_else_is_raised(body: bytes) -> None:
    inflate = Inflate()
    try:
        pieces = [*inflate.feed(body)]
        inflate.end()
    except NotCompressed:
        return
    assert b"".join(pieces) == gzip.decompress(body)


def test_gzip_that_ends_early_is_told() -> None:
    inflate = Inflate()
    with pytest.raises(NotCompressed, match="ends too early"):
        inflate.end()
    assert b"".join(inflate.feed(gzip.compress(b"x" * 1000)[:-3])) == b"x" * 1000
    with pytest.raises(NotCompressed, match="ends too early"):
        inflate.end()


def test_of_a_bomb_only_what_is_asked_for_is_made() -> None:
    bomb = zlib.compressobj(9, wbits=31)
    packed = b"".join([*(bomb.compress(bytes(1 << 20)) for _ in range(64)), bomb.flush()])
    assert len(packed) < 70_000
    tracemalloc.start()
    try:
        piece = next(Inflate().feed(packed))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(piece) <= 64 * 1024
    assert peak < 1 << 20


def test_each_member_of_gzip_is_a_step_and_there_are_not_many() -> None:
    packed = gzip.compress(b"") * 16
    inflate = Inflate()
    assert list(inflate.feed(packed)) == [b""] * 16, "something else can be done after each of them"
    inflate.end()
    with pytest.raises(NotCompressed, match="more than 16 members"):
        list(inflate.feed(gzip.compress(b"x")))
    assert list(Inflate().feed(packed[:5])) == [], "nothing has come to its end"


# what a body holds


def items(body: bytes, content_type: str = "") -> list[bytes]:
    found = split(body, content_type)
    assert isinstance(found, Whole), found
    assert all(poison is None for _, poison in found)
    return [value for value, _ in found]


ONE, OTHER = encode(event(event_id="e-1")), encode(event(event_id="e-2"))
PRETTY = orjson.dumps(event(event_id="e-3"), option=orjson.OPT_INDENT_2)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (ONE, [ONE]),
        (b" \r\n" + PRETTY + b"\n", [PRETTY]),
        (b"[" + ONE + b" , " + OTHER + b"]", [ONE, OTHER]),
        (b"[" + ONE + b", 1, null]", [ONE, b"1", b"null"]),
        (ONE + b"\r\n\n" + OTHER + b"\n", [ONE, OTHER]),
        (ONE + b'\n{"a": NaN}\n' + OTHER, [ONE, b'{"a": NaN}', OTHER]),
        (b"17", [b"17"]),
        (b"\x00\x00\x00\x00\x01" + ONE, [ONE]),
    ],
    ids=["one", "over lines", "array", "bad items", "ndjson", "bad line", "a number", "framed"],
)
def test_a_body_is_taken_apart_byte_for_byte(body: bytes, expected: list[bytes]) -> None:
    assert items(body) == expected


@pytest.mark.parametrize(
    ("body", "content_type", "status", "reason"),
    [
        (b"", "", 400, "the body is empty"),
        (b" \n", "", 400, "the body is empty"),
        (b"[]", "", 400, "the array is empty"),
        (b"hello", "", 400, "not JSON: "),
        (b'{"a": NaN}', "", 400, "not JSON: "),
        (b"[" + ONE + b', {"a": NaN}]', "", 400, "not JSON: "),
        (b"[" + ONE + b", ", "", 400, "not JSON: "),
        (b"{\n1\n", "", 400, "not JSON: "),
        (b"[" * 100_000, "", 400, "not JSON"),
        (b'{"a":' * 50_000, "", 400, "not JSON"),
        (b"\xff\xfe{", "", 400, "not UTF-8: "),
        (ONE, "application/cloudevents+avro", 415, "CloudEvents are taken as JSON"),
        (b"[" + b"0," * MOST_EVENTS + b"0]", "", 413, "a body has at most 10000 events"),
        (b"{}\n" * (MOST_EVENTS + 1), "", 413, "a body has at most 10000 events"),
    ],
)
def test_what_cannot_be_taken_apart_is_told_why(body: bytes, content_type: str, status: int, reason: str) -> None:
    found = split(body, content_type)
    assert isinstance(found, Unsplittable)
    assert found.status == status
    assert found.reason.startswith(reason)
    assert len(found.reason) < 200


def enveloped(*events: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"specversion": "1.0", "id": str(n), "source": "s", "type": "t", "data": one} for n, one in enumerate(events)
    ]


def test_cloudevents_are_their_data() -> None:
    one, other = event(), event()
    (single,) = enveloped(one)
    assert items(orjson.dumps(single), f"{STRUCTURED}; charset=utf-8") == [orjson.dumps(one)]
    assert items(orjson.dumps(enveloped(one, other)), BATCH) == [orjson.dumps(one), orjson.dumps(other)]
    assert items(orjson.dumps(one), "application/json") == [orjson.dumps(one)], "binary: the body is the event"


def test_of_a_batch_what_has_no_data_is_told_apart() -> None:
    good, bad = enveloped(event(), event())
    del bad["data"]
    found = split(orjson.dumps([good, bad]), BATCH)
    assert isinstance(found, Whole)
    assert [poison and poison.path for _, poison in found] == [None, "data"]
    assert list(found)[1][0] == orjson.dumps(bad)


@given(st.binary(max_size=80), st.sampled_from(["", "application/json", STRUCTURED, BATCH, "text/plain; x"]))
def test_whatever_the_bytes_a_body_is_taken_apart_or_refused(body: bytes, content_type: str) -> None:
    assert isinstance(split(body, content_type), Whole | Unsplittable)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(JSON, min_size=1, max_size=5))
def test_an_array_and_its_lines_hold_the_same(values: list[Any]) -> None:
    parts = [orjson.dumps(value) for value in values]
    assert items(b"[" + b",".join(parts) + b"]") == parts
    objects = [orjson.dumps({"a": value}) for value in values]
    assert items(b"\n".join(objects)) == objects


@given(st.lists(JSON, max_size=5), st.sampled_from([b",", b" ,\n", b"\t, "]), st.integers(0, 6))
def test_a_dense_array_is_taken_apart_like_any_other(values: list[Any], comma: bytes, most: int) -> None:
    parts = [orjson.dumps(value) for value in values]
    assert first_parts(b"[ " + comma.join(parts) + b" ]", most) == parts[:most]


@pytest.mark.parametrize(
    "body", [b"[", b"[1", b"[1,", b"[1,]", b"[1 2]", b"[1] 2", b"[NaN]", b"[\xff]", b"[" * 100_000, b"[-Infinity]"]
)
def test_what_is_no_array_is_told(body: bytes) -> None:
    with pytest.raises(NotAnArray):
        first_parts(body, 5)


@given(st.binary(max_size=40))
def test_of_any_bytes_nothing_else_is_raised(body: bytes) -> None:
    with contextlib.suppress(NotAnArray):
        first_parts(b"[" + body, 3)


def test_an_event_among_very_many_numbers_is_taken() -> None:
    one = encode(event() | {"metadata": {"vector": [1] * 100_000}})
    assert items(b"[" + one + b"," + ONE + b"]") == [one, ONE]


def test_the_worst_body_is_taken_apart_in_one_step_of_the_loop() -> None:
    """Not more than 50 ms by design; here there is room for a machine that does other things, too."""
    bodies = [
        b"[" + b"0," * 524_000 + b"0]",
        b"\n" * 1_048_576,
        b"{}\n" * 9_000,
        b"1," * 500_000,
        b'"' * 1_048_576,
        b"{\n" * 9_000,
    ]
    for body in bodies:
        took = []
        for _ in range(3):
            began = time.perf_counter()
            split(body, BATCH)
            took.append(time.perf_counter() - began)
        assert min(took) < 0.2


def test_lines_are_told_to_be_objects_without_making_them(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counted(value: bytes, wanted: Any) -> Any:
        read.append(len(value))
        return parsed(value, wanted)

    monkeypatch.setattr("consumer.receivers.ingest.split.parsed", counted)
    assert isinstance(split(b"x\n" + b"\n".join([b"[" + b"[]," * 3000 + b"0]"] * 99)), Unsplittable)
    assert len(read) == 1, "only for what is said about the whole"
    assert len(items(b"x\n" + b"\n".join([ONE] * 99))) == 100
    assert len(read) == 1


@pytest.mark.parametrize("line", [b'{"a": 1', b'{"a": NaN}', b'{"a": "\xff"}', b"17", b'"{}"', b"{} {}"])
def test_a_line_that_is_no_object_does_not_make_lines_of_a_body(line: bytes) -> None:
    assert isinstance(split(line + b"\n" + line), Unsplittable)
    assert items(line + b"\n{}") == [line, b"{}"]


# how events are keyed, and which are none


def judged(value: bytes, event_key: str = "session_id", limit: int = 262_144) -> Judgement | Unfit:
    return Judge(event_key, limit).judge(value)


@pytest.mark.parametrize(
    ("event_key", "key"),
    [
        ("session_id", b"sess-1"),
        ("guard", b"forbidden_path"),
        ("tenant_id", b"acme-corp"),
        ("severity", b"critical"),
        ("resource", b"/etc/shadow"),
        ("label.team", b"core"),
        ("label.none", b"default"),
        ("none", None),
    ],
)
def test_an_event_has_the_key_that_the_configuration_says(event_key: str, key: bytes | None) -> None:
    value = encode(event(event_id="e-1", labels={"team": "core"}))
    assert judged(value, event_key) == Judgement("e-1", key, value)


def test_events_that_lack_the_field_meet_as_well() -> None:
    fit = judged(encode(event(tenant=None)), "tenant_id")
    assert isinstance(fit, Judgement)
    assert fit.key == b"default"


def without(fields: dict[str, Any], name: str) -> bytes:
    return encode({key: value for key, value in fields.items() if key != name})


@pytest.mark.parametrize(
    ("value", "path", "error_class"),
    [
        (b"", "", "empty"),
        (b"17", "", "wrong_type"),
        (b"{}", "event_type", "missing_field"),
        (b'{"a": NaN}', "", "not_json"),
        (without(event(), "resource"), "resource", "missing_field"),
        (without(session_end(), "resource"), "resource", "missing_field"),
        (encode(event(severity="urgent")), "decision.severity", "invalid_value"),
        (encode(event() | {"timestamp": "yesterday"}), "timestamp", "invalid_value"),
    ],
)
def test_what_no_pipeline_could_decide_is_no_event(value: bytes, path: str, error_class: str) -> None:
    unfit = judged(value)
    assert isinstance(unfit, Unfit)
    assert unfit.value == value
    assert (unfit.poison.error_class) == error_class
    assert unfit.poison.path in (path, "event_id") if value == b"{}" else unfit.poison.path == path


def test_an_allowed_event_need_not_be_whole() -> None:
    value = without(event(allowed=True), "resource")
    assert judged(value) == Judgement(None, None, value)


def test_an_event_is_as_large_as_a_pipeline_takes_it_key_included() -> None:
    value = encode(event(event_id="e-1"))
    assert isinstance(judged(value, limit=len(value) + 6), Judgement)
    unfit = judged(value, limit=len(value) + 5)
    assert isinstance(unfit, Unfit)
    assert (unfit.poison.error_class, unfit.poison.event_id) == ("too_large", "e-1")


def test_the_dead_letter_of_what_was_no_record() -> None:
    letter = dead_letter_of(Unfit(Poison("a.b", "wrong", "wrong_type", "e-1"), b"{}"), "events", 12.5)
    assert (letter.stage, letter.provider, letter.error, letter.event_id) == (NAME, NAME, "a.b: wrong", "e-1")
    assert (letter.record.topic, letter.record.value, letter.record.timestamp) == ("events", b"{}", 12_500)
    assert not letter.retryable


def test_of_a_refusal_it_is_learned_what_it_tells() -> None:
    limits = Limits("events", 200_000, 100_000)
    limits.told(150_000, 300_000, 80_000)
    assert (limits.event, limits.dead_letter, limits.batch) == (150_000, 300_000, 80_000)
    limits.refused("events", 500)
    limits.told(150_000, 300_000, 80_000)
    assert (limits.event, limits.batch) == (150_000, 40_000), "the batch may have had others"
    limits.refused("events", 90_000)
    limits.refused("dead letters", 50_000)
    limits.told(150_000, 300_000, 80_000)
    assert (limits.event, limits.dead_letter, limits.batch) == (89_999, 25_000, 40_000), "it was alone"
    for _ in range(20):
        limits.refused("events", 700)
        limits.refused("dead letters", 700)
        limits.told(150_000, 300_000, 80_000)
    assert (limits.event, limits.dead_letter, limits.batch) == (699, 1024, 1024)


# what was written


def test_what_was_written_is_known_for_ten_minutes() -> None:
    written = RecentlyWritten()
    one = digest_of(b"event", b"1")
    written.add(one, 1000.0)
    assert written.has(one, 1599.0)
    assert not written.has(digest_of(b"event", b"2"), 1599.0)
    assert not written.has(digest_of(b"letter", b"1"), 1599.0)
    assert not written.has(one, 2900.0)


@given(st.lists(st.floats(0.0, 900.0), min_size=1, max_size=30))
def test_nothing_is_forgotten_before_its_time_nor_known_for_much_longer(waits: list[float]) -> None:
    written, now, at = RecentlyWritten(), 50.0, dict[bytes, float]()
    for number, wait in enumerate(waits):
        now += wait
        for digest, when in at.items():
            if now - when < 600.0:
                assert written.has(digest, now)
            if now - when >= 1800.0:
                assert not written.has(digest, now)
        digest = digest_of(b"event", b"%d" % number)
        written.add(digest, now)
        at[digest] = now


def test_of_too_many_the_earliest_are_forgotten() -> None:
    written = RecentlyWritten(most=10)
    digests = [digest_of(b"event", b"%d" % number) for number in range(40)]
    for digest in digests:
        written.add(digest, 1.0)
    assert [written.has(digest, 1.0) for digest in digests] == [False] * 20 + [True] * 20


def test_what_happens_often_is_said_now_and_then() -> None:
    now = 100.0
    log_limit = LogLimit(10.0, lambda: now)
    assert [log_limit.now() for _ in range(4)] == [0, None, None, None]
    now = 110.0
    assert [log_limit.now(), log_limit.now()] == [3, None]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((1024, 4096), (1000, 4096)),
        ((4096, 4096), (1000, 4096)),
        ((1024, 1024), (512, 1024)),
        ((256, 512), (256, 512)),
        ((1, 1), (1, 1)),
        ((1024, -1), (1000, 2000)),
        ((4096, -1), (1000, 4096)),
        ((-1, -1), (1000, -1)),
    ],
)
def test_the_limit_of_open_files_is_raised_and_connections_get_half_of_it(
    limits: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert descriptors(1000, limits) == expected
