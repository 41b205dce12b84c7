"""What is the same for every kind of task: which checkpoints there are, and which there are not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError, TopicAuthorizationFailedError
from aiokafka.structs import RecordMetadata

import consumer.tasks.partition.transactions
from consumer.input.commit_metadata import START_METADATA
from consumer.input.progress import Progress
from consumer.kafka.clients import BATCH_BYTES
from consumer.kafka.record_clock import RecordClock
from consumer.kafka.transaction import TransactionRefused, Unanswered
from consumer.tasks.partition.ownership import NotOwner
from consumer.tasks.partition.task import OwnerContext, PartitionTask
from consumer.tasks.partition.transactions import LEAST_BATCH_BYTES, MENDS
from consumer.tasks.partition.waiting_records import MAX_WAITING_BYTES, WAITING_RECORD_BYTES
from consumer.tasks.partition.work import Work
from consumer.timing.clock import Clock
from state.records import Position
from state.violation import Record
from tests.support.dead_letter_writer import large_dead_letter_writer
from tests.support.simulated_kafka import Input, Kafka, Producer, Proofs
from tests.support.waiting import wait_until
from tests.unit.test_deadletter import dead_letter


class _Kafka(Kafka):
    """Notes the producers that are made of it."""

    def __init__(self, state_topic: str) -> None:
        super().__init__(state_topic)
        self.batch_bytes: list[int] = []
        self.outage = 0

    def transactional(self, transactional_id: str, *, batch_bytes: int) -> Producer:
        self.batch_bytes.append(batch_bytes)
        if self.outage:
            self.outage -= 1
            raise KafkaConnectionError("there is no broker")
        return super().transactional(transactional_id, batch_bytes=batch_bytes)


class _Proofs(Proofs):
    """Counts the proofs, and refuses them when the test says so."""

    count = 0
    refusal: Exception | None = None

    async def prove(self, offsets: object) -> None:
        self.count += 1
        if self.refusal is not None:
            raise self.refusal


class _Input(Input):
    """Knows whether it is paused."""

    is_paused = False

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False


@dataclass(frozen=True)
class _Cut:
    """A checkpoint that the test says what comes of."""

    commits: "list[asyncio.Future[None]]"
    position: Position = field(default_factory=lambda: Position("events", 0, 0))
    facts: Mapping[str, int] = field(default_factory=dict)

    async def commit(self, producer: Any) -> Any:
        self.commits.append(asyncio.get_running_loop().create_future())
        await self.commits[-1]

    async def committed(self, written: Any) -> None:
        pass


class _Work(Work):
    """Has something to commit whenever it is asked."""

    def __init__(self, task: PartitionTask[Any]) -> None:
        self.task = task
        self.commits: list[asyncio.Future[None]] = []

    async def restore(self, committed: Any) -> None:
        pass

    def provable(self) -> int:
        return self.task.position

    async def begin(self) -> None:
        self.task.urgent.set()

    async def decide(self, records: Sequence[Any]) -> None:
        pass

    def cut(self) -> _Cut:
        return _Cut(self.commits)

    async def withdraw(self, grace: float) -> None:
        self.task.urgent.set()  # as a request does that is answered while the task closes


class _Task(PartitionTask[_Work]):
    """A task whose checkpoints wait for the test."""

    def __init__(self) -> None:
        self.kafka, self.proofs, self.input = _Kafka("state"), _Proofs(), _Input("events", START_METADATA)
        clock = Clock.system()
        context = OwnerContext(
            clients=self.kafka,  # type: ignore[arg-type]
            proofs=self.proofs,  # type: ignore[arg-type]
            restores=asyncio.Semaphore(),
            metrics=SimpleNamespace(dead_letter=lambda *_: None, checkpoint=lambda _: None),  # type: ignore[arg-type]
            clock=clock,
            dead_letter_writer=large_dead_letter_writer("dlq"),
            record_clock=RecordClock(clock),
        )
        super().__init__(
            self.input,  # type: ignore[arg-type]
            context,
            _Work,
            group_id="group",
            commit_interval=0.0,
            progress=Progress(),
            log=structlog.get_logger(),
        )

    @property
    def commits(self) -> "list[asyncio.Future[None]]":
        return self.work.commits

    def letter(self, size: int) -> None:
        """Take a dead letter of so many bytes."""
        self.waiting.take(dead_letter(Record("events", 0, 0, 0, None, b"v" * size)))


async def _committing(count: int, task: _Task) -> None:
    await wait_until(lambda: len(task.commits) == count, f"{count} commits have begun")


async def _drained(task: _Task, running: "asyncio.Task[None]") -> BaseException | None:
    """What the task has ended with, which is told to close."""
    await asyncio.wait_for(task.drain(1.0), 5)
    await asyncio.wait([running], timeout=5)
    return running.exception()


async def _turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_while_it_drains_the_last_checkpoint_is_the_only_one() -> None:
    task = _Task()
    running = asyncio.create_task(task.run())
    await _committing(1, task)
    draining = asyncio.create_task(task.drain(1.0))
    await _turns()
    assert len(task.commits) == 1  # the last one waits for the one that has begun
    task.commits[0].set_result(None)
    await _committing(2, task)
    task.commits[1].set_exception(KafkaError("gone"))
    await draining
    task.urgent.set()
    await _turns()
    assert len(task.commits) == 2
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.parametrize(
    "end", [lambda commit: commit.set_exception(KafkaError("gone")), lambda commit: commit.cancel()]
)
async def test_behind_a_checkpoint_that_failed_there_is_no_last_one(end: Callable[[Any], None]) -> None:
    task = _Task()
    running = asyncio.create_task(task.run())
    await _committing(1, task)
    draining = asyncio.create_task(task.drain(1.0))
    await _turns()
    end(task.commits[0])
    await draining
    await asyncio.wait([running])
    assert len(task.commits) == 1
    assert not task.is_running


# a checkpoint that the broker refuses


@asynccontextmanager
async def _running() -> AsyncIterator[tuple[_Task, "asyncio.Task[None]"]]:
    """A task whose first commit has begun."""
    task = _Task()
    running = asyncio.create_task(task.run())
    try:
        await _committing(1, task)
        yield task, running
    finally:
        running.cancel()
        await asyncio.wait([running])


def _mended() -> TransactionRefused:
    return TransactionRefused(MessageSizeTooLargeError(), topic="dlq", is_mended=True)


def _not_mended() -> TransactionRefused:
    return TransactionRefused(TopicAuthorizationFailedError("dlq"), topic="dlq")


async def test_what_will_be_written_otherwise_is_at_once_by_another_producer_and_an_owner() -> None:
    async with _running() as (task, running):
        first, proofs = task.kafka.producer, task.proofs.count
        task.commits[0].set_exception(_mended())
        await _committing(2, task)
        assert task.kafka.producer is not first
        assert task.proofs.count == proofs + 1
        assert (task.is_running, task.is_refused) == (True, False)
        task.commits[1].set_result(None)
        await _turns()
        assert not running.done()


async def test_what_nobody_here_can_mend_is_tried_again_and_the_task_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.tasks.partition.transactions, "REFUSED_SECONDS", (0.01, 0.02))
    async with _running() as (task, running):
        for number in range(5):
            task.commits[number].set_exception(_not_mended())
            await _committing(number + 2, task)
            assert (task.is_running, task.is_refused) == (True, True)
        task.letter(MAX_WAITING_BYTES - WAITING_RECORD_BYTES)
        assert not task.input.is_paused
        task.letter(0)
        assert task.input.is_paused  # what waits to be written must not grow for ever
        task.waiting.cut()
        task.commits[5].set_result(None)
        await _turns()
        assert not task.is_refused
        assert not task.input.is_paused
        assert not running.done()


async def test_a_state_record_that_is_refused_is_written_in_smaller_batches() -> None:
    async with _running() as (task, _):
        for number in range(6):
            task.commits[number].set_exception(TransactionRefused(MessageSizeTooLargeError()))
            if number < 5:
                await _committing(number + 2, task)
        sizes = [BATCH_BYTES >> number for number in range(6)]
        await wait_until(lambda: task.is_refused, "it is in trouble: it is the record itself")
        assert task.kafka.batch_bytes[:6] == sizes
        assert sizes[-1] == LEAST_BATCH_BYTES


@pytest.mark.slow
async def test_mending_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.tasks.partition.transactions, "REFUSED_SECONDS", (60.0, 60.0))
    async with _running() as (task, _):
        for number in range(MENDS):
            task.commits[number].set_exception(_mended())
            await _committing(number + 2, task)
        task.commits[MENDS].set_exception(_mended())
        await wait_until(lambda: task.is_refused, "it is in trouble")
        assert len(task.commits) == MENDS + 1


async def test_who_is_no_owner_any_more_writes_nothing_again() -> None:
    async with _running() as (task, running):
        task.proofs.refusal = NotOwner("somebody else is")
        task.commits[0].set_exception(_mended())
        await asyncio.wait([running])
        assert isinstance(running.exception(), NotOwner)
        assert len(task.commits) == 1


async def test_a_task_that_is_closed_while_it_waits_ends_without_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.tasks.partition.transactions, "REFUSED_SECONDS", (60.0, 60.0))
    async with _running() as (task, running):
        task.commits[0].set_exception(_not_mended())
        await wait_until(lambda: task.is_refused, "it is in trouble")
        assert isinstance(await _drained(task, running), TransactionRefused)
        assert len(task.commits) == 1


async def test_a_last_checkpoint_that_is_refused_is_left_to_the_next_owner() -> None:
    async with _running() as (task, _):
        draining = asyncio.create_task(task.drain(1.0))
        await _turns()
        task.commits[0].set_exception(_mended())
        await asyncio.wait_for(draining, 5)
        assert len(task.commits) == 1


# one that has failed, whatever the reason


def _unanswered(offset: int) -> Unanswered:
    return Unanswered(KafkaError("gone"), RecordMetadata("state", 0, TopicPartition("state", 0), offset, None, 0, 0))


async def test_a_commit_without_an_answer_that_has_come_about_is_not_written_again() -> None:
    async with _running() as (task, running):
        task.kafka.state, task.kafka.offsets, task.kafka.end = {b"key": b"value"}, {b"key": 7}, 8
        first, proofs = task.kafka.producer, task.proofs.count
        task.commits[0].set_exception(_unanswered(7))
        await wait_until(lambda: task.kafka.producer is not first and not task.is_refused, "it is settled")
        assert task.proofs.count == proofs + 1
        task.urgent.set()
        await _committing(2, task)  # it is the next one
        assert not running.done()


async def test_one_that_has_not_come_about_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.tasks.partition.transactions, "REFUSED_SECONDS", (0.01, 0.02))
    async with _running() as (task, running):
        task.kafka.state, task.kafka.offsets, task.kafka.end = {b"key": b"value"}, {b"key": 7}, 9
        task.commits[0].set_exception(_unanswered(8))
        await _committing(2, task)
        assert task.is_refused
        task.commits[1].set_result(None)
        await _turns()
        assert not task.is_refused
        assert not running.done()


async def test_while_no_producer_can_be_had_the_task_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.tasks.partition.transactions, "REFUSED_SECONDS", (0.01, 0.02))
    async with _running() as (task, running):
        task.kafka.outage = 5
        task.commits[0].set_exception(_not_mended())
        await wait_until(lambda: task.is_refused, "it is in trouble")
        assert task.is_running
        await _committing(2, task)
        assert task.kafka.outage == 0
        assert not running.done()


async def test_a_task_that_is_closed_while_no_producer_can_be_had_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.tasks.partition.transactions, "REFUSED_SECONDS", (60.0, 60.0))
    async with _running() as (task, running):
        task.kafka.outage = 1
        task.commits[0].set_exception(_unanswered(0))
        await wait_until(lambda: task.kafka.outage == 0, "it has been tried")
        assert isinstance(await _drained(task, running), Unanswered)
        assert len(task.commits) == 1


async def test_what_cannot_be_looked_up_is_left_to_a_task_built_again() -> None:
    async with _running() as (task, running):
        task.commits[0].set_exception(_unanswered(-1))
        await asyncio.wait([running], timeout=5)
        assert isinstance(running.exception(), Unanswered)
        assert len(task.commits) == 1
