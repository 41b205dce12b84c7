"""The history of an alert: each step once, with what it says, in the checkpoint of its change (design section 21)."""

import asyncio
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import orjson
import pytest
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, TopicAuthorizationFailedError
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from consumer.history.step import SCHEMA, CloudEvents, NoStep, Reason, Step, StepKind, decode, encode, schema
from consumer.history.steps import STEP_BYTES, StepsCut, TaskSteps, actor_of, kept_actor
from consumer.history.topic import HistoryTopic
from consumer.kafka.batches import Outgoing
from consumer.kafka.record_clock import RecordClock
from consumer.kafka.transaction import TransactionRefused
from consumer.tasks.partition.checkpoint import Checkpoint, Sink, step_records
from consumer.telemetry.families import PREFIX
from consumer.telemetry.metrics import STEPS, Metrics
from consumer.telemetry.state_metrics import PipelineState
from consumer.timing.clock import Clock
from state.acknowledging import acknowledge
from state.alert import Alert, Ending, LastStep, Owed, last_step_of
from state.answers import overflowed, trigger_accepted, trigger_refused
from state.joined import joined
from state.occurrences import Occurrence, occurred
from state.over import over
from state.records import Position, decode_alert, encode_alert
from state.remembered_ends import session
from state.store import Cut
from state.violation import Record, Severity, Violation
from tests.support.dead_letter_writer import large_dead_letter_writer
from tests.support.history import POLICY, schema_of_step, task_steps, topic_there

EPOCH = 1_800_000_000.0

VIOLATION = Violation(
    "e-1", "policy_violation", "2027-01-15T08:00:00Z", "egress", Severity.HIGH, "no", False, "agent", "s", "host", "h",
    tenant_id="acme", policy_hash="sha256:1", ruleset="strict",
)  # fmt: skip


def event(offset: int = 0, severity: Severity = Severity.HIGH, time: float = EPOCH) -> Occurrence:
    record = Record("events", 2, offset, int(time * 1000), b"s", b"{}")
    return Occurrence(severity, time, record, guard="egress", tenant="acme")


def after(alert: Alert | None, at: float, offset: int = 0, severity: Severity = Severity.HIGH) -> Alert:
    return occurred(alert, "k", "s", event(offset, severity, EPOCH + at), EPOCH + at, POLICY)[0]


def owed_by(alert: Alert) -> Owed:
    assert alert.owed is not None
    return alert.owed


class Task:
    """The steps of a task, at moments that a test chooses, and what is counted of them."""

    def __init__(self, partitions: int = 1, number: int = 2) -> None:
        self.now = 0.0
        self.topic = topic_there(partitions)
        self.registry = CollectorRegistry()
        self.grown: list[int] = []
        self.steps = TaskSteps(
            self.topic,
            provider="pagerduty",
            partition=number,
            source="urn:x",
            unique="u",
            policy=POLICY,
            wall=lambda: EPOCH + self.now,
            metrics=Metrics(self.registry).pipeline("pagerduty", (), PipelineState),
            grown=self.grown.append,
        )
        asyncio.run(self.steps.look())

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"{PREFIX}_{name}_total", {"pipeline": "pagerduty", **labels})

    def told(self, alert: Alert, at: float, route: str = "default") -> Alert:
        self.now = at
        sent = owed_by(alert)
        accepted = trigger_accepted(alert, sent, route, None, EPOCH + at)
        return self.steps.told(alert, accepted, sent, route, VIOLATION)

    def taken(self) -> list[Step]:
        cut = self.steps.cut()
        return [] if cut is None else list(cut.steps)


@pytest.fixture
def task() -> Task:
    return Task()


def test_a_life_is_told_step_by_step(task: Task) -> None:
    opened = after(None, 0, 7)
    alert = task.steps.triggered(opened, VIOLATION)
    assert alert is opened, "that it has begun says the same"
    alert = task.told(after(alert, 1, 8), 3)
    for second in (4, 5):
        alert = after(alert, second, 9)
    raised = after(alert, 10, 20, Severity.CRITICAL)
    task.now = 10
    alert = task.told(task.steps.triggered(raised, VIOLATION), 12)
    task.now = 20
    alert = task.steps.acknowledged(acknowledge(alert), "operator:ann@desk")
    task.now = 50
    ended = over(task.steps.resolved(alert, "quiet"), Ending.QUIET)
    assert ended is not None
    assert ended.last_step == LastStep(EPOCH + 50, 5)
    steps = task.taken()
    assert [(step.kind, step.at - EPOCH, step.severity, step.occurrences, step.suppressed) for step in steps] == [
        (StepKind.TRIGGERED, 0, "high", 1, 0),
        (StepKind.TOLD, 3, "high", 2, 1),
        (StepKind.TRIGGERED, 10, "critical", 5, 2),
        (StepKind.RAISED, 12, "critical", 5, 0),
        (StepKind.ACKNOWLEDGED, 20, "critical", 5, 0),
        (StepKind.RESOLVED, 50, "critical", 5, 0),
    ]
    assert [step.seconds for step in steps] == [None, 3, 7, 2, 8, 30]
    assert [step.reason for step in steps if step.kind is StepKind.TRIGGERED] == [Reason.NEW, Reason.RAISED]
    assert [step.actor for step in steps[-2:]] == ["operator:ann@desk", "quiet"]
    assert {step.life for step in steps} == {opened.begun}
    first, told = steps[:2]
    assert (first.event_id, first.guard, first.tenant, first.ruleset) == ("e-1", "egress", "acme", "strict")
    assert (first.policy_hash, first.session, first.first_offset, first.last_offset) == ("sha256:1", "s", 7, 7)
    assert (told.route, told.attempts, told.first_offset, told.last_offset) == ("default", 1, 7, 8)
    assert (steps[-1].guard, steps[-1].tenant) == ("egress", "acme"), "of what was told last"
    assert task.taken() == [], "each is in one checkpoint"
    assert sum(task.grown) == 6 * STEP_BYTES, "what waits for a checkpoint is bounded"
    assert task.metric("alert_steps", kind="triggered") == 2
    assert task.metric("alert_steps", kind="resolved") == 1
    assert task.metric("alerts_ended", by="quiet", early="true") == 1
    assert task.metric("alerts_ended", by="quiet", early="false") == 0


@pytest.mark.parametrize(
    ("at", "event_at", "reason", "kind"),
    [(3601, 3601, Reason.RENOTIFY, StepKind.TOLD_AGAIN), (100, 100, Reason.WINDOW, StepKind.TOLD_AGAIN)],
)
def test_why_it_is_told_again(task: Task, at: float, event_at: float, reason: Reason, kind: StepKind) -> None:
    alert = task.told(after(None, 0), 1)
    again = after(alert, event_at)
    task.now = at
    task.told(task.steps.triggered(again, VIOLATION), at + 1)
    steps = task.taken()
    assert steps[1].reason is reason
    assert steps[2].kind is kind


def test_an_alert_that_comes_back_before_its_end_is_told_begins_another_life(task: Task) -> None:
    ended = over(task.told(after(None, 0), 1), Ending.QUIET)
    again = after(ended, 50)
    alert = task.steps.triggered(again, VIOLATION, Reason.REOPENED)
    (_, step) = task.taken()
    assert (step.reason, step.life) == (Reason.REOPENED, EPOCH + 50)
    assert alert.last_step == LastStep(EPOCH + task.now, 2)


def test_what_becomes_a_dead_letter_says_why(task: Task) -> None:
    alert = after(after(None, 0, 3), 1, 4)
    kept, dead = trigger_refused(alert, owed_by(alert), EPOCH)
    assert kept is None
    task.steps.buried(alert, dead, "rejected_400", "e-1", "default")
    full = overflowed(task.steps.buried(alert, owed_by(alert), "overflow", None))
    again = after(full, 60)
    task.steps.triggered(again, VIOLATION)
    task.steps.buried(again, owed_by(again), "given_up", None, "default")
    steps = task.taken()
    assert [(step.kind, step.reason) for step in steps] == [
        (StepKind.DEAD_LETTERED, "rejected_400"),
        (StepKind.DEAD_LETTERED, "overflow"),
        (StepKind.TRIGGERED, Reason.UNTOLD),
        (StepKind.GIVEN_UP, "given_up"),
    ]
    assert (steps[0].first_offset, steps[0].last_offset, steps[0].event_id) == (3, 4, "e-1")


def test_an_alert_whose_end_was_heard_of_before_is_over_at_once(task: Task) -> None:
    ended = over(after(None, 0), Ending.SESSION_END)
    assert ended is not None
    task.steps.resolved(task.steps.triggered(ended, VIOLATION), "session_end")
    assert [step.kind for step in task.taken()] == [StepKind.TRIGGERED, StepKind.RESOLVED]


def test_where_nobody_wants_it_nothing_is_kept() -> None:
    for steps in (task_steps(None), task_steps(topic_there(0))):
        asyncio.run(steps.look())
        alert = after(None, 0)
        assert steps.triggered(alert, VIOLATION) is alert
        assert steps.resolved(alert, "quiet") is alert
        assert steps.buried(alert, owed_by(alert), "overflow", None) is alert
        steps.left(StepKind.FORGOTTEN, alert)
        assert not steps
        assert steps.cut() is None


def test_each_kind_of_step_has_its_series() -> None:
    assert [kind.value for kind in StepKind] == list(STEPS)


def test_who_ends_an_alert_by_an_event() -> None:
    assert actor_of(session("s")) == "session_end"
    assert actor_of("egress:s") == "rule"


def test_a_name_is_kept_short() -> None:
    assert len(kept_actor("operator:" + "x" * 1_000_000)) == 128


# --- the alert remembers its last step


def test_the_state_holds_the_last_step() -> None:
    alert = replace(after(None, 0), last_step=LastStep(EPOCH + 1.5, 7))
    assert decode_alert(b"k", encode_alert(alert)) == alert
    longer = {**orjson.loads(encode_alert(alert)), "last_step": [EPOCH, 3, "of a later release"]}
    assert decode_alert(b"k", orjson.dumps(longer)).last_step == LastStep(EPOCH, 3)


def test_an_alert_without_one_has_begun() -> None:
    alert = after(None, 4)
    assert last_step_of(alert) == LastStep(EPOCH + 4, 1)
    assert last_step_of(replace(alert, begun=None)) == LastStep(EPOCH + 4, 1)


def test_of_two_alerts_that_become_one_the_steps_of_both_count() -> None:
    own, handed = after(None, 0), replace(after(None, 1), last_step=LastStep(EPOCH + 9, 1))
    one = joined(own, handed)
    assert one is not None
    assert one.last_step == LastStep(EPOCH + 9, 2)
    neither = joined(own, replace(handed, last_step=None))
    assert neither is not None
    assert neither.last_step == LastStep(EPOCH + 1, 2), "both have begun, and that was told of each"


# --- its record

ANY_STEP = st.builds(
    Step,
    kind=st.sampled_from(StepKind),
    at=st.floats(0, 4e9),
    provider=st.sampled_from(["pagerduty", "jsm"]),
    partition=st.integers(0, 9999),
    dedup_key=st.text(),
    severity=st.sampled_from([severity.label for severity in Severity]),
    occurrences=st.integers(0, 2**40),
    suppressed=st.integers(0, 2**40),
    life=st.none() | st.floats(0, 4e9),
    reason=st.none() | st.text(),
    actor=st.none() | st.text(),
    event_id=st.none() | st.text(),
    first_offset=st.none() | st.integers(-1, 2**60),
    seconds=st.none() | st.floats(0, 1e9),
)


@given(ANY_STEP)
def test_a_step_is_read_as_it_was_written_and_as_its_schema_says(step: Step) -> None:
    value = encode(step)
    assert decode(value) == step
    Draft202012Validator(schema()).validate(orjson.loads(value))


def test_the_schema_in_the_package_is_that_of_the_step() -> None:
    Draft202012Validator.check_schema(schema_of_step())
    assert orjson.loads((files("consumer.history") / SCHEMA).read_bytes()) == schema_of_step() == schema()


def test_what_a_later_release_adds_is_left_out() -> None:
    step = Step(kind=StepKind.TOLD, at=1.0, provider="p", partition=0, dedup_key="k", severity="high", occurrences=1)
    assert decode(orjson.dumps({**orjson.loads(encode(step)), "mood": "good"})) == step


@pytest.mark.parametrize("value", [None, b"", b"{}", b"\xff", b"[1]", b'{"kind": "sung"}', b"{" * 100_000])
def test_what_is_no_step_is_said_in_one_line(value: bytes | None) -> None:
    with pytest.raises(NoStep) as told:
        decode(value)
    assert len(str(told.value)) <= 160
    assert "\n" not in str(told.value)


def test_the_headers_are_those_of_a_cloud_event() -> None:
    step = Step(
        kind=StepKind.TOLD,
        at=1_800_000_000.25,
        provider="p",
        partition=0,
        dedup_key="k",
        severity="high",
        occurrences=1,
    )
    headers = dict(CloudEvents("urn:clawdstrike-alerting:g", "abc").headers(step, 7))
    assert headers["ce_time"] == b"2027-01-15T08:00:00.250Z"
    assert datetime.fromisoformat(headers["ce_time"].decode()) == datetime.fromtimestamp(step.at, UTC)
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": b"abc-7",
        "ce_source": b"urn:clawdstrike-alerting:g",
        "ce_type": b"clawdstrike.alerting.alert.told",
        "ce_time": headers["ce_time"],
        "content-type": b"application/json",
    }


# --- its topic


class Sent:
    """A producer that takes batches, and how each future of a topic ends."""

    def __init__(self, **answers: BaseException) -> None:
        self.answers = answers
        self.topics: list[str] = []
        self.begun = 0

    async def begin_transaction(self) -> None:
        self.begun += 1

    async def commit_transaction(self) -> None:
        pass

    def create_batch(self) -> Any:
        from aiokafka.producer.message_accumulator import BatchBuilder

        return BatchBuilder(1 << 20, 0, is_transactional=True)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> "asyncio.Future[Any]":
        from types import SimpleNamespace

        self.topics.append(topic)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if topic in self.answers:
            future.set_exception(self.answers[topic])
        else:
            future.set_result(SimpleNamespace(topic=topic, offset=0))
        return future


def checkpoint(task: Task) -> Checkpoint:
    task.steps.triggered(after(None, 0), VIOLATION)
    return Checkpoint(Cut(()), (), Position("events", 2, 7), steps=task.steps.cut())


def sink(producer: Sent) -> Sink:
    made: Any = producer
    return Sink(made, "state", 2, large_dead_letter_writer("dlq"), RecordClock(Clock.system()))


async def _commit(written: Checkpoint, producer: Sent) -> None:
    await written.commit(sink(producer))


def test_the_steps_are_in_the_transaction_of_the_checkpoint() -> None:
    producer = Sent()
    asyncio.run(_commit(checkpoint(Task()), producer))
    assert (producer.topics, producer.begun) == (["history", "state"], 1)


def test_a_topic_that_does_not_take_them_holds_nothing_else_up() -> None:
    task = Task()
    written = checkpoint(task)
    with pytest.raises(TransactionRefused) as refused:
        asyncio.run(_commit(written, Sent(history=TopicAuthorizationFailedError())))
    assert refused.value.is_mended
    assert not task.topic.is_there
    again = Sent()
    asyncio.run(_commit(written, again))
    assert again.topics == ["state"]


def test_one_that_does_not_answer_is_looked_for_before_it_is_written_to_again() -> None:
    there = {"history": range(1)}

    async def look() -> dict[str, range]:
        return there

    task = Task()
    topic = HistoryTopic("history", look, _Log())  # type: ignore[arg-type]
    asyncio.run(topic.look())
    task.steps._topic = topic
    written = checkpoint(task)
    with pytest.raises(TransactionRefused) as refused:
        asyncio.run(_commit(written, Sent(history=KafkaTimeoutError())))
    assert not refused.value.is_mended
    again = Sent()
    asyncio.run(_commit(written, again))
    assert again.topics == ["history", "state"], "all of Kafka was gone: none is missing"
    topic.doubted()
    there.clear()
    gone = Sent()
    asyncio.run(_commit(written, gone))
    assert gone.topics == ["state"]


def test_one_that_was_made_anew_has_the_partitions_that_it_has() -> None:
    there = {"history": range(3)}

    async def look() -> dict[str, range]:
        return there

    topic = HistoryTopic("history", look, _Log())  # type: ignore[arg-type]
    asyncio.run(topic.look())
    assert topic.partition(2) == 2
    there["history"] = range(1)
    topic.doubted()
    assert asyncio.run(topic.is_ready())
    assert topic.partition(2) == 0
    topic.refused(TopicAuthorizationFailedError())
    assert topic.partition(2) == 0, "a task that is about to write finds out by itself"


class _Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(event)

    error = warning


def test_a_missing_topic_is_told_once_and_looked_for_by_each_task() -> None:
    looks = 0

    async def look() -> dict[str, range]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise KafkaConnectionError("away")
        return {"history": range(3)} if looks > 2 else {}

    log = _Log()
    topic = HistoryTopic("history", look, log)  # type: ignore[arg-type]
    for expected in (False, False, True):
        asyncio.run(topic.look())
        assert topic.is_there is expected
    assert log.lines == ["history_topic_missing"]
    assert [topic.partition(task) for task in (0, 4, 5)] == [0, 1, 2]


def test_the_records_stand_in_their_order_in_one_partition() -> None:
    task = Task(partitions=2)
    alert = task.told(task.steps.triggered(after(None, 0), VIOLATION), 1)
    task.steps.left(StepKind.FORGOTTEN, alert)
    cut = task.steps.cut()
    assert isinstance(cut, StepsCut)
    records: list[Outgoing] = list(step_records(cut, sink(Sent())))
    assert {(record.topic, record.partition, record.key) for record in records} == {("history", 0, b"k")}
    assert [decode(record.value).kind for record in records] == [StepKind.TRIGGERED, StepKind.TOLD, StepKind.FORGOTTEN]
    ids = [dict(record.headers)["ce_id"] for record in records]
    assert ids == [b"u-0", b"u-1", b"u-2"]
