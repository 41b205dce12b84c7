"""A task: everything for one partition of one pipeline (design section 6).

Its life is `OwnedPartition.run`: own, restore, run. Decisions come from the pipeline, requests go through delivery, and
what has become of both is committed by checkpoints.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import islice
from time import perf_counter
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.structs import OffsetAndMetadata
from msgspec import structs
from structlog.typing import FilteringBoundLogger

from consumer.alerting.inbox import TaskInbox
from consumer.alerting.outbox import LEAST_RUN_SECONDS, TaskOutbox
from consumer.alerting.placing import Placing
from consumer.clock import Clock, Moment
from consumer.dlq.letterbox import Letterbox
from consumer.events.event import FetchedRecord, SecurityEvent
from consumer.events.record_key import KeyWatch
from consumer.feedback.reader import FeedbackReader
from consumer.feedback.records import Command, Kind
from consumer.homes.moving import Moving
from consumer.homes.whole_input import WholeInput
from consumer.input.beginning import Beginning, Log
from consumer.input.commit_metadata import COMMIT_METADATA, Whose, proved, whose
from consumer.input.first_homes import have_never_moved
from consumer.input.former_input import FormerInput, StageBefore
from consumer.input.inputs import Inputs, inputs_of
from consumer.input.partition_input import PartitionInput
from consumer.input.progress import Before, Progress
from consumer.kafka.clients import KafkaClients
from consumer.kafka.partitioning import Partitioner
from consumer.kafka.record_clock import RecordClock
from consumer.partition.checkpoint import Checkpoint, Sink, divided
from consumer.partition.left_alone import LeftAlone
from consumer.partition.owned import OwnedPartition
from consumer.partition.ownership import Proofs
from consumer.partition.restore import Restored, StateRefused, restore
from consumer.partition.state_log import StateLog
from consumer.pipeline import Decision, Pipeline, kept
from consumer.telemetry.metrics import PipelineMetrics
from consumer.turns import Turns
from providers.delivery.delivery import Delivery
from state.alert import Alert, Due, Ending, Outcome, due, over, restored
from state.counts import Counts
from state.partition_records import Reunited, Unreadable, counts_key, counts_of_unread
from state.records import BESIDE_PREFIX, CorruptState, Position
from state.remembered_ends import End
from state.store import Cut, Store
from state.violation import Record, Violation

ENDED_AT_A_TIME = 10_000
"""Alerts that quiet and forgetting end for each checkpoint, so that none takes too long (design section 16)."""

_ENDED_IN_A_TURN = 256

_FORMER_INPUT = "former input"
"""Why a partition is paused until all is decided that its repartition stage had forwarded when that went."""

_SLICE_SECONDS = 0.01
"""For which something goes on before others get a turn."""

_FORGOTTEN_AT_A_TIME = 1_000
_OUTCOME_OF_STAGE = {"stale": "stale", "decide": "internal_error"}
"""What an event came to that is dead-lettered; of any other stage it is poison."""

_RESOLVES = (Due.RESOLVE, Due.RESOLVE_FORMER)

_NOT_FORGOTTEN = 100
"""Alerts in a row that are not to be forgotten, after which the others are looked at another time."""


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What the tasks of one member share."""

    pipeline: Pipeline
    clients: KafkaClients
    delivery: Delivery
    proofs: Proofs
    restores: asyncio.Semaphore
    metrics: PipelineMetrics
    clock: Clock
    letterbox: Letterbox
    record_clock: RecordClock
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
    tell_change: Callable[[Violation, int], None] | None = None
    """Takes an allowed event that is told as a change, with the bytes of its record; None: none is."""
    former_stage: StageBefore | None = None
    """The repartition stage that there may have been; None: there is one now, or nobody asks."""
    feedback_topic: str = ""
    turns: Turns = field(default_factory=Turns)
    told_unreadable: set[tuple[int, int]] = field(default_factory=set)
    """Which records of the state somebody has been told of already (`LeftAlone`)."""


class Task(OwnedPartition):
    """One partition of one pipeline: its alerts, what they owe, its transactional producer."""

    def __init__(self, source: PartitionInput, context: TaskContext, log: FilteringBoundLogger) -> None:
        super().__init__(
            source,
            group_id=context.pipeline.group_id,
            clients=context.clients,
            proofs=context.proofs,
            restores=context.restores,
            commit_interval=context.pipeline.commit_interval,
            progress=Progress(
                context.quiescent_seconds,
                quiet_seconds=context.pipeline.policy.quiet_seconds,
                before=context.stage_progress,
            ),
            metrics=context.metrics,
            record_clock=context.record_clock,
            clock=context.clock,
            log=log,
        )
        self.store = Store()
        self.left_alone = LeftAlone(
            context.pipeline.state_topic, source.partition.partition, context.told_unreadable, log
        )
        self._foreign_counts: Mapping[str, Counts] = {}  # of records that are left alone
        self._state_log: StateLog | None = None
        self._writing_again: Iterator[None] | None = None
        self._is_state_gone = False  # and nothing has been written since: also without an alert there is the position
        self._owing: list[str] = []
        self._placing = Placing(context.pipeline, log)
        self._written_at: float | None = None
        self._former: FormerInput | None = None  # that is not decided to its end yet
        self._context = context
        self._sink: Sink
        self._counts: Counter[str] = Counter()  # since the last checkpoint
        self._outcomes: Counter[str] = Counter()  # that nobody has been told of yet
        self._moving = Moving(
            partition=source.partition.partition,
            pipeline=context.pipeline,
            store=self.store,
            progress=self.progress,
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
            progress=self.progress,
            clock=context.clock,
            metrics=context.metrics,
            log=log,
            urgent=self._urgent.set,
            dead_letter=self._take_dead_letter,
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
            has_room=lambda replay: self._outbox.has_room_for(replay, self.position),
            changed=self._changed_by_feedback,
            ended=self._ended_by_feedback,
            decided=self._replayed,
            soon=lambda work: asyncio.get_running_loop().call_soon(work),
            elsewhere=lambda: self._moving.elsewhere,
            commanded=self._commanded,
            arrived=self._urgent.set,
        )

    @property
    def state_trouble(self) -> str | None:
        """What of its state cannot be read."""
        return self.left_alone.trouble

    @property
    def notice(self) -> str | None:
        """What somebody should know of this partition, although it goes on."""
        return super().notice or self._moving.notice

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
        self._urgent.set()

    # own, restore

    def _owns(self, producer: AIOKafkaProducer) -> None:
        pipeline, partition = self._context.pipeline, self.source.partition.partition
        self._sink = Sink(
            producer,
            pipeline.state_topic,
            partition,
            self._context.letterbox,
            self._context.record_clock,
            self._context.turns,
            self._context.feedback_topic,
        )

    async def _restore(self, committed: OffsetAndMetadata) -> None:
        partition, clock = self.source.partition, self._context.clock
        started = clock.monotonic()
        found = await restore(self._context.clients, self._context.pipeline.state_topic, partition.partition, self._log)
        self._accept(found.position, self._context.pipeline.state_topic)
        inputs = await self._find_inputs(committed, found.position)
        begins = await self._go_on(committed, inputs, has_state=found.position is not None)
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
            position=self.position,
            seconds=round(clock.monotonic() - started, 3),
        )

    async def _find_inputs(self, committed: OffsetAndMetadata, own: Position | None) -> Inputs:
        """Where to go on in the input, which a repartition stage may have had until now; what that has forwarded is
        decided first."""
        stage, partition = self._context.former_stage, self.source.partition
        if stage is None:
            return inputs_of(partition, own)
        of_stage = await stage.checkpoint(partition)
        inputs = inputs_of(partition, own, of_stage, proved=proved(committed))
        self._former = await stage.input(self.source, own, of_stage, inputs)
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
        is_of_other_input = checkpointed is not None and checkpointed.topic != self.source.partition.topic
        partitions = await self._context.whole.count(at_least=0 if is_of_other_input else self._moving.partitions)
        if is_of_other_input:
            self._moving.begin(partitions, have_never_moved=False)  # a stage has come or gone
        elif homes is None:
            others = await self.source.offsets_of_others(partitions)
            never = have_never_moved(has_checkpoint=checkpointed is not None, own=committed, others=others)
            self._moving.begin(partitions, have_never_moved=never)
        else:
            self._moving.go_on(partitions)

    def _held(self, homes: Mapping[str, Any], orders: Mapping[int, int]) -> Mapping[int, int]:
        """Take what the checkpoint held of homes; how far records about them have been taken."""
        try:
            return self._moving.restore(homes, orders)
        except CorruptState as error:
            topic, partition = self._context.pipeline.state_topic, self.source.partition.partition
            raise StateRefused(f"topic {topic}, partition {partition}: {error}") from error

    async def _ask_the_time(self, found: Restored) -> None:
        """What the last checkpoint says of the time and, where events can be too old, the newest record of the input:
        beside one that is read in a backlog every event of it is young."""
        times = [found.written_at]
        if self._context.pipeline.max_event_age is not None:
            times.append(await self.source.newest_time(self._context.clients))
        for time in times:
            if time is not None:
                self._record_clock.saw(int(time * 1000))

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

    def _provable(self) -> int:
        oldest_owed = self.store.oldest_owed_offset()
        return self.position if oldest_owed is None else min(self.position, oldest_owed)

    async def _restored(self) -> None:
        owing, self._owing = self._owing, []
        inherited_end = self._whereabouts.inherited_end
        await self._context.turns.through(self._placing.moved_in(self.store))
        self._placing.tell()
        await self._context.turns.through(self._outbox.restored(owing, inherited_end, self._written_at))
        if self._former is not None:
            self._hold_back(_FORMER_INPUT)
            self._urgent.set()
        if self._context.feedback is not None:
            self._context.feedback.attach(self._inbox)

    # decide

    async def _decide(self, records: Sequence[FetchedRecord]) -> None:
        decide, store, moving = self._context.pipeline.decide, self.store, self._moving
        now, newest, elsewhere = self._context.clock.moment(), self._record_clock.newest(), moving.elsewhere
        moving.sample(records[0])
        turn = perf_counter()
        concerned = 0
        for number, record in enumerate(records, 1):
            try:
                decision = decide(record, store, now, newest, elsewhere)
            except Exception as error:  # a fault of ours must neither stop the partition nor lose the event
                self._log.error("decision_failed", offset=record.offset, exc_info=error)
                decision = self._context.pipeline.undecidable(record, error)
            if decision is not None and decision.change is not None:
                decision = self._tell_change(decision, decision.change, record)
            if decision is not None:
                concerned += 1
                if decision.unexpected_key is not None and self._context.key_watch is not None:
                    partition = self.source.partition.partition
                    self._context.key_watch.saw(partition, record.offset, decision.unexpected_key)
                if decision.ends is not None:
                    self._passed(record.offset)  # a checkpoint may come in between
                    if not await self._end(decision):
                        records = records[: number - 1]
                        break
                else:
                    self._apply(decision)
            if perf_counter() - turn > _SLICE_SECONDS:
                self._passed(record.offset + 1)
                await asyncio.sleep(0)
                if not self.is_running:
                    records = records[:number]
                    break
                now, newest, turn = self._context.clock.moment(), self._record_clock.newest(), perf_counter()
                elsewhere = moving.elsewhere
        if records:
            self._passed(records[-1].offset + 1)
            self._context.metrics.events("ignored", len(records) - concerned)
        self._tell_outcomes()

    def _tell_change(self, decision: Decision, change: SecurityEvent, record: FetchedRecord) -> Decision | None:
        """Offer an allowed event as a change; what else it came to, None if nothing."""
        if self._context.tell_change is not None:
            self._context.tell_change(change.violation(), len(record.value or b""))
        return decision if change.concerns_alerts else None

    def _tell_outcomes(self) -> None:
        outcomes, self._outcomes = self._outcomes, Counter()
        self._counts.update(outcomes)
        for outcome, count in outcomes.items():
            self._context.metrics.events(outcome, count)

    def _apply(self, decision: Decision) -> None:
        counts = self._outcomes
        if decision.outcome is Outcome.SUPPRESSED:
            counts["suppressed"] += 1
        elif decision.outcome is not None and decision.alert is not None:
            counts[decision.outcome.value] += 1
            if decision.outcome is Outcome.TRIGGERED:
                self._outbox.owes(decision.alert, event=decision.event, is_new=True)
            elif decision.event is not None:  # else what is owed says the same as before
                self._outbox.owes(decision.alert, event=decision.event)
        elif decision.dead_letter is not None:
            counts[_OUTCOME_OF_STAGE.get(decision.dead_letter.stage, "poison")] += 1
            self._take_dead_letter(decision.dead_letter)
        elif decision.forward is not None:
            counts["forwarded"] += 1
            self._moving.forward(decision.forward, decision.home_key)
            self._wait_for_checkpoint(decision.forward.size, "forwarded records wait")
        elif decision.tombstone:
            counts["tombstone"] += 1

    async def _end(self, decision: Decision) -> bool:
        """An event says that the threat is over of these alerts, of which there can be very many.

        False if the task closes meanwhile: its next owner decides the event again, and ends those that are left.
        """
        await self._context.turns.through(self.ending(decision))
        return self.is_running

    def ending(self, decision: Decision) -> Iterator[None]:
        """End what a decision ends, in steps.

        Within one partition, what comes later is later. Where homes have moved it may not be: then an end ends nothing
        that has occurred after it.
        """
        end, has_order = decision.end, self._moving.elsewhere is None
        if end is not None:
            self._moving.ended(end)
        for dedup_key in decision.ends or ():
            if not self.is_running:
                return
            alert = self.store.get(dedup_key)
            if (
                alert is not None
                and (has_order or end is None or alert.last_seen <= end.at)
                and self._over(alert, Ending.SESSION_END)
            ):
                self._outcomes["ended"] += 1
            yield

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
        self._urgent.set()
        return True

    def _replayed(self, decision: Decision) -> None:
        """A dead letter was decided again, like an event (but it is none of the input's)."""
        if decision.forward is not None:
            self._moving.forward(decision.forward, decision.home_key, is_replay=True)
            return
        self.decided_beside(decision)

    def decided_beside(self, decision: Decision) -> None:
        """Something was decided like an event that is not of this partition's input."""
        self._urgent.set()
        if decision.dead_letter is not None:
            self._take_dead_letter(decision.dead_letter)
        if decision.alert is not None:
            is_new = decision.outcome is Outcome.TRIGGERED
            if is_new and decision.alert.occurrences == 1:
                self.store.write_first(decision.alert.dedup_key)  # a next owner may decide an event before it
            self._outbox.owes(decision.alert, event=decision.event, is_new=is_new)

    def undecidable_beside(self, record: Record, error: Exception) -> None:
        """A record of another partition cannot be decided, by a fault of ours."""
        dead_letter = self._context.pipeline.undecidable(record, error).dead_letter
        assert dead_letter is not None
        self._take_dead_letter(dead_letter)

    def handed_over(self, alert: Alert) -> None:
        """The alert is another task's, and has left the store."""
        self._context.delivery.changed(self._outbox, alert.dedup_key)

    def taken_over(self, alert: Alert, before: Alert | None) -> None:
        """The alert was handed over, and is in the store; ``before`` is what was known of it here."""
        if alert.route is None and alert.owed is not None:
            self.store.write_first(alert.dedup_key)  # a next owner may decide an event before it is handed this
        self._urgent.set()
        self._outbox.taken_over(alert)

    def is_busy(self, dedup_key: str) -> bool:
        """Whether a request about the alert is on the wire."""
        return self._context.delivery.is_busy(self._outbox, dedup_key)

    def urge(self) -> None:
        """A checkpoint is to be written soon."""
        self._urgent.set()

    def homes_changed(self, *, are_others: bool) -> None:
        """Whom one has to wait for is news; ``are_others``: and so is who speaks for which key."""
        self._outbox.homes_changed(are_others=are_others)

    def has_decided_what_was_inherited(self) -> bool:
        """Whether all that an earlier owner can have decided is decided again."""
        return self._former is None and self.position >= self._whereabouts.inherited_end

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
        self._urgent.set()
        self._outbox.owes(alert)

    def _ended_by_feedback(self, dedup_key: str) -> None:
        alert = self.store.get(dedup_key)
        self.store.drop(dedup_key)
        if alert is not None:
            self.gone(alert)

    def gone(self, alert: Alert) -> None:
        """The alert is over, and has left the store, by what somebody else has said."""
        self._urgent.set()
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
            self._urgent.set()  # the next checkpoint holds what is over
        yield from self._moving.tick()
        if self._moving.is_at_work or self._inbox.moves:
            self._urgent.set()  # what it waits for may have come about
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
        if seconds is None or not self.progress.is_quiescent(now):
            return []
        quiet_to = self._moving.quiet_to(now)
        if quiet_to is None:
            return []
        return list(islice(self.store.longest_quiet(quiet_to - seconds), at_most))

    async def _before_checkpoint(self) -> None:
        """Take what other tasks have for this one and end what is quiet, at most so much that one checkpoint can hold
        it; hand over what has its home elsewhere."""
        turns, moving = self._context.turns, self._moving
        if self._former is not None:
            await self._decide_former(self._former)
        await turns.through(moving.take(self._inbox.moves, self._record_clock.newest))
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
                if not self.is_running or self.store.changes >= ENDED_AT_A_TIME or self.is_paused:
                    break
        if former.is_decided:
            self._inputs = replace(self._inputs, others={**self._inputs.others, former.topic: former.place})
            self._former = None
            self._log.info("former_input_decided", topic=former.topic, position=former.place.offset)
            self._let_go(_FORMER_INPUT)
        self._urgent.set()

    def _deciding(self, former: FormerInput, records: Sequence[FetchedRecord]) -> Iterator[None]:
        for record in records:
            yield from self._moving.decide(kept(record), self._record_clock.newest)
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

    async def _commit(self) -> None:
        self._urgent.clear()
        orders, taken = self._inbox.positions, self._inbox.moves.positions
        place = self._place(orders)
        if self._context.whole is not None:
            place = replace(place, homes=self._moving.to_json(taken, orders))
        if (former := self._former) is not None:
            place = replace(place, inputs={**place.inputs, former.topic: former.place})
        is_here = place == self._checkpointed and not self._is_state_gone
        if not self.store.has_changes and not self._dead_letters and is_here and not self._moving.has_moves:
            return
        # The cut: all of this at one moment, without an await between.
        moves = self._moving.cut(taken)
        dead_letters, self._dead_letters = tuple(self._dead_letters), []
        counts, self._counts = self._counts, Counter()
        changed = self.store.cut()
        provable, owed = self._provable(), self.store.owed_count
        foreign = {counts_key(key, has_beside=self._has(key)): counts for key, counts in self._foreign_counts.items()}

        started = self._context.clock.monotonic()
        cut = await divided(self.store, changed, self._context.turns)
        checkpoint = Checkpoint(
            replace(cut, counts={**foreign, **cut.counts}) if foreign else cut,
            dead_letters,
            place,
            self.left_alone.dedup_keys,
            moves,
        )
        written = await self._transact(lambda: checkpoint.commit(self._sink))
        seconds = self._context.clock.monotonic() - started
        self._checkpointed, self.committed = place, OffsetAndMetadata(provable, COMMIT_METADATA)
        known = self.store.committed()
        self._context.metrics.checkpoint(seconds)
        self._log.debug(
            "checkpoint",
            position=place.offset,
            notified=counts["notified"],
            suppressed=counts["suppressed"] + counts["counted"],
            dead_lettered=len(dead_letters),
            owed=owed,
            changed=len(checkpoint.cut.changes),
            seconds=round(seconds, 4),
        )
        self._is_state_gone = False
        records = len(checkpoint.cut.changes) + 1
        if self._state_log is not None and not self._state_log.wrote(written.offset, records):
            self._write_all_again("it takes records before those that were written", written.offset)
        if self._writing_again is not None or self._moving.is_at_work or self._inbox.moves:
            self._urgent.set()
        await self._context.turns.through(self._outbox.state_is_new(known))
        await self._let_resolves_leave(checkpoint.cut)

    async def _let_resolves_leave(self, cut: Cut) -> None:
        """The state holds the intent now: what is still as it was in the cut may leave (design section 6.6)."""
        await self._context.turns.through(self._leaving(cut))

    def _leaving(self, cut: Cut) -> Iterator[None]:
        for dedup_key, alert in cut.changes:
            if alert is not None and self.store.get(dedup_key) is alert and due(alert) in _RESOLVES:
                self._outbox.owes(alert)
            yield

    # close

    async def _withdraw(self, grace: float) -> None:
        if self._context.feedback is not None:
            self._context.feedback.detach(self._inbox)
        await self._context.delivery.withdraw(self._outbox, grace)

    def _closed(self) -> None:
        # Not by the way: a million alerts freed at once take half a second.
        self._context.turns.later(self.store.emptied())
        self._context.turns.later(self._outbox.emptied())
        self._context.turns.later(self.left_alone.emptied())
