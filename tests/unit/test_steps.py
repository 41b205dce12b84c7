"""No step of the event loop takes longer where there is more to do (design section 16): what one does is counted."""

import asyncio
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from consumer.tasks.alerting.moments import Moments
from consumer.tasks.partition.checkpoint import divided
from consumer.tasks.repartition.forwarder import ForwarderCut, Stamps
from consumer.timing.clock import Clock
from consumer.timing.turns import Turns
from state import written
from state.alert import Alert, Owed, Status
from state.counts import counts_of, with_counts
from state.partition_records import counts_of_unread
from state.records import BESIDE, BESIDE_PREFIX, Position, encode_alert
from state.store import Store
from state.violation import Record, Severity
from state.written import LARGE_BYTES, MAX_COUNTS
from tests.support.delivery_setting import Setting
from tests.support.loop import VirtualLoop

MANY = 2_000


class Work:
    """A clock that only work moves, and how far it moved between two turns of the loop at most."""

    def __init__(self) -> None:
        self.now = 0.0
        self.longest = 0.0

    def turns(self, seconds: float) -> Turns:
        return Turns(lambda: self.now, seconds)

    async def watch(self, work: "asyncio.Task[Any]") -> None:
        while not work.done():
            before = self.now
            await asyncio.sleep(0)
            self.longest = max(self.longest, self.now - before)


def large(key: str, offset: int = 0) -> Alert:
    """An alert that owes a record which is not to be written for each of its counts."""
    record = Record("events", 0, offset, 0, b"k", b"x" * LARGE_BYTES)
    owed = Owed(record, Severity.HIGH, 1.0, offset, offset, pins_offset=offset)
    return Alert(key, Status.OPEN, None, 1, 1.0, 1.0, 1.0, Severity.HIGH, owed=owed)


def counted(alert: Alert) -> Alert:
    """One more event was counted into it."""
    assert alert.owed is not None
    occurrences = alert.occurrences + 1
    return replace(alert, occurrences=occurrences, owed=replace(alert.owed, occurrences=occurrences))


# checkpoints


def test_a_cut_looks_at_no_alert_and_its_division_at_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def compare(*args: Any) -> Alert:
        nonlocal compared
        compared += 1
        return with_counts(*args)

    store = Store()
    for number in range(MANY):
        store.put(large(f"{number}"))
    list(store.divide(store.cut()))
    store.committed()
    for number in range(MANY):
        alert = store.get(f"{number}")
        assert alert is not None
        store.put(counted(alert))
    monkeypatch.setattr(written, "with_counts", compare)
    changed = store.cut()
    assert compared == 0
    steps = []
    for _ in store.divide(changed):
        steps.append(compared)
        compared = 0
    assert max(steps) == 1
    assert len(store.written_counts) == MAX_COUNTS


def test_what_is_written_is_what_there_was_at_the_cut_whatever_happens_before_it_is_divided() -> None:
    loop, store = VirtualLoop(), Store()
    first = [large(f"{number}") for number in range(MAX_COUNTS + 2)]
    for alert in first:
        store.put(alert)
    loop.complete(divided(store, store.cut(), Turns()))
    store.committed()
    for alert in first[:-1]:
        store.put(counted(alert))
    loop.complete(divided(store, store.cut(), Turns()))  # one has to be written: there is no room for its counts
    store.committed()
    store.put(counted(first[-1]))  # and another, the oldest, which has not changed since
    changed = store.cut()
    store.put(counted(counted(first[1])))
    store.drop("2")
    found = loop.complete(divided(store, changed, Turns()))
    store.committed()
    assert list(found.changes) == [("1", counted(first[1]))]
    assert set(found.counts) == {alert.dedup_key for alert in first[2:]}
    found = loop.complete(divided(store, store.cut(), Turns()))
    assert found.changes == [("2", None)]
    assert found.counts["1"].occurrences == 3


# a restore


def test_a_restore_asks_nothing_of_each_record_that_it_leaves_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    get = Store.get

    def counting(store: Store, dedup_key: str) -> Alert | None:
        nonlocal asked
        asked += 1
        return get(store, dedup_key)

    setting = Setting()
    (partition,) = setting.partitions
    for number in range(MANY):
        partition.kafka.state[b"key %d" % number] = b'{"v":2}'
    monkeypatch.setattr(Store, "get", counting)
    setting.restart()
    assert partition.running.work.left_alone.count == MANY
    assert asked < 10


def test_alerts_that_become_one_with_what_was_beside_them_are_written_again_step_by_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = encode_alert(Alert("any", Status.OPEN, None, 1, 1.0, 1.0, 1.0, Severity.HIGH))
    written, steps = 0, list[int]()
    write_again = Store.write_again

    def counting(store: Store, dedup_key: str) -> None:
        nonlocal written
        written += 1
        write_again(store, dedup_key)

    async def through(turns: Turns, work: Iterable[object]) -> None:
        nonlocal written
        for _ in work:
            steps.append(written)
            written = 0

    setting = Setting()
    (partition,) = setting.partitions
    for number in range(MANY):
        key = f"key {number}".encode()
        partition.kafka.state[key] = partition.kafka.state[BESIDE + key] = value
    monkeypatch.setattr(Store, "write_again", counting)
    monkeypatch.setattr(Turns, "through", through)
    setting.restart()
    assert setting.faults == []
    assert len(partition.running.work.store) == MANY
    assert (sum(steps), max(steps)) == (2 * MANY, 2)
    assert written == 0


class Unread:
    """The dedup keys of very many records that are left alone: it may be asked for one, and not gone through."""

    def __init__(self) -> None:
        self.asked = 0

    def __contains__(self, dedup_key: object) -> bool:
        self.asked += 1
        return str(dedup_key).startswith("unread")


def test_the_counts_of_unread_records_are_found_by_going_through_the_counts() -> None:
    found = counts_of(large("any"))
    unread = Unread()
    counts = dict.fromkeys(
        ("read", "unread", "unread, has one", f"{BESIDE_PREFIX}unread, has one", f"{BESIDE_PREFIX}unread, had one"),
        found,
    )
    assert counts_of_unread(counts, unread, lambda key: key.endswith("has one")) == {
        "unread": found,
        "unread, has one": found,
    }
    assert unread.asked <= len(counts)


# what time brings


def test_what_has_passed_is_forgotten_bit_by_bit() -> None:
    moments = Moments()
    for number in range(MANY):
        moments.set(f"{number}", 10.0)
    work = moments.forgotten_before(10.0)
    assert [moments.get(f"{number}") for number in range(3)] == [10.0] * 3
    next(work)
    assert [moments.get(f"{number}") for number in range(3)] == [0.0, 10.0, 10.0]
    moments.set("1", 20.0)
    assert sum(1 for _ in work) == MANY - 1
    assert [moments.get(f"{number}") for number in range(3)] == [0.0, 20.0, 0.0]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["set", "drop", "pass"])), max_size=30))
def test_a_moment_holds_until_it_has_passed(steps: list[tuple[str, str]]) -> None:
    moments, expected, now = Moments(), dict[str, float](), 1.0
    for key, step in steps:
        now += 1.0
        if step == "set":
            moments.set(key, now + 3.0)
            expected[key] = now + 3.0
        elif step == "drop":
            moments.drop(key)
            expected.pop(key, None)
        else:
            for _ in moments.forgotten_before(now):
                pass
            expected = {one: moment for one, moment in expected.items() if moment > now}
        assert {one: moment for one in "abc" if (moment := moments.get(one))} == expected
    for _ in moments.forgotten_before(now + 3.0):
        pass
    assert not len(moments._moments)
    assert not moments._order


# a repartition stage


class Producer:
    """Takes batches; ``sent`` are how many records each of them had, by partition."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.sent: list[tuple[str, int, int]] = []

    def create_batch(self) -> Any:
        return Batch(self._work)

    async def send_batch(self, batch: "Batch", topic: str, *, partition: int) -> "asyncio.Future[None]":
        self.sent.append((topic, partition, batch.count))
        future = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future


class Batch:
    def __init__(self, work: Work) -> None:
        self._work = work
        self.count = 0

    def append(self, **record: Any) -> object | None:
        self._work.now += 1.0
        if self.count == 100:
            return None
        self.count += 1
        return record


def test_a_stage_forwards_in_slices() -> None:
    async def posted(producer: Any, letters: Sequence[Any]) -> None:
        assert letters == []

    loop, work = VirtualLoop(), Work()
    clock = Clock(lambda: 1000.0, lambda: 1000.0)
    context: Any = SimpleNamespace(
        stage=SimpleNamespace(
            group_id="stage",
            positions_topic="positions",
            pipeline=SimpleNamespace(commit_interval=1.0, input_topic="keyed"),
        ),
        clients=None,
        proofs=None,
        restores=None,
        metrics=None,
        clock=clock,
        dead_letter_writer=SimpleNamespace(write=posted),
        record_clock=SimpleNamespace(now=lambda: 5),
        stamps=Stamps(clock),
        turns=work.turns(10.0),
    )
    record: Any = Record("events", 3, 0, 7, b"k", b"{}")
    producer: Any = Producer(work)
    forwards = [(number % 2, record) for number in range(MANY)]
    cut = ForwarderCut(context, forwards, [], Position("events", 3, MANY))
    sending = loop.create_task(cut._send(producer))
    loop.complete(work.watch(sending))
    sending.result()
    assert work.longest <= 11.0
    counts = {place: sum(count for *at, count in producer.sent if (*at,) == place) for place in PLACES}
    assert counts == {("keyed", 0): MANY // 2, ("keyed", 1): MANY // 2, ("positions", 3): 1}


PLACES = (("keyed", 0), ("keyed", 1), ("positions", 3))
