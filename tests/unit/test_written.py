"""Checkpoints and restores: what is read back is what was known, and an owed record is not written for each count."""

import json
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import replace

from consumer.dlq.dead_letter import DeadLetter
from consumer.kafka.record_clock import RecordClock
from consumer.tasks.partition.checkpoint import Checkpoint, Sink, divided
from consumer.tasks.partition.restore import restore
from consumer.timing.clock import Clock
from consumer.timing.turns import Turns
from state import written
from state.acknowledging import acknowledge
from state.alert import LONGEST_ERROR, Alert, Owed, Status
from state.answers import resolve_answered, trigger_accepted, trigger_attempted
from state.occurrences import Occurrence, Outcome, occurred
from state.over import over
from state.policy import Policy
from state.records import CHECKPOINT_KEY, CorruptState, Position, decode_alert, decode_counts, encode_position
from state.store import Store
from state.violation import Record, Severity
from state.written import LARGE_BYTES, MAX_COUNTS, MAX_COUNTS_BYTES
from tests.released.v0_1 import records as release_0_1
from tests.support.dead_letter_writer import large_dead_letter_writer
from tests.support.loop import VirtualLoop
from tests.support.simulated_kafka import Kafka, Sent
from tests.support.simulated_kafka import Outcome as Comes

POLICY = Policy(window_seconds=300, renotify_seconds=3600, quiet_seconds=1800, forget_seconds=86400)
NOW = 1_764_115_200.25


class _Silent:
    def info(self, name: str, **fields: Any) -> None:
        pass


class Partition:
    """A store, its state topic, and the transactions between them."""

    def __init__(self) -> None:
        self.kafka = Kafka("state")
        self.loop = VirtualLoop()
        self.store = Store()
        self.position = 0
        self.transactions: list[Sequence[Sent]] = []
        self._producer = self.kafka.transactional("id", batch_bytes=1 << 19)
        self.loop.complete(self._producer.start())

    def checkpoint(self, dead_letters: tuple[DeadLetter, ...] = ()) -> Sequence[Sent]:
        """Commit what has changed; returns what was written."""
        cut = self.loop.complete(divided(self.store, self.store.cut(), Turns()))
        found = Checkpoint(cut, dead_letters, Position("events", 0, self.position, {0: 3}))
        sink: Any = Sink(self._producer, "state", 0, large_dead_letter_writer("dlq"), RecordClock(Clock.system()))
        committing = self.loop.create_task(found.commit(sink))
        self.loop.settle()
        assert self.kafka.conclude(Comes.DONE)
        self.loop.settle()
        committing.result()
        self.store.committed()
        self.transactions.append(tuple(self._producer.sent))
        return self.transactions[-1]

    def restored(self) -> Store:
        """A new owner's store."""
        clients: Any = self.kafka
        log: Any = _Silent()
        found = self.loop.complete(restore(clients, "state", 0, log))
        assert found.position is None or found.position.offset <= self.position
        store = Store()
        alerts = [one for one in found.found if isinstance(one, Alert)]
        for _ in store.restore(alerts, 0.0, found.counts):
            pass
        return store

    def hand_over(self) -> None:
        """A new owner goes on."""
        self.store = self.restored()

    def occurs(
        self, key: str, size: int = 200_000, severity: Severity = Severity.HIGH, record_key: bytes = b"k"
    ) -> Outcome:
        """An event is decided."""
        record = Record("events", 0, self.position, int(NOW * 1000), record_key, b"x" * size)
        self.position += 1
        now = NOW + self.position
        alert, outcome = occurred(self.store.get(key), key, "s", Occurrence(severity, now, record), now, POLICY)
        self.store.hear(alert, now)
        return outcome

    def alerts(self) -> dict[str, Alert]:
        """What is known."""
        return everything(self.store)


def everything(store: Store) -> dict[str, Alert]:
    keys = store.keys()
    return {key: alert for key in keys if (alert := store.get(key)) is not None}


def values(sent: Sequence[Sent], key: str) -> list[bytes | None]:
    return [record.value for record in sent if record.key == key.encode()]


def size_of(transactions: Sequence[Sequence[Sent]]) -> int:
    return sum(len(record.value or b"") for sent in transactions for record in sent)


@pytest.mark.slow
def test_a_hundred_large_events_are_written_once_whatever_is_counted_into_them() -> None:
    """128 MiB, of which 27 MiB were the events themselves."""
    partition = Partition()
    for number in range(100):
        partition.occurs(f"key {number}")
    partition.checkpoint()
    originals = size_of(partition.transactions)
    assert 100 * 200_000 < originals < 100 * 280_000
    for _ in range(30):
        for number in range(100):
            assert partition.occurs(f"key {number}", size=300) is Outcome.COUNTED
        partition.checkpoint()
    assert size_of(partition.transactions) < originals * 1.1
    assert everything(partition.restored()) == partition.alerts()


def test_what_is_small_is_written_as_before() -> None:
    partition = Partition()
    partition.occurs("a", size=800)
    partition.checkpoint()
    partition.occurs("a", size=800)
    sent = partition.checkpoint()
    assert len(values(sent, "a")) == 1
    assert decode_counts(sent[-1].value or b"") == {}


def test_counts_are_in_every_checkpoint_until_the_record_is_written_again() -> None:
    partition = Partition()
    partition.occurs("a")
    partition.checkpoint()
    partition.occurs("a")
    partition.checkpoint()
    partition.occurs("b", size=10)
    sent = partition.checkpoint()
    assert values(sent, "a") == []
    assert decode_counts(sent[-1].value or b"").keys() == {"a"}
    assert sent[-1].key == CHECKPOINT_KEY, "the position is the last record"
    partition.hand_over()  # who goes on has to say them as well
    partition.occurs("b", size=10)
    assert decode_counts(partition.checkpoint()[-1].value or b"").keys() == {"a"}
    partition.occurs("a", severity=Severity.CRITICAL)
    sent = partition.checkpoint()
    assert len(values(sent, "a")) == 1, "another record is owed"
    assert decode_counts(sent[-1].value or b"") == {}
    assert everything(partition.restored()) == partition.alerts()


@pytest.mark.parametrize(
    "change",
    [
        lambda alert: trigger_accepted(alert, alert.owed, "default", None, NOW),
        lambda alert: trigger_attempted(alert, "default", True, NOW),  # the route is not a count
        acknowledge,
        over,
        lambda alert: replace(alert, owed=replace(alert.owed, since=NOW + 9)),
        lambda alert: replace(alert, owed=replace(alert.owed, repeat=True)),
        lambda alert: replace(alert, owed=replace(alert.owed, pins_offset=None)),
        lambda alert: replace(alert, failed=1),
    ],
)
def test_what_is_no_count_is_written_in_full(change: Any) -> None:
    partition = Partition()
    partition.occurs("a")
    partition.checkpoint()
    partition.occurs("a")
    partition.checkpoint()
    before = partition.store.get("a")
    assert before is not None
    partition.store.put(change(before))
    sent = partition.checkpoint()
    assert len(values(sent, "a")) == 1
    assert decode_counts(sent[-1].value or b"") == {}
    assert everything(partition.restored()) == partition.alerts()


def test_an_attempt_through_the_alerts_own_route_is_a_count() -> None:
    partition = Partition()
    partition.occurs("a")
    alert = partition.store.get("a")
    assert alert is not None
    partition.store.put(trigger_attempted(alert, "default", True, NOW))
    partition.checkpoint()
    alert = partition.store.get("a")
    assert alert is not None
    partition.store.put(trigger_attempted(alert, "default", True, NOW + 5))
    assert values(partition.checkpoint(), "a") == []
    assert everything(partition.restored()) == partition.alerts()


def test_the_error_of_an_attempt_is_a_count_and_no_reason_to_write_the_record_again() -> None:
    partition = Partition()
    partition.occurs("a")
    alert = partition.store.get("a")
    assert alert is not None
    partition.store.put(trigger_attempted(alert, "default", True, NOW, 503, "down"))
    partition.checkpoint()
    for attempt, error in enumerate(("down", "no answer", "x" * LONGEST_ERROR)):
        alert = partition.store.get("a")
        assert alert is not None
        partition.store.put(trigger_attempted(alert, "default", True, NOW + attempt, None, error))
        assert values(partition.checkpoint(), "a") == []
        found = partition.restored().get("a")
        assert found is not None
        assert found.owed is not None
        assert (found.owed.last_status, found.owed.last_error) == (None, error)


def test_counts_with_long_errors_are_bounded_by_their_bytes() -> None:
    partition = Partition()
    keys = [f"{number}" for number in range(150)]
    for key in keys:
        partition.occurs(key, size=LARGE_BYTES)
    partition.checkpoint()
    for attempt in range(3):
        for key in keys:
            alert = partition.store.get(key)
            assert alert is not None
            error = '"é' * (LONGEST_ERROR // 2)
            partition.store.put(trigger_attempted(alert, "default", False, NOW + attempt, 429, error))
        sent = partition.checkpoint()
        assert 0 < len(decode_counts(sent[-1].value or b"")) < 150
        assert len(sent[-1].value or b"") < MAX_COUNTS_BYTES + 1000
        assert everything(partition.restored()) == partition.alerts()


def test_counts_of_an_earlier_release_say_nothing_of_errors() -> None:
    value = orjson.loads(encode_position(Position("events", 0, 0)))
    found = decode_counts(orjson.dumps({**value, "counts": {"a": [1, 1, 1, 1, 3, 1, 1, 1, 2, 1, 1]}}))
    assert (found["a"].owed_attempts, found["a"].owed_last_status, found["a"].owed_last_error) == (2, None, None)


def test_counts_end_with_their_alert() -> None:
    partition = Partition()
    partition.occurs("a")
    partition.checkpoint()
    partition.occurs("a")
    partition.checkpoint()
    partition.store.drop("a")
    sent = partition.checkpoint()
    assert values(sent, "a") == [None]
    assert decode_counts(sent[-1].value or b"") == {}
    assert everything(partition.restored()) == {}


def test_counts_are_bounded_and_the_oldest_give_way() -> None:
    partition = Partition()
    keys = [f"{number}" for number in range(MAX_COUNTS + 10)]
    for key in keys:
        partition.occurs(key, size=LARGE_BYTES)
    partition.checkpoint()
    for key in keys[:10]:
        partition.occurs(key, size=10)
    partition.checkpoint()
    for key in keys[10:]:
        partition.occurs(key, size=10)
    sent = partition.checkpoint()
    counts = decode_counts(sent[-1].value or b"")
    assert len(counts) <= MAX_COUNTS
    assert len(sent[-1].value or b"") < MAX_COUNTS_BYTES + 1000
    assert {key for key in keys if values(sent, key)} == set(keys) - counts.keys()
    assert not set(keys[:10]) & counts.keys()
    assert everything(partition.restored()) == partition.alerts()


def test_counts_of_long_keys_are_bounded_by_their_bytes() -> None:
    partition = Partition()
    keys = [f"{number}{chr(0x22) * 1000}" for number in range(100)]
    for _ in range(2):
        for key in keys:
            partition.occurs(key, size=LARGE_BYTES)
        sent = partition.checkpoint()
    assert 0 < len(decode_counts(sent[-1].value or b"")) < 100
    assert len(sent[-1].value or b"") < MAX_COUNTS_BYTES + 1000
    assert everything(partition.restored()) == partition.alerts()


KEYS = st.sampled_from(["a", "b", 'c"\\é', "d"])
SEVERITIES = st.sampled_from(Severity)
STEPS = st.one_of(
    st.tuples(st.just("occurs"), KEYS, st.sampled_from([10, LARGE_BYTES, LARGE_BYTES + 1]), SEVERITIES),
    st.tuples(st.just("attempt"), KEYS, st.booleans(), st.sampled_from([None, 503]), st.sampled_from(["down", "gone"])),
    st.tuples(st.just("accept"), KEYS),
    st.tuples(st.just("over"), KEYS),
    st.tuples(st.just("end"), KEYS),
    st.tuples(st.just("acknowledge"), KEYS),
    st.tuples(st.just("drop"), KEYS),
    st.tuples(st.just("checkpoint")),
    st.tuples(st.just("hand over")),
)


@given(st.lists(STEPS, max_size=40), st.integers(0, 3))
def test_whatever_changes_is_read_back_and_the_last_release_can_read_it(
    steps: list[tuple[Any, ...]], at_most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(written, "MAX_COUNTS", at_most)
        partition = Partition()
        for step in steps:
            take(partition, *step)
        partition.checkpoint()
        assert everything(partition.restored()) == partition.alerts()
        for sent in partition.transactions:
            assert len({record.key for record in sent}) == len(sent), "nothing is written twice"
            for record in sent:
                read_by_the_last_release(record)
        # What the last release goes on from has lost nothing but counts.
        for key, alert in partition.alerts().items():
            before = release_0_1.decode_alert(key.encode(), partition.kafka.state[key.encode()] or b"")
            assert (before.status.value, before.route) == (alert.status.value, alert.route)
            assert (before.owed is None) is (alert.owed is None)
            if before.owed is not None and alert.owed is not None:
                assert astuple(before.owed.record) == structs.astuple(alert.owed.record)
                assert before.owed.holds == alert.owed.pins_offset


def take(partition: Partition, name: str, *rest: Any) -> None:
    store = partition.store
    if name == "checkpoint":
        partition.checkpoint()
    elif name == "hand over":
        partition.checkpoint()
        before = partition.alerts()
        partition.hand_over()
        assert partition.alerts() == before
    elif name == "occurs":
        key, size, severity = rest
        partition.occurs(key, size, severity)
    elif (alert := store.get(rest[0])) is not None:
        after: Alert | None = alert
        if name == "attempt" and alert.owed is not None:
            after = trigger_attempted(alert, "default", rest[1], NOW + partition.position, *rest[2:])
        elif name == "accept" and alert.owed is not None:
            after = trigger_accepted(alert, alert.owed, "default", None, NOW + partition.position)
        elif name == "over":
            after = over(alert)
        elif name == "acknowledge":
            after = acknowledge(alert)
        elif name == "end" and alert.status is Status.RESOLVING and alert.owed is None:
            after = resolve_answered(alert, alert)
        elif name == "drop":
            after = None
        if after is None:
            store.drop(alert.dedup_key)
        elif after is not alert:
            store.put(after)


def read_by_the_last_release(record: Sent) -> None:
    assert record.key is not None
    if record.key == CHECKPOINT_KEY:
        release_0_1.decode_position(record.value or b"")
    elif record.value is not None:
        release_0_1.decode_alert(record.key, record.value)


# what the last release wrote

RECORDED = Path(__file__).parents[1] / "data" / "state-0.1.jsonl"


def recorded() -> dict[bytes, bytes]:
    lines = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    return {b64decode(line["key"]): b64decode(line["value"]) for line in lines}


def test_the_state_of_the_last_release_is_read() -> None:
    partition = Partition()
    partition.kafka.state.update(recorded())
    partition.position = 51
    store = partition.restored()
    assert len(store) == len(recorded()) - 1
    record = Record(
        "clawdstrike.events",
        3,
        41,
        1_764_115_200_100,
        b"s1",
        b'{"event_id": "e", "decision": {"allowed": false, "severity": "critical"}}',
        (("trace", b"\xff\x00"), ("none", None), ("", b"")),
    )
    owed = Owed(record, Severity.HIGH, NOW, 41, 41, pins_offset=41)
    fresh = Alert("forbidden_path:fresh", Status.OPEN, "fresh", 1, NOW, NOW, NOW, Severity.HIGH, owed=owed)
    assert store.get("forbidden_path:fresh") == fresh
    assert store.get("forbidden_path:early") == replace(fresh, dedup_key="forbidden_path:early")
    assert store.oldest_owed_offset() == 7


@pytest.mark.parametrize("key", [key for key in recorded() if key != CHECKPOINT_KEY])
def test_both_releases_read_the_same(key: bytes) -> None:
    before = release_0_1.decode_alert(key, recorded()[key])
    now = decode_alert(key, recorded()[key])
    assert now.status.value == before.status.value
    for name in ("session_id", "occurrences", "first_seen", "last_seen", "decided", "highest", "route"):
        assert getattr(now, name) == getattr(before, name)
    assert (now.is_at_provider, now.unsettled, now.acknowledging, now.failed, now.overflow) == (
        before.has,
        before.unsettled,
        before.acknowledging,
        0,
        None,
    )
    for one, other in ((now.last_notified, before.told), (now.owed, before.owed)):
        assert (one is None) is (other is None)
        if other is not None:
            for each in fields(other):
                name = "pins_offset" if each.name == "holds" else each.name
                found, was = getattr(one, name), getattr(other, each.name)
                assert (structs.astuple(found) == astuple(was)) if each.name == "record" else found == was


def test_the_state_of_the_last_release_is_gone_on_from() -> None:
    partition = Partition()
    partition.kafka.state.update(recorded())
    partition.position = 51
    partition.hand_over()
    before = partition.store.get("egress:large")
    assert before is not None
    assert before.session_id is not None
    partition.occurs("egress:large", size=10, record_key=before.session_id.encode())
    sent = partition.checkpoint()
    assert values(sent, "egress:large") == [], "it is in the state already"
    assert everything(partition.restored()) == partition.alerts()
    large = partition.store.get("egress:large")
    assert large is not None
    assert large.occurrences == 2


# what is none of ours


@pytest.mark.parametrize("counts", [7, {"a": 7}, {"a": []}, {"a": [1, 2, 3]}, {"a": [1] * 4 + [9] + [1] * 6}, [1]])
def test_corrupt_counts_are_refused(counts: object) -> None:
    value = orjson.loads(encode_position(Position("events", 0, 0)))
    with pytest.raises(CorruptState, match="checkpoint"):
        decode_counts(orjson.dumps({**value, "counts": counts}))


def test_a_later_release_may_say_more_of_them() -> None:
    partition = Partition()
    partition.occurs("a")
    partition.checkpoint()
    partition.occurs("a")
    value = orjson.loads(partition.checkpoint()[-1].value or b"")
    value["counts"]["a"].append("more")
    partition.kafka.state[CHECKPOINT_KEY] = orjson.dumps(value)
    assert everything(partition.restored()) == partition.alerts()


@pytest.mark.parametrize("key", ["nobody", "owes nothing"])
def test_counts_of_nothing_that_is_owed_say_nothing(key: str) -> None:
    partition = Partition()
    partition.occurs("a")
    partition.store.put(Alert("owes nothing", Status.OPEN, None, 1, NOW, NOW, NOW, Severity.HIGH))
    partition.checkpoint()
    partition.occurs("a")
    value = orjson.loads(partition.checkpoint()[-1].value or b"")
    value["counts"][key] = value["counts"]["a"]
    partition.kafka.state[CHECKPOINT_KEY] = orjson.dumps(value)
    assert everything(partition.restored()) == partition.alerts()
