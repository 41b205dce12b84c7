"""The transactions of one task. Each is tried again until Kafka has taken it (design section 6.8)."""

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import InvalidTimestampError, MessageSizeTooLargeError
from aiokafka.structs import OffsetAndMetadata, RecordMetadata
from structlog.typing import FilteringBoundLogger

from consumer.kafka.clients import BATCH_BYTES, KafkaClients, close_producer, start_producer, task_id
from consumer.kafka.committed import is_committed
from consumer.kafka.record_clock import RecordClock
from consumer.kafka.transaction import FAILURES, TransactionRefused, Unanswered
from consumer.tasks.partition.ownership import Proofs
from consumer.timing.waiting import set_within, unless_set

INIT_TIMEOUT_SECONDS = 30.0
"""Seconds for the initialisation of a producer: it waits until an open transaction of the producer before it is
ended."""

LEAST_BATCH_BYTES = 16 * 1024
"""Batches are never made smaller than this: a topic that refuses them would refuse single records too."""

MENDS = 30
"""How many times in a row a refused transaction is changed and tried again at once. Halving the batch size so often
gets from any size to the smallest."""

REFUSED_SECONDS = (1.0, 30.0)
"""The first and the longest wait before a transaction is tried again that this program cannot change to make it fit."""

Commit = Callable[[AIOKafkaProducer], Awaitable[RecordMetadata]]
"""Commits one transaction with this producer, and returns where one of its records stands."""


class Transactions:
    """The transactional producer of the task of ``partition``; after any error another one takes its place.

    ``closing`` is set when the task closes: a transaction that Kafka has not taken by then is left to the next owner.
    """

    def __init__(
        self,
        partition: TopicPartition,
        *,
        group_id: str,
        clients: KafkaClients,
        proofs: Proofs,
        record_clock: RecordClock,
        closing: asyncio.Event,
        log: FilteringBoundLogger,
    ) -> None:
        self._partition = partition
        self._id = task_id(group_id, partition.partition)
        self._clients = clients
        self._proofs = proofs
        self._record_clock = record_clock
        self._closing = closing
        self._log = log
        self._producer: AIOKafkaProducer | None = None
        self._batch_bytes = BATCH_BYTES
        self._refusals = 0

    @property
    def are_refused(self) -> bool:
        """Whether Kafka refuses the present transaction although everything was tried to make it fit."""
        return self._refusals > MENDS

    async def begin(self) -> None:
        """Make and initialise the producer. This fences the producer of an earlier owner, and aborts its open
        transaction."""
        self._producer = producer = self._clients.transactional(self._id, batch_bytes=self._batch_bytes)
        async with asyncio.timeout(INIT_TIMEOUT_SECONDS):
            await start_producer(producer)

    async def _begin_anew(self, owned: OffsetAndMetadata) -> None:
        """Replace a broken producer, and prove ownership before the new one writes anything.

        The initialisation aborts the transaction that was open, and fences every producer that was initialised since.
        If one of these belonged to a new owner, the proof is refused, and this task is over.
        """
        await self.close()
        await self.begin()
        await self._proofs.prove({self._partition: owned})

    async def close(self) -> None:
        """Close the producer, if there is one."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await close_producer(producer)

    async def run(self, commit: Commit, owned: OffsetAndMetadata) -> RecordMetadata:
        """Have ``commit`` commit one transaction, and repeat that until Kafka has taken it. Returns where one of its
        records stands.

        The content of a failed transaction is still in memory, so the task is not built again: a new task would send
        everything once more that was accepted since the last checkpoint. What can be changed to make the transaction
        fit is changed, and it is tried again at once. Otherwise the task goes on deciding and sending, and the
        transaction is tried again until somebody has mended what keeps Kafka from taking it. A commit without an answer
        may have succeeded, so that is looked up first.

        ``owned`` is the offset that a proof of ownership commits meanwhile.

        Raises `TransactionRefused` if Kafka refused it, and the task closes; `Unanswered` if a commit has no answer,
        and the task closes, or it cannot be looked up; and `NotOwner` if the group refuses a proof of ownership. An
        error of ``commit`` that is no failure of Kafka is raised as it is.
        """
        while True:
            assert self._producer is not None
            try:
                written = await commit(self._producer)
                break
            except (TransactionRefused, Unanswered) as error:
                failed = error
            if self._closing.is_set() or (isinstance(failed, Unanswered) and not failed.is_traceable):
                raise failed  # the next task decides these records again
            wait = self._wait_after(failed)
            if await self._has_come_about(failed, owned):
                assert isinstance(failed, Unanswered)
                written = failed.record
                break
            if wait and await set_within(self._closing, wait):
                raise failed
        if self.are_refused:
            self._log.info("checkpoint_taken", refusals=self._refusals - MENDS)
        self._refusals = 0
        return written

    async def _has_come_about(self, failed: TransactionRefused | Unanswered, owned: OffsetAndMetadata) -> bool:
        """Replace the broken producer; returns whether the failed transaction was committed after all.

        Raises `TransactionRefused` or `Unanswered`, whichever has ``failed``, if the task closes meanwhile, and
        `NotOwner` if the group refuses a proof of ownership.
        """
        while True:
            try:
                has_come_about = await unless_set(self._closing, self._settle(failed, owned))
                if has_come_about is None:
                    raise failed
                return has_come_about
            except FAILURES as error:
                wait = self._longer_wait()
                self._log.error("checkpoint_unsettled", error=repr(error), again_in=wait)
            if await set_within(self._closing, wait):
                raise failed

    async def _settle(self, failed: TransactionRefused | Unanswered, owned: OffsetAndMetadata) -> bool:
        await self._begin_anew(owned)
        return isinstance(failed, Unanswered) and await is_committed(self._clients, failed.record, self._log)

    def _wait_after(self, failed: TransactionRefused | Unanswered) -> float:
        """Seconds to wait before the transaction is tried again; 0 if it was changed to make it fit."""
        if isinstance(failed, TransactionRefused) and self._is_mended(failed) and self._refusals < MENDS:
            self._refusals += 1
            self._log.warning("checkpoint_refused", error=str(failed), again_in=0)
            return 0.0
        wait = self._longer_wait()
        event = "checkpoint_refused" if isinstance(failed, TransactionRefused) else "checkpoint_unanswered"
        self._log.error(event, error=str(failed), again_in=wait)
        return wait

    def _is_mended(self, refused: TransactionRefused) -> bool:
        is_mended = refused.is_mended
        # If it is mended already, the refused timestamp was another record's, not one of this host's clock.
        if not is_mended and isinstance(refused.error, InvalidTimestampError) and self._record_clock.refused():
            is_mended = True
            self._log.error("clock_refused", error="a broker finds this host's clock to be more than an hour ahead")
        if not is_mended and isinstance(refused.error, MessageSizeTooLargeError):
            is_mended = self._batch_bytes > LEAST_BATCH_BYTES
            self._batch_bytes = max(LEAST_BATCH_BYTES, self._batch_bytes // 2)
        return is_mended

    def _longer_wait(self) -> float:
        """Count a failure that only waiting can mend; returns the seconds to wait, which grow with each failure."""
        self._refusals = max(MENDS, self._refusals) + 1
        first, longest = REFUSED_SECONDS
        return min(longest, first * 2.0 ** min(10, self._refusals - MENDS - 1))
