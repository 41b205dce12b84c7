"""From bytes to an event, to poison, or to nothing (design section 4)."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from aiokafka.structs import ConsumerRecord
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from consumer.events.event import TOMBSTONE, Decoder, Poison, SecurityEvent, violation_of
from consumer.events.filter import End, EndRule, EndRules, Filter
from consumer.events.schema import epoch_seconds, read_gate
from state.violation import Record, Severity, Violation

MAX_EVENT_BYTES = 262_144
ENDS = EndRules(on_session_end=True, on_events=[EndRule(event_type="policy_allow", guard="posture", allowed=True)])
DECODER = Decoder(Filter(Severity.HIGH), ENDS, MAX_EVENT_BYTES)

FULL: dict[str, Any] = {
    "schema_version": "1.0.0",
    "event_id": "0190a6e4-7b3c-7c1d-9e3a-2f6b8d1c4e5f",
    "event_type": "forbidden_path",
    "event_category": "file",
    "timestamp": "2026-05-20T14:00:00.123456789Z",
    "ingested_at": "2026-05-20T14:00:00.5Z",
    "agent": {"id": "agent-7", "name": "coder", "version": "1.2.3", "type": "coding"},
    "session": {"id": "sess-1", "user_id": "alice", "tenant_id": "acme", "environment": "production"},
    "outcome": "failure",
    "action": "file_read",
    "threat": {"indicator": {"type": "file_path", "value": "/etc/shadow"}, "tactic": "credential_access"},
    "decision": {
        "allowed": False,
        "guard": "forbidden_path",
        "severity": "critical",
        "reason": "Access to forbidden path: /etc/shadow",
        "policy_hash": "sha256:0f1e",
        "ruleset": "strict",
    },
    "resource": {"type": "file", "name": "/etc/shadow", "path": "/etc/shadow", "host": "build-1", "port": 22},
    "metadata": {"nested": [1, {"deep": None}]},
    "labels": {"team": "platform"},
}
OPTIONAL = [
    "schema_version",
    "event_category",
    "ingested_at",
    "agent.name",
    "agent.version",
    "agent.type",
    "session.user_id",
    "session.tenant_id",
    "session.environment",
    "outcome",
    "action",
    "threat",
    "threat.indicator",
    "threat.tactic",
    "threat.technique",
    "decision.policy_hash",
    "decision.ruleset",
    "resource.path",
    "resource.host",
    "resource.port",
    "metadata",
    "labels",
]
REQUIRED = [
    "event_id",
    "event_type",
    "timestamp",
    "agent",
    "agent.id",
    "session",
    "session.id",
    "decision",
    "decision.allowed",
    "decision.guard",
    "decision.severity",
    "decision.reason",
    "resource",
    "resource.type",
    "resource.name",
    "threat.indicator.type",
    "threat.indicator.value",
]
ABSENT = object()


def event(**changes: Any) -> dict[str, Any]:
    """The full event with changes by path: ``__`` stands for a dot, ABSENT takes the field away."""
    changed: dict[str, Any] = json.loads(json.dumps(FULL))
    for path, value in changes.items():
        *way, name = path.split("__")
        place = changed
        for step in way:
            place = place[step]
        if value is ABSENT:
            place.pop(name, None)
        else:
            place[name] = value
    return changed


def record(value: Any, **changes: Any) -> Record:
    data = value if isinstance(value, bytes | None) else orjson.dumps(value)
    return replace(Record("t", 0, 1, 0, b"sess-1", data), **changes)


def decode(value: Any, decoder: Decoder = DECODER) -> Any:
    return decoder.decode(record(value))


def test_what_concerns_nobody_is_counted_by_the_reason() -> None:
    decoder = Decoder(Filter(Severity.HIGH, exclude_guards=["a"], include_event_types=["t"]), ENDS, MAX_EVENT_BYTES)

    def decided(**decision: Any) -> Any:
        event_type = decision.pop("event_type", "t")
        return decode({**FULL, "event_type": event_type, "decision": {**FULL["decision"], **decision}}, decoder)

    assert isinstance(decided(allowed=False, guard="b", severity="high"), SecurityEvent)
    nobodys: list[tuple[str, dict[str, Any]]] = [
        ("allowed", {"allowed": True}),
        ("allowed", {"allowed": True, "severity": "of a later engine"}),
        ("severity", {"allowed": False, "severity": "low"}),
        ("guard", {"allowed": False, "severity": "high", "guard": "a"}),
        ("event_type", {"allowed": False, "severity": "high", "guard": "b", "event_type": "other"}),
    ]
    for number, (reason, decision) in enumerate(nobodys, 1):
        before = dict(decoder.ignored)
        assert decided(**decision) is None
        assert {one for one, count in decoder.ignored.items() if count > before[one]} == {reason}
        assert sum(decoder.ignored.values()) == number
    assert isinstance(decided(allowed=True, event_type="session_end"), SecurityEvent), "it ends a session"
    assert sum(decoder.ignored.values()) == number


def test_a_denial_that_passes_the_filter_is_alertable() -> None:
    match decode(FULL):
        case SecurityEvent() as decoded:
            pass
    assert decoded.alertable
    assert decoded.ends is None
    assert decoded.event_id == FULL["event_id"]
    assert decoded.time == pytest.approx(1779285600.123456789, abs=1e-6)
    assert (decoded.event_type, decoded.guard, decoded.severity) == (
        "forbidden_path",
        "forbidden_path",
        Severity.CRITICAL,
    )
    assert (decoded.session_id, decoded.user_id, decoded.tenant_id) == ("sess-1", "alice", "acme")
    assert (decoded.agent_id, decoded.environment, decoded.ruleset) == ("agent-7", "production", "strict")
    assert (decoded.resource_type, decoded.resource_name, decoded.labels) == (
        "file",
        "/etc/shadow",
        {"team": "platform"},
    )


def test_what_a_notification_needs_is_in_the_violation() -> None:
    expected = Violation(
        event_id="0190a6e4-7b3c-7c1d-9e3a-2f6b8d1c4e5f",
        event_type="forbidden_path",
        timestamp="2026-05-20T14:00:00.123456789Z",
        guard="forbidden_path",
        severity=Severity.CRITICAL,
        reason="Access to forbidden path: /etc/shadow",
        allowed=False,
        agent_id="agent-7",
        session_id="sess-1",
        resource_type="file",
        resource_name="/etc/shadow",
        user_id="alice",
        tenant_id="acme",
        environment="production",
        policy_hash="sha256:0f1e",
        ruleset="strict",
        action="file_read",
        resource_path="/etc/shadow",
        resource_host="build-1",
        resource_port=22,
        labels={"team": "platform"},
    )
    assert decode(FULL).violation() == expected
    assert violation_of(record(FULL)) == expected


def test_aiokafka_records_decode_as_ours_do() -> None:
    value = orjson.dumps(FULL)
    theirs = ConsumerRecord("t", 0, 1, 0, 0, b"sess-1", value, None, 6, len(value), (("trace", b"1"),))
    decoded = DECODER.decode(theirs)
    assert isinstance(decoded, SecurityEvent)
    assert decoded.violation() == decode(FULL).violation()


@pytest.mark.parametrize(
    "value",
    [
        event(decision__allowed=True),
        event(decision__severity="medium"),
        event(decision__allowed=True, decision__severity="unheard-of"),
        {"event_type": "x", "decision": {"allowed": True, "severity": "info", "guard": "g"}},
    ],
)
def test_what_concerns_nobody_is_done_unvalidated(value: Any) -> None:
    assert decode(value) is None


def test_a_tombstone_is_its_own_answer() -> None:
    assert decode(None) is TOMBSTONE


@pytest.mark.parametrize(
    ("value", "ends", "alertable"),
    [
        (event(event_type="session_end", decision__allowed=True), End.SESSION, False),
        (event(event_type="session_end", decision__severity="info"), End.SESSION, False),
        (event(event_type="session_end"), End.SESSION, True),
        (event(event_type="policy_allow", decision__guard="posture", decision__allowed=True), End.KEY, False),
    ],
)
def test_an_event_that_ends_alerts_is_decoded_whatever_its_decision(value: Any, ends: End, alertable: bool) -> None:
    decoded = decode(value)
    assert (decoded.ends, decoded.alertable) == (ends, alertable)


def test_without_rules_nothing_ends() -> None:
    for rules in (None, EndRules()):
        decoder = Decoder(Filter(), rules, MAX_EVENT_BYTES)
        assert decode(event(event_type="session_end", decision__allowed=True), decoder) is None


@pytest.mark.parametrize("path", OPTIONAL)
@pytest.mark.parametrize("lacking", [ABSENT, None])
def test_optional_fields_may_be_absent_or_null(path: str, lacking: object) -> None:
    decoded = decode(event(**{path.replace(".", "__"): lacking}))
    assert isinstance(decoded, SecurityEvent)
    decoded.violation()
    assert dict(decoded.labels) == ({} if path == "labels" else {"team": "platform"})


def test_unknown_fields_and_words_are_accepted() -> None:
    value = event(surprise=[1], decision__surprise=1, event_type="brand_new", event_category="new", outcome="new")
    assert isinstance(decode(value), SecurityEvent)
    assert isinstance(decode(event(threat={})), SecurityEvent)


@pytest.mark.parametrize("path", REQUIRED)
def test_a_missing_field_is_poison_with_its_path(path: str) -> None:
    poison = decode(event(**{path.replace(".", "__"): ABSENT}))
    event_id = None if path == "event_id" else FULL["event_id"]
    assert poison == Poison(path, "Field required", "missing_field", event_id)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (path, wrong)
        for path in REQUIRED + OPTIONAL
        for wrong in (1.5, [None], {"a": True})
        if not (path in ("metadata", "threat") and isinstance(wrong, dict))  # there any object is right
    ],
)
def test_a_field_of_the_wrong_type_is_poison_with_its_path(path: str, wrong: Any) -> None:
    poison = decode(event(**{path.replace(".", "__"): wrong}))
    assert isinstance(poison, Poison)
    assert poison.path == path or poison.path.startswith(f"{path}.")
    assert poison.error_class in ("wrong_type", "missing_field", "invalid_value")


@pytest.mark.parametrize(
    ("value", "path", "error_class"),
    [
        (event(decision__severity="urgent"), "decision.severity", "invalid_value"),
        (event(decision__severity="CRITICAL"), "decision.severity", "invalid_value"),
        (event(decision__severity=None), "decision.severity", "wrong_type"),
        (event(decision__allowed=0), "decision.allowed", "wrong_type"),
        (event(decision__allowed="false"), "decision.allowed", "wrong_type"),
        (event(decision__allowed=True, decision__severity=3), "decision.severity", "wrong_type"),
        (event(decision=None), "decision", "wrong_type"),
        (event(event_type=["policy_violation"]), "event_type", "wrong_type"),
        (event(event_id=""), "event_id", "invalid_value"),
        (event(timestamp="yesterday"), "timestamp", "invalid_value"),
        (event(timestamp=1779285600), "timestamp", "wrong_type"),
        (event(labels={"team": 1}), "labels.team", "wrong_type"),
        (event(resource__port=True), "resource.port", "wrong_type"),
        (event(resource__port="22"), "resource.port", "wrong_type"),
        ([FULL], "", "wrong_type"),
        ("text", "", "wrong_type"),
        (b"null", "", "wrong_type"),
        (b"1e400", "", "not_json"),
        (b"", "", "empty"),
        (b" \n", "", "empty"),
        (b"{", "", "not_json"),
        (b"\0\0\0", "", "not_json"),
        (b'{"decision": NaN}', "", "not_json"),
        (b'"\\ud800"', "", "not_json"),
        (b"[" * 100_000, "", "not_json"),
        (b'{"a":' * 50_000, "", "not_json"),
        (b'{"decision": Infinity}', "", "not_json"),
        (b'{"event_type": "\\ud800"}', "", "not_json"),
        (b'{"event_type": "\xed\xa0\x80"}', "", "not_utf8"),
        (event(decision__severity="x" * 200_000), "decision.severity", "invalid_value"),
        (event(timestamp="9" * 200_000), "timestamp", "invalid_value"),
        (event(timestamp="10000-01-01T00:00:00Z"), "timestamp", "invalid_value"),
        (json.dumps(event(resource__port=10**400)).encode(), "", "not_json"),
        (json.dumps(event(resource__port=10**30)).encode(), "resource.port", "wrong_type"),
        (b"\xef\xbb\xbf{}", "", "not_json"),
        (b'{"a": "\xff"}', "", "not_utf8"),
        (json.dumps(FULL).encode("utf-16"), "", "not_utf8"),
        (json.dumps(FULL).encode("utf-16-le"), "", "not_json"),
        (b"x" * (MAX_EVENT_BYTES + 1), "", "too_large"),
    ],
)
def test_poison_says_what_is_wrong_and_where(value: Any, path: str, error_class: str) -> None:
    poison = decode(value)
    assert isinstance(poison, Poison)
    assert (poison.path, poison.error_class) == (path, error_class)


def test_a_denial_of_unknown_severity_is_poison_even_if_its_guard_is_excluded() -> None:
    decoder = Decoder(Filter(exclude_guards=["forbidden_path"]), None, MAX_EVENT_BYTES)
    poison = decode(event(decision__severity="urgent"), decoder)
    assert poison.reason == "a denial of unknown severity: 'urgent'"


def test_key_and_headers_count_towards_the_size() -> None:
    value = orjson.dumps(FULL)
    decoder = Decoder(Filter(), None, len(value) + 10)
    assert isinstance(decoder.decode(record(value, key=b"k" * 10)), SecurityEvent)
    headers = (("name", b"v" * 7), ("n", None))
    for over in (record(value, key=b"k" * 11), record(value, key=None, headers=headers)):
        assert isinstance(decoder.decode(over), Poison)


@pytest.mark.parametrize(
    "value",
    [
        event(timestamp="\x1b[2J\n" * 1000),
        event(decision__severity="é\u202e\0" * 1000),
        event(labels={"\n" * 1000: 1}),
        event(event_id="\r\n" * 1000, timestamp=""),
    ],
)
def test_poison_is_bounded_and_fit_for_logs(value: Any) -> None:
    poison = decode(value)
    for text in (poison.path, poison.reason, poison.event_id):
        assert len(text) < 200
        assert text.isprintable()


@pytest.mark.parametrize("value", [None, b"{", b"[]", event(timestamp="x"), event(session=ABSENT)])
def test_a_kept_record_without_a_valid_event_is_an_error(value: Any) -> None:
    with pytest.raises(ValueError, match="no event: "):
        violation_of(record(value))


NASTY = {
    "1 MB": "x" * 1_000_000,
    "1 MB of escapes": "\0\x1b\u202e\U0001f600" * 100_000,
    "null bytes": "a\0b",
    "deep": json.loads("[" * 900 + "]" * 900),
    "a huge integer": 10**30,
    "1 ns": "1970-01-01T00:00:00.000000001Z",
    "year 9999": "9999-12-31T23:59:59.999999999Z",
    "year 1": "0001-01-01T00:00:00Z",
}


@pytest.mark.parametrize("nasty", NASTY.values(), ids=NASTY)
@pytest.mark.parametrize("path", [*REQUIRED, *OPTIONAL, "labels.team", "labels.new", "unknown"])
def test_a_nasty_value_anywhere_is_done_or_valid_or_poison(path: str, nasty: Any) -> None:
    value = json.dumps(event(**{path.replace(".", "__"): nasty})).encode()
    assert_total(value, Decoder(Filter(), ENDS, 16 << 20))


def test_of_a_key_that_is_there_twice_the_last_counts_in_both_readings() -> None:
    """As in the filter's first look so in the whole event: a denial cannot hide behind an allowed one."""
    whole = orjson.dumps(FULL)
    allowed = whole.replace(b'"allowed":false', b'"allowed":false,"allowed":true')
    denied = whole.replace(b'"allowed":false', b'"allowed":true,"allowed":false')
    assert decode(allowed) is None
    assert decode(denied).violation().allowed is False
    two_decisions = whole[:-1] + b',"decision":{"allowed":true,"guard":"g","severity":"info"}}'
    assert decode(two_decisions) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01T00:00:00z", 0.0),
        ("1970-01-01t00:00:00.5Z", 0.5),
        ("1970-01-01 00:00:00.000000001Z", 1e-9),
        ("1970-01-01T02:00:00+02:00", 0.0),
        ("1969-12-31T18:30:00-05:30", 0.0),
        ("1970-01-01T00:00:00-00:00", 0.0),
        ("2024-02-29T00:00:00Z", 1709164800.0),
        ("2016-12-31T23:59:60Z", 1483228799.999999),
        ("2016-12-31T23:59:60.9Z", 1483228799.999999),
        ("9999-12-31T23:59:59-23:59", 253402387139.0),
        ("0001-01-01T00:00:00+23:59", -62135683140.0),
    ],
)
def test_reads_times(text: str, seconds: float) -> None:
    assert epoch_seconds(text) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-05-20",
        "2026-05-20T14:00:00",
        "2026-05-20T14:00Z",
        "2026-02-30T14:00:00Z",
        "2026-13-01T14:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-05-20T24:00:00Z",
        "2026-05-20T14:60:00Z",
        "2026-05-20T14:00:61Z",
        "2026-05-20T14:00:00.Z",
        "2026-05-20T14:00:00.1234567890Z",
        "2026-05-20T14:00:00,5Z",
        "2026-05-20T14:00:00+24:00",
        "2026-05-20T14:00:00+02",
        "2026-05-20T14:00:00Z\n",
        "٢٠٢٦-05-20T14:00:00Z",
        "+2026-05-20T14:00:00Z",
    ],
)
def test_refuses_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        epoch_seconds(text)
    assert decode(event(timestamp=text)).path == "timestamp"


@given(st.datetimes(), st.integers(-1439, 1439))
def test_reads_times_as_datetime_does(local: datetime, minutes: int) -> None:
    aware = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    expected = (local.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() - minutes * 60
    assert epoch_seconds(aware.isoformat()) == pytest.approx(expected, abs=1e-4)


def assert_total(value: bytes, decoder: Decoder = DECODER) -> None:
    match decode(value, decoder):
        case None:
            pass
        case Poison() as poison:
            assert len(poison.path) <= 80
            assert poison.reason.isprintable()
            assert len(poison.reason) < 250
        case SecurityEvent() as decoded:
            assert decoded.alertable or decoded.ends
            assert decoded.violation() == violation_of(record(value))
        case other:
            pytest.fail(f"neither done nor event nor poison: {other}")


@given(st.binary())
def test_any_bytes_are_done_or_poison(value: bytes) -> None:
    assert_total(value)


NUMBERS = st.integers() | st.floats()
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PATHS = st.sampled_from(REQUIRED + OPTIONAL + ["event_type", "labels.team", "unknown"])


@given(JSON)
def test_any_json_is_done_or_poison(value: Any) -> None:
    assert_total(json.dumps(value).encode())


@given(st.dictionaries(PATHS, st.just(ABSENT) | JSON | st.sampled_from(["session_end", "low", True]), max_size=3))
def test_an_event_with_anything_anywhere_is_done_or_valid_or_poison(changes: dict[str, Any]) -> None:
    changed = event()
    for path, value in changes.items():
        *way, name = path.split(".")
        place: Any = changed
        for step in way:
            place = place.get(step) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place.pop(name, None) if value is ABSENT else place.update({name: value})
    assert_total(json.dumps(changed).encode())


@given(st.data())
def test_a_damaged_event_is_done_or_valid_or_poison(data: st.DataObject) -> None:
    value = bytearray(orjson.dumps(FULL))
    places = st.integers(0, len(value) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        value[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.just(len(value)) | places)
    assert_total(bytes(value[:end]))


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


KEYS = st.sampled_from(["event_type", "decision", "allowed", "guard", "severity", "other", "Decision", "event_type "])
SPELLED = st.tuples(KEYS, st.booleans()).map(lambda it: f'"{_escaped(it[0]) if it[1] else it[0]}"')
SCALARS = st.one_of(
    st.sampled_from(["true", "false", "null", "1", "0", "-0.0", "1e400", "NaN", "12345678901234567890123", '"high"']),
    st.sampled_from(
        ['"critical"', '"g"', '"session_end"', '"\\u0068igh"', '"\\ud800"', '"\\ud83d\\ude00"', "[]", "{}"]
    ),
    st.text(max_size=4).map(json.dumps),
)
RAW = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: f"[{','.join(values)}]")
        | st.lists(st.tuples(SPELLED, inner), max_size=6).map(
            lambda pairs: "{" + ",".join(f"{key} : {value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=16,
)
DECISIONS = st.lists(
    st.sampled_from(
        ['"allowed":true', '"allowed":false', '"allowed":1', '"guard":"g"', '"severity":"high"', '"severity":"odd"']
    ),
    max_size=6,
).map(lambda fields: "{" + ",".join(['"allowed":true,"guard":"g","severity":"info"', *fields]) + "}")
EVENTS = st.lists(
    st.tuples(st.just('"decision"'), DECISIONS) | st.tuples(st.just('"event_type"'), SCALARS) | st.tuples(SPELLED, RAW),
    max_size=5,
).map(lambda pairs: "{" + ",".join([f"{key}:{value}" for key, value in [('"event_type"', '"x"'), *pairs]]) + "}")


@given(EVENTS | RAW)
@example(
    '{"event_type":"x","decision":{"allowed":true,"guard":"g","severity":"info"},"deep":'
    + "[" * 3000
    + "]" * 3000
    + "}"
)
def test_the_gate_reads_what_the_whole_event_says(text: str) -> None:
    """Twice the same key, escapes, numbers, NaN, depth: what the gate reads is what parsing the whole finds."""
    value = text.encode()
    try:
        whole = orjson.loads(value)
    except orjson.JSONDecodeError:
        return  # it concerns nobody, or it is poison
    gate = read_gate(value)
    if isinstance(gate, Poison):
        return
    decision = whole["decision"]
    assert (gate.event_type, gate.decision.allowed) == (whole["event_type"], decision["allowed"])
    assert (gate.decision.guard, gate.decision.severity) == (decision["guard"], decision["severity"])


def test_what_the_gate_does_not_read_need_not_be_valid_in_an_event_that_concerns_nobody() -> None:
    whole = orjson.dumps(FULL).replace(b'"allowed":false', b'"allowed":true')
    assert decode(whole.replace(b'"reason":"', b'"reason":"\xff')) is None
    broken = decode(orjson.dumps(FULL).replace(b'"reason":"', b'"reason":"\xff'))
    assert isinstance(broken, Poison)
    assert broken.error_class == "not_utf8"


# --- what is told as a change

CHANGES = Decoder(Filter(Severity.HIGH), ENDS, MAX_EVENT_BYTES, changes=("configuration", "session"))


def allowed(category: Any, event_type: str = "policy_allow", guard: str = "engine") -> dict[str, Any]:
    decision = {**FULL["decision"], "allowed": True, "guard": guard, "severity": "info"}
    return {**FULL, "event_category": category, "event_type": event_type, "decision": decision}


def decoded(decoder: Decoder, fields: dict[str, Any]) -> SecurityEvent | None:
    found = decoder.decode(Record("t", 0, 0, 0, b"k", orjson.dumps(fields)))
    assert found is None or isinstance(found, SecurityEvent)
    return found


def test_an_allowed_event_of_a_category_is_a_change_and_concerns_no_alert() -> None:
    event = decoded(CHANGES, allowed("configuration"))
    assert event is not None
    assert (event.is_change, event.alertable, event.ends, event.concerns_alerts) == (True, False, None, False)
    assert event.violation().allowed


@pytest.mark.parametrize("category", ["network", "", None, 7, ["configuration"], {"configuration": 1}, True])
def test_one_of_another_category_or_of_none_is_not(category: Any) -> None:
    assert decoded(CHANGES, allowed(category)) is None
    assert decoded(CHANGES, {name: value for name, value in allowed("x").items() if name != "event_category"}) is None


def test_one_that_ends_an_alert_is_both() -> None:
    event = decoded(CHANGES, allowed("session", "session_end"))
    assert event is not None
    assert (event.is_change, event.ends, event.concerns_alerts) == (True, End.SESSION, True)
    other = decoded(CHANGES, allowed("file", "session_end"))
    assert other is not None
    assert (other.is_change, other.ends) == (False, End.SESSION)


def test_a_denial_is_no_change() -> None:
    event = decoded(CHANGES, {**FULL, "event_category": "configuration"})
    assert event is not None
    assert (event.is_change, event.alertable) == (False, True)
    low = {**FULL["decision"], "severity": "low"}
    assert decoded(CHANGES, {**FULL, "event_category": "configuration", "decision": low}) is None


def test_a_change_that_is_not_valid_in_full_is_passed_over_and_no_poison() -> None:
    decoder = Decoder(Filter(Severity.HIGH), None, MAX_EVENT_BYTES, changes=("configuration",))
    assert decoded(decoder, {**allowed("configuration"), "timestamp": "yesterday"}) is None
    assert decoder.ignored["allowed"] == 1


def test_without_changes_nothing_more_of_an_event_is_read() -> None:
    assert decoded(DECODER, allowed("configuration")) is None
    assert (
        DECODER.decode(Record("t", 0, 0, 0, b"k", orjson.dumps(allowed(None))[:-1] + b',"event_category":1e400}'))
        is None
    )
