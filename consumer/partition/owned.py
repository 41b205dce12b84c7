"""One partition that this member owns: what is the same for every kind of task (design section 6).

Own, restore, run, checkpoint, close, in that order and once: any trouble ends a task, and another is then built from
the first step. What a task does with its records, and what it commits, is its `Work`.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from aiokafka.structs import OffsetAndMetadata
from structlog.typing import FilteringBoundLogger

from consumer.clock import Clock
from consumer.dlq.letterbox import Letterbox
from consumer.events.event import FetchedRecord
from consumer.input.beginning import Beginning
from consumer.input.commit_metadata import COMMIT_METADATA, Whose, whose
from consumer.input.inputs import Inputs
from consumer.input.partition_input import PartitionInput
from consumer.input.progress import Progress
from consumer.input.whereabouts import Whereabouts
from consumer.kafka.clients import KafkaClients
from consumer.kafka.record_clock import RecordClock
from consumer.partition.ownership import Proofs
from consumer.partition.pauses import Pause, Pauses
from consumer.partition.state_log import StateLog
from consumer.partition.transactions import Transactions
from consumer.partition.waiting_records import WaitingRecords
from consumer.partition.work import Work
from consumer.telemetry.metrics import PipelineMetrics
from consumer.turns import Turns
from consumer.waiting import set_within
from state.anchors import Anchor
from state.records import Position

PROGRESS_SECONDS = 5.0
"""How long mere progress may wait for its checkpoint (design section 6.4)."""

SLICE = 256
"""Records that are decided before others get a turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerContext:
    """What all tasks of one member share, of whatever kind. ``restores`` bounds how many are restored at a time."""

    clients: KafkaClients
    proofs: Proofs
    restores: asyncio.Semaphore
    metrics: PipelineMetrics
    clock: Clock
    letterbox: Letterbox
    record_clock: RecordClock
    turns: Turns = field(default_factory=Turns)


W = TypeVar("W", bound=Work)


class OwnedPartition(Generic[W]):
    """A task: the life of one partition with this member, in which ``work`` is done.

    ``make_work`` is given the task itself: what the work does to it (pass over, pause, urge) is public. A checkpoint is
    written every ``commit_interval`` seconds at most.
    """

    def __init__(
        self,
        source: PartitionInput,
        context: OwnerContext,
        make_work: "Callable[[OwnedPartition[Any]], W]",
        *,
        group_id: str,
        commit_interval: float,
        progress: Progress,
        log: FilteringBoundLogger,
    ) -> None:
        self.source = source
        self.position = 0
        self.committed: OffsetAndMetadata | None = None
        """What the next proof is to commit; None until the task runs."""
        self.progress = progress
        self.inputs = Inputs()
        """The partitions of which its checkpoints say how far they are decided."""
        self.checkpointed: Position | None = None
        """What the last checkpoint of this task has said; None: there has been none since it was restored."""
        self.urgent = asyncio.Event()
        """Set: a checkpoint is to be written soon."""
        self.log = log
        self._context = context
        self._group_id = group_id
        self._commit_interval = commit_interval
        self._is_running = False
        self._lock = asyncio.Lock()
        self._closing = asyncio.Event()
        self._has_had_owners = False
        self.pauses = Pauses(source, lambda: self.is_running)
        self.waiting = WaitingRecords(self.pauses, self.urgent.set, context.metrics, log)
        self._transactions = Transactions(
            source.partition,
            group_id=group_id,
            clients=context.clients,
            proofs=context.proofs,
            record_clock=context.record_clock,
            closing=self._closing,
            log=log,
        )
        self._whereabouts = Whereabouts(source, context.clients, context.metrics, context.clock, log)
        self.work = make_work(self)

    # what is seen from outside

    @property
    def is_running(self) -> bool:
        """Whether it is restored and decides."""
        return self._is_running and not self._closing.is_set()

    @property
    def contents(self) -> Mapping[str, int]:
        """How much it has of what, for the log."""
        return self.work.contents

    @property
    def is_refused(self) -> bool:
        """Whether Kafka will not take what is to be checkpointed, however it is written."""
        return self._transactions.are_refused

    @property
    def has_checkpointed(self) -> bool:
        """Whether it has committed a checkpoint since it was restored."""
        return self.checkpointed is not None

    @property
    def notice(self) -> str | None:
        """What somebody should know of this partition, although it goes on."""
        return self._whereabouts.notice or self.work.notice

    @property
    def is_in_doubt(self) -> bool:
        """Whether it waits to hear if its log is still the same."""
        return Pause.LOG in self.pauses

    @property
    def newest_anchor(self) -> Anchor | None:
        """A decided record that its input must still have; None if there is none."""
        return self._whereabouts.newest

    @property
    def is_paused(self) -> bool:
        """Whether nothing is fetched, because too much waits to be written."""
        return self.waiting.are_too_many

    @property
    def state_trouble(self) -> str | None:
        """What is wrong with its state, while it goes on all the same; None if nothing is."""
        return self.work.trouble

    @property
    def state_log(self) -> StateLog | None:
        """What it knows of the log of its state; None for a kind that would write nothing again."""
        return self.work.state_log

    def state_is_gone(self, beginning: int, high: int) -> None:
        """Records of its state that it has read or written are missing; the partition has these bounds."""
        self.work.state_is_gone(beginning, high)

    def tick(self) -> Iterator[None]:
        """What the passing of time brings, once a second: done by going through what is returned, with others' turns in
        between, and no further once the task closes."""
        return self.work.tick()

    # own, restore, run

    async def run(self) -> None:
        """Own, restore, and run until cancelled.

        Raises `NotOwner` if the group refuses the first proof, and whatever else goes wrong: the task is over then.
        """
        try:
            committed = await self._own()
            async with self._context.restores:
                await self.work.restore(committed)
            await self._go_on_with(committed)
            self._is_running = True
            await self.work.begin()
            self.source.start_at(self.position)
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
        """Initialise the producer, then the first proof: the group's offset as it is (design section 6.1)."""
        await self._transactions.begin()
        committed = await self.source.group_offset()
        self._has_had_owners = committed is not None  # each begins with a commit
        if committed is None:
            committed = await self.source.start(self._context.clients)
        await self._context.proofs.prove({self.source.partition: committed})
        return committed

    async def go_on(self, committed: OffsetAndMetadata, inputs: Inputs, *, has_state: bool) -> Beginning:
        """Find the position again, and what has become of the log (design section 17).

        ``inputs`` are those of which the last checkpoint has said how far they are decided; ``has_state`` is whether
        there was one. Raises KafkaError and TimeoutError.
        """
        self.inputs = inputs
        found = await self._whereabouts.find(
            committed, inputs.here, has_state=has_state, has_had_owners=self._has_had_owners
        )
        self.passed(found.offset)
        if self._whereabouts.holds is not None and whose(self._whereabouts.holds) is not Whose.FIRST:
            self.urgent.set()  # a checkpoint shall say soon what only the group's offset says yet
        return found

    async def _go_on_with(self, committed: OffsetAndMetadata) -> None:
        """Set what the next proof is to commit: never an offset that was ignored."""
        holds = self._whereabouts.holds
        goes_on_with = holds or OffsetAndMetadata(self.work.provable(), COMMIT_METADATA)
        if holds not in (None, committed) or goes_on_with.offset < committed.offset:
            # Before anything is decided: a crash must neither move where it begins nor leave what is ahead of that.
            await self._context.proofs.prove({self.source.partition: goes_on_with})
        self.committed = goes_on_with

    def proved(self, committed: OffsetAndMetadata) -> None:
        """The group has accepted this as its offset."""
        self._whereabouts.proved(committed)

    # checkpoints

    async def _checkpoints(self) -> None:
        while True:
            await set_within(self.urgent, PROGRESS_SECONDS)  # mere progress waits for so long
            await self.work.prepare()
            await self._checkpoint()
            await asyncio.sleep(self._commit_interval)

    async def _checkpoint(self, *, is_last: bool = False) -> None:
        async with self._lock:
            # After a failed commit nothing more may be committed: the changes it held are no longer in memory.
            if self._is_running and self._closing.is_set() == is_last:
                await self._commit()

    async def _commit(self) -> None:
        """Commit what has changed, if anything has. Raises what `Transactions.run` does; the task is over then."""
        self.urgent.clear()
        # The cut: all of this at one moment, without an await between.
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
        """What a checkpoint of this moment says of how far this task has come; ``feedback`` is how far operators'
        orders have been taken, by partition."""
        last_proof = self.work.provable() if self._closing.is_set() else None
        place = self._whereabouts.place(self.position, feedback, last_proof=last_proof)
        return replace(place, group=self._group_id, hands=self.inputs.hands, inputs=self.inputs.others)

    # decide

    async def decide(self, records: Sequence[FetchedRecord]) -> None:
        """Decide these records in order; what is not decided when the task closes is left to the next owner."""
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
        """The consumer has passed over what is no record (transaction markers), and all that it gave is decided."""
        if self.is_running and position > self.position:
            self.passed(position)

    def passed(self, position: int) -> None:
        """Everything below this position is decided."""
        self.position = position
        self.progress.decided(position, self._context.clock.monotonic())

    @property
    def inherited_end(self) -> int:
        """An earlier owner has decided nothing at or beyond this offset."""
        return self._whereabouts.inherited_end

    def doubt(self) -> None:
        """Its log may have become another one: nothing more is decided, and what was fetched is fetched again."""
        self.pauses.hold_back(Pause.LOG)
        self.source.seek(self.position)

    def trust(self) -> None:
        """It is the same log."""
        self.pauses.let_go(Pause.LOG)

    # close

    async def drain(self, grace: float) -> None:
        """Stop deciding and sending; wait up to ``grace`` seconds for the requests on the wire; last checkpoint.

        What was cut off is owed, and the next owner sends it. A checkpoint that fails is logged: the next owner
        starts from the one before.
        """
        if not self.is_running:
            return
        self._closing.set()
        await self.work.withdraw(grace)
        try:
            await self._checkpoint(is_last=True)
        except Exception as error:
            self.log.warning("last_checkpoint_failed", error=repr(error))
