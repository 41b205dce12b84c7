"""What the repartition stage forwards, and to which partition (design section 7)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.config import parse_config
from consumer.dlq.dead_letter import DeadLetter
from consumer.events.event import TOMBSTONE
from consumer.kafka.partitioning import partition_of
from consumer.service.build import build_pipelines, build_repartition
from consumer.tasks.repartition.stage import Forward, Repartition
from consumer.timing.clock import Moment
from state.store import Store
from state.violation import Record
from tests.support.events import encode, event, session_end

BY_PROBLEM, BY_SESSION = "{guard}:{tenant_id}:{resource}", "{guard}:{session_id}"
ON_ALLOWED_EGRESS = "{on_events: [{event_type: policy_allow, guard: egress_allowlist}]}"


def stage_of(template: str, *, event_key: str = "none", auto_resolve: str = "{}") -> Repartition | None:
    text = f"""
        kafka: {{event_key: {event_key}}}
        exporters: {{alerting: {{pagerduty: {{routing_key: {"k" * 32}, auto_resolve: {auto_resolve},
            deduplication: {{key_template: "{template}"}}}}}}}}
    """
    config = parse_config(text, {}, lambda path: path)
    (pipeline,) = build_pipelines(config)
    return build_repartition(config, pipeline)


def decide(template: str, fields: dict[str, Any] | bytes | None, **options: Any) -> Any:
    stage = stage_of(template, **options)
    assert stage is not None
    value = encode(fields) if isinstance(fields, dict) else fields
    return stage.decide(Record("clawdstrike.events", 3, 7, 0, b"key", value, (("h", None),)))


# --- whether there is one


def test_a_pipeline_whose_events_meet_anyway_has_no_stage_and_reads_the_events() -> None:
    assert stage_of(BY_SESSION, event_key="session_id") is None
    assert stage_of(BY_PROBLEM, event_key="tenant_id") is None


@pytest.mark.parametrize(("template", "event_key"), [(BY_PROBLEM, "session_id"), (BY_SESSION, "none")])
def test_the_stage_stands_between_the_events_and_the_pipeline(template: str, event_key: str) -> None:
    stage = stage_of(template, event_key=event_key)
    assert stage is not None
    assert stage.name == "pagerduty-repartition"
    assert stage.group_id == "clawdstrike-alerting.pagerduty-repartition"
    assert stage.input_topic == "clawdstrike.events"
    assert stage.pipeline.input_topic == "clawdstrike.alerting.keyed.pagerduty"
    assert stage.positions_topic == "clawdstrike.alerting.keyed.pagerduty.positions"


# --- what is forwarded, and where to


def test_what_may_alert_is_forwarded_by_session_where_the_template_has_it_else_by_dedup_key() -> None:
    assert decide(BY_SESSION, event(session="s-1")) == Forward(b"s-1")
    assert decide(BY_PROBLEM, event(session="s-1")) == Forward(b"forbidden_path:acme-corp:/etc/shadow")


def test_a_key_that_the_template_renders_with_escapes_is_forwarded_as_it_is_rendered() -> None:
    assert decide(BY_PROBLEM, event(tenant="a:b", resource="ü%")) == Forward("forbidden_path:a%3Ab:ü%25".encode())


def test_the_end_of_a_session_is_forwarded_to_its_alerts_and_only_where_they_can_be_told() -> None:
    assert decide(BY_SESSION, session_end("s-1")) == Forward(b"s-1")
    assert decide(BY_PROBLEM, session_end("s-1")) is None
    assert decide(BY_SESSION, session_end("s-1"), auto_resolve="{on_session_end: false}") is None
    assert decide(BY_SESSION, session_end("s-1"), auto_resolve="{enabled: false}") is None


def test_what_ends_an_alert_by_its_key_is_forwarded_to_where_that_key_lives() -> None:
    allowed, denied = event(allowed=True, guard="egress_allowlist"), event(guard="egress_allowlist")
    for template in (BY_PROBLEM, BY_SESSION):
        end = decide(template, allowed, auto_resolve=ON_ALLOWED_EGRESS)
        assert end == decide(template, denied)
        assert isinstance(end, Forward)


@pytest.mark.parametrize("template", [BY_PROBLEM, BY_SESSION])
@pytest.mark.parametrize("fields", [event(allowed=True), event(severity="medium"), event(guard="x", severity="info")])
def test_what_concerns_nobody_is_not_forwarded(template: str, fields: dict[str, Any]) -> None:
    assert decide(template, fields) is None


def test_a_tombstone_is_skipped() -> None:
    assert decide(BY_PROBLEM, None) is TOMBSTONE


@pytest.mark.parametrize("spoilt", [b"{", b"", encode({**event(), "resource": None})])
def test_poison_is_a_dead_letter_of_the_pipeline_with_its_place_in_the_events(spoilt: bytes) -> None:
    letter = decide(BY_PROBLEM, spoilt)
    assert isinstance(letter, DeadLetter)
    assert (letter.provider, letter.stage, letter.retryable) == ("pagerduty", "decode", False)
    assert letter.record == Record("clawdstrike.events", 3, 7, 0, b"key", spoilt, (("h", None),))


def test_a_fault_of_ours_is_a_dead_letter_too() -> None:
    stage = stage_of(BY_PROBLEM)
    assert stage is not None
    letter = stage.undecidable(Record("clawdstrike.events", 0, 7, 0, b"key", b"v"), RuntimeError("x"))
    assert (letter.provider, letter.error_class, letter.record.offset) == ("pagerduty", "internal_error", 7)


_texts = st.text(max_size=6) | st.sampled_from(["", "default", ":", "%"])


@given(st.lists(st.tuples(_texts, _texts, _texts), min_size=2, max_size=6), st.sampled_from([BY_PROBLEM, BY_SESSION]))
def test_events_of_one_dedup_key_are_forwarded_to_one_key(values: list[tuple[str, str, str]], template: str) -> None:
    stage = stage_of(template)
    assert stage is not None
    to: dict[str, Forward] = {}
    for session, tenant, resource in values:
        made = event(session=session, tenant=tenant, resource=resource)
        record = Record("clawdstrike.events", 0, 0, 0, None, encode(made))
        decision, store = stage.decide(record), Store()
        stage.pipeline.decide(record, store, Moment(2e9, 0.0))
        if isinstance(decision, Forward):
            (dedup_key,) = store.keys()
            assert to.setdefault(dedup_key, decision) == decision


# --- the partition


@pytest.mark.parametrize(
    ("key", "murmur2"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
@pytest.mark.parametrize("partitions", [1, 6, 97, 2**31])
def test_the_partition_is_that_of_the_java_client(key: str, murmur2: int, partitions: int) -> None:
    """The hashes are those of Kafka's own ``UtilsTest.testMurmur2``; the sign bit is masked, as its producer does."""
    assert partition_of(key.encode(), partitions) == (murmur2 & 0x7FFFFFFF) % partitions
