"""Restoring a pipeline's task: its last checkpoint is read, and fitted to the configuration and the topics as they are
now (design sections 6.2, 17)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.structs import OffsetAndMetadata
from msgspec import structs

from consumer.input.beginning import Beginning, Log
from consumer.input.commit_metadata import Whose, proved, whose
from consumer.input.first_homes import have_never_moved
from consumer.input.former_input import FormerInput
from consumer.input.inputs import Inputs, inputs_of
from consumer.tasks.alerting.inbox import TaskInbox
from consumer.tasks.alerting.placing import Placing
from consumer.tasks.homes.moving import Moving
from consumer.tasks.partition.left_alone import LeftAlone
from consumer.tasks.partition.restore import Restored, StateRefused, accept, restore
from consumer.tasks.partition.state_log import StateLog
from consumer.tasks.partition.task import PartitionTask
from consumer.tasks.partition.task_context import TaskContext
from state.alert import Alert
from state.counts import Counts
from state.due import due
from state.partition_records import Reunited, Unreadable, counts_of_unread
from state.records import BESIDE_PREFIX, CorruptState, Position
from state.restored import restored
from state.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """What a restored task has besides its store, its inbox and its knowledge of where keys belong.

    ``owing`` are the dedup keys of alerts that owe a notification. ``written_at`` is when the last checkpoint was
    written, in seconds since the epoch by the clock of its owner (None: there was none). ``former`` is the input of a
    repartition stage that is gone, if it is not decided to its end yet. ``foreign_counts`` are the counters of alerts
    whose records cannot be read.
    """

    state_log: StateLog
    owing: list[str]
    written_at: float | None
    former: FormerInput | None
    foreign_counts: Mapping[str, Counts]


class Restoration:
    """Restores one task. It is used once."""

    def __init__(
        self,
        task: PartitionTask[Any],
        context: TaskContext,
        *,
        store: Store,
        left_alone: LeftAlone,
        placing: Placing,
        moving: Moving,
        inbox: TaskInbox,
    ) -> None:
        self._task = task
        self._context = context
        self._store = store
        self._left_alone = left_alone
        self._placing = placing
        self._moving = moving
        self._inbox = inbox
        self._owing: list[str] = []
        self._former: FormerInput | None = None

    async def run(self, committed: OffsetAndMetadata) -> Inherited:
        """Read alerts and position, and fill the store.

        Raises `StateRefused` if nobody can go on from what the checkpoint holds, and `KafkaError` or `TimeoutError` if
        Kafka does not answer as it should.
        """
        task, context = self._task, self._context
        topic, partition = context.pipeline.state_topic, task.partition_input.partition
        found = await restore(context.clients, topic, partition.partition, task.log)
        accept(found.position, context.pipeline.group_id, topic)
        inputs = await self._find_inputs(committed, found.position)
        begins = await task.go_on(committed, inputs, has_state=found.position is not None)
        await self._fill(found)
        is_of_other_input = found.position is not None and found.position.topic != partition.topic
        await self._hold_nothing_of_other_logs(begins, is_of_other_input=is_of_other_input)
        await self._find_homes(committed, found.position)
        await self._ask_the_time(found)
        return Inherited(
            state_log=StateLog(found.beginning, found.end),
            owing=self._owing,
            written_at=found.written_at,
            former=self._former,
            foreign_counts=counts_of_unread(found.counts, self._left_alone.dedup_keys, self._has),
        )

    async def _find_inputs(self, committed: OffsetAndMetadata, own: Position | None) -> Inputs:
        """Where to go on in the input. If a repartition stage stood before this task until now, what the stage had
        forwarded is decided first."""
        stage, partition = self._context.former_stage, self._task.partition_input.partition
        if stage is None:
            return inputs_of(partition, own)
        of_stage = await stage.checkpoint(partition)
        inputs = inputs_of(partition, own, of_stage, proved=proved(committed))
        self._former = await stage.input(self._task.partition_input, own, of_stage, inputs)
        if self._former is not None:
            await self._former.find()
        return inputs

    async def _find_homes(self, committed: OffsetAndMetadata, checkpointed: Position | None) -> None:
        """Find out which partition the keys belong to, and from which offset feedback is taken.

        A partition that nobody has decided yet may have been added to the topic: what other tasks have handed over to
        it is read from the beginning of the feedback topic. Commands that are there already are not carried out.
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
        is_of_other_input = (
            checkpointed is not None and checkpointed.topic != self._task.partition_input.partition.topic
        )
        partitions = await self._context.whole.count(at_least=0 if is_of_other_input else self._moving.partitions)
        if is_of_other_input:
            self._moving.begin(partitions, have_never_moved=False)  # a stage has come or gone
        elif homes is None:
            others = await self._task.partition_input.offsets_of_others(partitions)
            never = have_never_moved(has_checkpoint=checkpointed is not None, own=committed, others=others)
            self._moving.begin(partitions, have_never_moved=never)
        else:
            self._moving.go_on(partitions)

    def _held(self, homes: Mapping[str, Any], orders: Mapping[int, int]) -> Mapping[int, int]:
        """Take over what the checkpoint held about where keys belong; returns how far records about that were read.

        Raises `StateRefused` if that part of the checkpoint cannot be read.
        """
        try:
            return self._moving.restore(homes, orders)
        except CorruptState as error:
            topic, partition = self._context.pipeline.state_topic, self._task.partition_input.partition.partition
            raise StateRefused(f"topic {topic}, partition {partition}: {error}") from error

    async def _ask_the_time(self, found: Restored) -> None:
        """Tell the record clock when the last checkpoint was written and, where events can be too old, when the newest
        record of the input was. Without the latter every event of a backlog would look young."""
        clock = self._context.record_clock
        if found.written_at is not None:
            clock.saw_of_a_member(int(found.written_at * 1000))
        if self._context.pipeline.max_event_age is not None:
            newest = await self._task.partition_input.newest_time(self._context.clients)
            if newest is not None:
                clock.saw(int(newest * 1000))

    async def _fill(self, found: Restored) -> None:
        """Fill the store, and note which alerts owe a notification; other tasks may run meanwhile."""
        now = self._context.clock.moment()
        placing = self._placing
        reunited: list[str] = []

        def as_of_now() -> Iterator[Alert | None]:
            for one in found.found:
                match one:
                    case Unreadable():
                        self._left_alone.found(one)
                        written = one.beside
                    case Reunited():
                        written = one.alert
                        reunited.append(written.dedup_key)
                    case _:
                        written = one
                if written is None:
                    yield None
                    continue
                alert = placing.place(self._context.pipeline.possibly_told(restored(written, now.wall)))
                if due(alert) is not None:
                    self._owing.append(alert.dedup_key)
                yield alert

        await self._context.turns.through(self._store.restore(as_of_now(), now.monotonic, found.counts))
        await self._context.turns.through(self._write_reunited(reunited))
        self._left_alone.tell_number()

    def _write_reunited(self, dedup_keys: list[str]) -> Iterator[None]:
        while dedup_keys:
            dedup_key = dedup_keys.pop()
            self._store.write_again(dedup_key)
            # The store has no alert of this key, so a tombstone is written.
            self._store.write_again(BESIDE_PREFIX + dedup_key)
            yield

    def _has(self, dedup_key: str) -> bool:
        return self._store.get(dedup_key) is not None

    async def _hold_nothing_of_other_logs(self, begins: Beginning, *, is_of_other_input: bool) -> None:
        """Let the group's offset pass events that are still owed, if their offsets are of a log that is gone: they say
        nothing about the log of today."""
        if is_of_other_input or begins.log is not Log.SAME:
            known = begins.offset if begins.log is Log.TRUNCATED and not is_of_other_input else 0
            await self._context.turns.through(self._let_offsets_go(known))

    def _let_offsets_go(self, known: int) -> Iterator[None]:
        for dedup_key in list(self._owing):
            alert = self._store.get(dedup_key)
            owed = alert.owed if alert is not None else None
            if alert is not None and owed is not None and owed.pins_offset is not None and owed.pins_offset >= known:
                self._store.put(structs.replace(alert, owed=structs.replace(owed, pins_offset=None)))
            yield
