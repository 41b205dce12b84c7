"""A checkpoint: one committed transaction of changed alerts, dead letters and the position (design section 6.4)."""

import asyncio
from collections.abc import Awaitable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.structs import RecordMetadata

from consumer.dlq.dead_letter import DeadLetter
from consumer.dlq.letterbox import Letterbox
from consumer.feedback.moves import Move, encode_move
from consumer.kafka.batches import Batch, Outgoing, batched
from consumer.kafka.record_clock import RecordClock
from consumer.kafka.transaction import commit_transaction
from consumer.turns import Turns
from state.alert import Alert
from state.records import CHECKPOINT_KEY, Position, encode_alert, encode_key, encode_position
from state.store import Changed, Cut, Store


@dataclass(frozen=True, slots=True)
class Sink:
    """Where a task's checkpoints go, and with whom it shares the event loop while they are made.

    ``feedback_topic`` is for what it hands over to other tasks: all of it to one of its partitions, so that it is read
    in the order in which it was written.
    """

    producer: AIOKafkaProducer
    state_topic: str
    partition: int
    letterbox: Letterbox
    record_clock: RecordClock
    turns: Turns = field(default_factory=Turns)
    feedback_topic: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a task knew at one moment; committed once, then thrown away.

    ``beside`` are the dedup keys whose own records cannot be read: their alerts are written beside those. ``moves`` are
    for other tasks, in their order (`consumer.homes.moving`).
    """

    cut: Cut
    dead_letters: tuple[DeadLetter, ...]
    position: Position
    beside: Container[str] = frozenset()
    moves: Sequence[Move] = ()

    async def commit(self, sink: Sink) -> RecordMetadata:
        """Commit all of it, or raise as `commit_transaction` does. Returns where the first of its records is
        that go into the state topic."""
        return await commit_transaction(sink.producer, lambda: self._send(sink))

    async def _send(self, sink: Sink) -> RecordMetadata:
        # First what can be refused: then nothing else has been sent for nothing.
        await sink.letterbox.post(sink.producer, self.dead_letters)
        feedback = len(await sink.producer.partitions_for(sink.feedback_topic)) if self.moves else 1
        sends = await send_batched(sink.producer, self._records(sink, sink.partition % feedback), sink.turns)
        written = await asyncio.gather(*sends)
        # The client gives the first offset of a batch, whichever record is asked for.
        return next(batch for batch in written if batch.topic == sink.state_topic)

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


async def divided(store: Store, changed: Changed, turns: Turns) -> Cut:
    """Say what is to be written of a cut of this store, in slices: the cut itself is synchronous, and this is not."""
    changes: list[tuple[str, Alert | None]] = []
    work = store.divide(changed)
    while done := await turns.take(work):
        changes += [change for change in done if change is not None]
    return Cut(changes, dict(store.written_counts))


async def send_batched(
    producer: AIOKafkaProducer, records: Iterable[Outgoing], turns: Turns
) -> list[Awaitable[RecordMetadata]]:
    """Make these records and hand them to the producer, in slices.

    Each of what is returned is to be awaited before the commit.
    """
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
        # aiokafka asserts that the topic has the partition; one that was made anew may have fewer.
        raise UnknownTopicOrPartitionError(f"topic {batch.topic} has no partition {batch.partition}") from error
    return sending
