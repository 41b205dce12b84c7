"""A task of the repartition stage: everything for one partition of the engine's events (design section 7).

The task is owned and proved like a task of a pipeline. Its position is a record of a compacted topic, in one
transaction with the records that it forwards. So each record is forwarded exactly once, wherever the task is killed.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTimestampError
from aiokafka.structs import OffsetAndMetadata, RecordMetadata
from structlog.typing import FilteringBoundLogger

from consumer.dlq.dead_letter import DeadLetter
from consumer.events.event import FetchedRecord, Tombstone
from consumer.input.commit_metadata import proved
from consumer.input.inputs import inputs_of
from consumer.input.partition_input import PartitionInput
from consumer.input.progress import Progress
from consumer.kafka.batches import Outgoing
from consumer.kafka.partitioning import partition_of
from consumer.kafka.transaction import TransactionRefused, commit_transaction
from consumer.tasks.partition.checkpoint import send_batched
from consumer.tasks.partition.pauses import Pause
from consumer.tasks.partition.restore import accept, restore
from consumer.tasks.partition.task import OwnerContext, PartitionTask
from consumer.tasks.partition.waiting_records import MAX_WAITING_BYTES
from consumer.tasks.partition.work import Work
from consumer.tasks.repartition.counterpart import Counterpart
from consumer.tasks.repartition.stage import Change, Forward, Repartition
from consumer.timing.clock import Clock
from state.records import CHECKPOINT_KEY, Position, encode_position
from state.violation import Violation, size_of

AHEAD_SECONDS = 1800.0
"""A record whose timestamp is further ahead of this host's clock than so many seconds is forwarded with the present
time. (By default a topic refuses timestamps more than an hour ahead of its broker's clock.)"""

RESTAMP_SECONDS = 600.0
"""For so many seconds after a refused timestamp, all records are forwarded with the present time."""


class Stamps:
    """Whether forwarded records keep their timestamps: a topic may refuse timestamps outside its bounds.

    A record with a new timestamp loses nothing that matters, as the event has a time of its own.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._renewed_until = 0.0

    @property
    def are_renewed(self) -> bool:
        """Whether records are forwarded with the present time."""
        return self._clock.monotonic() < self._renewed_until

    def refused(self) -> bool:
        """A timestamp was refused. Returns whether this changes the timestamps of the next records."""
        was_renewed = self.are_renewed
        self._renewed_until = self._clock.monotonic() + RESTAMP_SECONDS
        return not was_renewed


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext(OwnerContext):
    """What the forwarders of one member share. ``partitions`` asks how many partitions the pipeline's input has, as
    topics grow. ``behind`` are the pipeline's tasks, which may have read the events themselves before there was a
    stage."""

    stage: Repartition
    partitions: Callable[[], Awaitable[int]]
    behind: Counterpart
    stamps: Stamps
    tell_change: Callable[[Violation, int], None]
    """Takes an allowed event that is told as a change, with the bytes of its record."""


def forwarding_task(
    partition_input: PartitionInput, context: StageContext, log: FilteringBoundLogger
) -> "PartitionTask[Forwarder]":
    """The task of one partition of the engine's events, in the stage before a pipeline."""
    stage = context.stage
    return PartitionTask(
        partition_input,
        context,
        lambda task: Forwarder(task, context),
        group_id=stage.group_id,
        commit_interval=stage.pipeline.commit_interval,
        progress=Progress(0.0),
        log=log,
    )


@dataclass(frozen=True, slots=True)
class ForwarderCut:
    """What a forwarder had decided at one moment: the records, each with the partition that it goes to."""

    context: StageContext
    forwards: Sequence[tuple[int, FetchedRecord]]
    dead_letters: Sequence[DeadLetter]
    position: Position

    @property
    def facts(self) -> Mapping[str, int]:
        """Figures of what was committed, for the log."""
        return {"forwarded": len(self.forwards), "dead_lettered": len(self.dead_letters)}

    async def commit(self, producer: AIOKafkaProducer) -> RecordMetadata:
        """Commit all of it, or raise as `commit_transaction` does. Returns where the position is."""
        return await commit_transaction(producer, lambda: self._send(producer))

    async def committed(self, written: RecordMetadata) -> None:
        """Note that the records of this cut are forwarded."""
        self.context.metrics.events("forwarded", len(self.forwards))

    async def _send(self, producer: AIOKafkaProducer) -> RecordMetadata:
        # Dead letters first, as the topic may refuse them: then nothing else was sent in vain.
        await self.context.dead_letter_writer.write(producer, self.dead_letters)
        sends = await send_batched(producer, self._records(), self.context.turns)
        try:
            written = await asyncio.gather(*sends)
        except InvalidTimestampError as error:
            raise TransactionRefused(error, is_mended=self.context.stamps.refused()) from error
        return written[-1]

    def _records(self) -> Iterator[Outgoing]:
        stage, place = self.context.stage, self.position
        topic = stage.pipeline.input_topic
        for partition, record in self.forwards:
            timestamp = self._timestamp(record)
            yield Outgoing(topic, partition, record.key, record.value, tuple(record.headers), timestamp)
        now = self.context.record_clock.now()
        yield Outgoing(stage.positions_topic, place.partition, CHECKPOINT_KEY, encode_position(place), timestamp=now)

    def _timestamp(self, record: FetchedRecord) -> int | None:
        """The record's own timestamp, or the present time if the broker would refuse that. (None: the producer's
        present time.) An event time in the future counts as now anyway."""
        if self.context.stamps.are_renewed:
            return self.context.record_clock.now()
        ahead = record.timestamp > (self.context.clock.wall() + AHEAD_SECONDS) * 1000
        return self.context.record_clock.now_after(record.timestamp) if ahead else record.timestamp


class Forwarder(Work):
    """One partition of the engine's events: how far it is forwarded, and what the next checkpoint will forward."""

    def __init__(self, task: PartitionTask[Any], context: StageContext) -> None:
        self.task = task
        self._context = context
        self._forwards: list[tuple[int, FetchedRecord]] = []
        self._forward_bytes = 0
        self._partitions = 0  # of the pipeline's input

    # restore

    async def restore(self, committed: OffsetAndMetadata) -> None:
        """Find how far the events are forwarded, by this stage or by a pipeline that has read them itself."""
        context, partition_input = self._context, self.task.partition_input
        topic, partition = context.stage.positions_topic, partition_input.partition.partition
        restored = await restore(context.clients, topic, partition, self.task.log)
        accept(restored.position, context.stage.group_id, topic)
        events, number = partition_input.partition
        behind = await context.behind.checkpoint(number, of_input=events)
        inputs = inputs_of(partition_input.partition, restored.position, behind, proved=proved(committed))
        await self.task.go_on(committed, inputs, has_state=restored.position is not None or inputs.here is not None)
        self._partitions = await context.partitions()
        self.task.log.debug("partition_restored", position=self.task.position)

    def provable(self) -> int:
        """The position: what is decided is forwarded with it."""
        return self.task.position

    # decide

    async def decide(self, records: Sequence[FetchedRecord]) -> None:
        """Note what is to be forwarded."""
        stage, partitions = self._context.stage, self._partitions
        counts: Counter[str] = Counter()
        for record in records:
            try:
                decision = stage.decide(record)
            except Exception as error:  # a bug must neither stop the partition nor lose the event
                self.task.log.error("decision_failed", offset=record.offset, exc_info=error)
                decision = stage.undecidable(record, error)
            match decision:
                case None:
                    counts["ignored"] += 1
                case Change(event=event):
                    counts["ignored"] += 1
                    self._context.tell_change(event.violation(), len(record.value or b""))
                case Forward(key=key, change=change):
                    if change is not None:
                        self._context.tell_change(change.violation(), len(record.value or b""))
                    self._forwards.append((partition_of(key, partitions), record))
                    self._forward_bytes += size_of(record.key, record.value, record.headers)
                case Tombstone.TOMBSTONE:
                    counts["tombstone"] += 1
                case DeadLetter():
                    counts["poison"] += 1
                    self.task.waiting.take(decision)
                case _:
                    assert_never(decision)
        self.task.passed(records[-1].offset + 1)
        for outcome, count in counts.items():
            self._context.metrics.events(outcome, count)
        if self._forwards:
            self.task.urgent.set()
        if self._forward_bytes > MAX_WAITING_BYTES:
            self.task.pauses.hold_back(Pause.FORWARDS)

    # checkpoints

    def cut(self) -> ForwarderCut | None:
        """What is to be forwarded, and the position; None if that is nothing, and the same as before."""
        place = self.task.place()
        if not self._forwards and not self.task.waiting and place == self.task.checkpointed:
            return None
        cut = ForwarderCut(self._context, self._forwards, self.task.waiting.cut(), place)
        self._forwards, self._forward_bytes = [], 0
        self.task.pauses.let_go(Pause.FORWARDS)
        return cut
