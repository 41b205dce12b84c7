"""A state topic that is emptied, or made anew, under a task that runs: what the task knows is written again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from aiokafka.producer.message_accumulator import BatchBuilder

from consumer.group import state_watch
from consumer.group.state_watch import StateWatch
from consumer.kafka.batches import Outgoing
from consumer.kafka.transaction import FAILURES
from consumer.kafka.watermarks import Watermarks
from consumer.tasks.partition.checkpoint import send_batched
from consumer.tasks.partition.state_log import StateLog
from consumer.timing.turns import Turns
from providers.answer import Unavailable
from state.records import CHECKPOINT_KEY
from tests.support.delivery_setting import Setting

STATE = TopicPartition("state", 3)


@pytest.mark.parametrize(
    ("beginning", "high", "is_missing"),
    [
        (5, 20, False),
        (5, 21, False),
        (0, 20, False),
        (6, 20, True),  # a part was deleted
        (20, 20, True),  # all was
        (5, 19, True),
        (0, 0, True),  # it was made anew
    ],
)
def test_what_is_missing_is_seen_by_the_bounds(beginning: int, high: int, is_missing: bool) -> None:
    log = StateLog(5, 20)
    assert log.misses(beginning, high, log.last) is is_missing
    if is_missing:
        log.begins_anew(beginning, high)
        assert not log.misses(beginning, high, log.last)


def test_a_checkpoint_that_stands_before_what_was_written_is_in_another_log() -> None:
    log = StateLog(5, 20)
    assert [log.wrote(offset, 1) for offset in (20, 25, 3, 4)] == [True, True, False, True]
    assert not log.misses(0, 5, log.last)
    assert log.wrote(-1, 1), "where it stands is not known"
    assert log.wrote(5, 1)


def test_a_checkpoint_that_is_longer_than_the_log_was_is_seen_to_be_in_another() -> None:
    assert not StateLog(0, 6).wrote(0, 12)
    assert StateLog(0, 6).wrote(6, 12)
    log = StateLog(0, 0)
    assert log.wrote(0, 12)
    assert log.last == 11
    assert not log.wrote(11, 1)


def known(setting: Setting) -> set[bytes]:
    return {key.encode() for key in setting.alerts()} | {CHECKPOINT_KEY}


def written(setting: Setting) -> set[bytes]:
    state = setting.partitions[0].kafka.state
    return {key for key, value in state.items() if value is not None}


def test_everything_is_written_again_when_the_topic_was_made_anew() -> None:
    setting = Setting()
    setting.occur(*(f"s{number}" for number in range(20)))
    setting.run(30.0)
    kafka = setting.partitions[0].kafka
    assert written(setting) == known(setting)
    kafka.state.clear()
    kafka.end = 0
    setting.occur("new")
    setting.run(2.0)
    assert len(setting.alerts()) == 21
    assert written(setting) == known(setting)
    before = setting.alerts()
    setting.restart()
    assert setting.alerts() == before


def test_a_state_that_was_emptied_is_written_again_also_without_an_event() -> None:
    setting = Setting()
    setting.occur("s1", "s2")
    setting.run(5.0)
    (partition,) = setting.partitions
    end = partition.kafka.end
    partition.kafka.state.clear()
    with setting.loop.running():
        partition.running.state_is_gone(end, end)
    setting.run(2.0)
    assert written(setting) == known(setting)
    assert len(known(setting)) == 3


def test_the_position_is_written_again_where_there_is_no_alert() -> None:
    setting = Setting()
    setting.occur("s1")
    setting.end("s1")
    setting.run(60.0)
    (partition,) = setting.partitions
    assert setting.alerts() == {}
    partition.kafka.state.clear()
    with setting.loop.running():
        partition.running.state_is_gone(partition.kafka.end, partition.kafka.end)
    setting.run(2.0)
    assert written(setting) == {CHECKPOINT_KEY}


def test_large_records_are_written_in_full() -> None:
    setting = Setting(lambda call: Unavailable(503, "down"))
    setting.occur("s1", padding=10_000)
    setting.run(10.0)
    setting.occur("s1")
    setting.run(10.0)
    (partition,) = setting.partitions
    partition.kafka.state.clear()
    with setting.loop.running():
        partition.running.state_is_gone(partition.kafka.end, partition.kafka.end)
    setting.run(2.0)
    before = setting.alerts()
    setting.restart()
    assert {key: alert.occurrences for key, alert in setting.alerts().items()} == {
        key: alert.occurrences for key, alert in before.items()
    }


# the watch


class Clients:
    """A reader that sees these bounds, one after the other."""

    def __init__(self, *bounds: tuple[int, int]) -> None:
        self.bounds = list(bounds)
        self.error: Exception | None = None

    def reader(self) -> "Clients":
        return self

    async def start(self) -> None:
        if self.error is not None:
            raise self.error

    async def stop(self) -> None:
        pass

    def assign(self, partitions: object) -> None:
        pass

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self.bounds[0][0])

    async def watermarks(self, reader: Any, partitions: Sequence[TopicPartition]) -> AsyncIterator[Any]:
        if len(self.bounds) > 1:
            del self.bounds[0]
        yield dict.fromkeys(partitions, Watermarks(self.bounds[0][1], self.bounds[0][1]))


class Task:
    is_running = True

    def __init__(self) -> None:
        self.state_log = StateLog(0, 20)
        self.gone: list[tuple[int, int]] = []

    def state_is_gone(self, beginning: int, high: int) -> None:
        self.gone.append((beginning, high))


async def look(monkeypatch: pytest.MonkeyPatch, clients: Clients) -> Task:
    monkeypatch.setattr(state_watch, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(state_watch, "each_watermarks", clients.watermarks)
    task = Task()
    tasks: Any = {TopicPartition("events", 3): task, TopicPartition("events", 4): SimpleNamespace(is_running=False)}
    kafka: Any = clients
    await asyncio.wait_for(StateWatch(kafka, "state", lambda: tasks, structlog.get_logger()).look(), 5)
    return task


async def test_only_what_the_broker_goes_on_saying_is_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after a commit it can still give the old end."""
    assert (await look(monkeypatch, Clients((0, 0), (0, 19), (0, 19), (0, 21)))).gone == []
    assert (await look(monkeypatch, Clients((0, 0), (0, 1)))).gone == [(0, 1)]
    assert (await look(monkeypatch, Clients((0, 0), (30, 30)))).gone == [(30, 30)]
    assert (await look(monkeypatch, Clients((0, 0), (0, 25)))).gone == []


async def test_what_is_written_while_it_is_asked_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Busy(Clients):
        task: Task | None = None

        async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
            assert self.task is not None
            self.task.state_log.wrote(self.task.state_log.last + 2, 1)
            self.bounds = [(0, self.task.state_log.last + 1)]
            return await super().beginning_offsets(partitions)

    clients = Busy((0, 20))
    monkeypatch.setattr(Task, "__init__", lambda task: _remember(clients, task))
    assert (await look(monkeypatch, clients)).gone == []


def _remember(clients: Any, task: Task) -> None:
    clients.task, task.state_log, task.gone = task, StateLog(0, 20), []


async def test_a_partition_that_the_topic_has_no_more_refuses_the_checkpoint_and_ends_no_task() -> None:
    class Producer:
        def create_batch(self) -> BatchBuilder:
            return BatchBuilder(1 << 19, 0)

        async def send_batch(self, batch: Any, topic: str, *, partition: int) -> None:
            raise AssertionError("Unrecognized partition")

    producer: Any = Producer()
    with pytest.raises(UnknownTopicOrPartitionError, match="topic state has no partition 5"):
        await send_batched(producer, [Outgoing("state", 5, b"k", b"v", timestamp=0)], Turns())
    assert issubclass(UnknownTopicOrPartitionError, FAILURES)


async def test_a_broker_that_does_not_answer_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = Clients((0, 0))
    clients.error = KafkaError("away")
    assert (await look(monkeypatch, clients)).gone == []
