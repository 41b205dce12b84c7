"""One partition that this member owns: what is the same for every kind of task (design section 6).

Own, restore, run, checkpoint, close, in that order and once: any trouble ends a task, and another is then built from
the first step. What a task does with its records, and what it commits, is its kind's.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTimestampError, MessageSizeTooLargeError
from aiokafka.structs import OffsetAndMetadata, RecordMetadata
from structlog.typing import FilteringBoundLogger

from consumer.clock import Clock
from consumer.dlq.dead_letter import DeadLetter
from consumer.events.event import FetchedRecord
from consumer.input.beginning import Beginning
from consumer.input.commit_metadata import COMMIT_METADATA, Whose, whose
from consumer.input.inputs import Inputs
from consumer.input.partition_input import PartitionInput
from consumer.input.progress import Progress
from consumer.input.whereabouts import Whereabouts
from consumer.kafka.clients import BATCH_BYTES, KafkaClients, close_producer, start_producer, task_id
from consumer.kafka.committed import is_committed
from consumer.kafka.foreign import foreign_group
from consumer.kafka.record_clock import RecordClock
from consumer.kafka.transaction import FAILURES, Refused, Unanswered
from consumer.partition.ownership import Proofs
from consumer.partition.restore import StateRefused
from consumer.partition.state_log import StateLog
from consumer.telemetry.metrics import PipelineMetrics
from consumer.waiting import set_within
from state.anchors import Anchor
from state.records import Position

PROGRESS_SECONDS = 5.0
"""How long mere progress may wait for its checkpoint (design section 6.4)."""

INIT_TIMEOUT_SECONDS = 30.0
"""For the initialisation of the producer, which waits for an open transaction of the one before to be ended."""

SLICE = 256
"""Records that are decided before others get a turn."""

LEAST_BATCH_BYTES = 16 * 1024
"""A topic that does not take batches of this size does not take a record."""

MENDS = 30
"""So often in a row a refused transaction is written otherwise at once; halving gets from any size to the least."""

REFUSED_SECONDS = (1.0, 30.0)
"""The first wait, and the longest, before what nobody here can mend is tried again."""

MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Of dead letters, and of what is forwarded, that wait for a checkpoint, before the partition is paused."""

WAITING_RECORD_BYTES = 1024
"""What each of these takes besides its record, which may be empty."""

_LOG = "log"
"""Why a partition is paused for a moment: whether it is still the same log is to be seen before more is decided."""

_DEAD_LETTERS = "dead letters"
"""Why a partition is paused for which somebody has to do something: too much waits for a checkpoint."""


class OwnedPartition(ABC):
    """A task of one partition. Its kind says what is restored, decided and committed."""

    def __init__(
        self,
        source: PartitionInput,
        *,
        group_id: str,
        clients: KafkaClients,
        proofs: Proofs,
        restores: asyncio.Semaphore,
        commit_interval: float,
        progress: Progress,
        metrics: PipelineMetrics,
        record_clock: RecordClock,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self.source = source
        self.position = 0
        self.committed: OffsetAndMetadata | None = None
        """What the next proof is to commit; None until the task runs."""
        self.progress = progress
        self._group_id = group_id
        self._clients = clients
        self._proofs = proofs
        self._restores = restores
        self._commit_interval = commit_interval
        self._metrics = metrics
        self._record_clock = record_clock
        self._clock = clock
        self._log = log
        self._is_running = False
        self._urgent = asyncio.Event()
        self._lock = asyncio.Lock()
        self._closing = asyncio.Event()
        self._producer: AIOKafkaProducer | None = None
        self._batch_bytes = BATCH_BYTES
        self._refusals = 0
        self._holds: set[str] = set()
        self._waiting_bytes = 0
        self._dead_letters: list[DeadLetter] = []
        self._checkpointed: Position | None = None
        self._has_had_owners = False
        self._inputs = Inputs()
        self._whereabouts = Whereabouts(source, clients, metrics, clock, log)

    @property
    def is_running(self) -> bool:
        """Whether it is restored and decides."""
        return self._is_running and not self._closing.is_set()

    @property
    def contents(self) -> Mapping[str, int]:
        """How much it has of what, for the log."""
        return {}

    @property
    def is_refused(self) -> bool:
        """Whether Kafka will not take what is to be checkpointed, however it is written."""
        return self._refusals > MENDS

    @property
    def has_checkpointed(self) -> bool:
        """Whether it has committed a checkpoint since it was restored."""
        return self._checkpointed is not None

    @property
    def notice(self) -> str | None:
        """What somebody should know of this partition, although it goes on."""
        return self._whereabouts.notice

    @property
    def is_in_doubt(self) -> bool:
        """Whether it waits to hear if its log is still the same."""
        return _LOG in self._holds

    @property
    def newest_anchor(self) -> Anchor | None:
        """A decided record that its input must still have; None if there is none."""
        return self._whereabouts.newest

    @property
    def is_paused(self) -> bool:
        """Whether nothing is fetched, because too many dead letters wait to be written."""
        return _DEAD_LETTERS in self._holds

    @property
    def state_trouble(self) -> str | None:
        """What is wrong with its state, while it goes on all the same; None if nothing is."""
        return None

    @property
    def state_log(self) -> StateLog | None:
        """What it knows of the log of its state; None for a kind that would write nothing again."""
        return None

    def state_is_gone(self, beginning: int, high: int) -> None:  # noqa: B027 (as above)
        """Records of its state that it has read or written are missing; the partition has these bounds."""

    # what a kind of task says

    @abstractmethod
    def _owns(self, producer: AIOKafkaProducer) -> None:
        """The partition is owned; checkpoints go through this producer, until another is named."""

    @abstractmethod
    async def _restore(self, committed: OffsetAndMetadata) -> None:
        """Read back what the last checkpoint held, and say where to go on (`_go_on`)."""

    @abstractmethod
    def _provable(self) -> int:
        """The offset that the group may have, by what was decided."""

    @abstractmethod
    async def _restored(self) -> None:
        """Everything is restored; records are about to come."""

    @abstractmethod
    async def _decide(self, records: Sequence[FetchedRecord]) -> None:
        """Decide these records in order; others get their turn where that takes long."""

    @abstractmethod
    async def _before_checkpoint(self) -> None:
        """What is to be in the next checkpoint and takes long: others get their turn meanwhile."""

    @abstractmethod
    async def _commit(self) -> None:
        """Commit what has changed, by `_transact`. Raises what that raises; the task is over then."""

    @abstractmethod
    async def _withdraw(self, grace: float) -> None:
        """Let nothing more leave; wait up to ``grace`` seconds for what is on its way."""

    def _closed(self) -> None:  # noqa: B027 (most kinds keep little)
        """Nothing more will be asked of it: what it has kept in memory can go."""

    @abstractmethod
    def tick(self) -> Iterator[None]:
        """What the passing of time brings, once a second: done by going through what is returned, with others' turns in
        between, and no further once the task closes."""

    # own, restore, run

    async def run(self) -> None:
        """Own, restore, and run until cancelled.

        Raises `NotOwner` if the group refuses the first proof, and whatever else goes wrong: the task is over then.
        """
        try:
            committed = await self._own()
            async with self._restores:
                await self._restore(committed)
            await self._go_on_with(committed)
            self._is_running = True
            await self._restored()
            self.source.start_at(self.position)
            if self._holds:
                self.source.pause()
            await self._checkpoints()
        finally:
            self._is_running = False
            self._closing.set()
            try:
                await self._withdraw(0)
            finally:
                self._closed()
                if self._producer is not None:
                    await close_producer(self._producer)

    async def _own(self) -> OffsetAndMetadata:
        """Initialise the producer, then the first proof: the group's offset as it is (design section 6.1)."""
        producer = await self._start_producer()
        committed = await self.source.group_offset()
        self._has_had_owners = committed is not None  # each begins with a commit
        if committed is None:
            committed = await self.source.start(self._clients)
        await self._proofs.prove({self.source.partition: committed})
        self._owns(producer)
        return committed

    async def _own_anew(self) -> None:
        """Another producer in the place of one that is broken, then a proof: what it writes is an owner's.

        Its initialisation ends the transaction that was open, and fences whoever has initialised since. If that was
        a new owner, the proof is refused, and this task is over.
        """
        assert self.committed is not None
        if self._producer is not None:
            broken, self._producer = self._producer, None
            await close_producer(broken)
        producer = await self._start_producer()
        await self._proofs.prove({self.source.partition: self.committed})
        self._owns(producer)

    async def _start_producer(self) -> AIOKafkaProducer:
        transactional_id = task_id(self._group_id, self.source.partition.partition)
        self._producer = producer = self._clients.transactional(transactional_id, batch_bytes=self._batch_bytes)
        async with asyncio.timeout(INIT_TIMEOUT_SECONDS):
            await start_producer(producer)
        return producer

    def _accept(self, checkpointed: Position | None, topic: str) -> None:
        """Raises `StateRefused` for a checkpoint of another group: its alerts are not this one's to resolve."""
        if checkpointed is not None and (problem := foreign_group(checkpointed, self._group_id, topic)) is not None:
            raise StateRefused(problem)

    async def _go_on(self, committed: OffsetAndMetadata, inputs: Inputs, *, has_state: bool) -> Beginning:
        """Find the position again, and what has become of the log (design section 17)."""
        self._inputs = inputs
        found = await self._whereabouts.find(
            committed, inputs.here, has_state=has_state, has_had_owners=self._has_had_owners
        )
        self._passed(found.offset)
        if self._whereabouts.holds is not None and whose(self._whereabouts.holds) is not Whose.FIRST:
            self._urgent.set()  # a checkpoint shall say soon what only the group's offset says yet
        return found

    async def _go_on_with(self, committed: OffsetAndMetadata) -> None:
        """Set what the next proof is to commit: never an offset that was ignored."""
        holds = self._whereabouts.holds
        goes_on_with = holds or OffsetAndMetadata(self._provable(), COMMIT_METADATA)
        if holds not in (None, committed) or goes_on_with.offset < committed.offset:
            # Before anything is decided: a crash must neither move where it begins nor leave what is ahead of that.
            await self._proofs.prove({self.source.partition: goes_on_with})
        self.committed = goes_on_with

    def _place(self, feedback: Mapping[int, int] | None = None) -> Position:
        """What a checkpoint of this moment says of how far this task has come."""
        last_proof = self._provable() if self._closing.is_set() else None
        place = self._whereabouts.place(self.position, feedback, last_proof=last_proof)
        return replace(place, group=self._group_id, hands=self._inputs.hands, inputs=self._inputs.others)

    def proved(self, committed: OffsetAndMetadata) -> None:
        """The group has accepted this as its offset."""
        self._whereabouts.proved(committed)

    async def _checkpoints(self) -> None:
        while True:
            await set_within(self._urgent, PROGRESS_SECONDS)  # mere progress waits for so long
            await self._before_checkpoint()
            await self._checkpoint()
            await asyncio.sleep(self._commit_interval)

    async def _checkpoint(self, *, is_last: bool = False) -> None:
        async with self._lock:
            # Behind one that failed none may follow: what it held is not in memory any more as it is in Kafka.
            if self._is_running and self._closing.is_set() == is_last:
                await self._commit()

    async def _transact(self, commit: Callable[[], Awaitable[RecordMetadata]]) -> RecordMetadata:
        """Let ``commit`` commit one transaction; until it has, again and again. Returns where a record of it is.

        What a failed one was to hold is still known, so the task need not be built again: that would send all that was
        accepted since the last checkpoint once more, each time. What can be written otherwise is, at once. Where
        that does not help, the task goes on deciding and sending, and tries again, until somebody has mended what
        keeps Kafka from taking it. A commit without an answer may have come about, so that is looked up first.
        """
        while True:
            try:
                written = await commit()
                break
            except (Refused, Unanswered) as error:
                failed = error
            if self._closing.is_set() or (isinstance(failed, Unanswered) and not failed.is_traceable):
                raise failed  # the next task decides it again
            wait = self._wait_after(failed)
            if await self._has_come_about(failed):
                assert isinstance(failed, Unanswered)
                written = failed.record
                break
            if wait and await set_within(self._closing, wait):
                raise failed
        if self.is_refused:
            self._log.info("checkpoint_taken", refusals=self._refusals - MENDS)
        self._refusals = 0
        self._waiting_bytes = sum(letter.record.size + WAITING_RECORD_BYTES for letter in self._dead_letters)
        self._let_go(_DEAD_LETTERS)
        return written

    async def _has_come_about(self, failed: Refused | Unanswered) -> bool:
        """Take another producer in the place of the broken one; whether the transaction is committed after all.

        Raises ``failed`` if the task closes meanwhile, and `NotOwner`.
        """
        while True:
            settling = asyncio.ensure_future(self._settle(failed))
            closing = asyncio.ensure_future(self._closing.wait())
            try:
                await asyncio.wait((settling, closing), return_when=asyncio.FIRST_COMPLETED)
                if not settling.done():
                    raise failed
                return settling.result()
            except FAILURES as error:
                wait = self._longer_wait()
                self._log.error("checkpoint_unsettled", error=repr(error), again_in=wait)
            finally:
                settling.cancel()
                closing.cancel()
                await asyncio.gather(settling, closing, return_exceptions=True)
            if await set_within(self._closing, wait):
                raise failed

    async def _settle(self, failed: Refused | Unanswered) -> bool:
        await self._own_anew()
        return isinstance(failed, Unanswered) and await is_committed(self._clients, failed.record, self._log)

    def _wait_after(self, failed: Refused | Unanswered) -> float:
        """Seconds to wait before it is tried again: none if it will be written otherwise."""
        if isinstance(failed, Refused) and self._is_mended(failed) and self._refusals < MENDS:
            self._refusals += 1
            self._log.warning("checkpoint_refused", error=str(failed), again_in=0)
            return 0.0
        wait = self._longer_wait()
        event = "checkpoint_refused" if isinstance(failed, Refused) else "checkpoint_unanswered"
        self._log.error(event, error=str(failed), again_in=wait)
        return wait

    def _is_mended(self, refused: Refused) -> bool:
        is_mended = refused.is_mended
        # What is mended already was the timestamp of another: this host's clock is not refused by that.
        if not is_mended and isinstance(refused.error, InvalidTimestampError) and self._record_clock.refused():
            is_mended = True
            self._log.error("clock_refused", error="a broker finds this host's clock to be more than an hour ahead")
        if not is_mended and isinstance(refused.error, MessageSizeTooLargeError):
            is_mended = self._batch_bytes > LEAST_BATCH_BYTES
            self._batch_bytes = max(LEAST_BATCH_BYTES, self._batch_bytes // 2)
        return is_mended

    def _longer_wait(self) -> float:
        """What can only be waited for has gone wrong once more: for how long, in seconds."""
        self._refusals = max(MENDS, self._refusals) + 1
        first, longest = REFUSED_SECONDS
        return min(longest, first * 2.0 ** min(10, self._refusals - MENDS - 1))

    # pause

    def _hold_back(self, reason: str) -> None:
        """Fetch nothing for now. There can be several reasons at a time, each of which is let go by itself."""
        if not self._holds:
            self.source.pause()
        self._holds.add(reason)

    def _let_go(self, reason: str) -> None:
        """For this reason it may go on."""
        if reason in self._holds:
            self._holds.remove(reason)
            if not self._holds and self.is_running:
                self.source.resume()

    def doubt(self) -> None:
        """Its log may have become another one: nothing more is decided, and what was fetched is fetched again."""
        self._hold_back(_LOG)
        self.source.seek(self.position)

    def trust(self) -> None:
        """It is the same log."""
        self._let_go(_LOG)

    # decide

    async def decide(self, records: Sequence[FetchedRecord]) -> None:
        """Decide these records in order; what is not decided when the task closes is left to the next owner."""
        self._record_clock.saw(records[-1].timestamp)
        for start in range(0, len(records), SLICE):
            if not self.is_running:
                return
            in_hand = records[start : start + SLICE]
            self._whereabouts.in_hand(in_hand)
            await self._decide(in_hand)
            self._whereabouts.through(self.position)
            await asyncio.sleep(0)

    def advance(self, position: int) -> None:
        """The consumer has passed over what is no record (transaction markers), and all that it gave is decided."""
        if self.is_running and position > self.position:
            self._passed(position)

    def _passed(self, position: int) -> None:
        """Everything below this position is decided."""
        self.position = position
        self.progress.decided(position, self._clock.monotonic())

    def _take_dead_letter(self, dead_letter: DeadLetter) -> None:
        """The next checkpoint will hold it."""
        self._dead_letters.append(dead_letter)
        self._wait_for_checkpoint(dead_letter.record.size, "dead letters wait")
        self._metrics.dead_letter(dead_letter.stage, dead_letter.error_class)
        self._log.warning(
            "dead_letter",
            offset=dead_letter.record.offset,
            event_id=dead_letter.event_id,
            stage=dead_letter.stage,
            error_class=dead_letter.error_class,
            error=dead_letter.error,
        )
        self._urgent.set()

    def _wait_for_checkpoint(self, size: int, reason: str) -> None:
        """A record of so many bytes more waits for a checkpoint: if that is too much, the partition is paused."""
        self._waiting_bytes += size + WAITING_RECORD_BYTES
        if self._waiting_bytes > MAX_WAITING_BYTES:
            if not self.is_paused:
                self._log.error("partition_paused", waiting_bytes=self._waiting_bytes, reason=reason)
            self._hold_back(_DEAD_LETTERS)

    # close

    async def drain(self, grace: float) -> None:
        """Stop deciding and sending; wait up to ``grace`` seconds for the requests on the wire; last checkpoint.

        What was cut off is owed, and the next owner sends it. A checkpoint that fails is logged: the next owner
        starts from the one before.
        """
        if not self.is_running:
            return
        self._closing.set()
        await self._withdraw(grace)
        try:
            await self._checkpoint(is_last=True)
        except Exception as error:
            self._log.warning("last_checkpoint_failed", error=repr(error))
