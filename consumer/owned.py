"""One partition that this member owns: what is the same for every kind of task (design section 6).

Own, restore, run, checkpoint, close, in that order and once: any trouble ends a task, and another is then built from
the first step. What a task does with its records, and what it commits, is its kind's.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTimestampError, MessageSizeTooLargeError
from aiokafka.structs import OffsetAndMetadata
from structlog.typing import FilteringBoundLogger

from consumer.clock import Clock
from consumer.deadletter import DeadLetter
from consumer.kafka import KafkaClients, close_producer, start_producer
from consumer.pipeline import FetchedRecord
from consumer.progress import Progress
from consumer.proof import Proofs
from consumer.server.metrics import PipelineMetrics
from consumer.source import MARK, Source
from state.records import Position

PROGRESS_SECONDS = 5.0
"""How long mere progress may wait for its checkpoint (design section 6.4)."""

INIT_TIMEOUT_SECONDS = 30.0
"""For the initialisation of the producer, which waits for an open transaction of the one before to be ended."""

SLICE = 256
"""Records that are decided before others get a turn."""


@dataclass(frozen=True, slots=True)
class Remedies:
    """What a task does otherwise than the one before it, which the broker refused a record."""

    compress: bool = False
    """A dead letter can be larger than its topic takes although the input, compressed, took it."""
    shorten: bool = False
    """Compressed by us it can still be larger: then the headers of ours are left out of what is too large for them."""
    restamp: bool = False
    """A topic can take the timestamps of another only within bounds."""

    def after(self, error: Exception) -> "Remedies":
        """What helps against this error as well."""
        match error:
            case MessageSizeTooLargeError():
                return replace(self, compress=True, shorten=self.compress)
            case InvalidTimestampError():
                return replace(self, restamp=True)
        return self

    def dead_letter_limit(self, topic_limit: int) -> int | None:
        """The bytes that a dead letter is cut to, of a topic with this limit; None if nothing needs to be cut."""
        return None if self.compress and not self.shorten else topic_limit


class OwnedPartition(ABC):
    """A task of one partition. Its kind says what is restored, decided and committed."""

    def __init__(
        self,
        source: Source,
        *,
        group_id: str,
        clients: KafkaClients,
        proofs: Proofs,
        restores: asyncio.Semaphore,
        commit_interval: float,
        progress: Progress,
        remedies: Remedies,
        metrics: PipelineMetrics,
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
        self._remedies = remedies
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._is_running = False
        self._is_closing = False
        self._urgent = asyncio.Event()
        self._lock = asyncio.Lock()
        self._dead_letters: list[DeadLetter] = []
        self._checkpointed: int | None = None
        self._has_had_owners = False
        self._inherited_end = 0  # of the input at the take-over: an earlier owner has decided nothing beyond it

    @property
    def is_running(self) -> bool:
        """Whether it is restored and decides."""
        return self._is_running and not self._is_closing

    @property
    def has_checkpointed(self) -> bool:
        """Whether it has committed a checkpoint since it was restored."""
        return self._checkpointed is not None

    # what a kind of task says

    @abstractmethod
    def _owns(self, producer: AIOKafkaProducer) -> None:
        """The partition is owned; checkpoints go through this producer."""

    @abstractmethod
    async def _restore(self, committed: OffsetAndMetadata) -> None:
        """Read back what the last checkpoint held, and say where to go on (`_go_on`)."""

    @abstractmethod
    def _restored(self) -> None:
        """Everything is restored; records are about to come."""

    @abstractmethod
    def _decide(self, records: Sequence[FetchedRecord]) -> None:
        """Decide these records in order."""

    @abstractmethod
    async def _commit(self) -> None:
        """Commit what has changed. Raises what the producer raises; the task is over then."""

    @abstractmethod
    async def _withdraw(self, grace: float) -> None:
        """Let nothing more leave; wait up to ``grace`` seconds for what is on its way."""

    @abstractmethod
    def tick(self) -> None:
        """What the passing of time brings, once a second."""

    # own, restore, run

    async def run(self) -> None:
        """Own, restore, and run until cancelled.

        Raises `NotOwner` if the group refuses the first proof, and whatever else goes wrong: the task is over then.
        """
        partition = self.source.partition.partition
        producer = self._clients.transactional(f"{self._group_id}-{partition}", compress=self._remedies.compress)
        try:
            committed = await self._own(producer)
            self._owns(producer)
            async with self._restores:
                await self._restore(committed)
            self.committed = committed
            self._is_running = True
            self._restored()
            self.source.start_at(self.position)
            await self._checkpoints()
        finally:
            self._is_running = False
            self._is_closing = True
            try:
                await self._withdraw(0)
            finally:
                await close_producer(producer)

    async def _own(self, producer: AIOKafkaProducer) -> OffsetAndMetadata:
        """Initialise the producer, then the first proof: the group's offset as it is (design section 6.1)."""
        async with asyncio.timeout(INIT_TIMEOUT_SECONDS):
            await start_producer(producer)
        committed = await self.source.group_offset()
        self._has_had_owners = committed is not None  # each begins with a commit
        if committed is None:
            committed = OffsetAndMetadata(await self.source.start_offset(self._clients), MARK)
        await self._proofs.prove({self.source.partition: committed})
        return committed

    async def _go_on(self, committed: OffsetAndMetadata, checkpointed: Position | None) -> None:
        """Set the position: the checkpoint's, unless an operator has set another, or it is lost (section 6.2)."""
        position = committed.offset
        if committed.metadata != MARK:
            self._log.warning("position_set_by_operator", position=position)
        elif checkpointed is not None and checkpointed.topic == self.source.partition.topic:
            position = checkpointed.offset
        beginning, end = await self.source.bounds_around(position)
        if not beginning <= position <= end:
            self._log.error("position_lost", position=position, beginning=beginning, end=end)
            self._metrics.position_lost()
            position = beginning
        self._inherited_end = end if self._has_had_owners else 0
        self._passed(position)

    async def _checkpoints(self) -> None:
        while True:
            try:
                async with asyncio.timeout(PROGRESS_SECONDS):
                    await self._urgent.wait()
            except TimeoutError:
                pass  # mere progress
            await self._checkpoint()
            await asyncio.sleep(self._commit_interval)

    async def _checkpoint(self, *, is_last: bool = False) -> None:
        async with self._lock:
            # Behind one that failed none may follow: what it held is not in memory any more as it is in Kafka.
            if self._is_running and self._is_closing == is_last:
                await self._commit()

    # decide

    async def decide(self, records: Sequence[FetchedRecord]) -> None:
        """Decide these records in order; what is not decided when the task closes is left to the next owner."""
        for start in range(0, len(records), SLICE):
            if not self.is_running:
                return
            self._decide(records[start : start + SLICE])
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

    # close

    async def drain(self, grace: float) -> None:
        """Stop deciding and sending; wait up to ``grace`` seconds for the requests on the wire; last checkpoint.

        What was cut off is owed, and the next owner sends it. A checkpoint that fails is logged: the next owner
        starts from the one before.
        """
        if not self.is_running:
            return
        self._is_closing = True
        await self._withdraw(grace)
        try:
            await self._checkpoint(is_last=True)
        except Exception as error:
            self._log.warning("last_checkpoint_failed", error=repr(error))
