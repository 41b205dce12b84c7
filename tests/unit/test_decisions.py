"""What a record of the input comes to: an example of each kind."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from consumer.config import parse_config
from consumer.deciding.decisions import (
    EMPTIED,
    SUPPRESSED,
    BelongsElsewhere,
    Counted,
    DeadLettered,
    Ended,
    Silenced,
    Triggered,
)
from consumer.deciding.pipeline import Pipeline, kept
from consumer.dlq.dead_letter import DeadLetterStage
from consumer.service.build import build_pipelines
from consumer.silences.known import KnownSilences
from consumer.silences.silence import Match, Silence
from consumer.timing.clock import Moment
from state.answers import trigger_accepted
from state.due import due
from state.held import is_silenced
from state.remembered_ends import End, session
from state.store import Store
from state.violation import Record, Severity
from tests.support.events import encode, event, session_end

NOW = 1_800_000_000.0
KEY = "forbidden_path:s1"


@pytest.fixture
def pipeline() -> Pipeline:
    section = f"{{routing_key: {'k' * 32}, auto_resolve: {{on_session_end: true}}}}"
    text = f"exporters: {{alerting: {{pagerduty: {section}}}}}\ndelivery: {{max_event_age: 1h}}"
    (made,) = build_pipelines(parse_config(text, {}, lambda path: path))
    return made


@pytest.fixture
def store() -> Store:
    return Store()


def record(fields: dict[str, Any] | bytes | None, offset: int = 7) -> Record:
    """A record of the input, of now."""
    value = encode(fields) if isinstance(fields, dict) else fields
    return Record("clawdstrike.events", 0, offset, int(NOW * 1000), b"s1", value)


def denied(severity: str = "high", at: float = NOW) -> dict[str, Any]:
    """A denial in session s1."""
    return event(session="s1", severity=severity, at=at)


def decide(pipeline: Pipeline, store: Store, one: Record, elsewhere: Any = None) -> Any:
    """What the record comes to at this moment."""
    return pipeline.decide(one, store, Moment(NOW, 0.0), None, elsewhere)


SILENCE = Silence("s", "all", Match({"guard": "forbidden_path"}), "known", "me", NOW, NOW - 60, NOW + 60)


@pytest.mark.parametrize(("scope", "is_silent"), [("all", True), ("pagerduty", True), ("opsgenie", False)])
def test_a_silenced_event_of_this_provider_tells_nobody(
    pipeline: Pipeline, store: Store, scope: str, is_silent: bool
) -> None:
    silent = dataclasses.replace(pipeline, silences=KnownSilences([dataclasses.replace(SILENCE, scope=scope)]))
    decision = decide(silent, store, record(denied()))
    alert = store.get(KEY)
    assert alert is not None
    assert is_silenced(alert) is is_silent
    assert list(store.silenced()) == [KEY] * is_silent
    assert list(store.owing()) == [KEY] * (not is_silent)
    if is_silent:
        assert decision == Silenced(alert=alert, silences=("s",), news=("s",))
        assert alert.integration is not None, "that of its first event"
        assert not store.is_held(KEY), "the next checkpoint writes it"


def test_it_is_silenced_by_the_time_of_its_record(pipeline: Pipeline, store: Store) -> None:
    over = dataclasses.replace(pipeline, silences=KnownSilences([dataclasses.replace(SILENCE, expires_at=NOW)]))
    assert isinstance(decide(over, store, record(denied(at=NOW - 30))), Triggered)


def test_a_silenced_event_is_counted_into_what_the_provider_has(pipeline: Pipeline, store: Store) -> None:
    decide(pipeline, store, record(denied()))
    accepted(pipeline, store)
    silent = dataclasses.replace(
        pipeline, silences=KnownSilences([dataclasses.replace(SILENCE, include_critical=True)])
    )
    assert isinstance(decide(silent, store, record(denied("critical"), 8)), Silenced)
    alert = store.get(KEY)
    assert alert is not None
    assert (alert.occurrences, due(alert), store.silenced_count) == (2, None, 0)


def accepted(pipeline: Pipeline, store: Store) -> None:
    """The provider has accepted the trigger that the alert owes."""
    alert = store.get(KEY)
    assert alert is not None
    assert alert.owed is not None
    store.put(trigger_accepted(alert, alert.owed, pipeline.provider.routes[0], None, NOW))


def test_what_concerns_nobody_comes_to_nothing(pipeline: Pipeline, store: Store) -> None:
    assert decide(pipeline, store, record(event(session="s1", allowed=True))) is None


def test_the_first_denial_triggers(pipeline: Pipeline, store: Store) -> None:
    first = record(denied())
    triggered = decide(pipeline, store, first)
    assert isinstance(triggered, Triggered)
    assert triggered.alert is store.get(KEY)
    assert triggered.event is not None, "its record is what is owed"


@pytest.mark.parametrize(("severity", "is_owed"), [("high", False), ("critical", True)])
def test_another_is_counted_into_what_is_owed(severity: str, is_owed: bool, pipeline: Pipeline, store: Store) -> None:
    decide(pipeline, store, record(denied()))
    counted = decide(pipeline, store, record(denied(severity), offset=8))
    assert isinstance(counted, Counted)
    assert (counted.event is not None) == is_owed
    assert counted.alert.owed is not None
    assert counted.alert.owed.record.offset == (8 if is_owed else 7)


def test_one_that_the_provider_has_is_suppressed(pipeline: Pipeline, store: Store) -> None:
    decide(pipeline, store, record(denied()))
    accepted(pipeline, store)
    assert decide(pipeline, store, record(denied(), offset=8)) is SUPPRESSED


def test_the_end_of_a_session_ends_its_alerts(pipeline: Pipeline, store: Store) -> None:
    decide(pipeline, store, record(denied()))
    ended = decide(pipeline, store, record(session_end("s1") | {"timestamp": denied()["timestamp"]}, offset=8))
    assert isinstance(ended, Ended)
    assert list(ended.dedup_keys) == [KEY]
    assert ended.end == End(session("s1"), NOW, b"s1")
    assert store.get(KEY) is not None, "whoever applies it ends them"


def test_poison_is_dead_lettered(pipeline: Pipeline, store: Store) -> None:
    decided = decide(pipeline, store, record(b"{"))
    assert isinstance(decided, DeadLettered)
    assert decided.dead_letter.stage is DeadLetterStage.DECODE


def test_what_is_too_old_to_page_anybody_is_dead_lettered(pipeline: Pipeline, store: Store) -> None:
    old = record(denied(at=NOW - 7200))
    decided = decide(pipeline, store, old)
    assert isinstance(decided, DeadLettered)
    assert (decided.dead_letter.stage, decided.dead_letter.retryable) == (DeadLetterStage.STALE, True)


def test_what_a_fault_makes_undecidable_is_dead_lettered(pipeline: Pipeline) -> None:
    decided = pipeline.undecidable(record(denied()), ZeroDivisionError())
    assert (decided.dead_letter.stage, decided.dead_letter.error) == (
        DeadLetterStage.DECIDE,
        "internal error: ZeroDivisionError",
    )


def test_what_another_task_is_to_decide_belongs_elsewhere(pipeline: Pipeline, store: Store) -> None:
    one = record(denied())
    elsewhere = SimpleNamespace(forwards=lambda key: key == b"s1")
    assert decide(pipeline, store, one, elsewhere) == BelongsElsewhere(record=kept(one), home_key=b"s1")
    assert list(store.keys()) == []


def test_a_record_without_a_value_is_emptied(pipeline: Pipeline, store: Store) -> None:
    assert decide(pipeline, store, record(None)) is EMPTIED


def test_a_denied_info_counts_as_configured_wherever_its_severity_counts(store: Store) -> None:
    text = f"""
    exporters:
      alerting:
        treat_denied_info_as: critical
        pagerduty:
          routing_key: {"k" * 32}
          routing: {{by_severity: {{critical: {"c" * 32}}}}}
          deduplication: {{key_template: "{{guard}}:{{session_id}}:{{severity}}"}}
    """
    (pipeline,) = build_pipelines(parse_config(text, {}, lambda path: path))
    provider, routed = pipeline.provider, pipeline.provider.integration_of("by_severity:critical")
    assert routed != provider.integration_of("default")
    triggered = decide(pipeline, store, record(denied("info")))
    assert isinstance(triggered, Triggered)
    alert = triggered.alert
    assert alert.owed is not None
    assert (alert.dedup_key, alert.owed.severity, alert.integration) == (f"{KEY}:critical", Severity.CRITICAL, routed)
    # What an earlier release has written down without its integration goes where it would go now.
    written = replace(alert, integration=None, route=None)
    assert pipeline.placed(written).integration == routed
