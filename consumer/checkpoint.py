"""A checkpoint: one committed transaction of changed alerts, dead letters and the position (design section 6.4)."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer

from consumer.deadletter import DeadLetter
from state.records import CHECKPOINT_KEY, Position, encode_alert, encode_key, encode_position
from state.store import Cut

COMMIT_TIMEOUT_SECONDS = 30.0
"""A checkpoint that takes longer counts as failed, its outcome as unknown (design section 6.8)."""


@dataclass(frozen=True, slots=True)
class Sink:
    """Where a task's checkpoints go. ``dead_letter_limit`` is the dead-letter topic's ``max.message.bytes``,
    None where the producer compresses: then nothing can be said before."""

    producer: AIOKafkaProducer
    state_topic: str
    partition: int
    dlq_topic: str
    dead_letter_limit: int | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a task knew at one moment, cut synchronously; committed once, then thrown away."""

    cut: Cut
    dead_letters: tuple[DeadLetter, ...]
    position: Position

    async def commit(self, sink: Sink) -> None:
        """Begin, send everything, await every send, commit.

        A transaction can commit without a record whose send nobody awaited, so each is awaited before the commit.
        Raises what the producer raises, or TimeoutError after `COMMIT_TIMEOUT_SECONDS`. The transaction is then open,
        or its outcome is unknown, and the producer is not to be used again: the initialisation of the next one with
        its id settles that.
        """
        async with asyncio.timeout(COMMIT_TIMEOUT_SECONDS):
            await sink.producer.begin_transaction()
            await self._send(sink)
            await sink.producer.commit_transaction()

    async def _send(self, sink: Sink) -> None:
        producer, topic, partition = sink.producer, sink.state_topic, sink.partition
        sends: list[Awaitable[object]] = []
        for key, alert in self.cut.changes:
            value = None if alert is None else encode_alert(alert)
            sends.append(await producer.send(topic, value, encode_key(key), partition))
        for dead_letter in self.dead_letters:
            key_bytes, value, headers = dead_letter.encode(sink.dead_letter_limit)
            sends.append(await producer.send(sink.dlq_topic, value, key_bytes, headers=headers))
        sends.append(await producer.send(topic, encode_position(self.position), CHECKPOINT_KEY, partition))
        await asyncio.gather(*sends)
