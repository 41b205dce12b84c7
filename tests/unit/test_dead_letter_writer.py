"""Dead letters on their way into a topic whose limit is another one than was thought."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
import structlog
import structlog.testing
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerFenced, TopicAuthorizationFailedError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from consumer.dlq import dead_letter_writer
from consumer.dlq.dead_letter import DeadLetter, decode, encoded_size
from consumer.dlq.dead_letter_writer import LOOK_SECONDS, TRIAL_SECONDS, DeadLetterWriter
from consumer.kafka.partitioning import partition_of
from consumer.kafka.record_clock import RecordClock
from consumer.kafka.transaction import TransactionRefused
from consumer.timing.clock import Clock
from consumer.timing.turns import Turns
from state.violation import Record
from tests.unit.test_deadletter import dead_letter

LEAST = 1000
"""Every letter of these tests fits into so many bytes, cut to nothing."""

WHOLE = 1_000_000


class Topic:
    """A dead-letter topic, and a producer for it. What a transaction wrote is there once it is committed."""

    def __init__(
        self,
        limit: int,
        *,
        is_told: bool = True,
        partitions: int = 1,
        compresses: bool = True,
        turns: Turns | None = None,
    ) -> None:
        self.limit = limit
        self.is_told = is_told
        self.partitions = partitions
        self.compresses = compresses
        self.failure: Exception | None = None
        self.now = 0.0
        self.asked = 0
        self.batches: list[int] = []
        self._open: list[tuple[int, Any]] = []
        clock = Clock(lambda: self.now, lambda: self.now)
        log = structlog.wrap_logger(structlog.testing.ReturnLogger(), processors=[])
        self.dead_letter_writer = DeadLetterWriter(
            "dlq",
            WHOLE,
            ask_limit=self._tell,
            record_clock=RecordClock(clock),
            turns=turns or Turns(),
            clock=clock,
            log=log,
        )

    async def _tell(self) -> int | None:
        self.asked += 1
        return self.limit if self.is_told else None

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(self.partitions))

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> "asyncio.Future[None]":
        plain = batch.size()
        built = bytes(batch._build())
        future = asyncio.get_running_loop().create_future()
        size = len(built) if self.compresses else plain
        if self.failure is not None:
            future.set_exception(self.failure)
        elif size > self.limit:
            future.set_exception(MessageSizeTooLargeError())
        else:
            self.batches.append(size)
            self._open += [(partition, record) for record in MemoryRecords(built).next_batch()]
            future.set_result(None)
        return future

    async def write(self, letters: Sequence[DeadLetter]) -> tuple[list[tuple[int, DeadLetter]], int]:
        """What is there after one transaction, with the partition; and how often it was refused."""
        refusals = 0
        while True:
            self._open, self.batches = [], []
            try:
                await self.dead_letter_writer.write(self, letters)
            except TransactionRefused as refused:
                if not refused.is_mended:
                    raise
                refusals += 1
                assert refusals < 30
                continue
            return [
                (number, decode(record.key, record.value, record.headers)) for number, record in self._open
            ], refusals


def letter(value: bytes, key: bytes | None = b"sess-1", offset: int = 42) -> DeadLetter:
    return dead_letter(Record("clawdstrike.events", 3, offset, 1_716_213_600_000, key, value))


def noise(size: int) -> bytes:
    """Bytes that do not compress."""
    return _NOISE[:size]


_NOISE = random.Random(7).randbytes(200_000)


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.booleans(), st.none() | st.binary(max_size=9)), min_size=1, max_size=9),
    st.integers(LEAST, 6000),
    st.booleans(),
    st.booleans(),
    st.integers(1, 3),
)
async def test_whatever_the_limit_every_letter_arrives_once_in_order_and_the_limit_is_found_soon(
    shapes: list[tuple[int, bool, bytes | None]], limit: int, is_told: bool, compresses: bool, partitions: int
) -> None:
    topic = Topic(limit, is_told=is_told, compresses=compresses, partitions=partitions)
    letters = [
        letter(noise(size) if is_noise else b" " * size, key, offset)
        for offset, (size, is_noise, key) in enumerate(shapes)
    ]
    arrived, refusals = await topic.write(letters)
    assert refusals <= (2 if is_told and compresses else 12)
    assert sorted(found.record.offset for _, found in arrived) == list(range(len(letters)))
    for number in range(partitions):
        offsets = [found.record.offset for at, found in arrived if at == number]
        assert offsets == sorted(offsets)
    for _, found in arrived:
        original = letters[found.record.offset]
        assert (found.cut is None) == (found.record.value == original.record.value)
        if encoded_size(*original.encode()) <= limit and is_told:
            assert found == original
    again, refusals = await topic.write(letters)
    assert (again, refusals) == (arrived, 0)


async def test_small_letters_share_a_batch_as_far_as_the_topic_takes_it() -> None:
    topic = Topic(20_000)
    arrived, refusals = await topic.write([letter(noise(900), offset=number) for number in range(60)])
    assert (len(arrived), refusals) == (60, 1)
    assert all(found.cut is None for _, found in arrived)
    assert len(topic.batches) <= 5


async def test_what_fits_compressed_is_whole() -> None:
    topic = Topic(20_000)
    ((_, found),), refusals = await topic.write([letter(b"?" * 150_000)])
    assert (found, refusals) == (letter(b"?" * 150_000), 1)


async def test_a_topic_with_a_compression_of_its_own_gets_a_part() -> None:
    topic = Topic(20_000, compresses=False)
    ((_, found),), refusals = await topic.write([letter(b"?" * 150_000)])
    assert found.cut is not None
    assert refusals == 2
    assert len(found.record.value or b"") > 18_000


async def test_a_limit_that_rises_again_is_noticed_a_minute_later() -> None:
    topic = Topic(20_000)
    ((_, found),), _ = await topic.write([letter(noise(60_000))])
    assert found.cut is not None
    topic.limit = WHOLE
    asked = topic.asked
    ((_, found),), _ = await topic.write([letter(noise(60_000))])
    assert found.cut is not None
    assert topic.asked == asked
    topic.now += LOOK_SECONDS
    ((_, found),), refusals = await topic.write([letter(noise(60_000))])
    assert (found.cut, refusals) == (None, 0)


async def test_a_limit_that_nobody_tells_is_tried_again_after_a_while() -> None:
    topic = Topic(20_000, is_told=False)
    await topic.write([letter(noise(60_000))])
    topic.limit = WHOLE
    topic.now += TRIAL_SECONDS - 1
    ((_, found),), _ = await topic.write([letter(noise(60_000))])
    assert found.cut is not None
    topic.now += LOOK_SECONDS
    ((_, found),), _ = await topic.write([letter(noise(60_000))])
    assert found.cut is None


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_limit_under_which_nothing_fits_is_not_mended_and_once_it_rises_the_letter_is_whole(
    is_told: bool,
) -> None:
    topic = Topic(100, is_told=is_told)
    for _ in range(3):
        with pytest.raises(TransactionRefused) as refused:
            await topic.write([letter(noise(60_000))])
        assert not refused.value.is_mended
    topic.limit = WHOLE
    ((_, found),), _ = await topic.write([letter(noise(60_000))])
    assert (found.cut is None) == is_told
    assert found.record.offset == 42


@pytest.mark.parametrize("failure", [TopicAuthorizationFailedError("dlq"), TimeoutError()])
async def test_what_only_others_can_mend_is_told_with_the_topic(failure: Exception) -> None:
    topic = Topic(WHOLE)
    topic.failure = failure
    with pytest.raises(TransactionRefused, match="topic dlq: ") as refused:
        await topic.write([letter(b"?")])
    assert not refused.value.is_mended


@pytest.mark.parametrize("failure", [ProducerFenced(), KafkaError("the sender has ended")])
async def test_a_producer_that_is_fenced_or_broken_is_no_refusal(failure: Exception) -> None:
    topic = Topic(WHOLE)
    topic.failure = failure
    with pytest.raises(type(failure)):
        await topic.write([letter(b"?")])


async def test_many_letters_are_encoded_in_slices() -> None:
    times = iter(range(100_000))
    topic = Topic(WHOLE, turns=Turns(clock=lambda: next(times), seconds=20))
    turns_of_others = 0

    async def others() -> None:
        nonlocal turns_of_others
        while True:
            turns_of_others += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    written, refusals = await topic.write([dead_letter() for _ in range(1000)])
    beside.cancel()
    assert (len(written), refusals) == (1000, 0)
    assert turns_of_others > 50


async def test_the_partitions_of_many_letters_are_chosen_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = longest = 0

    def choose(key: bytes, partitions: int) -> int:
        nonlocal chosen
        chosen += 1
        return partition_of(key, partitions)

    async def others() -> None:
        nonlocal longest
        while True:
            before = chosen
            await asyncio.sleep(0)
            longest = max(longest, chosen - before)

    monkeypatch.setattr(dead_letter_writer, "partition_of", choose)
    beside = asyncio.create_task(others())
    await asyncio.sleep(0)
    topic = Topic(WHOLE, turns=Turns(clock=lambda: float(chosen), seconds=20))
    written, _ = await topic.write([letter(b"v", key=b"sess-%d" % number) for number in range(1000)])
    await asyncio.sleep(0)  # the others have seen the last step as well
    beside.cancel()
    assert (len(written), chosen) == (1000, 1000)
    assert longest <= 20
