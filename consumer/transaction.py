"""One Kafka transaction: begin, send, await, commit; and what it means that the broker refuses a record of it."""

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

COMMIT_TIMEOUT_SECONDS = 30.0
"""A transaction that takes longer counts as failed, its outcome as unknown (design section 6.8)."""

REFUSALS = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidTimestampError,
    TopicAuthorizationFailedError,
)
"""What a broker answers to a record that it will not take, however often it is sent."""


class Refused(Exception):
    """A record was not taken, before the commit was asked for: nothing of the transaction is, or will be, committed.

    ``is_mended``: sent once more, it will look otherwise, and may be taken. If not, only somebody else can mend it.
    The producer is not to be used again.
    """

    def __init__(self, error: BaseException, *, topic: str | None = None, is_mended: bool = False) -> None:
        super().__init__(f"topic {topic}: {error!r}" if topic else repr(error))
        self.error = error
        self.topic = topic
        self.is_mended = is_mended


async def commit_transaction(producer: AIOKafkaProducer, send: Callable[[], Awaitable[None]]) -> None:
    """Begin, send everything, await every send, commit.

    A transaction can commit without a record whose send nobody awaited, so ``send`` awaits each. Raises `Refused` if
    the broker will not take a record, or has not within `COMMIT_TIMEOUT_SECONDS` (a partition without enough replicas
    takes none). Else what the producer raises, or TimeoutError when the commit itself takes so long: its outcome is
    then unknown. After any of these the producer is not to be used again: the initialisation of the next one with its
    id settles what has become of the transaction.
    """
    is_sent = False
    try:
        async with asyncio.timeout(COMMIT_TIMEOUT_SECONDS):
            await producer.begin_transaction()
            await send()
            is_sent = True
            await producer.commit_transaction()
    except (*REFUSALS, TimeoutError, KafkaTimeoutError) as error:
        if is_sent:
            raise
        raise Refused(error) from error
