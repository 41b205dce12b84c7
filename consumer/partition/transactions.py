"""The transactions of one task, each of which is tried until Kafka has taken it (design section 6.8)."""

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import InvalidTimestampError, MessageSizeTooLargeError
from aiokafka.structs import OffsetAndMetadata, RecordMetadata
from structlog.typing import FilteringBoundLogger

from consumer.kafka.clients import BATCH_BYTES, KafkaClients, close_producer, start_producer, task_id
from consumer.kafka.committed import is_committed
from consumer.kafka.record_clock import RecordClock
from consumer.kafka.transaction import FAILURES, Refused, Unanswered
from consumer.partition.ownership import Proofs
from consumer.waiting import set_within, unless_set

INIT_TIMEOUT_SECONDS = 30.0
"""For the initialisation of the producer, which waits for an open transaction of the one before to be ended."""

LEAST_BATCH_BYTES = 16 * 1024
"""A topic that does not take batches of this size does not take a record."""

MENDS = 30
"""So often in a row a refused transaction is written otherwise at once; halving gets from any size to the least."""

REFUSED_SECONDS = (1.0, 30.0)
"""The first wait, and the longest, before what nobody here can mend is tried again."""

Commit = Callable[[AIOKafkaProducer], Awaitable[RecordMetadata]]
"""Commits one transaction by this producer, and returns where a record of it is."""


class Transactions:
    """The transactional producer of the task of ``partition``, and another in its place after any error.

    ``closing`` is set when the task is to close: what has not been taken then is left to the next owner.
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
        """Whether Kafka will not take the transaction that is tried, however it is written."""
        return self._refusals > MENDS

    async def begin(self) -> None:
        """Make and initialise the producer: it fences that of an earlier owner, and ends its transaction."""
        self._producer = producer = self._clients.transactional(self._id, batch_bytes=self._batch_bytes)
        async with asyncio.timeout(INIT_TIMEOUT_SECONDS):
            await start_producer(producer)

    async def _begin_anew(self, owned: OffsetAndMetadata) -> None:
        """Another producer in the place of one that is broken, then a proof: what it writes is an owner's.

        Its initialisation ends the transaction that was open, and fences whoever has initialised since. If that was
        a new owner, the proof is refused, and this task is over.
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
        """Let ``commit`` commit one transaction; until it has, again and again. Returns where a record of it is.

        What a failed one was to hold is still known, so the task need not be built again: that would send all that was
        accepted since the last checkpoint once more, each time. What can be written otherwise is, at once. Where
        that does not help, the task goes on deciding and sending, and tries again, until somebody has mended what
        keeps Kafka from taking it. A commit without an answer may have come about, so that is looked up first.

        ``owned`` is what a proof commits meanwhile. Raises `Refused` or `Unanswered` if the task closes meanwhile, or
        if nobody can look it up; `NotOwner`; and what is no failure of Kafka as it is.
        """
        while True:
            assert self._producer is not None
            try:
                written = await commit(self._producer)
                break
            except (Refused, Unanswered) as error:
                failed = error
            if self._closing.is_set() or (isinstance(failed, Unanswered) and not failed.is_traceable):
                raise failed  # the next task decides it again
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

    async def _has_come_about(self, failed: Refused | Unanswered, owned: OffsetAndMetadata) -> bool:
        """Take another producer in the place of the broken one; whether the transaction is committed after all.

        Raises ``failed`` if the task closes meanwhile, and `NotOwner`.
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

    async def _settle(self, failed: Refused | Unanswered, owned: OffsetAndMetadata) -> bool:
        await self._begin_anew(owned)
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
