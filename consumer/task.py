"""A task: everything for one partition of one pipeline (design section 6).

Its life is `Task.run`: own, restore, run. Decisions come from the pipeline, requests go through delivery, and what has
become of both is committed by checkpoints. Any trouble ends the task; another is then built from the first step.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.structs import OffsetAndMetadata
from structlog.typing import FilteringBoundLogger

from consumer.checkpoint import Checkpoint, Sink
from consumer.clock import Clock
from consumer.deadletter import DeadLetter
from consumer.kafka import KafkaClients, close_producer
from consumer.outbox import TaskOutbox
from consumer.pipeline import Decision, FetchedRecord, Pipeline
from consumer.progress import Progress
from consumer.proof import Proofs
from consumer.restore import restore
from consumer.server.metrics import PipelineMetrics
from consumer.source import MARK, Source
from providers.delivery import Delivery
from state.alert import Due, Outcome, due, is_forgotten, is_quiet, over
from state.records import Position
from state.store import Store

PROGRESS_SECONDS = 5.0
"""How long mere progress may wait for its checkpoint (design section 6.4)."""

INIT_TIMEOUT_SECONDS = 30.0
"""For the initialisation of the producer, which waits for an open transaction of the one before to be ended."""

SLICE = 256
"""Records that are decided before others get a turn."""

MAX_OWED_BYTES = 64 * 1024 * 1024
"""Of records that are kept because they are owed, before the partition is paused (design section 9)."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the tasks of one member share."""

    pipeline: Pipeline
    clients: KafkaClients
    delivery: Delivery
    proofs: Proofs
    restores: asyncio.Semaphore
    metrics: PipelineMetrics
    clock: Clock
    dead_letter_limit: int
    peace_seconds: float


class Task:
    """One partition of one pipeline: its alerts, what they owe, its transactional producer."""

    def __init__(self, source: Source, surroundings: Surroundings, compress: bool, log: FilteringBoundLogger) -> None:
        self.source = source
        self.position = 0
        self.committed: OffsetAndMetadata | None = None
        """What the next proof is to commit; None until the task runs."""
        self.progress = Progress(surroundings.peace_seconds)
        self.store = Store()
        self._is_running = False
        self._is_closing = False
        self._is_deciding = False
        self._is_paused = False
        self._with = surroundings
        self._compress = compress
        self._log = log
        self._urgent = asyncio.Event()
        self._lock = asyncio.Lock()
        self._dead_letters: list[DeadLetter] = []
        self._sink: Sink | None = None
        self._checkpointed: int | None = None
        self._counts: Counter[str] = Counter()
        self._outbox = TaskOutbox(
            pipeline=surroundings.pipeline,
            store=self.store,
            delivery=surroundings.delivery,
            progress=self.progress,
            clock=surroundings.clock,
            metrics=surroundings.metrics,
            log=log,
            urgent=self._urgent.set,
            dead_letter=self._take_dead_letter,
            notified=self._notified,
        )

    @property
    def is_running(self) -> bool:
        """Whether it is restored and decides."""
        return self._is_running and not self._is_closing

    @property
    def has_checkpointed(self) -> bool:
        """Whether it has committed a checkpoint since it was restored."""
        return self._checkpointed is not None

    # own, restore, run

    async def run(self) -> None:
        """Own, restore, and run until cancelled.

        Raises `NotOwner` if the group refuses the first proof, and whatever else goes wrong: the task is over then.
        """
        pipeline, partition = self._with.pipeline, self.source.partition.partition
        producer = self._with.clients.transactional(f"{pipeline.group_id}-{partition}", compress=self._compress)
        try:
            committed = await self._own(producer)
            limit = None if self._compress else self._with.dead_letter_limit
            self._sink = Sink(producer, pipeline.state_topic, partition, pipeline.dlq_topic, limit)
            async with self._with.restores:
                await self._restore(committed)
            self.committed = committed
            self._is_running = True
            self._outbox.restored()
            self.source.start_at(self.position)
            await self._checkpoints()
        finally:
            self._is_running = False
            self._is_closing = True
            await self._with.delivery.withdraw(self._outbox, grace=0)
            await close_producer(producer)

    async def _own(self, producer: AIOKafkaProducer) -> OffsetAndMetadata:
        """Initialise the producer, then the first proof: the group's offset as it is (design section 6.1)."""
        async with asyncio.timeout(INIT_TIMEOUT_SECONDS):
            await producer.start()
        committed = await self.source.group_offset()
        if committed is None:
            committed = OffsetAndMetadata(await self.source.start_offset(), MARK)
        await self._with.proofs.prove({self.source.partition: committed})
        return committed

    async def _restore(self, committed: OffsetAndMetadata) -> None:
        partition = self.source.partition
        started = self._with.clock.monotonic()
        restored = await restore(self._with.clients, self._with.pipeline.state_topic, partition.partition, self._log)
        self.store.restore(restored.alerts)
        position = committed.offset
        if committed.metadata != MARK:
            self._log.warning("position_set_by_operator", position=position)
        elif restored.position is not None and restored.position.topic == partition.topic:
            position = restored.position.offset
        beginning, end = await self.source.bounds_around(position)
        if not beginning <= position <= end:
            self._log.error("position_lost", position=position, beginning=beginning, end=end)
            self._with.metrics.position_lost()
            position = beginning
        self.position = position
        self.progress.decided(position, self._with.clock.monotonic())
        self._log.info(
            "partition_restored",
            alerts=len(self.store),
            owed=self.store.owed_count,
            position=position,
            seconds=round(self._with.clock.monotonic() - started, 3),
        )

    # decide

    async def decide(self, records: Sequence[FetchedRecord]) -> None:
        """Decide these records in order; what is not decided when the task closes is left to the next owner."""
        self._is_deciding = True
        try:
            for start in range(0, len(records), SLICE):
                if not self.is_running:
                    return
                self._decide(records[start : start + SLICE])
                await asyncio.sleep(0)
        finally:
            self._is_deciding = False

    def advance(self, position: int) -> None:
        """The consumer has passed over what is no record (transaction markers), and all else is decided."""
        if self.is_running and not self._is_deciding and position > self.position:
            self.position = position
            self.progress.decided(position, self._with.clock.monotonic())

    def _decide(self, records: Sequence[FetchedRecord]) -> None:
        decide, store, now = self._with.pipeline.decide, self.store, self._with.clock.wall()
        before = self._counts.copy()
        concerned = 0
        for record in records:
            try:
                decision = decide(record, store, now)
            except Exception as error:  # a fault of ours must neither stop the partition nor lose the event
                self._log.error("decision_failed", offset=record.offset, exc_info=error)
                decision = self._with.pipeline.undecidable(record, error)
            if decision is not None:
                concerned += 1
                self._apply(decision)
        self.position = records[-1].offset + 1
        self.progress.decided(self.position, self._with.clock.monotonic())
        self._with.metrics.events("ignored", len(records) - concerned)
        for outcome, count in (self._counts - before).items():
            self._with.metrics.events(outcome, count)
        if store.owed_count > self._with.pipeline.max_owed or store.owed_bytes > MAX_OWED_BYTES:
            self._pause()

    def _apply(self, decision: Decision) -> None:
        counts = self._counts
        if decision.outcome is Outcome.SUPPRESSED:
            counts["suppressed"] += 1
        elif decision.outcome is not None:
            counts[decision.outcome.value] += 1
            for alert in decision.alerts:
                self._outbox.owes(alert, is_new=decision.outcome is Outcome.TRIGGERED)
        elif decision.dead_letter is not None:
            counts["stale" if decision.dead_letter.stage == "stale" else "poison"] += 1
            self._take_dead_letter(decision.dead_letter)
        elif decision.tombstone:
            counts["tombstone"] += 1
        else:
            counts["ended"] += len(decision.ended)
            if decision.ended:
                self._urgent.set()

    def _take_dead_letter(self, dead_letter: DeadLetter) -> None:
        self._dead_letters.append(dead_letter)
        self._with.metrics.dead_letter(dead_letter.stage, dead_letter.error_class)
        self._log.warning(
            "dead_letter",
            offset=dead_letter.record.offset,
            event_id=dead_letter.event_id,
            stage=dead_letter.stage,
            error_class=dead_letter.error_class,
            error=dead_letter.error,
        )
        self._urgent.set()

    def _notified(self) -> None:
        self._counts["notified"] += 1

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self.source.pause()
            self._log.error("partition_paused", owed=self.store.owed_count, owed_bytes=self.store.owed_bytes)

    # time

    def tick(self) -> None:
        """What the passing of time brings: quiet, forgetting, resolves that had to wait, the end of a pause."""
        if not self.is_running:
            return
        now, policy = self._with.clock.wall(), self._with.pipeline.policy
        if policy.quiet_seconds is not None and self.progress.is_peace(self._with.clock.monotonic()):
            for alert in list(self.store.longest_quiet(now - policy.quiet_seconds)):
                if is_quiet(alert, now, policy):
                    self.store.put(over(alert))
                    self._counts["quiet"] += 1
                    self._urgent.set()
        for alert in list(self.store.longest_quiet(now - policy.forget_seconds)):
            if is_forgotten(alert, now, policy):
                self.store.drop(alert.dedup_key)
                self._log.info("alert_forgotten", dedup_key=alert.dedup_key)
        self._outbox.tick()
        limit, size_limit = self._with.pipeline.max_owed, MAX_OWED_BYTES
        if self._is_paused and self.store.owed_count < limit * 0.9 and self.store.owed_bytes < size_limit * 0.9:
            self._is_paused = False
            self.source.resume()
            self._log.info("partition_resumed", owed=self.store.owed_count)

    # checkpoints

    async def _checkpoints(self) -> None:
        interval = self._with.pipeline.commit_interval
        while True:
            try:
                async with asyncio.timeout(PROGRESS_SECONDS):
                    await self._urgent.wait()
            except TimeoutError:
                pass  # mere progress
            await self._checkpoint()
            await asyncio.sleep(interval)

    async def _checkpoint(self) -> None:
        """Commit what has changed. Raises what the producer raises; the task is over then."""
        async with self._lock:
            self._urgent.clear()
            if not self.store.has_changes and not self._dead_letters and self.position == self._checkpointed:
                return
            assert self._sink is not None
            # The cut: all of this at one moment, without an await between.
            dead_letters, self._dead_letters = tuple(self._dead_letters), []
            counts, self._counts = self._counts, Counter()
            position = self.position
            partition = self.source.partition
            checkpoint = Checkpoint(
                self.store.cut(), dead_letters, Position(partition.topic, partition.partition, position)
            )
            oldest_owed = self.store.oldest_owed_offset()
            owed = self.store.owed_count

            started = self._with.clock.monotonic()
            await checkpoint.commit(self._sink)
            seconds = self._with.clock.monotonic() - started
            self._checkpointed = position
            self.committed = OffsetAndMetadata(position if oldest_owed is None else min(position, oldest_owed), MARK)
            self.store.committed()
            self._with.metrics.checkpoint(seconds)
            self._log.debug(
                "checkpoint",
                position=position,
                notified=counts["notified"],
                suppressed=counts["suppressed"] + counts["counted"],
                dead_lettered=len(dead_letters),
                owed=owed,
                changed=len(checkpoint.cut.changes),
                seconds=round(seconds, 4),
            )
            for dedup_key, alert in checkpoint.cut.changes:
                if alert is not None and self.store.get(dedup_key) is alert and due(alert) is Due.RESOLVE:
                    self._outbox.owes(alert, is_new=False)

    # close

    async def drain(self, grace: float) -> None:
        """Stop deciding and sending; wait up to ``grace`` seconds for the requests on the wire; last checkpoint.

        What was cut off is owed, and the next owner sends it. A checkpoint that fails is logged: the next owner
        starts from the one before.
        """
        if not self.is_running:
            return
        self._is_closing = True
        await self._with.delivery.withdraw(self._outbox, grace)
        try:
            await self._checkpoint()
        except Exception as error:
            self._log.warning("last_checkpoint_failed", error=repr(error))
