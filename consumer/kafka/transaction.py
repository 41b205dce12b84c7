"""One Kafka transaction: begin, send, await, commit; and what is known about it after a failure."""

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError
from aiokafka.structs import RecordMetadata

COMMIT_TIMEOUT_SECONDS = 30.0
"""A transaction that takes longer counts as failed (design section 6.8)."""

FAILURES = (KafkaError, IllegalOperation, OSError, TimeoutError)
"""The errors of a transaction that come from Kafka, its client or the network; any other error is a fault of this
program. (IllegalOperation: a producer that is fenced during a transaction says later that none is open.)"""


class TransactionRefused(Exception):
    """The transaction failed before its commit was requested: nothing of it is committed, now or later.

    ``is_mended``: the next attempt will write the records differently, and may be accepted. If not, only somebody else
    can remove the cause. Do not use the producer again.
    """

    def __init__(self, error: BaseException, *, topic: str | None = None, is_mended: bool = False) -> None:
        super().__init__(f"topic {topic}: {error!r}" if topic else repr(error))
        self.error = error
        self.topic = topic
        self.is_mended = is_mended


class Unanswered(Exception):
    """The commit was requested, and its outcome is unknown. If it succeeded, ``record`` is visible from then on.

    The initialisation of the next producer with this transactional id aborts the transaction if it has not ended by
    then. Do not use the producer again.
    """

    def __init__(self, error: BaseException, record: RecordMetadata) -> None:
        super().__init__(repr(error))
        self.error = error
        self.record = record

    @property
    def is_traceable(self) -> bool:
        """Whether the record's offset is known. In answer to a repeated request a broker may not give the offset."""
        return bool(self.record.offset >= 0)


async def commit_transaction(
    producer: AIOKafkaProducer, send: Callable[[], Awaitable[RecordMetadata]]
) -> RecordMetadata:
    """Begin, send everything, await every send, commit. Returns what ``send`` returns: where one of the records is.

    ``send`` must await each of its sends: Kafka can commit a transaction without a record whose send was not awaited.

    Raises `TransactionRefused` if anything before the commit fails, or takes longer than `COMMIT_TIMEOUT_SECONDS` (a
    partition without enough replicas accepts no record), and `Unanswered` if the commit fails or takes that long. An
    error of ``send`` that is none of `FAILURES` is raised unchanged; nothing is committed then.
    """
    record = None
    try:
        async with asyncio.timeout(COMMIT_TIMEOUT_SECONDS):
            await producer.begin_transaction()
            record = await send()
            await producer.commit_transaction()
            return record
    except FAILURES as error:
        if record is None:
            raise TransactionRefused(error) from error
        raise Unanswered(error, record) from error
