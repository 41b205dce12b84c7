"""The work of a pipeline's task: everything for one partition but its life (design section 6).

That is `OwnedPartition.run`: own, restore, run. Decisions come from the pipeline, requests go through delivery, and
what has become of both is committed by checkpoints.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import islice
from time import perf_counter
from typing import Any, assert_never

from aiokafka import AIOKafkaProducer
from aiokafka.structs import OffsetAndMetadata, RecordMetadata
from msgspec import structs
from structlog.typing import FilteringBoundLogger

from consumer.alerting.inbox import TaskInbox
from consumer.alerting.outbox import LEAST_RUN_SECONDS, TaskOutbox
from consumer.alerting.placing import Placing
from consumer.clock import Moment
from consumer.decisions import (
    BelongsElsewhere,
    Counted,
    DeadLettered,
    DecidedHere,
    Decision,
    Emptied,
    Ended,
    Occurred,
    Replayed,
    Suppressed,
    Triggered,
)
from consumer.dlq.dead_letter import DeadLetter, Stage
from consumer.events.event import FetchedRecord
from consumer.events.record_key import KeyWatch
from consumer.feedback.moves import Move
from consumer.feedback.reader import FeedbackReader
from consumer.feedback.records import Command, Kind
from consumer.homes.moving import Moving
from consumer.homes.whole_input import WholeInput
from consumer.input.beginning import Beginning, Log
from consumer.input.commit_metadata import Whose, proved, whose
from consumer.input.first_homes import have_never_moved
from consumer.input.former_input import FormerInput, StageBefore
from consumer.input.inputs import Inputs, inputs_of
from consumer.input.partition_input import PartitionInput
from consumer.input.progress import Before, Progress
from consumer.kafka.partitioning import Partitioner
from consumer.partition.checkpoint import Checkpoint, Sink, divided
from consumer.partition.left_alone import LeftAlone
from consumer.partition.owned import OwnedPartition, OwnerContext
from consumer.partition.pauses import Pause
from consumer.partition.restore import Restored, StateRefused, accept, restore
from consumer.partition.state_log import StateLog
from consumer.partition.work import Work
from consumer.pipeline import Pipeline, kept
from providers.delivery.delivery import Delivery
from state.alert import Alert, Due, Ending, due, over, restored
from state.counts import Counts
from state.partition_records import Reunited, Unreadable, counts_key, counts_of_unread
from state.records import BESIDE_PREFIX, CorruptState, Position
from state.remembered_ends import End
from state.store import Changed, Cut, Store
from state.violation import Record

ENDED_AT_A_TIME = 10_000
"""Alerts that quiet and forgetting end for each checkpoint, so that none takes too long (design section 16)."""

_ENDED_IN_A_TURN = 256

_SLICE_SECONDS = 0.01
"""For which something goes on before others get a turn."""

_FORGOTTEN_AT_A_TIME = 1_000
_OUTCOME_OF_STAGE = {Stage.DECODE: "poison", Stage.STALE: "stale", Stage.DECIDE: "internal_error"}
"""What an event came to that is dead-lettered without an alert."""

_RESOLVES = (Due.RESOLVE, Due.RESOLVE_FORMER)

_NOT_FORGOTTEN = 100
"""Alerts in a row that are not to be forgotten, after which the others are looked at another time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext(OwnerContext):
    """What the tasks of one member of a pipeline share."""

    pipeline: Pipeline
    delivery: Delivery
    quiescent_seconds: float
    feedback: FeedbackReader | None = None
    """None: this member takes no feedback."""
    stage_progress: Before | None = None
    """None: no repartition stage stands before these tasks."""
    key_watch: KeyWatch | None = None
    """None: nobody asks how the records are keyed."""
    whole: WholeInput | None = None
    """None: nobody asks how many partitions there are, and homes never move."""
    partitioner: Partitioner | None = None
    """How producers choose a partition; None: that is found out."""
    former_stage: StageBefore | None = None
    """The repartition stage that there may have been; None: there is one now, or nobody asks."""
    feedback_topic: str = ""
    told_unreadable: set[tuple[int, int]] = field(default_factory=set)
    """Which records of the state somebody has been told of already (`LeftAlone`)."""


def alerting_task(source: PartitionInput, context: TaskContext, log: FilteringBoundLogger) -> "OwnedPartition[Alerter]":
    """The task of one partition of a pipeline's input."""
    pipeline = context.pipeline
    return OwnedPartition(
        source,
        context,
        lambda task: Alerter(task, context),
        group_id=pipeline.group_id,
        commit_interval=pipeline.commit_interval,
        progress=Progress(
            context.quiescent_seconds, quiet_seconds=pipeline.policy.quiet_seconds, before=context.stage_progress
        ),
        log=log,
    )


@dataclass(slots=True, kw_only=True)
class TaskCut:
    """What a task of a pipeline knew at one moment.

    What is to be written of the alerts that have ``changed`` takes long to say, so it is said when it is committed.
    ``foreign`` are the counts of records that are left alone, ``counts`` those of events since the last checkpoint, and
    ``owed`` is how many triggers were owed.
    """

    alerter: "Alerter"
    position: Position
    changed: Changed
    foreign: Mapping[str, Counts]
    moves: Sequence[Move]
    dead_letters: tuple[DeadLetter, ...]
    counts: Mapping[str, int]
    owed: int
    _checkpoint: Checkpoint | None = None

    @property
    def facts(self) -> Mapping[str, int]:
        """What `Cut.facts` says."""
        counts = self.counts
        return {
            "notified": counts["notified"],
            "suppressed": counts["suppressed"] + counts["counted"],
            "dead_lettered": len(self.dead_letters),
            "owed": self.owed,
            "changed": len(self._made.cut.changes),
        }

    @property
    def _made(self) -> Checkpoint:
        assert self._checkpoint is not None
        return self._checkpoint

    async def commit(self, producer: AIOKafkaProducer) -> RecordMetadata:
        """Commit what was cut; once more the very same, if it has failed."""
        alerter = self.alerter
        if self._checkpoint is None:
            cut = await alerter.divided(self.changed, self.foreign)
            beside = alerter.left_alone.dedup_keys
            self._checkpoint = Checkpoint(cut, self.dead_letters, self.position, beside, self.moves)
        return await self._checkpoint.commit(alerter.sink(producer))

    async def committed(self, written: RecordMetadata) -> None:
        """The state holds it now."""
        await self.alerter.committed(self._made.cut, written)


class Alerter(Work):
    """One partition of one pipeline: its alerts, and what they owe."""

    def __init__(self, task: OwnedPartition[Any], context: TaskContext) -> None:
        source, log = task.source, task.log
        self.task = task
        self.store = Store()
        self.left_alone = LeftAlone(
            context.pipeline.state_topic, source.partition.partition, context.told_unreadable, log
        )
        self._log = log
        self._foreign_counts: Mapping[str, Counts] = {}  # of records that are left alone
        self._state_log: StateLog | None = None
        self._writing_again: Iterator[None] | None = None
        self._is_state_gone = False  # and nothing has been written since: also without an alert there is the position
        self._owing: list[str] = []
        self._placing = Placing(context.pipeline, log)
        self._written_at: float | None = None
        self._former: FormerInput | None = None  # that is not decided to its end yet
        self._context = context
        self._counts: Counter[str] = Counter()  # since the last checkpoint
        self._outcomes: Counter[str] = Counter()  # that nobody has been told of yet
        self._moving = Moving(
            partition=source.partition.partition,
            pipeline=context.pipeline,
            store=self.store,
            progress=task.progress,
            deeds=self,
            clock=context.clock,
            metrics=context.metrics,
            log=log,
            whole=context.whole,
            partitioner=context.partitioner,
        )
        self._outbox = TaskOutbox(
            partition=source.partition.partition,
            pipeline=context.pipeline,
            store=self.store,
            delivery=context.delivery,
            progress=task.progress,
            clock=context.clock,
            metrics=context.metrics,
            log=log,
            urgent=self.urge,
            dead_letter=task.waiting.take,
            notified=self._notified,
            settled=lambda: self._inbox.work(),
            voice=self._moving,
        )
        self._inbox = TaskInbox(
            pipeline=context.pipeline,
            partition=source.partition.partition,
            store=self.store,
            clock=context.clock,
            metrics=context.metrics,
            log=log,
            is_running=lambda: self.is_running,
            waits=lambda dedup_key: context.delivery.is_busy(self._outbox, dedup_key),
            has_room=lambda replay: self._outbox.has_room_for(replay, task.position),
            changed=self._changed_by_feedback,
            ended=self._ended_by_feedback,
            decided=self._replayed,
            soon=lambda work: asyncio.get_running_loop().call_soon(work),
            elsewhere=lambda: self._moving.elsewhere,
            commanded=self._commanded,
            arrived=self.urge,
        )

    @property
    def is_running(self) -> bool:
        """Whether the task decides."""
        return self.task.is_running

    @property
    def trouble(self) -> str | None:
        """What of its state cannot be read."""
        return self.left_alone.trouble

    @property
    def notice(self) -> str | None:
        """What somebody should know of this partition, although it goes on."""
        return self._moving.notice

    @property
    def contents(self) -> Mapping[str, int]:
        """How many alerts it has, and how many of them owe a trigger."""
        return {"alerts": len(self.store), "owed": self.store.owed_count}

    @property
    def state_log(self) -> StateLog | None:
        """What it knows of the log of its state, once that is read."""
        return self._state_log

    def state_is_gone(self, beginning: int, high: int) -> None:
        """Records of its state are missing, in a partition with these bounds: all alerts are written again."""
        assert self._state_log is not None
        self._state_log.begins_anew(beginning, high)
        self._write_all_again("records are missing", high)

    def _write_all_again(self, reason: str, end: int) -> None:
        self._log.error(
            "state_written_again",
            topic=self._context.pipeline.state_topic,
            error=f"the topic was emptied or made anew: {reason}",
            end=end,
            alerts=len(self.store),
        )
        self._context.metrics.state_written_again()
        self._writing_again = self.store.write_all_again()
        self._is_state_gone = True
        self.urge()

    # restore

    async def restore(self, committed: OffsetAndMetadata) -> None:
        """Read back alerts and position; the store is filled, and what is owed is known."""
        partition, clock = self.task.source.partition, self._context.clock
        started = clock.monotonic()
        found = await restore(self._context.clients, self._context.pipeline.state_topic, partition.partition, self._log)
        accept(found.position, self._context.pipeline.group_id, self._context.pipeline.state_topic)
        inputs = await self._find_inputs(committed, found.position)
        begins = await self.task.go_on(committed, inputs, has_state=found.position is not None)
        await self._fill(found)
        is_of_other_input = found.position is not None and found.position.topic != partition.topic
        await self._hold_nothing_of_other_logs(begins, is_of_other_input=is_of_other_input)
        self._state_log = StateLog(found.beginning, found.end)
        self._written_at = found.written_at
        await self._find_homes(committed, found.position)
        await self._ask_the_time(found)
        self._log.debug(
            "partition_restored",
            **self.contents,
            position=self.task.position,
            seconds=round(clock.monotonic() - started, 3),
        )

    async def _find_inputs(self, committed: OffsetAndMetadata, own: Position | None) -> Inputs:
        """Where to go on in the input, which a repartition stage may have had until now; what that has forwarded is
        decided first."""
        stage, partition = self._context.former_stage, self.task.source.partition
        if stage is None:
            return inputs_of(partition, own)
        of_stage = await stage.checkpoint(partition)
        inputs = inputs_of(partition, own, of_stage, proved=proved(committed))
        self._former = await stage.input(self.task.source, own, of_stage, inputs)
        if self._former is not None:
            await self._former.find()
        return inputs

    async def _find_homes(self, committed: OffsetAndMetadata, checkpointed: Position | None) -> None:
        """Where keys have their homes, and from where on feedback is taken.

        A partition that nobody has decided yet may have been added: what others have handed over to it is found from
        the beginning of the feedback topic on. Orders that are there already are none for it.
        """
        orders: Mapping[int, int] | None = None if checkpointed is None else checkpointed.feedback
        taken = orders
        if orders is None and self._context.feedback is not None:
            orders = taken = await self._context.feedback.ends()
            if self._context.whole is not None and whose(committed) is Whose.FIRST:
                taken = {}
        homes = None if checkpointed is None else checkpointed.homes
        if homes is not None:
            taken = self._held(homes, orders or {})
        if orders is not None:
            self._inbox.start(orders, taken)
        if self._context.whole is None:
            return
        is_of_other_input = checkpointed is not None and checkpointed.topic != self.task.source.partition.topic
        partitions = await self._context.whole.count(at_least=0 if is_of_other_input else self._moving.partitions)
        if is_of_other_input:
            self._moving.begin(partitions, have_never_moved=False)  # a stage has come or gone
        elif homes is None:
            others = await self.task.source.offsets_of_others(partitions)
            never = have_never_moved(has_checkpoint=checkpointed is not None, own=committed, others=others)
            self._moving.begin(partitions, have_never_moved=never)
        else:
            self._moving.go_on(partitions)

    def _held(self, homes: Mapping[str, Any], orders: Mapping[int, int]) -> Mapping[int, int]:
        """Take what the checkpoint held of homes; how far records about them have been taken."""
        try:
            return self._moving.restore(homes, orders)
        except CorruptState as error:
            topic, partition = self._context.pipeline.state_topic, self.task.source.partition.partition
            raise StateRefused(f"topic {topic}, partition {partition}: {error}") from error

    async def _ask_the_time(self, found: Restored) -> None:
        """What the last checkpoint says of the time and, where events can be too old, the newest record of the input:
        beside one that is read in a backlog every event of it is young."""
        times = [found.written_at]
        if self._context.pipeline.max_event_age is not None:
            times.append(await self.task.source.newest_time(self._context.clients))
        for time in times:
            if time is not None:
                self._context.record_clock.saw(int(time * 1000))

    async def _fill(self, found: Restored) -> None:
        """Fill the store, and note which alerts owe something; others get their turn meanwhile."""
        now = self._context.clock.moment()
        placing = self._placing
        reunited: list[str] = []

        def as_of_now() -> Iterator[Alert | None]:
            for one in found.found:
                match one:
                    case Unreadable():
                        self.left_alone.found(one)
                        written = one.beside
                    case Reunited():
                        written = one.alert
                        reunited.append(written.dedup_key)
                    case _:
                        written = one
                if written is None:
                    yield None
                    continue
                alert = placing.place(restored(written, now.wall))
                if due(alert) is not None:
                    self._owing.append(alert.dedup_key)
                yield alert

        await self._context.turns.through(self.store.restore(as_of_now(), now.monotonic, found.counts))
        await self._context.turns.through(self._write_reunited(reunited))
        self.left_alone.tell_number()
        self._foreign_counts = counts_of_unread(found.counts, self.left_alone.dedup_keys, self._has)

    def _write_reunited(self, dedup_keys: list[str]) -> Iterator[None]:
        while dedup_keys:
            dedup_key = dedup_keys.pop()
            self.store.write_again(dedup_key)
            self.store.write_again(BESIDE_PREFIX + dedup_key)  # its tombstone
            yield

    def _has(self, dedup_key: str) -> bool:
        return self.store.get(dedup_key) is not None

    async def _hold_nothing_of_other_logs(self, begins: Beginning, *, is_of_other_input: bool) -> None:
        """The offsets of what is owed are of one log: beyond where this one is another they say nothing of it."""
        if is_of_other_input or begins.log is not Log.SAME:
            known = begins.offset if begins.log is Log.TRUNCATED and not is_of_other_input else 0
            await self._context.turns.through(self._let_offsets_go(known))

    def _let_offsets_go(self, known: int) -> Iterator[None]:
        for dedup_key in list(self._owing):
            alert = self.store.get(dedup_key)
            owed = alert.owed if alert is not None else None
            if alert is not None and owed is not None and owed.holds is not None and owed.holds >= known:
                self.store.put(structs.replace(alert, owed=structs.replace(owed, holds=None)))
            yield

    def provable(self) -> int:
        """The position, or what is owed of before it."""
        oldest_owed = self.store.oldest_owed_offset()
        return self.task.position if oldest_owed is None else min(self.task.position, oldest_owed)

    async def begin(self) -> None:
        """Tell what is owed, and take what operators want."""
        owing, self._owing = self._owing, []
        inherited_end = self.task.inherited_end
        await self._context.turns.through(self._placing.moved_in(self.store))
        self._placing.tell()
        await self._context.turns.through(self._outbox.restored(owing, inherited_end, self._written_at))
        if self._former is not None:
            self.task.pauses.hold_back(Pause.FORMER_INPUT)
            self.urge()
        if self._context.feedback is not None:
            self._context.feedback.attach(self._inbox)

    # decide

    async def decide(self, records: Sequence[FetchedRecord]) -> None:
        """Decide these records in order, and apply each decision at once."""
        decide, store, moving = self._context.pipeline.decide, self.store, self._moving
        now, newest, elsewhere = self._context.clock.moment(), self._context.record_clock.newest(), moving.elsewhere
        moving.sample(records[0])
        turn = perf_counter()
        concerned = 0
        for number, record in enumerate(records, 1):
            try:
                decision = decide(record, store, now, newest, elsewhere)
            except Exception as error:  # a fault of ours must neither stop the partition nor lose the event
                self._log.error("decision_failed", offset=record.offset, exc_info=error)
                decision = self._context.pipeline.undecidable(record, error)
            if decision is not None:
                concerned += 1
                if decision.unexpected_key is not None and self._context.key_watch is not None:
                    partition = self.task.source.partition.partition
                    self._context.key_watch.saw(partition, record.offset, decision.unexpected_key)
                if (steps := self._apply(decision)) is not None:
                    self.task.passed(record.offset)  # a checkpoint may come in between
                    await self._context.turns.through(steps)
                    if not self.is_running:  # the next owner decides it again, and does what is left of it
                        records = records[: number - 1]
                        break
            if perf_counter() - turn > _SLICE_SECONDS:
                self.task.passed(record.offset + 1)
                await asyncio.sleep(0)
                if not self.is_running:
                    records = records[:number]
                    break
                now, newest, turn = self._context.clock.moment(), self._context.record_clock.newest(), perf_counter()
                elsewhere = moving.elsewhere
        if records:
            self.task.passed(records[-1].offset + 1)
            self._context.metrics.events("ignored", len(records) - concerned)
        self._tell_outcomes()

    def _tell_outcomes(self) -> None:
        outcomes, self._outcomes = self._outcomes, Counter()
        self._counts.update(outcomes)
        for outcome, count in outcomes.items():
            self._context.metrics.events(outcome, count)

    def _apply(self, decision: Decision) -> Iterator[None] | None:
        """Do what was decided of a record of the input, and count it.

        What takes long is returned, to be done in steps: others get their turn in between.
        """
        counts = self._outcomes
        match decision:
            case Suppressed():
                counts["suppressed"] += 1
            case Triggered(alert=alert, event=event):
                counts["triggered"] += 1
                self._outbox.owes(alert, event=event, is_new=True)
            case Counted(alert=alert, event=event):
                counts["counted"] += 1
                if event is not None:  # else what is owed says the same as before
                    self._outbox.owes(alert, event=event)
            case Ended():
                return self.ending(decision)
            case DeadLettered(dead_letter=dead_letter):
                counts[_OUTCOME_OF_STAGE[Stage(dead_letter.stage)]] += 1
                self.task.waiting.take(dead_letter)
            case BelongsElsewhere(record=record, home_key=home_key):
                counts["forwarded"] += 1
                self._moving.forward(record, home_key)
                self.task.waiting.grow(record.size, "forwarded records wait")
            case Emptied():
                counts["tombstone"] += 1
            case _:
                assert_never(decision)
        return None

    def ending(self, ended: Ended) -> Iterator[None]:
        """End what a decision ends, in steps, of which there can be very many."""
        self._moving.ended(ended.end)
        for dedup_key in ended.dedup_keys:
            if not self.is_running:
                return
            alert = self.store.get(dedup_key)
            if alert is not None and self._is_meant(alert, ended.end) and self._over(alert, Ending.SESSION_END):
                self._outcomes["ended"] += 1
            yield

    def _is_meant(self, alert: Alert, end: End) -> bool:
        """Whether the end is one of what the alert is about now.

        Within one partition, what comes later is later. Where homes have moved it may not be: then an end ends nothing
        that has occurred after it.
        """
        return self._moving.elsewhere is None or alert.last_seen <= end.at

    def _over(self, alert: Alert, ended_by: Ending) -> bool:
        """The threat is over. Whether that is news."""
        after = over(alert, ended_by)
        if after is alert:
            return False
        if after is None:
            self.store.drop(alert.dedup_key)
            self._outbox.ended(alert)
        else:
            self.store.put(after)
        self._outbox.owes(alert if after is None else after)
        self.urge()
        return True

    def _replayed(self, decision: Replayed) -> None:
        """A dead letter was decided again, like an event (but it is none of the input's)."""
        if isinstance(decision, BelongsElsewhere):
            self._moving.forward(decision.record, decision.home_key, is_replay=True)
        else:
            self._apply_beside(decision)

    def decided_beside(self, decision: DecidedHere) -> Iterator[None]:
        """Something was decided like an event that is not of this partition's input: do it, in steps."""
        if isinstance(decision, Ended):
            yield from self.ending(decision)
        else:
            self._apply_beside(decision)

    def _apply_beside(self, decision: Occurred | DeadLettered) -> None:
        self.urge()
        match decision:
            case Triggered(alert=alert, event=event):
                if alert.occurrences == 1:
                    self.store.write_first(alert.dedup_key)  # a next owner may decide an event before it
                self._outbox.owes(alert, event=event, is_new=True)
            case Counted(alert=alert, event=event):
                self._outbox.owes(alert, event=event)
            case Suppressed():
                pass  # it is in the store
            case DeadLettered(dead_letter=dead_letter):
                self.task.waiting.take(dead_letter)
            case _:
                assert_never(decision)

    def undecidable_beside(self, record: Record, error: Exception) -> None:
        """A record of another partition cannot be decided, by a fault of ours."""
        self.task.waiting.take(self._context.pipeline.undecidable(record, error).dead_letter)

    def handed_over(self, alert: Alert) -> None:
        """The alert is another task's, and has left the store."""
        self._context.delivery.changed(self._outbox, alert.dedup_key)

    def taken_over(self, alert: Alert, before: Alert | None) -> None:
        """The alert was handed over, and is in the store; ``before`` is what was known of it here."""
        if alert.route is None and alert.owed is not None:
            self.store.write_first(alert.dedup_key)  # a next owner may decide an event before it is handed this
        self.urge()
        self._outbox.taken_over(alert)

    def is_busy(self, dedup_key: str) -> bool:
        """Whether a request about the alert is on the wire."""
        return self._context.delivery.is_busy(self._outbox, dedup_key)

    def urge(self) -> None:
        """A checkpoint is to be written soon."""
        self.task.urgent.set()

    def homes_changed(self, *, are_others: bool) -> None:
        """Whom one has to wait for is news; ``are_others``: and so is who speaks for which key."""
        self._outbox.homes_changed(are_others=are_others)

    def has_decided_what_was_inherited(self) -> bool:
        """Whether all that an earlier owner can have decided is decided again."""
        return self._former is None and self.task.position >= self.task.inherited_end

    @property
    def wants_to_know_all(self) -> bool:
        """Whether it has to know how far all partitions are decided (`WholeInput`)."""
        return self.is_running and self._moving.wants_to_know_all

    def _commanded(self, command: Command) -> None:
        """What an operator has resolved may come from another partition only now: no later than it was seen, for
        whatever has occurred since may be another life of the key, or worse."""
        if command.kind is Kind.RESOLVE:
            at = max((one.last_seen for one in command.seen), default=command.at)
            self._moving.ended(End(command.dedup_key, at))

    def _changed_by_feedback(self, alert: Alert) -> None:
        self.urge()
        self._outbox.owes(alert)

    def _ended_by_feedback(self, dedup_key: str) -> None:
        alert = self.store.get(dedup_key)
        self.store.drop(dedup_key)
        if alert is not None:
            self.gone(alert)

    def gone(self, alert: Alert) -> None:
        """The alert is over, and has left the store, by what somebody else has said."""
        self.urge()
        self._outbox.ended(alert)
        self._context.delivery.changed(self._outbox, alert.dedup_key)

    def _notified(self) -> None:
        self._counts["notified"] += 1

    # time

    def tick(self) -> Iterator[None]:
        """What the passing of time brings: quiet, forgetting, resolves that had to wait."""
        if self.is_running:
            for _ in self._passing_of_time():
                yield
                if not self.is_running:
                    return

    def _passing_of_time(self) -> Iterator[None]:
        now = self._context.clock.moment()
        if self._quiet(now.monotonic, 1):
            self.urge()  # the next checkpoint holds what is over
        yield from self._moving.tick()
        if self._moving.is_at_work or self._inbox.moves:
            self.urge()  # what it waits for may have come about
        if self._moving.is_settled:
            yield from self._forget(now)
        yield from self._outbox.tick()
        self._inbox.work()

    def _quiet(self, now: float, at_most: int) -> list[Alert]:
        """Alerts that are over because nothing has occurred for long enough, and would have been seen.

        Quiet is counted from the last occurrence that this task has decided, by the monotonic clock: no wall clock can
        make a live problem look over (design section 14).
        """
        seconds = self._context.pipeline.policy.quiet_seconds
        if seconds is None or not self.task.progress.is_quiescent(now):
            return []
        quiet_to = self._moving.quiet_to(now)
        if quiet_to is None:
            return []
        return list(islice(self.store.longest_quiet(quiet_to - seconds), at_most))

    async def prepare(self) -> None:
        """Take what other tasks have for this one and end what is quiet, at most so much that one checkpoint can hold
        it; hand over what has its home elsewhere."""
        turns, moving = self._context.turns, self._moving
        if self._former is not None:
            await self._decide_former(self._former)
        await turns.through(moving.take(self._inbox.moves, self._context.record_clock.newest))
        self._tell_outcomes()
        await turns.through(self._end_quiet())
        await turns.through(moving.leave())
        if self._writing_again is not None:
            await self._context.turns.through(self._write_again(self._writing_again))

    async def _decide_former(self, former: FormerInput) -> None:
        """Decide of a former input so much that one checkpoint can hold it; if that was all, the input may go on."""
        async with aclosing(former.records()) as found:
            async for records in found:
                await self._context.turns.through(self._deciding(former, records))
                if not self.is_running or self.store.changes >= ENDED_AT_A_TIME or self.task.waiting.are_too_many:
                    break
        if former.is_decided:
            inputs = self.task.inputs
            self.task.inputs = replace(inputs, others={**inputs.others, former.topic: former.place})
            self._former = None
            self._log.info("former_input_decided", topic=former.topic, position=former.place.offset)
            self.task.pauses.let_go(Pause.FORMER_INPUT)
        self.urge()

    def _deciding(self, former: FormerInput, records: Sequence[FetchedRecord]) -> Iterator[None]:
        for record in records:
            yield from self._moving.decide(kept(record), self._context.record_clock.newest)
            if not self.is_running:
                return  # in the middle of it, perhaps
            former.passed(record)
            yield

    def _write_again(self, alerts: Iterator[None]) -> Iterator[None]:
        """Of a state that is gone, so much that one checkpoint can hold it."""
        while self.is_running and self.store.changes < ENDED_AT_A_TIME:
            if next(alerts, alerts) is alerts:
                self._writing_again = None
                return
            yield

    def _end_quiet(self) -> Iterator[None]:
        while self.is_running and self.store.changes < ENDED_AT_A_TIME:
            quiet = self._quiet(self._context.clock.monotonic(), _ENDED_IN_A_TURN)
            for alert in quiet:
                # Others have had their turn meanwhile: something may have been heard of it.
                if self.is_running and self.store.get(alert.dedup_key) is alert and self._over(alert, Ending.QUIET):
                    self._outcomes["quiet"] += 1
                yield
            self._tell_outcomes()
            if len(quiet) < _ENDED_IN_A_TURN:
                return

    def _forget(self, now: Moment) -> Iterator[None]:
        """Drop alerts that owe nothing and of which nothing has been heard for very long.

        What was restored is as old as it was when it was last written down, and this task has run for a while: neither
        an earlier owner's clock nor this one's is trusted to say more.
        """
        policy = self._context.pipeline.policy
        least = max(LEAST_RUN_SECONDS, policy.quiet_seconds or 0.0)
        kept = 0
        heard_before = now.monotonic - min(least, policy.forget_seconds)
        for alert in list(islice(self.store.longest_quiet(heard_before), _FORGOTTEN_AT_A_TIME)):
            yield
            if self.store.get(alert.dedup_key) is not alert:
                continue  # others have had their turn meanwhile
            heard = self.store.heard(alert.dedup_key)
            age = now.monotonic - heard
            if self.store.is_unheard(alert.dedup_key):
                age += max(0.0, min(self._written_at or now.wall, now.wall) - alert.decided)
            if due(alert) is None and age >= policy.forget_seconds:
                self.store.drop(alert.dedup_key)
                self._log.info("alert_forgotten", dedup_key=alert.dedup_key)
                self._outbox.ended(alert)
            elif (kept := kept + 1) == _NOT_FORGOTTEN:
                break

    # checkpoints

    def cut(self) -> "TaskCut | None":
        """All that has changed since the last checkpoint; None if that is nothing, and the position is the same."""
        orders, taken = self._inbox.positions, self._inbox.moves.positions
        place = self.task.place(orders)
        if self._context.whole is not None:
            place = replace(place, homes=self._moving.to_json(taken, orders))
        if (former := self._former) is not None:
            place = replace(place, inputs={**place.inputs, former.topic: former.place})
        is_here = place == self.task.checkpointed and not self._is_state_gone
        if not self.store.has_changes and not self.task.waiting and is_here and not self._moving.has_moves:
            return None
        moves = self._moving.cut(taken)
        dead_letters = self.task.waiting.cut()
        counts, self._counts = self._counts, Counter()
        changed = self.store.cut()
        foreign = {counts_key(key, has_beside=self._has(key)): counts for key, counts in self._foreign_counts.items()}
        return TaskCut(
            alerter=self,
            position=place,
            changed=changed,
            foreign=foreign,
            moves=moves,
            dead_letters=dead_letters,
            counts=counts,
            owed=self.store.owed_count,
        )

    async def divided(self, changed: Changed, foreign: Mapping[str, Counts]) -> Cut:
        """What is to be written of what has changed."""
        cut = await divided(self.store, changed, self._context.turns)
        return replace(cut, counts={**foreign, **cut.counts}) if foreign else cut

    def sink(self, producer: AIOKafkaProducer) -> Sink:
        """Where its checkpoints go by this producer."""
        context = self._context
        return Sink(
            producer,
            context.pipeline.state_topic,
            self.task.source.partition.partition,
            context.letterbox,
            context.record_clock,
            context.turns,
            context.feedback_topic,
        )

    async def committed(self, cut: Cut, written: RecordMetadata) -> None:
        """The state holds this now: what had to wait for that may leave (design section 6.6)."""
        known = self.store.committed()
        self._is_state_gone = False
        records = len(cut.changes) + 1
        if self._state_log is not None and not self._state_log.wrote(written.offset, records):
            self._write_all_again("it takes records before those that were written", written.offset)
        if self._writing_again is not None or self._moving.is_at_work or self._inbox.moves:
            self.urge()
        await self._context.turns.through(self._outbox.state_is_new(known))
        await self._let_resolves_leave(cut)

    async def _let_resolves_leave(self, cut: Cut) -> None:
        """The state holds the intent now: what is still as it was in the cut may leave (design section 6.6)."""
        await self._context.turns.through(self._leaving(cut))

    def _leaving(self, cut: Cut) -> Iterator[None]:
        for dedup_key, alert in cut.changes:
            if alert is not None and self.store.get(dedup_key) is alert and due(alert) in _RESOLVES:
                self._outbox.owes(alert)
            yield

    # close

    async def withdraw(self, grace: float) -> None:
        """Take no more feedback, and let nothing more leave; requests that are on the wire have ``grace`` seconds."""
        if self._context.feedback is not None:
            self._context.feedback.detach(self._inbox)
        await self._context.delivery.withdraw(self._outbox, grace)

    def closed(self) -> None:
        """Let go of the alerts, bit by bit."""
        # Not by the way: a million alerts freed at once take half a second.
        self._context.turns.later(self.store.emptied())
        self._context.turns.later(self._outbox.emptied())
        self._context.turns.later(self.left_alone.emptied())
