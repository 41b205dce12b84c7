"""One Kafka transaction: begin, send, await, commit; and what is known of it when that fails."""

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError
from aiokafka.structs import RecordMetadata

COMMIT_TIMEOUT_SECONDS = 30.0
"""A transaction that takes longer counts as failed (design section 6.8)."""

FAILURES = (KafkaError, IllegalOperation, OSError, TimeoutError)
"""What Kafka, its client or the way to it does to a transaction; anything else is a fault of this program. (That no
transaction is open is what a producer says that has been fenced while one was.)"""


class Refused(Exception):
    """It failed before the commit was asked for: nothing of the transaction is, or will be, committed.

    ``is_mended``: sent once more, it will look otherwise, and may be taken. If not, only somebody else can mend it.
    The producer is not to be used again.
    """

    def __init__(self, error: BaseException, *, topic: str | None = None, is_mended: bool = False) -> None:
        super().__init__(f"topic {topic}: {error!r}" if topic else repr(error))
        self.error = error
        self.topic = topic
        self.is_mended = is_mended


class Unanswered(Exception):
    """The commit was asked for, and may have come about: ``record`` is visible then, and for ever.

    The initialisation of the next producer with this transactional id decides it, if nothing has before. The producer
    is not to be used again.
    """

    def __init__(self, error: BaseException, record: RecordMetadata) -> None:
        super().__init__(repr(error))
        self.error = error
        self.record = record

    @property
    def is_traceable(self) -> bool:
        """Whether it is known where the record would be: of a repeated request, a broker may say no more than that."""
        return bool(self.record.offset >= 0)


async def commit_transaction(
    producer: AIOKafkaProducer, send: Callable[[], Awaitable[RecordMetadata]]
) -> RecordMetadata:
    """Begin, send everything, await every send, commit. Returns what ``send`` does.

    A transaction can commit without a record whose send nobody awaited, so ``send`` awaits each; it returns where one
    of them is. Raises `Refused` if that fails, or has not been done within `COMMIT_TIMEOUT_SECONDS` (a partition
    without enough replicas takes no record), `Unanswered` if the commit fails or takes so long. What ``send`` raises
    that is none of `FAILURES` is raised as it is; nothing is committed then.
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
            raise Refused(error) from error
        raise Unanswered(error, record) from error
