"""Silences: what they match, how they are written down, and that nobody's bytes can break them (design section 22)."""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
import structlog
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from consumer.silences.known import KnownSilences
from consumer.silences.reader import SilenceReader, put
from consumer.silences.records import MalformedSilence, decode, encode, from_json, to_json
from consumer.silences.silence import LONGEST_SECONDS, InvalidSilence, Match, Silence, SilenceStatus
from consumer.timing.waiting import meanwhile
from providers.retry import Backoff
from state.violation import Severity

NOW = 1_800_000_000.0
HOUR = 3600.0


@dataclass(frozen=True)
class Event:
    guard: str = "egress_allowlist"
    tenant_id: str | None = "acme"
    session_id: str = "s1"
    agent_id: str = "agent-7"
    resource_name: str = "api.example.com"
    event_type: str = "policy_violation"
    severity: Severity = Severity.HIGH
    labels: Mapping[str, str] = field(default_factory=dict)


def silence(terms: Mapping[str, str] | None = None, *, id: str = "a", severity: Severity | None = None) -> Silence:
    match = Match({"guard": "egress_allowlist"} if terms is None else terms, severity)
    return Silence(id, "all", match, "a known leak", "ana@ops1", NOW, NOW, NOW + HOUR)


@pytest.mark.parametrize(
    ("terms", "event", "fits"),
    [
        ({"guard": "egress_allowlist"}, Event(), True),
        ({"guard": "egress"}, Event(), False),
        ({"guard": "egress*"}, Event(), True),
        ({"guard": "*allow*"}, Event(), True),
        ({"guard": "e*s*t"}, Event(), True),
        ({"guard": "egress_allowlist*egress_allowlist"}, Event(), False),
        ({"guard": "aa*aa"}, Event(guard="aaa"), False),
        ({"guard": "egress_allowlist", "tenant_id": "acme"}, Event(), True),
        ({"guard": "egress_allowlist", "tenant_id": "other"}, Event(), False),
        ({"tenant_id": "ac*"}, Event(tenant_id=None), False),
        ({"resource": "*.example.com"}, Event(), True),
        ({"resource": "[a-z]*"}, Event(), False),
        ({"label.team": "pay*"}, Event(labels={"team": "payments"}), True),
        ({"label.team": "pay*"}, Event(labels={}), False),
        ({"agent_id": "agent-7"}, Event(), True),
        ({"session_id": "S1"}, Event(), False),
        ({"event_type": "policy_violation", "label.a.b": "x"}, Event(labels={"a.b": "x"}), True),
    ],
)
def test_all_terms_must_fit(terms: Mapping[str, str], event: Event, fits: bool) -> None:
    assert Match(terms).fits(event) is fits


def test_an_event_of_a_higher_severity_is_not_meant() -> None:
    found = [level for level in Severity if silence(severity=Severity.HIGH).silences(Event(severity=level), NOW)]
    assert found == [Severity.INFO, Severity.LOW, Severity.MEDIUM, Severity.HIGH]


def test_critical_is_meant_only_where_it_is_said() -> None:
    critical = Event(severity=Severity.CRITICAL)
    assert not silence().silences(critical, NOW)
    assert not silence(severity=Severity.CRITICAL).silences(critical, NOW)
    assert replace(silence(), include_critical=True).silences(critical, NOW)


@pytest.mark.parametrize(("at", "holds"), [(-0.001, False), (0, True), (HOUR - 0.001, True), (HOUR, False)])
def test_a_silence_holds_from_its_start_until_before_its_end(at: float, holds: bool) -> None:
    assert silence().silences(Event(), NOW + at) is holds


@given(
    pattern=st.text(alphabet="ab*", min_size=1, max_size=12).filter(lambda text: text.strip("*")),
    text=st.text(alphabet="ab", max_size=16),
)
def test_a_pattern_is_what_an_expression_would_be(pattern: str, text: str) -> None:
    expression = re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
    assert Match({"guard": pattern}).fits(Event(guard=text)) is bool(expression.fullmatch(text))


def test_no_pattern_is_slow() -> None:
    match = Match({"guard": "*a" * 500 + "*b"})
    text = "a" * 100_000
    began = time.process_time()
    assert not match.fits(Event(guard=text))
    assert time.process_time() - began < 0.05


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({}, "match: matches everything"),
        ({"guard": "*"}, "match: matches everything"),
        ({"guard": "**", "tenant_id": "*"}, "match: matches everything"),
        ({"gard": "x"}, "match.gard: no such field"),
        ({"label.": "x"}, "match.label.: no such field"),
        ({"guard": ""}, "match.guard: must have 1 to"),
        ({"guard": "x" * 1025}, "match.guard: must have 1 to"),
        ({f"label.{n}": "x" for n in range(33)}, "match: has more than 32 terms"),
        ({"a\x1b[2Jb": "x"}, r"match.a\\x1b[2Jb: no such field"),
    ],
)
def test_a_match_that_is_none(terms: Mapping[str, str], message: str) -> None:
    with pytest.raises(InvalidSilence, match=re.escape(message.replace(r"\\", "\\"))):
        Match(terms)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"reason": " "}, "reason"),
        ({"created_by": ""}, "created_by"),
        ({"id": ""}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"id": "x" * 129}, "id"),
        ({"expires_at": NOW - 1}, "expires_at"),
        ({"expires_at": NOW + LONGEST_SECONDS + 1}, "expires_at"),
    ],
)
def test_a_silence_that_is_none(changed: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidSilence) as error:
        replace(silence(), **changed)  # type: ignore[arg-type]
    assert error.value.field == field


def test_somebody_ends_a_silence() -> None:
    ended = silence().ended(NOW + 60)
    assert (ended.status, ended.expires_at) == (SilenceStatus.REVOKED, NOW + 60)
    assert not ended.silences(Event(), NOW + 60)
    assert ended.silences(Event(), NOW + 59)
    early = replace(silence(), starts_at=NOW + 100).ended(NOW + 60)
    assert not any(early.silences(Event(), NOW + at) for at in (0, 60, 100, 200))
    assert silence().ended(NOW + 2 * HOUR) == replace(silence(), status=SilenceStatus.EXPIRED)


TERMS = st.dictionaries(
    st.sampled_from(["guard", "tenant_id", "session_id", "agent_id", "resource", "event_type", "label.team"]),
    st.text(alphabet="ab*ä", min_size=1, max_size=6),
    min_size=1,
).filter(lambda terms: any(text.strip("*") for text in terms.values()))


@st.composite
def silences(draw: st.DrawFn) -> Silence:
    begin = NOW + draw(st.integers(0, 100))
    return Silence(
        draw(st.sampled_from("abcdef")),
        draw(st.sampled_from(["all", "pagerduty", "opsgenie"])),
        Match(draw(TERMS), draw(st.none() | st.sampled_from(list(Severity)))),
        "why",
        "who",
        NOW,
        begin,
        begin + draw(st.integers(0, 100)),
        draw(st.sampled_from(list(SilenceStatus))),
        draw(st.booleans()),
    )


@given(silences())
def test_a_silence_reads_back(one: Silence) -> None:
    assert decode(*encode(one)) == one
    assert from_json(orjson.loads(orjson.dumps(to_json(one)))) == one


TEXTS = st.text(alphabet="ab", max_size=3)
EVENTS = st.builds(
    Event,
    guard=TEXTS,
    tenant_id=st.none() | TEXTS,
    session_id=TEXTS,
    agent_id=TEXTS,
    resource_name=TEXTS,
    event_type=TEXTS,
    severity=st.sampled_from(list(Severity)),
    labels=st.dictionaries(st.just("team"), TEXTS),
)


@given(st.lists(silences(), max_size=12), st.lists(st.sampled_from("abcdef"), max_size=3), EVENTS, st.integers(0, 220))
def test_those_of_an_event_are_found_as_if_all_were_asked(
    put: list[Silence], dropped: list[str], event: Event, at: int
) -> None:
    known, last = KnownSilences(put), {one.id: one for one in put}
    for silence_id in dropped:
        known.drop(silence_id)
        last.pop(silence_id, None)
    found = known.of(event, "pagerduty", NOW + at)
    asked = [one for one in last.values() if one.silences(event, NOW + at) and one.scope in ("all", "pagerduty")]
    assert list(found) == sorted(asked, key=lambda one: (one.expires_at, one.id))
    assert set(known.all()) == set(last)


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["id", "scope", "match", "reason", "created_by", "created_at", "starts_at", "expires_at", "guard"]), inner),
).map(orjson.dumps))  # fmt: skip
def test_no_bytes_break_the_reader(value: bytes) -> None:
    try:
        said = str(decode(b"a", value))
    except MalformedSilence as error:
        said = str(error)
    assert said.isprintable()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expires_at": None}, "expires_at: must be an RFC 3339 time"),
        ({"expires_at": "2026-13-01T00:00:00Z"}, "expires_at: must be an RFC 3339 time"),
        ({"starts_at": "0001-01-01T00:00:00Z"}, "starts_at: must be an RFC 3339 time, from 1970 on"),
        ({"starts_at": 1_800_000_000}, "starts_at: must be an RFC 3339 time"),
        ({"status": "paused"}, "status: must be one of active, expired, revoked"),
        ({"match": {"severity": "worst", "guard": "x"}}, "match.severity: must be one of info"),
        ({"match": {"severity": "high"}}, "match: matches everything"),
        ({"match": {"guard": 1}}, "match.guard: must be text"),
        ({"match": []}, "match: must be an object"),
        ({"include_critical": "yes"}, "include_critical: must be true or false"),
        ({"id": 7}, "id: must be text"),
        ({"colour": "red"}, "colour: is no field of a silence"),
    ],
)
def test_a_record_that_is_no_silence(change: dict[str, object], message: str) -> None:
    with pytest.raises(MalformedSilence, match=re.escape(message)):
        from_json({**to_json(silence()), **change})


def test_a_record_of_another_key_is_none() -> None:
    key, value = encode(silence())
    with pytest.raises(MalformedSilence, match="the key is not the id"):
        decode(b"other", value)
    with pytest.raises(MalformedSilence, match="no key"):
        decode(None, value)
    with pytest.raises(MalformedSilence, match="bytes are more than"):
        decode(key, value + b" " * 65_536)
    assert decode(key, None) is None


async def test_a_topic_that_cannot_be_read_is_waited_for_for_a_while_and_then_people_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("consumer.silences.reader.UNREAD_SECONDS", 0.01)
    nobody: Any = None
    with capture_logs() as logs:
        reader = SilenceReader(
            clients=nobody,
            admin=nobody,
            topic="silences",
            backoff=Backoff(60.0, 60.0, 2.0, lambda: 1.0),
            changed=lambda: None,
            log=structlog.get_logger(),
        )
        async with meanwhile(reader.run()):
            await reader.read_once()
            await reader.read_once()  # the next task does not wait for it again
    assert [one["event"] for one in logs] == ["silences_trouble", "silences_unread"]
    assert reader.of(Event(), "pagerduty", NOW) == ()


# what stands under an id today, and what was held before


def end_of(known: KnownSilences, until: float = NOW + HOUR) -> float:
    return known.end_of("a", until, "pagerduty") - NOW


def test_what_is_held_ends_with_the_silence_as_it_is_known_today() -> None:
    known = KnownSilences()
    assert end_of(known) == HOUR, "nothing was read of it"
    known.put(silence(), NOW)
    known.put(silence().ended(NOW + 60), NOW + 60)
    assert end_of(known) == 60
    known.put(replace(silence(), expires_at=NOW + 5 * HOUR), NOW + 70)
    assert end_of(known) == 5 * HOUR
    known.put(replace(silence(), starts_at=NOW + 30, expires_at=NOW + 6 * HOUR), NOW + 80)
    assert end_of(known) == 6 * HOUR, "it is the same one, with another start"


@pytest.mark.parametrize(
    "other",
    [
        replace(silence({"guard": "another"}), expires_at=NOW + 9 * HOUR),
        replace(silence(severity=Severity.LOW), expires_at=NOW + 9 * HOUR),
        replace(silence(), scope="opsgenie", expires_at=NOW + 9 * HOUR),
        replace(silence(), starts_at=NOW + 7 * HOUR, expires_at=NOW + 9 * HOUR),
        replace(silence(), include_critical=True, expires_at=NOW + 9 * HOUR),
    ],
)
def test_an_id_that_is_given_to_another_silence_holds_nothing_that_the_first_one_held(other: Silence) -> None:
    known = KnownSilences([silence()])
    known.put(other, NOW + 120)
    assert end_of(known) == 120, "until then it held that"
    assert end_of(known, NOW + 9 * HOUR) == (120 if other.scope == "opsgenie" else 9 * HOUR)
    known.put(replace(other, expires_at=NOW + 10 * HOUR), NOW + 180)
    assert end_of(known) <= 180
    late = KnownSilences([silence()])
    late.put(other, NOW + 2 * HOUR)
    assert end_of(late) == HOUR, "never later than it was to end"


def test_what_was_held_before_its_id_was_given_away_has_ended_though_the_ends_are_the_same() -> None:
    known = KnownSilences([silence()])
    until = silence().expires_at

    def end(decided: float) -> float:
        return known.end_of("a", until, "pagerduty", NOW + decided) - NOW

    known.put(silence({"guard": "another"}), NOW + 120)
    assert (end(119), end(121)) == (120, HOUR)
    known.put(silence({"guard": "a third"}), NOW + 180)
    assert (end(121), end(181)) == (180, HOUR)
    known.drop("a", NOW + 240)
    known.put(silence({"guard": "a third"}), NOW + 300)
    assert (end(181), end(301)) == (240, HOUR), "one that is made anew is another one"
    known.put(replace(silence({"guard": "a third"}), expires_at=NOW + 2 * HOUR), NOW + 360)
    assert (end(301), end(361)) == (2 * HOUR, 2 * HOUR), "it is the same one, prolonged"


def test_a_silence_that_is_deleted_has_ended_when_it_was() -> None:
    known = KnownSilences([silence()])
    known.drop("a", NOW + 120)
    assert end_of(known) == 120
    known.put(replace(silence(), expires_at=NOW + 9 * HOUR), NOW + 180)
    assert end_of(known) == 120, "one that is made anew is another one"
    assert end_of(known, NOW + 9 * HOUR) == 9 * HOUR
    known = KnownSilences()
    known.drop("a", NOW + 120)
    assert end_of(known) == 120, "only its deletion was read"


class AsRead:
    """A record of the topic."""

    def __init__(self, one: Silence, at: float) -> None:
        self.key, self.value = encode(one)
        self.timestamp = int(at * 1000)


@pytest.mark.parametrize("status", [SilenceStatus.REVOKED, SilenceStatus.EXPIRED])
def test_a_record_that_says_it_is_over_ends_it_at_once_whatever_its_end_says(status: SilenceStatus) -> None:
    known, record = KnownSilences(), AsRead(replace(silence(), status=status), NOW + 60)
    put(known, record)
    assert [len(known.of(Event(), "pagerduty", NOW + at)) for at in (0, 59, 60, 61)] == [1, 1, 0, 0]
    assert end_of(known) == 60
    before = AsRead(replace(silence(), status=status), NOW - 60)
    put(known, before)
    assert known.of(Event(), "pagerduty", NOW) == ()


def test_silences_that_are_over_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    over = (
        replace(silence(id=f"deploy-{n}"), starts_at=NOW - 9 * HOUR - n, expires_at=NOW - 8 * HOUR - n)
        for n in range(1000)
    )
    known = KnownSilences([silence(), *over])
    asked: list[str] = []
    silences = Silence.silences

    def noting(self: Silence, event: Event, at: float) -> bool:
        asked.append(self.id)
        return silences(self, event, at)

    monkeypatch.setattr(Silence, "silences", noting)
    assert [one.id for one in known.of(Event(), "pagerduty", NOW)] == ["a"]
    assert asked == ["a"]


async def test_one_look_that_does_not_list_the_topic_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Admin:
        async def describe_topics(self) -> list[dict[str, Any]]:
            return []

    monkeypatch.setattr("consumer.silences.reader.LOOK_SECONDS", 0)
    nobody: Any = None
    admin: Any = Admin()
    with capture_logs() as logs:
        reader = SilenceReader(
            clients=nobody, admin=admin, topic="silences", backoff=nobody, changed=lambda: None,
            log=structlog.get_logger(),
        )  # fmt: skip
        reader.known = KnownSilences([silence()])
        seen = []
        for _ in range(4):
            await reader._read()
            seen.append(len(reader.known))
    assert seen == [1, 0, 0, 0]
    assert [one["event"] for one in logs] == ["silences_topic_missing"]


async def test_a_topic_that_is_deleted_is_missed_although_the_consumer_does_not_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Admin:
        looks = 0

        async def describe_topics(self) -> list[dict[str, Any]]:
            self.looks += 1
            return [{"topic": "silences", "partitions": [{"partition": 0}]}] if self.looks < 3 else []

    class Consumer:
        async def getmany(self, *, timeout_ms: int) -> dict[TopicPartition, Any]:
            await asyncio.sleep(0)
            return {}

        def partitions_for_topic(self, topic: str) -> None:
            return None

    monkeypatch.setattr("consumer.silences.reader.LOOK_SECONDS", 0)
    nobody: Any = None
    admin: Any = Admin()
    reader = SilenceReader(
        clients=nobody, admin=admin, topic="silences", backoff=nobody, changed=lambda: None, log=structlog.get_logger()
    )
    consumer: Any = Consumer()
    await asyncio.wait_for(reader._follow(consumer, [TopicPartition("silences", 0)]), 5)
    assert admin.looks == 3
