"""A checkpoint: one committed transaction of changed alerts, dead letters and the position (design section 6.4)."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer

from consumer.deadletter import DeadLetter
from consumer.letterbox import Letterbox
from consumer.transaction import commit_transaction
from state.records import CHECKPOINT_KEY, Position, encode_alert, encode_key, encode_position
from state.store import Cut


@dataclass(frozen=True, slots=True)
class Sink:
    """Where a task's checkpoints go."""

    producer: AIOKafkaProducer
    state_topic: str
    partition: int
    letterbox: Letterbox


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a task knew at one moment, cut synchronously; committed once, then thrown away."""

    cut: Cut
    dead_letters: tuple[DeadLetter, ...]
    position: Position

    async def commit(self, sink: Sink) -> None:
        """Commit all of it, or raise as `commit_transaction` does."""
        await commit_transaction(sink.producer, lambda: self._send(sink))

    async def _send(self, sink: Sink) -> None:
        producer, topic, partition = sink.producer, sink.state_topic, sink.partition
        # First what can be refused: then nothing else has been sent for nothing.
        await sink.letterbox.post(producer, self.dead_letters)
        sends: list[Awaitable[object]] = []
        for key, alert in self.cut.changes:
            value = None if alert is None else encode_alert(alert)
            sends.append(await producer.send(topic, value, encode_key(key), partition))
        sends.append(await producer.send(topic, encode_position(self.position), CHECKPOINT_KEY, partition))
        await asyncio.gather(*sends)
