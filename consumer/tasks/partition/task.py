"""The task of one partition of a consumer group, whatever is done with its records (design section 6).

A task goes through these steps once, in this order: own the partition, restore its state, decide records and write
checkpoints, close. Any error ends the task, and `consumer.group.supervision` builds another one, which begins with the
first step. What a task decides and commits is the part of its `Work`: there is one kind of work for a pipeline, which
alerts, and one for a repartition stage, which forwards.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from aiokafka.structs import OffsetAndMetadata
from structlog.typing import FilteringBoundLogger

from consumer.dlq.dead_letter_writer import DeadLetterWriter
from consumer.events.event import FetchedRecord
from consumer.input.beginning import Beginning
from consumer.input.commit_metadata import COMMIT_METADATA, Whose, whose
from consumer.input.inputs import Inputs
from consumer.input.partition_input import PartitionInput
from consumer.input.progress import Progress
from consumer.input.whereabouts import Whereabouts
from consumer.kafka.clients import KafkaClients
from consumer.kafka.record_clock import RecordClock
from consumer.tasks.partition.ownership import Proofs
from consumer.tasks.partition.pauses import Pause, Pauses
from consumer.tasks.partition.state_log import StateLog
from consumer.tasks.partition.transactions import Transactions
from consumer.tasks.partition.waiting_records import WaitingRecords
from consumer.tasks.partition.work import Work
from consumer.telemetry.metrics import PipelineMetrics
from consumer.timing.clock import Clock
from consumer.timing.turns import Turns
from consumer.timing.waiting import set_within
from state.anchors import Anchor
from state.records import Position

PROGRESS_SECONDS = 5.0
"""Seconds after which a checkpoint is written although nothing but the position has changed (design section 6.4)."""

SLICE = 256
"""How many records are decided before the event loop may run something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerContext:
    """What all tasks of one member of a group share, for every kind of work. ``restores`` bounds how many tasks restore
    their state at the same time."""

    clients: KafkaClients
    proofs: Proofs
    restores: asyncio.Semaphore
    metrics: PipelineMetrics
    clock: Clock
    dead_letter_writer: DeadLetterWriter
    record_clock: RecordClock
    turns: Turns = field(default_factory=Turns)


W = TypeVar("W", bound=Work)


class PartitionTask(Generic[W]):
    """A task: it owns one partition of the input as long as this member has it, and lets its ``work`` decide.

    ``make_work`` is called with the task itself, whose public methods the work uses: it advances the position, pauses
    fetching, asks for a checkpoint. At least ``commit_interval`` seconds lie between two checkpoints.
    """

    def __init__(
        self,
        partition_input: PartitionInput,
        context: OwnerContext,
        make_work: "Callable[[PartitionTask[Any]], W]",
        *,
        group_id: str,
        commit_interval: float,
        progress: Progress,
        log: FilteringBoundLogger,
    ) -> None:
        self.partition_input = partition_input
        self.position = 0
        self.committed: OffsetAndMetadata | None = None
        """The offset that the next proof of ownership commits; None until the task is restored."""
        self.progress = progress
        self.inputs = Inputs()
        """How far each partition is decided that this task has read; its checkpoints hold that."""
        self.checkpointed: Position | None = None
        """The position in the last checkpoint that this task has committed; None if it has committed none yet."""
        self.urgent = asyncio.Event()
        """Set to have a checkpoint written soon, not only after `PROGRESS_SECONDS`."""
        self.log = log
        self._context = context
        self._group_id = group_id
        self._commit_interval = commit_interval
        self._is_running = False
        self._lock = asyncio.Lock()
        self._closing = asyncio.Event()
        self._has_had_owners = False
        self.pauses = Pauses(partition_input, lambda: self.is_running)
        self.waiting = WaitingRecords(self.pauses, self.urgent.set, context.metrics, log)
        self._transactions = Transactions(
            partition_input.partition,
            group_id=group_id,
            clients=context.clients,
            proofs=context.proofs,
            record_clock=context.record_clock,
            closing=self._closing,
            log=log,
        )
        self._whereabouts = Whereabouts(partition_input, context.clients, context.metrics, context.clock, log)
        self.work = make_work(self)

    # what is seen from outside

    @property
    def is_running(self) -> bool:
        """Whether the task has restored its state, decides records, and is not closing."""
        return self._is_running and not self._closing.is_set()

    @property
    def contents(self) -> Mapping[str, int]:
        """Counts for the log of what the task keeps in memory, by name (``alerts``, ``owed``)."""
        return self.work.contents

    @property
    def is_refused(self) -> bool:
        """Whether Kafka refuses the checkpoint that is being written, although everything was tried to make it fit."""
        return self._transactions.are_refused

    @property
    def has_checkpointed(self) -> bool:
        """Whether this task has committed a checkpoint."""
        return self.checkpointed is not None

    @property
    def notice(self) -> str | None:
        """A sentence for `/readyz` about this partition, which goes on nevertheless; None if there is none."""
        return self._whereabouts.notice or self.work.notice

    @property
    def is_in_doubt(self) -> bool:
        """Whether it decides nothing until it is known that the topic was not truncated or created anew."""
        return Pause.LOG in self.pauses

    @property
    def newest_anchor(self) -> Anchor | None:
        """The newest record, of those that checkpoints remember, that the input must still have; None if there is
        none."""
        return self._whereabouts.newest

    @property
    def is_paused(self) -> bool:
        """Whether fetching is paused because too many bytes wait in memory for a checkpoint."""
        return self.waiting.are_too_many

    @property
    def state_trouble(self) -> str | None:
        """A sentence about records of its state that cannot be read, although the task goes on; None if all can be
        read."""
        return self.work.trouble

    @property
    def state_log(self) -> StateLog | None:
        """The offsets of its state partition that it has read and written; None for work that cannot write its state
        again."""
        return self.work.state_log

    def state_is_gone(self, beginning: int, high: int) -> None:
        """The state partition lacks records that this task has read or written: have the state written again.

        ``beginning`` and ``high`` are its first offset and its high watermark now.
        """
        self.work.state_is_gone(beginning, high)

    def tick(self) -> Iterator[None]:
        """Do what is due once a second. The iterator that is returned does it step by step; the caller may let other
        tasks run between two steps, and stops when this task closes."""
        return self.work.tick()

    # own, restore, run

    async def run(self) -> None:
        """Own the partition, restore its state, and write checkpoints until cancelled. After any error the task is
        over.

        Raises `NotOwner` if the group refuses a proof of ownership, `StateRefused` if the state topic holds nothing
        that this task can go on from, and `KafkaError`, `OSError` or `TimeoutError` if Kafka does not answer as it
        should.
        """
        try:
            committed = await self._own()
            async with self._context.restores:
                await self.work.restore(committed)
            await self._go_on_with(committed)
            self._is_running = True
            await self.work.begin()
            self.partition_input.start_at(self.position)
            self.pauses.begin()
            await self._checkpoints()
        finally:
            self._is_running = False
            self._closing.set()
            try:
                await self.work.withdraw(0)
            finally:
                self.work.closed()
                await self._transactions.close()

    async def _own(self) -> OffsetAndMetadata:
        """Initialise the transactional producer, which fences that of an earlier owner; then prove ownership by
        committing the group's offset as it is (design section 6.1). Returns that offset."""
        await self._transactions.begin()
        committed = await self.partition_input.group_offset()
        self._has_had_owners = committed is not None  # every owner begins by committing an offset
        if committed is None:
            committed = await self.partition_input.start(self._context.clients)
        await self._context.proofs.prove({self.partition_input.partition: committed})
        return committed

    async def go_on(self, committed: OffsetAndMetadata, inputs: Inputs, *, has_state: bool) -> Beginning:
        """Set the position from which records are decided, and find out whether the topic was truncated or created anew
        (design section 17). The work calls this while it restores.

        ``inputs`` is how far the last checkpoint says that each input is decided; ``has_state`` is whether there was a
        checkpoint.

        Raises `KafkaError` or `TimeoutError` if the group's offset or the log cannot be looked up.
        """
        self.inputs = inputs
        found = await self._whereabouts.find(
            committed, inputs.here, has_state=has_state, has_had_owners=self._has_had_owners
        )
        self.passed(found.offset)
        if self._whereabouts.pinned_commit is not None and whose(self._whereabouts.pinned_commit) is not Whose.FIRST:
            self.urgent.set()  # until the next checkpoint only the group's offset holds this position
        return found

    async def _go_on_with(self, committed: OffsetAndMetadata) -> None:
        """Set the offset that the next proof commits. An offset that somebody else set, and that is not obeyed, is
        replaced."""
        pinned = self._whereabouts.pinned_commit
        goes_on_with = pinned or OffsetAndMetadata(self.work.provable(), COMMIT_METADATA)
        if pinned not in (None, committed) or goes_on_with.offset < committed.offset:
            # Committed before anything is decided: after a crash the next owner must not begin elsewhere, and must not
            # find an offset beyond what is decided.
            await self._context.proofs.prove({self.partition_input.partition: goes_on_with})
        self.committed = goes_on_with

    def proved(self, committed: OffsetAndMetadata) -> None:
        """The group has accepted a proof of ownership with this offset."""
        self._whereabouts.proved(committed)

    # checkpoints

    async def _checkpoints(self) -> None:
        while True:
            await set_within(self.urgent, PROGRESS_SECONDS)
            await self.work.prepare()
            await self._checkpoint()
            await asyncio.sleep(self._commit_interval)

    async def _checkpoint(self, *, is_last: bool = False) -> None:
        async with self._lock:
            # After a failed commit nothing more may be committed: the changes it held are no longer in memory.
            if self._is_running and self._closing.is_set() == is_last:
                await self._commit()

    async def _commit(self) -> None:
        """Write one checkpoint if anything has changed.

        Raises what `Transactions.run` raises if the checkpoint is not committed. The task is over then.
        """
        self.urgent.clear()
        # The cut: no await may come between these lines, so that state and position are of the same moment.
        cut = self.work.cut()
        provable = self.work.provable()
        if cut is None:
            return
        assert self.committed is not None
        started = self._context.clock.monotonic()
        written = await self._transactions.run(cut.commit, self.committed)
        seconds = self._context.clock.monotonic() - started
        self.waiting.committed()
        self.checkpointed, self.committed = cut.position, OffsetAndMetadata(provable, COMMIT_METADATA)
        self._context.metrics.checkpoint(seconds)
        self.log.debug("checkpoint", position=cut.position.offset, **cut.facts, seconds=round(seconds, 4))
        await cut.committed(written)

    def place(self, feedback: Mapping[int, int] | None = None) -> Position:
        """The position that a checkpoint written now holds. ``feedback`` is the next offset of each partition of the
        feedback topic, whose commands this task has carried out so far."""
        last_proof = self.work.provable() if self._closing.is_set() else None
        place = self._whereabouts.place(self.position, feedback, last_proof=last_proof)
        return replace(place, group=self._group_id, hands=self.inputs.hands, inputs=self.inputs.others)

    # decide

    async def decide(self, records: Sequence[FetchedRecord]) -> None:
        """Decide these records in order. Records that are not decided when the task closes are left to the next
        owner."""
        self._context.record_clock.saw(records[-1].timestamp)
        for start in range(0, len(records), SLICE):
            if not self.is_running:
                return
            in_hand = records[start : start + SLICE]
            self._whereabouts.in_hand(in_hand)
            await self.work.decide(in_hand)
            self._whereabouts.through(self.position)
            await asyncio.sleep(0)

    def advance(self, position: int) -> None:
        """Move the position forward over offsets that hold no record (transaction markers): the consumer has passed
        them, and every record that it returned is decided."""
        if self.is_running and position > self.position:
            self.passed(position)

    def passed(self, position: int) -> None:
        """Set the position: every record below it is decided."""
        self.position = position
        self.progress.decided(position, self._context.clock.monotonic())

    @property
    def inherited_end(self) -> int:
        """The end of the input when this task took over: an earlier owner has decided no record at or beyond it."""
        return self._whereabouts.inherited_end

    def doubt(self) -> None:
        """Stop fetching, and drop what was fetched: the topic may have been truncated or created anew. `trust` ends
        this."""
        self.pauses.hold_back(Pause.LOG)
        self.partition_input.seek(self.position)

    def trust(self) -> None:
        """Fetch again after `doubt`: the topic still holds the records that this task has decided."""
        self.pauses.let_go(Pause.LOG)

    # close

    async def drain(self, grace: float) -> None:
        """Close the task in order: stop deciding and sending, wait up to ``grace`` seconds for the answers to requests
        on the wire, write a last checkpoint.

        A notification without an answer stays owed, and the next owner sends it. If the last checkpoint fails, that is
        logged, and the next owner starts from the checkpoint before.
        """
        if not self.is_running:
            return
        self._closing.set()
        await self.work.withdraw(grace)
        try:
            await self._checkpoint(is_last=True)
        except Exception as error:
            self.log.warning("last_checkpoint_failed", error=repr(error))
