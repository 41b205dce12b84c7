"""The work of a pipeline's task: the alerts of one partition (design section 6).

It has each record decided by the pipeline, has notifications sent by delivery, and writes into checkpoints what became
of both. When it is called is decided by `PartitionTask.run`: own, restore, run.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from time import perf_counter
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.structs import OffsetAndMetadata, RecordMetadata
from structlog.typing import FilteringBoundLogger

from consumer.deciding.decisions import Changed
from consumer.deciding.pipeline import kept
from consumer.events.event import FetchedRecord, SecurityEvent
from consumer.input.former_input import FormerInput
from consumer.input.partition_input import PartitionInput
from consumer.input.progress import Progress
from consumer.tasks.alerting.placing import Placing
from consumer.tasks.alerting.quiet import Quiet
from consumer.tasks.partition.checkpoint import Sink
from consumer.tasks.partition.effects import TaskEffects
from consumer.tasks.partition.left_alone import LeftAlone
from consumer.tasks.partition.pauses import Pause
from consumer.tasks.partition.restoration import Restoration
from consumer.tasks.partition.rewriting import Rewriting
from consumer.tasks.partition.state_log import StateLog
from consumer.tasks.partition.task import PartitionTask
from consumer.tasks.partition.task_context import TaskContext
from consumer.tasks.partition.task_cut import TaskCut
from consumer.tasks.partition.work import Work
from consumer.timing.clock import Moment
from state.counts import Counts
from state.due import Due, due
from state.partition_records import counts_key
from state.store import Cut, Store

ENDED_AT_A_TIME = 10_000
"""A checkpoint ends quiet alerts, and takes alerts from other partitions, only while it holds fewer changed alerts than
this, so that no checkpoint takes too long (design section 16)."""

_ENDED_IN_A_TURN = 256

_SLICE_SECONDS = 0.01
"""Seconds of deciding after which the event loop may run something else."""

_RESOLVES = (Due.RESOLVE, Due.RESOLVE_FORMER)


def alerting_task(
    partition_input: PartitionInput, context: TaskContext, log: FilteringBoundLogger
) -> "PartitionTask[Alerter]":
    """The task of one partition of a pipeline's input."""
    pipeline = context.pipeline
    return PartitionTask(
        partition_input,
        context,
        lambda task: Alerter(task, context),
        group_id=pipeline.group_id,
        commit_interval=pipeline.commit_interval,
        progress=Progress(
            context.quiescent_seconds, quiet_seconds=pipeline.policy.quiet_seconds, before=context.stage_progress
        ),
        log=log,
    )


class Alerter(Work):
    """The alerts of one partition of one pipeline, and the notifications that they owe."""

    def __init__(self, task: PartitionTask[Any], context: TaskContext) -> None:
        pipeline, partition = context.pipeline, task.partition_input.partition.partition
        self.task = task
        self.store = Store()
        self.left_alone = LeftAlone(pipeline.state_topic, partition, context.told_unreadable, task.log)
        self._context = context
        self._placing = Placing(pipeline, task.log)
        self._former: FormerInput | None = None  # the input of a stage that is gone, until it is decided to its end
        self._foreign_counts: Mapping[str, Counts] = {}  # of state records that cannot be read
        self._rewriting: Rewriting | None = None
        self._owing: list[str] = []
        self._written_at: float | None = None
        self.effects = TaskEffects(task, context, self.store, lambda: self._former is None)
        self._moving, self._outbox, self._inbox = self.effects.moving, self.effects.outbox, self.effects.inbox
        self._quiet = Quiet(self.store, pipeline.policy, task.progress, self._moving.quiet_to)

    @property
    def is_running(self) -> bool:
        """Whether the task has restored its state, decides records, and is not closing."""
        return self.task.is_running

    @property
    def trouble(self) -> str | None:
        """A sentence about records of the state that cannot be read; None if all can be read."""
        return self.left_alone.trouble

    @property
    def notice(self) -> str | None:
        """A sentence for `/readyz` about alerts that move to another partition; None if there is none."""
        return self._moving.notice

    @property
    def contents(self) -> Mapping[str, int]:
        """How many alerts the task has, and how many of them owe a trigger."""
        return {"alerts": len(self.store), "owed": self.store.owed_count}

    @property
    def state_log(self) -> StateLog | None:
        """The offsets of its state partition that it has read and written; None until the state is restored."""
        return None if self._rewriting is None else self._rewriting.state_log

    def state_is_gone(self, beginning: int, high: int) -> None:
        """Have all alerts written again: the state partition, which has these bounds now, lacks records."""
        assert self._rewriting is not None
        self._rewriting.is_gone(beginning, high)

    # restore

    async def restore(self, committed: OffsetAndMetadata) -> None:
        """Read the alerts and the position of the last checkpoint, and fill the store.

        Raises `StateRefused` if the checkpoint cannot be read, or is of another group, and `KafkaError` or
        `TimeoutError` if Kafka does not answer as it should.
        """
        task, context = self.task, self._context
        started = context.clock.monotonic()
        if context.silences is not None:
            await context.silences.read_once()  # it decides nothing before that
        await self.effects.steps.look()
        restoration = Restoration(
            task,
            context,
            store=self.store,
            left_alone=self.left_alone,
            placing=self._placing,
            moving=self._moving,
            inbox=self._inbox,
        )
        found = await restoration.run(committed)
        self._owing, self._written_at, self._former = found.owing, found.written_at, found.former
        self._foreign_counts = found.foreign_counts
        self._rewriting = Rewriting(
            found.state_log, self.store, context.pipeline.state_topic, self.effects.urge, context.metrics, task.log
        )
        task.log.debug(
            "partition_restored",
            **self.contents,
            position=task.position,
            seconds=round(context.clock.monotonic() - started, 3),
        )

    def provable(self) -> int:
        """The offset that the group may have: the position, or the offset of the oldest event that is still owed."""
        oldest_owed = self.store.oldest_owed_offset()
        return self.task.position if oldest_owed is None else min(self.task.position, oldest_owed)

    async def begin(self) -> None:
        """Offer to delivery what the restored alerts owe, and begin to take feedback (commands, replays, webhooks)."""
        owing, self._owing = self._owing, []
        inherited_end = self.task.inherited_end
        await self._context.turns.through(self._placing.moved_in(self.store))
        self._placing.tell()
        await self._context.turns.through(self._outbox.restored(owing, inherited_end, self._written_at))
        if self._former is not None:
            self.task.pauses.hold_back(Pause.FORMER_INPUT)
            self.effects.urge()
        if self._context.feedback is not None:
            self._context.feedback.attach(self._inbox)

    # decide

    async def decide(self, records: Sequence[FetchedRecord]) -> None:
        """Decide these records in order, and apply each decision before the next record is decided."""
        decide, store, moving, apply = self._context.pipeline.decide, self.store, self._moving, self.effects.apply
        now, newest = self._context.clock.moment(), self._context.record_clock.newest()
        elsewhere, ends = moving.elsewhere, moving.ends
        moving.sample(records[0])
        turn = perf_counter()
        concerned = 0
        for number, record in enumerate(records, 1):
            try:
                decision = decide(record, store, now, newest, elsewhere, ends)
            except Exception as error:  # a fault of ours must neither stop the partition nor lose the event
                self.task.log.error("decision_failed", offset=record.offset, exc_info=error)
                decision = self._context.pipeline.undecidable(record, error)
            if decision is not None:
                if decision.change is not None:
                    self._tell_change(decision.change, record)
                concerned += not isinstance(decision, Changed)
                if decision.unexpected_key is not None and self._context.key_watch is not None:
                    partition = self.task.partition_input.partition.partition
                    self._context.key_watch.saw(partition, record.offset, decision.unexpected_key)
                if (steps := apply(decision)) is not None:
                    self.task.passed(record.offset)  # a checkpoint may be written between two steps
                    await self._context.turns.through(steps)
                    if not self.is_running:  # the next owner decides this record again, and does the remaining steps
                        records = records[: number - 1]
                        break
                    ends = moving.ends  # the record told of one
            if perf_counter() - turn > _SLICE_SECONDS:
                self.task.passed(record.offset + 1)
                await asyncio.sleep(0)
                if not self.is_running:
                    records = records[:number]
                    break
                now, newest, turn = self._context.clock.moment(), self._context.record_clock.newest(), perf_counter()
                elsewhere, ends = moving.elsewhere, moving.ends
        if records:
            self.task.passed(records[-1].offset + 1)
            self._context.metrics.events("ignored", len(records) - concerned)
        self.effects.tell_outcomes()

    def _tell_change(self, change: SecurityEvent, record: FetchedRecord) -> None:
        if self._context.tell_change is not None:
            self._context.tell_change(change.violation(), len(record.value or b""))

    @property
    def wants_to_know_all(self) -> bool:
        """Whether this task waits until `WholeInput` knows how far every partition is decided, as alerts move to it."""
        return self.is_running and self._moving.wants_to_know_all

    # time

    def tick(self) -> Iterator[None]:
        """Do what is due once a second, step by step: end quiet alerts, forget old ones, let waiting resolves leave."""
        if self.is_running:
            for _ in self._passing_of_time():
                yield
                if not self.is_running:
                    return

    def _passing_of_time(self) -> Iterator[None]:
        now = self._context.clock.moment()
        if self._quiet.over(now.monotonic, 1):
            self.effects.urge()  # `prepare` ends them before the next checkpoint
        yield from self._moving.tick()
        if self._moving.is_at_work or self._inbox.moves:
            self.effects.urge()  # `prepare` looks whether the move can go on
        if self._moving.is_settled:
            yield from self._forget(now)
        if self._former is None:
            yield from self.effects.unsilencing.passes(now, self._context.record_clock.newest_of_input())
        yield from self._outbox.tick()
        self._inbox.work()

    def silences_changed(self) -> None:
        """The member has read of silences."""
        self.effects.unsilencing.silences_changed()

    async def prepare(self) -> None:
        """Do before a checkpoint what is to be in it and takes long: take alerts that other tasks hand over, end quiet
        alerts (at most `ENDED_AT_A_TIME`), hand over alerts whose keys belong to another partition now."""
        turns, moving = self._context.turns, self._moving
        if self.effects.recall.is_wanted:
            await self.effects.recall.read()
            self._inbox.work()
        if self._former is not None:
            await self._decide_former(self._former)
        await turns.through(moving.take(self._inbox.moves, self._context.record_clock.newest))
        self.effects.tell_outcomes()
        await turns.through(self._end_quiet())
        await self.effects.unsilencing.judge(turns, self._has_room)
        self.effects.tell_outcomes()
        await turns.through(moving.leave())
        if self._rewriting is not None:
            await turns.through(self._rewriting.write(self._has_room))

    async def _decide_former(self, former: FormerInput) -> None:
        """Decide records of the former input until the checkpoint is full. When all of them are decided, fetching from
        the input goes on."""
        async with aclosing(former.records()) as found:
            async for records in found:
                await self._context.turns.through(self._deciding(former, records))
                if not self._has_room() or self.task.waiting.are_too_many:
                    break
        if former.is_decided:
            inputs = self.task.inputs
            self.task.inputs = replace(inputs, others={**inputs.others, former.topic: former.place})
            self._former = None
            self.task.log.info("former_input_decided", topic=former.topic, position=former.place.offset)
            self.task.pauses.let_go(Pause.FORMER_INPUT)
        self.effects.urge()

    def _deciding(self, former: FormerInput, records: Sequence[FetchedRecord]) -> Iterator[None]:
        for record in records:
            yield from self._moving.decide(kept(record), self._context.record_clock.newest)
            if not self.is_running:
                return  # perhaps not all of this record is done: it is not passed
            former.passed(record)
            yield

    def _has_room(self) -> bool:
        """Whether the next checkpoint has room for more changed alerts."""
        return self.is_running and self.store.changes < ENDED_AT_A_TIME

    def _end_quiet(self) -> Iterator[None]:
        while self._has_room():
            quiet = self._quiet.over(self._context.clock.monotonic(), _ENDED_IN_A_TURN)
            for alert in quiet:
                # Other code has run since the alert was found quiet: an event may have changed it.
                if self.is_running and self.store.get(alert.dedup_key) is alert:
                    self.effects.end_quiet(alert)
                yield
            self.effects.tell_outcomes()
            if len(quiet) < _ENDED_IN_A_TURN:
                return

    def _forget(self, now: Moment) -> Iterator[None]:
        for alert in self._quiet.forgettable(now, self._written_at):
            if alert is not None:
                self.effects.forget(alert)
            yield

    # checkpoints

    def cut(self) -> TaskCut | None:
        """Everything that has changed since the last checkpoint; None if nothing has, and the position is the same."""
        orders, taken = self._inbox.positions, self._inbox.moves.positions
        place = self.task.place(orders)
        if self._context.whole is not None:
            place = replace(place, homes=self._moving.to_json(taken, orders))
        if (former := self._former) is not None:
            place = replace(place, inputs={**place.inputs, former.topic: former.place})
        has_state = self._rewriting is None or not self._rewriting.has_written_nothing
        is_here = place == self.task.checkpointed and has_state
        has_more = self.task.waiting or self._moving.has_moves or self.effects.steps
        if not self.store.has_changes and is_here and not has_more:
            return None
        moves = self._moving.cut(taken)
        dead_letters = self.task.waiting.cut()
        counts, steps = self.effects.cut(), self.effects.steps.cut()
        changed = self.store.cut()
        foreign = {
            counts_key(key, has_beside=self.store.get(key) is not None): counts_of_one
            for key, counts_of_one in self._foreign_counts.items()
        }
        return TaskCut(
            store=self.store,
            changed=changed,
            foreign=foreign,
            beside=self.left_alone.dedup_keys,
            moves=moves,
            dead_letters=dead_letters,
            steps=steps,
            position=place,
            counts=counts,
            owed=self.store.owed_count,
            turns=self._context.turns,
            sink=self._sink,
            then=self._committed,
        )

    def _sink(self, producer: AIOKafkaProducer) -> Sink:
        context = self._context
        return Sink(
            producer,
            context.pipeline.state_topic,
            self.task.partition_input.partition.partition,
            context.dead_letter_writer,
            context.record_clock,
            context.turns,
            context.feedback_topic,
        )

    async def _committed(self, cut: Cut, written: RecordMetadata) -> None:
        """Kafka holds this cut now: let notifications leave that had to wait for it (design section 6.6)."""
        known = self.store.committed()
        assert self._rewriting is not None
        self._rewriting.wrote(written.offset, len(cut.changes) + 1)
        if self._rewriting.is_at_work or self._moving.is_at_work or self._inbox.moves:
            self.effects.urge()
        await self._context.turns.through(self._outbox.state_is_new(known))
        await self._let_resolves_leave(cut)

    async def _let_resolves_leave(self, cut: Cut) -> None:
        """Let resolves leave whose intent Kafka holds now, of alerts that have not changed since the cut (design
        section 6.6)."""
        await self._context.turns.through(self._leaving(cut))

    def _leaving(self, cut: Cut) -> Iterator[None]:
        for dedup_key, alert in cut.changes:
            if alert is not None and due(alert) in _RESOLVES and self.store.is_as_written(alert):
                self._outbox.owes(self.store.get(dedup_key) or alert)
            yield

    # close

    async def withdraw(self, grace: float) -> None:
        """Take no more feedback and send nothing more; wait up to ``grace`` seconds for answers to requests on the
        wire."""
        if self._context.feedback is not None:
            self._context.feedback.detach(self._inbox)
        await self._context.delivery.withdraw(self._outbox, grace)

    def closed(self) -> None:
        """Free the memory of the alerts, in many small steps."""
        # A million alerts freed at once would stop the event loop for half a second.
        self._context.turns.later(self.store.emptied())
        self._context.turns.later(self._outbox.emptied())
        self._context.turns.later(self.left_alone.emptied())
