"""A checkpoint: one committed transaction of changed alerts, dead letters and the position (design section 6.4)."""

import asyncio
from collections.abc import Awaitable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError, UnknownTopicOrPartitionError
from aiokafka.structs import RecordMetadata

from consumer.dlq.dead_letter import DeadLetter
from consumer.dlq.dead_letter_writer import POST_SECONDS, DeadLetterWriter
from consumer.feedback.moves import Move, encode_move
from consumer.history.step import encode
from consumer.history.steps import StepsCut
from consumer.history.topic import REFUSALS, HistoryTopic
from consumer.kafka.batches import Batch, Outgoing, batched
from consumer.kafka.record_clock import RecordClock
from consumer.kafka.transaction import TransactionRefused, commit_transaction
from consumer.timing.turns import Turns
from state.alert import Alert
from state.records import CHECKPOINT_KEY, Position, encode_alert, encode_key, encode_position
from state.store import Changed, Cut, Store


@dataclass(frozen=True, slots=True)
class Sink:
    """Where a task's checkpoints are written, and what their making needs.

    ``feedback_topic`` takes the alerts and events that the task hands over to other tasks. It writes all of them to one
    partition of that topic, so that they are read in the order in which they were written. ``turns`` shares the event
    loop with other tasks.
    """

    producer: AIOKafkaProducer
    state_topic: str
    partition: int
    dead_letter_writer: DeadLetterWriter
    record_clock: RecordClock
    turns: Turns = field(default_factory=Turns)
    feedback_topic: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The changes of a task up to one moment, to be committed as one transaction.

    ``beside`` are the dedup keys whose own records cannot be read: their alerts are written beside those. ``moves`` are
    for other tasks, in their order (`consumer.tasks.homes.moving`). ``steps`` are what has happened to the alerts; they
    are left out if their topic does not take them.
    """

    cut: Cut
    dead_letters: tuple[DeadLetter, ...]
    position: Position
    beside: Container[str] = frozenset()
    moves: Sequence[Move] = ()
    steps: StepsCut | None = None

    async def commit(self, sink: Sink) -> RecordMetadata:
        """Commit all of it in one transaction. Returns where its first record in the state topic stands.

        Raises what `commit_transaction` raises if the commit fails; nothing of it is committed then, unless the error
        is `Unanswered`.
        """
        return await commit_transaction(sink.producer, lambda: self._send(sink))

    async def _send(self, sink: Sink) -> RecordMetadata:
        # Dead letters go first: Kafka may refuse them for their size, and then nothing else was sent in vain.
        await sink.dead_letter_writer.write(sink.producer, self.dead_letters)
        told = await self._send_steps(sink)
        feedback = len(await sink.producer.partitions_for(sink.feedback_topic)) if self.moves else 1
        sends = await send_batched(sink.producer, self._records(sink, sink.partition % feedback), sink.turns)
        await self._steps_taken(told)
        written = await asyncio.gather(*sends)
        # The client gives the first offset of a batch, whichever record is asked for.
        return next(batch for batch in written if batch.topic == sink.state_topic)

    async def _send_steps(self, sink: Sink) -> list[Awaitable[RecordMetadata]]:
        steps = self.steps
        if steps is None or not await steps.topic.is_ready():
            return []
        try:
            return await send_batched(sink.producer, step_records(steps, sink), sink.turns)
        except REFUSALS as error:
            raise _refused(steps.topic, error) from error

    async def _steps_taken(self, sends: list[Awaitable[RecordMetadata]]) -> None:
        if self.steps is None or not sends:
            return
        try:
            async with asyncio.timeout(POST_SECONDS):
                await asyncio.gather(*sends)
        except REFUSALS as error:
            raise _refused(self.steps.topic, error) from error
        except (KafkaTimeoutError, TimeoutError) as error:
            self.steps.topic.doubted()
            raise TransactionRefused(error, topic=self.steps.topic.name) from error

    def _records(self, sink: Sink, feedback: int) -> Iterator[Outgoing]:
        topic, partition, now = sink.state_topic, sink.partition, sink.record_clock.now()
        for move in self.moves:
            record_key, value, headers = encode_move(move)
            yield Outgoing(sink.feedback_topic, feedback, record_key, value, tuple(headers), timestamp=now)
        for key, alert in self.cut.changes:
            value = None if alert is None else encode_alert(alert)
            record_key = encode_key(key, beside=key in self.beside)
            yield Outgoing(topic, partition, record_key, value, timestamp=now)
        position = encode_position(self.position, self.cut.counts)
        yield Outgoing(topic, partition, CHECKPOINT_KEY, position, timestamp=now)


def step_records(steps: StepsCut, sink: Sink) -> Iterator[Outgoing]:
    """The records of these steps, in their order and in one partition."""
    topic, partition, now = steps.topic.name, steps.topic.partition(sink.partition), sink.record_clock.now()
    for index, step in enumerate(steps.steps):
        yield Outgoing(topic, partition, encode_key(step.dedup_key), encode(step), steps.headers(index), now)


def _refused(topic: HistoryTopic, error: Exception) -> TransactionRefused:
    topic.refused(error)
    return TransactionRefused(error, topic=topic.name, is_mended=True)  # the next attempt is without history


async def divided(store: Store, changed: Changed, turns: Turns) -> Cut:
    """The records to write for a cut of this store, made in slices so that the event loop is not held up. (The cut
    itself was made at one moment.)"""
    changes: list[tuple[str, Alert | None]] = []
    work = store.divide(changed)
    while done := await turns.take(work):
        changes += [change for change in done if change is not None]
    return Cut(changes, dict(store.written_counts))


async def send_batched(
    producer: AIOKafkaProducer, records: Iterable[Outgoing], turns: Turns
) -> list[Awaitable[RecordMetadata]]:
    """Encode these records and hand them to the producer, in slices. The caller must await everything that is returned
    before it commits."""
    sends: list[Awaitable[RecordMetadata]] = []
    work = batched(records, producer.create_batch)
    while done := await turns.take(work):
        sends += [await _send(producer, batch) for batch in done if batch is not None]
    return sends


async def _send(producer: AIOKafkaProducer, batch: Batch) -> Awaitable[RecordMetadata]:
    try:
        sending: Awaitable[RecordMetadata] = await producer.send_batch(
            batch.records, batch.topic, partition=batch.partition
        )
    except AssertionError as error:
        # aiokafka asserts that the topic has the partition: a topic that was created anew may have fewer.
        raise UnknownTopicOrPartitionError(f"topic {batch.topic} has no partition {batch.partition}") from error
    return sending
