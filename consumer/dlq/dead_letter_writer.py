"""Writes the dead letters of all tasks of one member, and makes those fit that the topic would not accept.

A topic's ``max.message.bytes`` can be changed at any moment. A dead letter that is larger is compressed, and cut where
that is not enough (design section 15). One refusal teaches all tasks the lower limit, which is dropped when the limit
rises again.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from aiokafka import AIOKafkaProducer
from aiokafka.errors import BrokerResponseError, KafkaTimeoutError, MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from structlog.typing import FilteringBoundLogger

from consumer.dlq.dead_letter import DeadLetter, Encoded, encoded_size
from consumer.kafka.clients import BATCH_BYTES
from consumer.kafka.partitioning import partition_of
from consumer.kafka.record_clock import RecordClock
from consumer.kafka.transaction import TransactionRefused
from consumer.timing.clock import Clock
from consumer.timing.turns import Turns

POST_SECONDS = 15.0
"""Time limit for sending the dead letters of one transaction. It is shorter than the limit of the transaction, so that
the error names the dead-letter topic."""

LOOK_SECONDS = 60.0
"""How often the broker is asked for the topic's limit while dead letters are compressed or cut because of it."""

TRIAL_SECONDS = 600.0
"""After this time a limit that was only guessed is dropped: the next dead letter is sent whole, and may be refused
again."""

_ZSTD = DefaultRecordBatch.CODEC_ZSTD
_PLAIN = DefaultRecordBatch.CODEC_NONE

AskLimit = Callable[[], Awaitable[int | None]]
"""Gives the topic's ``max.message.bytes`` as the broker says it; None if the broker does not."""


@dataclass(frozen=True, slots=True)
class _Whole:
    """A complete dead letter; ``size`` is the size in bytes of a batch with only this dead letter."""

    dead_letter: DeadLetter
    encoded: Encoded
    size: int


@dataclass(frozen=True, slots=True)
class _Envelope:
    """A dead letter as it will be sent; ``size`` is the size in bytes of a batch with only this dead letter."""

    dead_letter: DeadLetter
    encoded: Encoded
    codec: int
    size: int
    is_cut: bool


@dataclass(frozen=True, slots=True)
class _Batch:
    builder: BatchBuilder
    codec: int
    size: int


class DeadLetterWriter:
    """One member's way to the dead-letter topic. ``limit`` is the largest batch that the topic took at the start."""

    def __init__(
        self,
        topic: str,
        limit: int,
        *,
        ask_limit: AskLimit,
        record_clock: RecordClock,
        turns: Turns,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self.topic = topic
        self._ask_limit = ask_limit
        self._turns = turns
        self._record_clock = record_clock
        self._clock = clock
        self._log = log
        self._first_limit = limit
        self._limit = limit
        self._compresses = True
        self._looked_at = self._guessed_at = clock.monotonic()

    async def write(self, producer: AIOKafkaProducer, dead_letters: Sequence[DeadLetter]) -> None:
        """Send these dead letters in the transaction that is open, and wait until all are accepted.

        Raises `TransactionRefused` if the topic does not accept one, whatever the reason; what can be learnt for the
        next attempt has been learnt by then. Other errors of the producer are raised unchanged: it was fenced, or is
        broken.
        """
        if not dead_letters:
            return
        try:
            async with asyncio.timeout(POST_SECONDS):
                await self._post(producer, dead_letters)
        except (BrokerResponseError, KafkaTimeoutError, TimeoutError) as error:
            raise TransactionRefused(error, topic=self.topic) from error

    async def _post(self, producer: AIOKafkaProducer, dead_letters: Sequence[DeadLetter]) -> None:
        partitions = len(await producer.partitions_for(self.topic))
        by_partition: dict[int, deque[_Whole]] = {}
        largest = 0
        work = _encoded(dead_letters, partitions)
        while done := await self._turns.take(work):
            for number, whole in done:
                by_partition.setdefault(number, deque()).append(whole)
                largest = max(largest, whole.size)
        await self._look_again(largest)
        limit = self._limit
        for number, of_partition in by_partition.items():
            await self._post_to(producer, number, of_partition, limit)

    async def _post_to(self, producer: AIOKafkaProducer, number: int, dead_letters: deque[_Whole], limit: int) -> None:
        """Send the dead letters of one partition, one batch at a time: after a refused batch no later one is sent."""
        cut: list[_Envelope] = []
        async with aclosing(self._batches(dead_letters, limit, cut)) as batches:
            async for batch in batches:
                future = await producer.send_batch(batch.builder, self.topic, partition=number)
                try:
                    await future
                except MessageSizeTooLargeError as error:
                    is_mended = await self._learn(batch, limit)
                    raise TransactionRefused(error, topic=self.topic, is_mended=is_mended) from error
        for envelope in cut:
            self._tell_cut(envelope, limit)

    async def _batches(
        self, dead_letters: deque[_Whole], limit: int, cut: list[_Envelope]
    ) -> AsyncGenerator[_Batch, None]:
        """The dead letters in their order, in as few batches as possible; a compressed one has a batch of its own.

        Each dead letter is removed from ``dead_letters``; dead letters that had to be cut are appended to ``cut``.
        """
        new = partial(BatchBuilder, min(limit, BATCH_BYTES), is_transactional=True)
        together = new(_PLAIN)
        while dead_letters:
            envelope = await self._envelope(dead_letters.popleft(), limit)
            timestamp = self._record_clock.now_after(envelope.dead_letter.record.timestamp)
            if envelope.is_cut:
                cut.append(envelope)
            is_alone = envelope.codec != _PLAIN
            if together.record_count() and (is_alone or not _append(together, envelope, timestamp)):
                yield _Batch(together, _PLAIN, together.size())
                together = new(_PLAIN)
            if is_alone:
                alone = new(envelope.codec)
                _append(alone, envelope, timestamp)
                yield _Batch(alone, envelope.codec, envelope.size)
            elif not together.record_count():
                _append(together, envelope, timestamp)
        if together.record_count():
            yield _Batch(together, _PLAIN, together.size())

    # one dead letter

    async def _envelope(self, whole: _Whole, limit: int) -> _Envelope:
        """The dead letter whole, as it is or compressed; else as much of it as the limit allows."""
        if whole.size <= limit:
            return _Envelope(whole.dead_letter, whole.encoded, _PLAIN, whole.size, is_cut=False)
        # In a thread, since megabytes may have to be compressed.
        return await asyncio.to_thread(_made_to_fit, whole.dead_letter, whole.encoded, limit, self._compresses)

    def _tell_cut(self, envelope: _Envelope, limit: int) -> None:
        record = envelope.dead_letter.record
        self._log.error(
            "dead_letter_cut",
            topic=self.topic,
            limit=limit,
            record=f"{record.topic}/{record.partition}/{record.offset}",
            key_bytes=len(record.key or b""),
            value_bytes=len(record.value or b""),
        )

    # what the topic takes

    async def _look_again(self, largest: int) -> None:
        """Ask for the limit again before a dead letter is compressed or cut. ``largest`` is the size of the largest
        dead letter."""
        now = self._clock.monotonic()
        if now - self._looked_at < LOOK_SECONDS or largest <= self._limit:
            return
        self._looked_at = now
        told = await self._ask_limit()
        if told is not None:
            self._set_limit(told, told=True)
            self._compresses = True
        elif now - self._guessed_at >= TRIAL_SECONDS:
            self._set_limit(max(self._limit, self._first_limit), told=False)
            self._compresses = True

    async def _learn(self, batch: _Batch, limit: int) -> bool:
        """Learn from the refusal of a batch that was made for ``limit``. Returns whether the next one will differ."""
        if self._limit < limit:
            return True  # another task has learnt the lower limit meanwhile
        self._looked_at = self._guessed_at = self._clock.monotonic()
        told = await self._ask_limit()
        if batch.codec != _PLAIN and (told is None or told >= batch.size):
            self._compresses = False  # the topic may recompress batches with its own codec, and limit the result
        elif batch.size > limit:
            self._looked_at = -math.inf  # a dead letter cannot be smaller than this one: only a higher limit helps
            return False
        elif told is not None and told < batch.size:
            self._set_limit(told, told=True)
        else:
            self._set_limit(batch.size // 2, told=False)
        return True

    def _set_limit(self, limit: int, *, told: bool) -> None:
        if limit == self._limit:
            return
        tell = self._log.error if limit < self._limit else self._log.info
        tell("dead_letter_limit", topic=self.topic, limit=limit, before=self._limit, told_by_broker=told)
        self._limit = limit


def _made_to_fit(dead_letter: DeadLetter, whole: Encoded, limit: int, compresses: bool) -> _Envelope:
    if compresses and (size := _compressed_size(whole)) <= limit:
        return _Envelope(dead_letter, whole, _ZSTD, size, is_cut=False)
    encoded = dead_letter.encode(limit)
    return _Envelope(dead_letter, encoded, _PLAIN, encoded_size(*encoded), dead_letter.is_cut_at(limit))


def _compressed_size(encoded: Encoded) -> int:
    key, value, headers = encoded
    builder = DefaultRecordBatchBuilder(2, _ZSTD, 1, -1, -1, 0, 0)
    builder.append(0, None, key, value, headers)
    return len(builder.build())


def _encoded(dead_letters: Iterable[DeadLetter], partitions: int) -> Iterator[tuple[int, _Whole]]:
    """The complete dead letters, each with the partition that it goes to."""
    for dead_letter in dead_letters:
        record, encoded = dead_letter.record, dead_letter.encode()
        number = record.partition % partitions if record.key is None else partition_of(record.key, partitions)
        yield number, _Whole(dead_letter, encoded, encoded_size(*encoded))


def _append(builder: BatchBuilder, envelope: _Envelope, timestamp: int | None) -> bool:
    key, value, headers = envelope.encoded
    return builder.append(timestamp=timestamp, key=key, value=value, headers=headers) is not None
