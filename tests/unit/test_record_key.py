"""Records that are not keyed as ``kafka.event_key`` says: counted, warned of once, noted in readiness (design
section 7)."""

from dataclasses import replace
from typing import Any

import pytest

from consumer.config import parse_config
from consumer.events.record_key import KeyWatch, RecordKey, UnexpectedKey
from consumer.service.build import build_pipelines
from consumer.timing.clock import Moment
from state.occurrences import Outcome
from state.store import Store
from state.violation import Record
from tests.support.events import encode, event, session_end

NOW = Moment(1_800_000_000.0, 0.0)


@pytest.mark.parametrize(
    ("key", "unexpected"),
    [
        (b"sess-1", None),
        (b'"sess-1"', None),  # as JSON
        (None, UnexpectedKey(None, "sess-1")),
        (b"", UnexpectedKey(b"", "sess-1")),
        (b"agent-7", UnexpectedKey(b"agent-7", "sess-1")),
        (b"\xff", UnexpectedKey(b"\xff", "sess-1")),
    ],
)
def test_the_key_of_a_record(key: bytes | None, unexpected: UnexpectedKey | None) -> None:
    (pipeline,) = pipelines("session_id")
    for fields in (event(session="sess-1"), event(session="sess-1", severity="critical"), session_end("sess-1")):
        decision = pipeline.decide(Record("events", 0, 7, 0, key, encode(fields)), Store(), NOW)
        assert decision.unexpected_key == unexpected
    ignored = event(session="sess-1", severity="low")
    assert pipeline.decide(Record("events", 0, 7, 0, key, encode(ignored)), Store(), NOW) is None


def test_it_changes_no_decision() -> None:
    (pipeline,) = pipelines("session_id")
    store = Store()
    outcomes = []
    for offset, key in enumerate([b"sess-1", None, b"other"]):
        decision = pipeline.decide(Record("events", 0, offset, 0, key, encode(event(session="sess-1"))), store, NOW)
        outcomes.append((decision.outcome, decision.unexpected_key is not None))
    assert outcomes == [(Outcome.TRIGGERED, False), (Outcome.COUNTED, True), (Outcome.COUNTED, True)]


@pytest.mark.parametrize("key", [b"anything", None])
def test_an_event_that_lacks_the_field_says_nothing_about_a_key_but_that_there_is_none(key: bytes | None) -> None:
    (pipeline,) = pipelines("tenant_id", "{guard}:{tenant_id}")
    fields = event(session="sess-1")
    fields["session"].pop("tenant_id", None)
    decision = pipeline.decide(Record("events", 0, 0, 0, key, encode(fields)), Store(), NOW)
    assert decision.unexpected_key == (None if key else UnexpectedKey(None, None))


@pytest.mark.parametrize("event_key", ["none", "agent_id"])
def test_behind_a_stage_nobody_asks(event_key: str) -> None:
    (pipeline,) = pipelines(event_key)
    assert pipeline.record_key is None


def pipelines(event_key: str, template: str = "{guard}:{session_id}") -> Any:
    return build_pipelines(
        parse_config(
            f"kafka: {{event_key: {event_key}}}\nexporters: {{alerting: {{pagerduty: {{routing_key: {'k' * 32}, "
            f"deduplication: {{key_template: '{template}'}}}}}}}}",
            {},
            lambda path: path,
        )
    )


class Heard:
    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.counted = 0

    def warning(self, name: str, **fields: Any) -> None:
        self.said.append((name, fields))

    def unexpected_key(self) -> None:
        self.counted += 1


@pytest.fixture
def watch() -> tuple[KeyWatch, Heard]:
    heard: Any = Heard()
    return KeyWatch("session_id", heard, heard), heard


def test_all_are_counted_and_one_is_told(watch: tuple[KeyWatch, Heard]) -> None:
    keys, heard = watch
    assert keys.note is None
    for offset in range(5):
        keys.saw(3, 40 + offset, UnexpectedKey(b"agent-7", "sess-1"))
    assert heard.counted == 5
    assert heard.said == [
        (
            "record_key_unexpected",
            {"partition": 3, "offset": 40, "key": "agent-7", "expected": "sess-1", "event_key": "session_id"},
        )
    ]
    assert keys.note == (
        "5 records were not keyed by session_id, as kafka.event_key says, so one problem can be told several times "
        "(the first: partition 3, offset 40: agent-7 instead of sess-1)"
    )


@pytest.mark.parametrize("key", [None, b"\xff" * 100_000, b"x" * 100_000])
def test_hostile_keys_are_shown_short(watch: tuple[KeyWatch, Heard], key: bytes | None) -> None:
    keys, heard = watch
    keys.saw(0, 0, UnexpectedKey(key, "y" * 100_000))
    assert len(keys.note or "") < 800
    assert len(str(heard.said)) < 800


def test_a_field_of_the_labels_can_be_the_key() -> None:
    key = RecordKey("label.team")
    (pipeline,) = pipelines("session_id")
    decoded = pipeline.decoder.decode(Record("events", 0, 0, 0, None, encode(event(labels={"team": "a"}))))
    assert key.check(decoded, b"a") is None
    assert key.check(decoded, b"b") == UnexpectedKey(b"b", "a")
    assert replace(UnexpectedKey(b"b", "a"), found=None) == key.check(decoded, None)
