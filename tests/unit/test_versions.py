"""Releases that come and go (design section 17, "Versions"): what one cannot read it leaves alone, and goes on."""

import hashlib
from base64 import b64decode
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import replace

from consumer.feedback.records import FeedbackKind, OperatorCommand, decode_feedback, encode_command
from consumer.kafka.foreign import foreign_group
from consumer.tasks.partition.left_alone import TOLD_OF_EACH, LeftAlone
from consumer.tasks.partition.restore import StateRefused
from providers.answer import Accepted, Unavailable
from state.alert import Alert, Former, Heard, Notified, Owed, Status, source
from state.due import Due, due
from state.held import is_silenced
from state.joined import reunited
from state.occurrences import Occurrence
from state.partition_records import Unreadable
from state.records import (
    BESIDE,
    CHECKPOINT_KEY,
    CorruptState,
    Position,
    decode_alert,
    decode_position,
    encode_alert,
    encode_position,
)
from state.seen import seen_of
from state.silenced import silenced
from state.violation import Record, Severity
from tests import released
from tests.released import record
from tests.released.v0_1 import alert as alert_0_1
from tests.released.v0_1 import feedback as feedback_0_1
from tests.released.v0_1 import records as release_0_1
from tests.support.delivery_setting import EPOCH, Setting
from tests.unit.test_records import ALERTS

pytestmark = pytest.mark.slow

NAMES_BEFORE = {"last_notified": "told", "is_at_provider": "has", "pins_offset": "holds"}
"""What release 0.1 calls what this one calls so."""

KEY = "forbidden_path:s1"
ALERT = Alert(
    KEY, Status.OPEN, "s1", 3, 1.0, 2.0, 2.5, Severity.HIGH, route="default", last_notified=Notified(Severity.HIGH, 2.0)
)
OWING = replace(ALERT, owed=Owed(Record("events", 0, 7, 5, b"k", b"v"), Severity.HIGH, 1.0, 7, 7, pins_offset=7))
SILENCED = silenced(
    None, KEY, "s1", Occurrence(Severity.HIGH, 1.0, Record("events", 0, 7, 5, b"s1", b"v")), {"s": 60.0}, 2.5
)


# the last release

# `git ls-tree 724951b state/ consumer/`: so it can be seen in a clone without history that they are as they
# were.
SOURCES = {
    "alert.py": "8f3382f189ffc266ce78c5cbb76a5573dfd51f61",
    "records.py": "1ca0e6edd5dec3b7506c8b83b67020e508a3a469",
    "violation.py": "228595fead186b062a5dd557331186b0e9a00f81",
    "feedback.py": "2c60fc399180b648acc300d59308e718ad674f76",
    "deadletter.py": "daa3618b95ac89f313df04fd9d1867c83822f7d4",
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_last_release_is_what_it_was(name: str) -> None:
    text = (
        (Path(released.__file__).parent / "v0_1" / name)
        .read_bytes()
        .replace(b"from tests.released.v0_1.deadletter", b"from consumer.deadletter")
        .replace(b"from tests.released.v0_1.", b"from state.")
    )
    assert hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest() == SOURCES[name]


@given(ALERTS)
def test_the_last_release_reads_what_is_written(alert: Alert) -> None:
    found = release_0_1.decode_alert(alert.dedup_key.encode(), encode_alert(alert))
    assert (found.status.value, found.route, found.occurrences) == (alert.status.value, alert.route, alert.occurrences)
    assert (found.owed is None) is (alert.owed is None and not is_silenced(alert))
    back = decode_alert(found.dedup_key.encode(), release_0_1.encode_alert(found))
    known = replace(alert, failed=0, overflow=None, integration=None, former=(), key=None, ended_by=None, source=None)
    known = replace(known, begun=None, heard=None, held=None)
    if is_silenced(alert):
        known = replace(known, owed=back.owed)  # a stand-in
    if known.last_notified is not None:
        told = known.last_notified
        known = replace(known, last_notified=Notified(told.severity, told.at, told.date))
    if known.owed is not None:
        owed = replace(known.owed, guard=None, tenant=None, last_status=None, last_error=None)
        known = replace(known, owed=owed)
    assert back == known, "and this one what it writes then"


STATES = sorted((Path(__file__).parents[1] / "data").glob("state-*.jsonl"))


@pytest.mark.parametrize("path", STATES, ids=[path.stem for path in STATES])
def test_what_each_release_has_written_is_read(path: Path) -> None:
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    found = {b64decode(line["key"]): b64decode(line["value"]) for line in lines}
    assert decode_position(found.pop(CHECKPOINT_KEY)).feedback == {0: 17, 2: 5}
    alerts = [decode_alert(key, value) for key, value in found.items()]
    assert {alert.status for alert in alerts} == set(Status)
    unknown = {Due.RESOLVE_FORMER} if path.stem == "state-0.1" else set()
    assert {due(alert) for alert in alerts} == {*Due, None} - unknown


def test_what_this_release_writes_is_read_by_the_last_one_with_nothing_lost_that_it_knows() -> None:
    found = dict(record.records())
    position = release_0_1.decode_position(found.pop(CHECKPOINT_KEY))
    assert (position.topic, position.partition, position.offset) == ("clawdstrike.events", 3, 51)
    assert position.feedback == {0: 17, 2: 5}
    assert len(found) == len(list(record.alerts()))
    for alert in record.alerts():
        before = release_0_1.decode_alert(alert.dedup_key.encode(), found[alert.dedup_key.encode()])
        now = {NAMES_BEFORE.get(name, name): value for name, value in structs.asdict(alert).items()}
        if is_silenced(alert):  # to the release before it is owed what says as much as is known
            now["owed"] = asdict(before)["owed"]
            assert before.owed is not None
        elif (owed := alert.owed) is not None:
            said = {NAMES_BEFORE.get(name, name): value for name, value in structs.asdict(owed).items()}
            known = {field.name: said[field.name] for field in fields(alert_0_1.Owed)}
            now["owed"] = known | {"record": structs.asdict(owed.record)}
        if (told := alert.last_notified) is not None:
            now["told"] = {field.name: getattr(told, field.name) for field in fields(alert_0_1.Told)}
        assert asdict(before) == {**{name: now[name] for name in asdict(before)}, "status": before.status}
        assert before.status.value == alert.status.value


def test_what_later_releases_say_more_of_a_source_is_passed_over() -> None:
    later = {
        "source": ["guard", None, "events", 3, "more"],
        "told": [3, 1.0, None, 7, None, None, None, "more"],
        "heard": [1.0, None, False, None, None, "more"],
    }
    alert = decode_alert(KEY.encode(), changed(ALERT, **later))
    told, heard = Notified(Severity.HIGH, 1.0, None, 7), Heard(1.0)
    assert alert == replace(ALERT, last_notified=told, heard=heard, source=source("guard", None, "events", 3))


def test_what_was_told_and_heard_before_it_said_so_much_is_read() -> None:
    earlier = {"told": [3, 1.0, None, 7, 2], "heard": [1.0, "P1", True]}
    alert = decode_alert(KEY.encode(), changed(ALERT, **earlier))
    told, heard = Notified(Severity.HIGH, 1.0, None, 7, 2), Heard(1.0, "P1", sent_resolve=True)
    assert alert == replace(ALERT, last_notified=told, heard=heard)


def test_what_was_held_and_heard_before_it_said_so_much_is_read() -> None:
    assert SILENCED.held is not None
    held = orjson.loads(encode_alert(SILENCED))["held"]
    before = replace(SILENCED, held=replace(SILENCED.held, not_silenced=None))
    assert decode_alert(KEY.encode(), changed(SILENCED, held=held[:12])) == before
    alert = decode_alert(KEY.encode(), changed(ALERT, heard=[1.0, None, False, 3]))
    assert alert == replace(ALERT, heard=Heard(1.0, repeated=3))


def test_what_later_releases_say_more_of_what_is_held_is_passed_over() -> None:
    held = orjson.loads(encode_alert(SILENCED))["held"]
    assert decode_alert(KEY.encode(), changed(SILENCED, held=[*held, "more"])) == SILENCED


def test_the_last_release_reads_a_checkpoint_that_names_its_group() -> None:
    found = release_0_1.decode_position(encode_position(Position("events", 3, 7, {0: 2}, group="group.pagerduty")))
    assert (found.topic, found.partition, found.offset, found.feedback) == ("events", 3, 7, {0: 2})
    assert decode_position(release_0_1.encode_position(found)).group is None


def test_the_last_release_takes_a_command_that_says_what_was_seen_and_this_one_takes_one_that_does_not() -> None:
    command = OperatorCommand(FeedbackKind.RESOLVE, "pagerduty", KEY, 5.0, "me", [seen_of(ALERT)])
    assert asdict(feedback_0_1.decode_feedback(*encode_command(command), 7_000)) == {
        "kind": feedback_0_1.Kind.RESOLVE, "provider": "pagerduty", "dedup_key": KEY, "at": 5.0, "by": "me",
    }  # fmt: skip
    before = feedback_0_1.Command(feedback_0_1.Kind.RESOLVE, "pagerduty", KEY, 5.0, "me")
    now = decode_feedback(*feedback_0_1.encode_command(before), 7_000)
    assert now == OperatorCommand(FeedbackKind.RESOLVE, "pagerduty", KEY, 5.0, "me")


# what cannot be read


def changed(alert: Alert = OWING, **fields: Any) -> bytes:
    return orjson.dumps({**orjson.loads(encode_alert(alert)), **fields})


def holding(index: int, value: Any) -> bytes:
    held = orjson.loads(encode_alert(SILENCED))["held"]
    held[index] = value
    return changed(SILENCED, held=held)


def owing(**fields: Any) -> bytes:
    owed = orjson.loads(encode_alert(OWING))["owed"]
    return changed(owed={**owed, **fields})


def of_record(**fields: Any) -> bytes:
    record = orjson.loads(encode_alert(OWING))["owed"]["record"]
    return owing(record={**record, **fields})


UNREADABLE = {
    "a later version": changed(v=2),
    "no version": changed(v=None),
    "not JSON": b"not json",
    "empty": b"",
    "a list": b"[1]",
    "an unknown status": changed(status="held"),
    "a status of another type": changed(status=["open"]),
    "a count that is a text": changed(occurrences="3"),
    "a count that is a flag": changed(occurrences=True),
    "a time that is a text": changed(first_seen="now"),
    "a time that is nothing": changed(decided=None),
    "a flag that is a text": changed(has="yes"),
    "a route that is a number": changed(route=7),
    "a session that is a list": changed(session=["s1"]),
    "told something else": changed(told={"severity": 3}),
    "told at no time": changed(told=[3, "now", None]),
    "told nothing": changed(told=[]),
    "told at an offset that is a text": changed(told=[3, 1.0, None, "7"]),
    "of a guard that is a number": changed(source=[7, None, "events", 3]),
    "of no partition": changed(source=["guard", None, "events"]),
    "of a partition that is a text": changed(source=["guard", None, "events", "3"]),
    "failed so often": changed(failed=1.5),
    "begun at a text": changed(begun="1.0"),
    "begun at a flag": changed(begun=True),
    "heard of at a text": changed(heard=["1.0", None, False]),
    "heard of nothing": changed(heard=[]),
    "repeated when there were a text": changed(heard=[1.0, None, False, "2"]),
    "held by no silence that has an end": holding(0, [["s"]]),
    "held by silences that are a number": holding(0, 7),
    "held at no severity": holding(1, 9),
    "held at a place that is a text": holding(4, "7"),
    "held with nothing": changed(held=[]),
    "held as a text": changed(held="s"),
    "told when there were a text": changed(told=[3, 1.0, None, 7, "2"]),
    "left at a text": changed(told=[3, 1.0, None, 7, 2, "1.0"]),
    "owes a text": changed(owed="a trigger"),
    "owes nothing at all": changed(owed={}),
    "owed since never": owing(since=None),
    "owed from an offset that is a text": owing(first_offset="7"),
    "holds a text": owing(holds="7"),
    "repeats a number": owing(repeat=1),
    "owes what has no guard but a list": owing(guard=["guard"]),
    "met a status that is a text": owing(last_status="503"),
    "met an error that is a number": owing(last_error=503),
    "of a record without a topic": of_record(topic=None),
    "of a record with bytes that are none": of_record(value="!!!"),
    "of a record at no time": of_record(timestamp="now"),
    "of a record with headers that are none": of_record(headers=[7]),
}


@pytest.mark.parametrize("value", UNREADABLE.values(), ids=UNREADABLE)
def test_it_is_left_as_it_is_and_everything_else_of_the_partition_goes_on(value: bytes) -> None:
    setting = Setting()
    setting.occur("s0", "s2")
    setting.run(5.0)
    (partition,) = setting.partitions
    partition.kafka.state[KEY.encode()] = value
    partition.kafka.offsets[KEY.encode()] = 77
    setting.restart()
    assert partition.running.is_running
    assert set(setting.alerts()) == {"forbidden_path:s0", "forbidden_path:s2"}
    assert partition.running.work.left_alone.count == 1
    assert partition.running.state_trouble == (
        "1 record of state cannot be read and is left as it is, the first forbidden_path:s1 at offset 77: "
        "a later release can"
    )
    setting.occur("s3")
    setting.end("s0")
    setting.run(45.0)  # what an owner before may have sent can still land for a while
    assert "s3" in setting.told()
    assert "s0" in setting.told("resolve")
    assert partition.kafka.state[KEY.encode()] == value


def test_an_event_of_its_key_is_told_and_kept_beside_it_until_it_is_over() -> None:
    setting = Setting()
    (partition,) = setting.partitions
    state = partition.kafka.state
    state[KEY.encode()] = later = changed(v=2)
    setting.restart()
    setting.occur("s1")
    setting.run(5.0)
    assert set(setting.told()) == {"s1"}
    assert state[KEY.encode()] == later
    beside = decode_alert(KEY.encode(), state[BESIDE + KEY.encode()] or b"")
    assert (beside.status, beside.owed) == (Status.OPEN, None)
    setting.restart()
    assert partition.running.work.left_alone.count == 1
    assert setting.alerts() == {KEY: beside}
    setting.occur("s1")
    setting.run(5.0)
    assert len(setting.left("trigger")) == 1, "it is one problem also after a restart"
    setting.end("s1")
    setting.run(45.0)
    assert "s1" in setting.told("resolve")
    assert (state[KEY.encode()], state[BESIDE + KEY.encode()]) == (later, None)


def test_once_it_can_be_read_both_are_one_alert_and_nothing_that_either_owes_is_lost() -> None:
    setting = Setting(lambda call: Unavailable(503, "down"))
    (partition,) = setting.partitions
    state = partition.kafka.state
    state[KEY.encode()] = changed(v=2)
    setting.restart()
    setting.occur("s1", severity="critical")
    setting.run(5.0)
    assert decode_alert(KEY.encode(), state[BESIDE + KEY.encode()] or b"").owed is not None
    state[KEY.encode()] = encode_alert(OWING)  # the later release has come back, and this one after it
    setting.restart()
    setting.run(5.0)
    assert partition.running.work.left_alone.count == 0
    alert = setting.alerts()[KEY]
    assert (alert.occurrences, alert.highest) == (4, Severity.CRITICAL)
    assert alert.owed is not None
    assert (alert.owed.occurrences, alert.owed.pins_offset, alert.owed.since) == (2, 0, 1.0)
    assert state[BESIDE + KEY.encode()] is None
    assert decode_alert(KEY.encode(), state[KEY.encode()] or b"").occurrences == 4


def test_what_stood_beside_a_record_that_is_gone_is_an_alert_like_any_other() -> None:
    setting = Setting()
    (partition,) = setting.partitions
    state = partition.kafka.state
    state[BESIDE + KEY.encode()] = encode_alert(replace(ALERT, decided=EPOCH))
    setting.restart()
    setting.run(6.0)
    assert set(setting.alerts()) == {KEY}
    assert state[BESIDE + KEY.encode()] is None
    assert decode_alert(KEY.encode(), state[KEY.encode()] or b"").occurrences == 3


def test_counts_of_a_record_that_cannot_be_read_are_kept_with_it() -> None:
    setting = Setting()
    (partition,) = setting.partitions
    state = partition.kafka.state
    setting.says = lambda call: Unavailable(503, "down")
    setting.occur("s1", padding=5000)
    setting.run(6.0)
    setting.occur("s1")
    setting.run(6.0)
    counts = orjson.loads(state[CHECKPOINT_KEY] or b"")["counts"]
    assert KEY in counts
    readable = state[KEY.encode()] or b""
    state[KEY.encode()] = orjson.dumps({**orjson.loads(readable), "v": 2})
    setting.restart()
    setting.occur("s2")
    setting.run(6.0)
    assert KEY in orjson.loads(state[CHECKPOINT_KEY] or b"")["counts"]
    state[KEY.encode()] = readable
    setting.restart()
    assert setting.alerts()[KEY].occurrences == 2


@pytest.mark.parametrize(
    "value",
    [
        b"not json",
        b"[]",
        orjson.dumps({**orjson.loads(encode_position(Position("events", 0, 0))), "v": 2}),
        orjson.dumps({**orjson.loads(encode_position(Position("events", 0, 0))), "position": "7"}),
        orjson.dumps({**orjson.loads(encode_position(Position("events", 0, 0))), "feedback": {"0": None}}),
        orjson.dumps({**orjson.loads(encode_position(Position("events", 0, 0))), "counts": {"a": ["1"] * 11}}),
    ],
)
def test_a_checkpoint_that_cannot_be_read_stops_its_task_and_is_not_written_over(value: bytes) -> None:
    setting = Setting()
    (partition,) = setting.partitions
    partition.kafka.state[CHECKPOINT_KEY] = value
    partition.kafka.offsets[CHECKPOINT_KEY] = 9
    setting.restart()
    assert not partition.running.is_running
    (fault,) = setting.faults
    assert "topic state, partition 0: the checkpoint at offset 9 cannot be read" in fault
    assert fault.startswith(StateRefused.__name__)
    assert partition.kafka.state == {CHECKPOINT_KEY: value}


STEPS = st.lists(
    st.sampled_from(
        ["event of a", "event of b", "large event of a", "wait", "later release", "earlier release", "crash"]
    ),
    min_size=4,
    max_size=14,
)


@settings(max_examples=40, deadline=None)
@given(STEPS, st.booleans())
@example(["event of a", "wait", "later release", "large event of a", "wait", "event of a", "wait"], True)
@example(["large event of a", "wait", "event of a", "wait", "event of a", "later release"], True)
def test_whenever_a_later_release_has_been_nothing_is_written_over_forgotten_or_told_twice(
    steps: list[str], is_down: bool
) -> None:
    """Both releases come and go; what the later one has written cannot be read until it has come back."""
    setting = Setting(lambda call: Unavailable(503, "down") if is_down else Accepted())
    state = setting.partitions[0].kafka.state
    decided = dict.fromkeys("ab", 0)
    hidden: dict[bytes, bytes | None] = {}

    def show() -> None:
        for key in hidden:
            state[key] = changed_version(state[key], 1)
        hidden.clear()

    for step in steps:
        if "event of" in step:
            session = step[-1]
            setting.occur(session, padding=5000 if step.startswith("large") else 0)
            decided[session] += 1
        elif step == "wait":
            setting.run(8.0)
        else:
            setting.crash()
            show()
            if step == "later release":
                for session in "ab":
                    if (key := f"forbidden_path:{session}".encode()) in state:
                        state[key] = hidden[key] = changed_version(state[key], 2)
            setting.start()
        assert all(state[key] == value for key, value in hidden.items()), "it is as the later release left it"
    setting.run(8.0)
    setting.crash()
    show()
    setting.start()
    setting.run(8.0)
    assert {key[-1]: alert.occurrences for key, alert in setting.alerts().items()} == {
        session: count for session, count in decided.items() if count
    }
    assert not any(key.startswith(BESIDE) for key, value in state.items() if value is not None)
    for alert in setting.alerts().values():
        assert (alert.owed.occurrences if alert.owed is not None else 0) == (alert.occurrences if is_down else 0)
    assert is_down or set(setting.told()) == {session for session, count in decided.items() if count}
    setting.crash()
    Setting.made.clear()


def changed_version(value: bytes | None, version: int) -> bytes | None:
    return None if value is None else orjson.dumps({**orjson.loads(value), "v": version})


# whose it is


def test_a_checkpoint_of_another_group_stops_the_task_before_anything_is_written() -> None:
    setting = Setting()
    (partition,) = setting.partitions
    other = encode_position(Position("events", 0, 0, group="staging.pagerduty"))
    partition.kafka.state[CHECKPOINT_KEY] = other
    setting.restart()
    (fault,) = setting.faults
    assert "topic state belongs to consumer group staging.pagerduty, and this service's is group" in fault
    assert partition.kafka.state == {CHECKPOINT_KEY: other}


def test_a_checkpoint_that_names_no_group_is_taken_and_then_named() -> None:
    setting = Setting()
    (partition,) = setting.partitions
    partition.kafka.state[CHECKPOINT_KEY] = encode_position(Position("events", 0, 0))
    setting.restart()
    setting.occur("s1")
    setting.run(1.0)
    assert decode_position(partition.kafka.state[CHECKPOINT_KEY] or b"").group == "group"


@pytest.mark.parametrize(("group", "is_foreign"), [(None, False), ("group", False), ("other", True), ("", True)])
def test_whose_a_checkpoint_is(group: str | None, is_foreign: bool) -> None:
    found = foreign_group(Position("events", 0, 0, group=group), "group", "state")
    assert (found is not None) is is_foreign


# one alert of two


@given(ALERTS, ALERTS)
def test_nothing_that_either_owes_or_has_seen_is_lost(older: Alert, newer: Alert) -> None:
    newer = replace(newer, dedup_key=older.dedup_key)
    alert = reunited(older, newer)
    if older.status is Status.RESOLVING and newer.held is not None and is_silenced(newer):
        # It is resolved first; until then it does not count what it holds, which is another life of its key.
        kept = [one.held for one in (older, newer) if one.held is not None]
        assert (alert.status, alert.occurrences, alert.highest) == (older.status, older.occurrences, older.highest)
        assert alert.held is not None
        assert alert.held.occurrences == sum(one.occurrences for one in kept)
        assert alert.held.severity == max(one.severity for one in kept)
        assert alert.owed == older.owed
        assert decode_alert(alert.dedup_key.encode(), encode_alert(alert)) == alert
        return
    assert alert.occurrences == older.occurrences + newer.occurrences
    assert alert.highest == max(older.highest, newer.highest)
    is_over = newer.status is Status.RESOLVING  # and then there is nothing to keep open
    owed = [one.owed for one in (older, newer) if one.owed is not None and not (is_over and one.owed.repeat)]
    assert (alert.owed is not None) is bool(owed)
    if alert.owed is not None:
        new = [one for one in owed if not one.repeat]
        assert alert.owed.repeat is not bool(new)
        assert not new or alert.owed.severity == max(one.severity for one in new)
        assert alert.owed.occurrences == sum(one.occurrences for one in new) or not new
    assert alert.status is not Status.RESOLVING or newer.status is Status.RESOLVING, "what lives by the newer lives"
    assert not (alert.status is Status.RESOLVING and (alert.is_at_provider or alert.acknowledging))
    assert due(alert) is not None or (due(newer) is None or newer.acknowledging)
    assert decode_alert(alert.dedup_key.encode(), encode_alert(alert)) == alert


DAMAGED: tuple[object, ...] = ("text", None, [1], {})


@given(ALERTS)
def test_a_damaged_record_is_refused_whatever_is_damaged(alert: Alert) -> None:
    fields = orjson.loads(encode_alert(alert))
    for name in ("v", "status", "occurrences", "first_seen", "last_seen", "decided", "highest"):
        for value in DAMAGED:
            with pytest.raises(CorruptState):
                decode_alert(b"k", orjson.dumps({**fields, name: value}))


# how it is told


class Log:
    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def error(self, event: str, **fields: Any) -> None:
        self.said.append((event, fields))


def test_each_is_told_once_with_its_key_and_offset_and_very_many_by_their_number() -> None:
    log: Any = Log()
    told: set[tuple[int, int]] = set()
    for _ in range(3):  # the task is built again
        left_alone = LeftAlone("state", 4, told, log)
        for number in range(TOLD_OF_EACH + 5):
            left_alone.found(Unreadable(f"key {number}".encode(), number, "version 2 is not 1"))
        left_alone.tell_number()
    assert len(log.said) == TOLD_OF_EACH + 1
    assert log.said[3] == (
        "state_record_unreadable",
        {"topic": "state", "state_offset": 3, "dedup_key": "key 3", "error": "version 2 is not 1"},
    )
    assert log.said[-1] == ("state_records_unreadable", {"topic": "state", "count": TOLD_OF_EACH + 5})
    assert left_alone.trouble == (
        "15 records of state cannot be read and are left as they are, the first key 0 at offset 0: a later release can"
    )


@pytest.mark.parametrize("key", [None, b"\xff", b"x" * 100_000])
def test_hostile_keys_are_shown_short(key: Any) -> None:
    log: Any = Log()
    left_alone = LeftAlone("state", 0, set(), log)
    left_alone.found(Unreadable(key, 1, ""))
    assert len(left_alone.trouble or "") < 400


def test_what_two_integrations_were_told_is_kept_apart() -> None:
    """Of an alert that was told anew through another key, while its own record could not be read."""
    older = replace(ALERT, integration="a1", route="default", is_at_provider=True)
    newer = replace(ALERT, integration="b2", route="by_guard:x", first_seen=3.0, last_seen=3.0, is_at_provider=True)
    alert = reunited(older, newer)
    assert (alert.integration, alert.route, alert.is_at_provider) == ("a1", "default", True)
    assert alert.former == (Former("b2", "by_guard:x"),)
    assert due(alert) is Due.RESOLVE_FORMER


def test_the_incident_that_lives_goes_on() -> None:
    older = replace(ALERT, status=Status.RESOLVING, integration="a1", route="default", is_at_provider=False)
    newer = replace(ALERT, integration="b2", route="by_guard:x", first_seen=3.0, last_seen=3.0, is_at_provider=True)
    alert = reunited(older, newer)
    assert (alert.status, alert.integration, alert.is_at_provider) == (Status.OPEN, "b2", True)
    assert alert.former == (Former("a1", "default"),)


@pytest.mark.parametrize(
    ("older", "newer", "integration", "route", "former"),
    [
        pytest.param(("a1", "r"), ("a1", "r"), "a1", "r", (), id="one and the same"),
        pytest.param(("a1", "r"), ("a1", "renamed"), "a1", "r", (), id="renamed"),
        pytest.param((None, None), ("b2", "s"), "b2", "s", (), id="the older was nowhere"),
        pytest.param((None, "r"), ("b2", "r"), "b2", "r", (), id="the older by name only"),
        pytest.param((None, "r"), ("b2", "s"), None, "r", (Former("b2", "s"),), id="by another name only"),
        pytest.param(("a1", "r"), ("b2", None), "a1", "r", (), id="the newer has told nobody"),
        pytest.param(("a1", None), ("b2", "s"), "b2", "s", (), id="the older has told nobody"),
    ],
)
def test_where_the_one_alert_is(
    older: tuple[str | None, str | None],
    newer: tuple[str | None, str | None],
    integration: str | None,
    route: str,
    former: tuple[Former, ...],
) -> None:
    one, other = (replace(ALERT, integration=place, route=name) for place, name in (older, newer))
    alert = reunited(one, replace(other, first_seen=3.0, last_seen=3.0))
    assert (alert.integration, alert.route, alert.former) == (integration, route, former)


def test_an_integration_that_it_has_come_back_to_is_not_one_that_it_has_left() -> None:
    older = replace(ALERT, integration="a1", route="r", former=(Former("b2", "s"), Former("c3", "t")))
    newer = replace(ALERT, integration="b2", route="s", first_seen=3.0, last_seen=3.0, orphans=(Former("a1", "r"),))
    assert reunited(older, newer).former == (Former("b2", "s"), Former("c3", "t"))
