"""A task of the repartition stage: everything for one partition of the engine's events (design section 7).

The task is owned and proved like a task of a pipeline. Its position is a record of a compacted topic, in one
transaction with the records that it forwards. So each record is forwarded exactly once, wherever the task is killed.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTimestampError
from aiokafka.structs import OffsetAndMetadata, RecordMetadata
from structlog.typing import FilteringBoundLogger

from consumer.clock import Clock
from consumer.dlq.dead_letter import DeadLetter
from consumer.dlq.letterbox import Letterbox
from consumer.events.event import TOMBSTONE, FetchedRecord
from consumer.input.commit_metadata import COMMIT_METADATA, proved
from consumer.input.inputs import inputs_of
from consumer.input.partition_input import PartitionInput
from consumer.input.progress import Progress
from consumer.kafka.batches import Outgoing
from consumer.kafka.clients import KafkaClients
from consumer.kafka.partitioning import partition_of
from consumer.kafka.record_clock import RecordClock
from consumer.kafka.transaction import Refused, commit_transaction
from consumer.partition.checkpoint import send_batched
from consumer.partition.owned import MAX_WAITING_BYTES, OwnedPartition
from consumer.partition.ownership import Proofs
from consumer.partition.restore import restore
from consumer.repartition.counterpart import Counterpart
from consumer.repartition.stage import Forward, Repartition
from consumer.telemetry.metrics import PipelineMetrics
from consumer.turns import Turns
from state.records import CHECKPOINT_KEY, Position, encode_position
from state.violation import size_of

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


@dataclass(frozen=True, slots=True)
class StageContext:
    """What the forwarders of one member share. ``partitions`` asks how many partitions the pipeline's input has, as
    topics grow. ``behind`` are the pipeline's tasks, which may have read the events themselves before there was a
    stage."""

    stage: Repartition
    partitions: Callable[[], Awaitable[int]]
    behind: Counterpart
    clients: KafkaClients
    proofs: Proofs
    restores: asyncio.Semaphore
    metrics: PipelineMetrics
    clock: Clock
    letterbox: Letterbox
    record_clock: RecordClock
    stamps: Stamps
    turns: Turns


@dataclass(frozen=True, slots=True)
class _Cut:
    """What one checkpoint of a forwarder commits."""

    forwards: Sequence[tuple[int, FetchedRecord]]
    dead_letters: Sequence[DeadLetter]
    position: Position


class Forwarder(OwnedPartition):
    """One partition of the engine's events: how far it is forwarded, and what the next checkpoint will forward."""

    def __init__(self, source: PartitionInput, context: StageContext, log: FilteringBoundLogger) -> None:
        super().__init__(
            source,
            group_id=context.stage.group_id,
            clients=context.clients,
            proofs=context.proofs,
            restores=context.restores,
            commit_interval=context.stage.pipeline.commit_interval,
            progress=Progress(0.0),
            metrics=context.metrics,
            record_clock=context.record_clock,
            clock=context.clock,
            log=log,
        )
        self._context = context
        self._forwards: list[tuple[int, FetchedRecord]] = []
        self._forward_bytes = 0
        self._partitions = 0  # of the pipeline's input

    # own, restore

    def _owns(self, producer: AIOKafkaProducer) -> None:
        pass  # each transaction uses the producer of the time

    async def _restore(self, committed: OffsetAndMetadata) -> None:
        topic, partition = self._context.stage.positions_topic, self.source.partition.partition
        restored = await restore(self._context.clients, topic, partition, self._log)
        self._accept(restored.position, topic)
        events, number = self.source.partition
        behind = await self._context.behind.checkpoint(number, of_input=events)
        inputs = inputs_of(self.source.partition, restored.position, behind, proved=proved(committed))
        await self._go_on(committed, inputs, has_state=restored.position is not None or inputs.here is not None)
        self._partitions = await self._context.partitions()
        self._log.debug("partition_restored", position=self.position)

    def _provable(self) -> int:
        return self.position

    async def _restored(self) -> None:
        pass

    # decide

    async def _decide(self, records: Sequence[FetchedRecord]) -> None:
        stage, partitions = self._context.stage, self._partitions
        counts: Counter[str] = Counter()
        for record in records:
            try:
                decision = stage.decide(record)
            except Exception as error:  # a bug must neither stop the partition nor lose the event
                self._log.error("decision_failed", offset=record.offset, exc_info=error)
                decision = stage.undecidable(record, error)
            if decision is None:
                counts["ignored"] += 1
            elif isinstance(decision, Forward):
                self._forwards.append((partition_of(decision.key, partitions), record))
                self._forward_bytes += size_of(record.key, record.value, record.headers)
            elif decision is TOMBSTONE:
                counts["tombstone"] += 1
            else:
                counts["poison"] += 1
                self._take_dead_letter(decision)
        self._passed(records[-1].offset + 1)
        for outcome, count in counts.items():
            self._metrics.events(outcome, count)
        if self._forwards:
            self._urgent.set()
        if self._forward_bytes > MAX_WAITING_BYTES:
            self._hold_back("waiting")

    def tick(self) -> Iterator[None]:
        """Nothing to do: the stage has no work that depends on time."""
        return iter(())

    # checkpoints

    async def _before_checkpoint(self) -> None:
        pass

    async def _commit(self) -> None:
        self._urgent.clear()
        place = self._place()
        if not self._forwards and not self._dead_letters and place == self._checkpointed:
            return
        cut = self._cut(place)
        started = self._clock.monotonic()
        await self._transact(lambda: self._write(cut))
        seconds = self._clock.monotonic() - started
        self._checkpointed = cut.position
        self.committed = OffsetAndMetadata(cut.position.offset, COMMIT_METADATA)
        self._metrics.checkpoint(seconds)
        self._metrics.events("forwarded", len(cut.forwards))
        self._log.debug(
            "checkpoint",
            position=cut.position.offset,
            forwarded=len(cut.forwards),
            dead_lettered=len(cut.dead_letters),
            seconds=round(seconds, 4),
        )

    def _cut(self, place: Position) -> _Cut:
        """Take everything at one moment: there must be no await in here."""
        cut = _Cut(self._forwards, self._dead_letters, place)
        self._forwards, self._dead_letters, self._forward_bytes = [], [], 0
        self._let_go("waiting")
        return cut

    async def _write(self, cut: _Cut) -> RecordMetadata:
        producer = self._producer
        assert producer is not None
        return await commit_transaction(producer, lambda: self._send(cut, producer))

    async def _send(self, cut: _Cut, producer: AIOKafkaProducer) -> RecordMetadata:
        # Dead letters first, as the topic may refuse them: then nothing else was sent in vain.
        await self._context.letterbox.post(producer, cut.dead_letters)
        sends = await send_batched(producer, self._records(cut), self._context.turns)
        try:
            written = await asyncio.gather(*sends)
        except InvalidTimestampError as error:
            raise Refused(error, is_mended=self._context.stamps.refused()) from error
        return written[-1]

    def _records(self, cut: _Cut) -> Iterator[Outgoing]:
        stage = self._context.stage
        for partition, record in cut.forwards:
            timestamp = self._timestamp(record)
            yield Outgoing(
                stage.pipeline.input_topic, partition, record.key, record.value, tuple(record.headers), timestamp
            )
        yield Outgoing(
            stage.positions_topic,
            self.source.partition.partition,
            CHECKPOINT_KEY,
            encode_position(cut.position),
            timestamp=self._context.record_clock.now(),
        )

    def _timestamp(self, record: FetchedRecord) -> int | None:
        """The record's own timestamp, or the present time if the broker would refuse that. (None: the producer's
        present time.) An event time in the future counts as now anyway."""
        ahead = record.timestamp > (self._clock.wall() + AHEAD_SECONDS) * 1000
        return self._context.record_clock.now() if ahead or self._context.stamps.are_renewed else record.timestamp

    # close

    async def _withdraw(self, grace: float) -> None:
        pass
