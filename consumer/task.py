"""A task: everything for one partition of one pipeline (design section 6).

Its life is `OwnedPartition.run`: own, restore, run. Decisions come from the pipeline, requests go through delivery, and
what has become of both is committed by checkpoints.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.structs import OffsetAndMetadata
from structlog.typing import FilteringBoundLogger

from consumer.checkpoint import Checkpoint, Sink
from consumer.clock import Clock
from consumer.feedback_reader import FeedbackReader
from consumer.inbox import TaskInbox
from consumer.kafka import KafkaClients
from consumer.outbox import TaskOutbox
from consumer.owned import OwnedPartition, Remedies
from consumer.pipeline import Decision, FetchedRecord, Pipeline
from consumer.progress import Progress
from consumer.proof import Proofs
from consumer.restore import restore
from consumer.server.metrics import PipelineMetrics
from consumer.source import MARK, Source
from consumer.upstream import Upstream
from providers.delivery import Delivery
from state.alert import Alert, Due, Outcome, due, is_forgotten, is_quiet, over
from state.records import Position
from state.store import Store

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
    feedback: FeedbackReader | None = None
    """None: this member takes no feedback."""
    upstream: Upstream | None = None
    """None: no repartition stage stands before these tasks."""


class Task(OwnedPartition):
    """One partition of one pipeline: its alerts, what they owe, its transactional producer."""

    def __init__(
        self, source: Source, surroundings: Surroundings, remedies: Remedies, log: FilteringBoundLogger
    ) -> None:
        super().__init__(
            source,
            group_id=surroundings.pipeline.group_id,
            clients=surroundings.clients,
            proofs=surroundings.proofs,
            restores=surroundings.restores,
            commit_interval=surroundings.pipeline.commit_interval,
            progress=Progress(
                surroundings.peace_seconds,
                quiet_seconds=surroundings.pipeline.policy.quiet_seconds,
                before=surroundings.upstream,
            ),
            remedies=remedies,
            metrics=surroundings.metrics,
            clock=surroundings.clock,
            log=log,
        )
        self.store = Store()
        self._is_paused = False
        self._with = surroundings
        self._sink: Sink | None = None
        self._counts: Counter[str] = Counter()
        self._feedback_checkpointed: Mapping[int, int] = {}
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
            settled=lambda: self._inbox.work(),
        )
        self._inbox = TaskInbox(
            pipeline=surroundings.pipeline,
            partition=source.partition.partition,
            store=self.store,
            clock=surroundings.clock,
            metrics=surroundings.metrics,
            log=log,
            is_running=lambda: self.is_running,
            waits=lambda dedup_key: surroundings.delivery.is_on_the_wire(self._outbox, dedup_key),
            has_room=lambda: not self._is_overloaded(),
            changed=self._changed_by_feedback,
            decided=self._replayed,
        )

    # own, restore

    def _owns(self, producer: AIOKafkaProducer) -> None:
        pipeline, partition = self._with.pipeline, self.source.partition.partition
        limit = self._remedies.dead_letter_limit(self._with.dead_letter_limit)
        self._sink = Sink(producer, pipeline.state_topic, partition, pipeline.dlq_topic, limit)

    async def _restore(self, committed: OffsetAndMetadata) -> None:
        partition = self.source.partition
        started = self._with.clock.monotonic()
        restored = await restore(self._with.clients, self._with.pipeline.state_topic, partition.partition, self._log)
        self.store.restore(restored.alerts)
        if restored.position is not None:
            self._inbox.start(restored.position.feedback)
        elif self._with.feedback is not None:
            self._inbox.start(await self._with.feedback.ends())
        await self._go_on(committed, restored.position)
        self._log.info(
            "partition_restored",
            alerts=len(self.store),
            owed=self.store.owed_count,
            position=self.position,
            seconds=round(self._with.clock.monotonic() - started, 3),
        )

    def _restored(self) -> None:
        self._outbox.restored(self._inherited_end)
        if self._with.feedback is not None:
            self._with.feedback.attach(self._inbox)

    # decide

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
        self._passed(records[-1].offset + 1)
        self._with.metrics.events("ignored", len(records) - concerned)
        for outcome, count in (self._counts - before).items():
            self._with.metrics.events(outcome, count)
        if self._is_overloaded():
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

    def _replayed(self, decision: Decision) -> None:
        """A dead letter was decided again, like an event (but it is none of the input's)."""
        self._urgent.set()
        if decision.dead_letter is not None:
            self._take_dead_letter(decision.dead_letter)
        for alert in decision.alerts:
            self._outbox.owes(alert, is_new=decision.outcome is Outcome.TRIGGERED)

    def _changed_by_feedback(self, alert: Alert) -> None:
        self._urgent.set()
        self._outbox.owes(alert, is_new=False)

    def _is_overloaded(self) -> bool:
        return self.store.owed_count > self._with.pipeline.max_owed or self.store.owed_bytes > MAX_OWED_BYTES

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
        self._inbox.work()
        limit, size_limit = self._with.pipeline.max_owed, MAX_OWED_BYTES
        if self._is_paused and self.store.owed_count < limit * 0.9 and self.store.owed_bytes < size_limit * 0.9:
            self._is_paused = False
            self.source.resume()
            self._log.info("partition_resumed", owed=self.store.owed_count)

    # checkpoints

    async def _commit(self) -> None:
        self._urgent.clear()
        feedback = self._inbox.positions
        is_here = self.position == self._checkpointed and feedback == self._feedback_checkpointed
        if not self.store.has_changes and not self._dead_letters and is_here:
            return
        assert self._sink is not None
        # The cut: all of this at one moment, without an await between.
        dead_letters, self._dead_letters = tuple(self._dead_letters), []
        counts, self._counts = self._counts, Counter()
        position = self.position
        partition = self.source.partition
        checkpoint = Checkpoint(
            self.store.cut(), dead_letters, Position(partition.topic, partition.partition, position, feedback)
        )
        oldest_owed = self.store.oldest_owed_offset()
        owed = self.store.owed_count

        started = self._with.clock.monotonic()
        await checkpoint.commit(self._sink)
        seconds = self._with.clock.monotonic() - started
        self._checkpointed, self._feedback_checkpointed = position, feedback
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

    async def _withdraw(self, grace: float) -> None:
        if self._with.feedback is not None:
            self._with.feedback.detach(self._inbox)
        await self._with.delivery.withdraw(self._outbox, grace)
