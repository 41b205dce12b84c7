"""A checkpoint: one committed transaction of changed alerts, dead letters and the position (design section 6.4)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
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
        """Commit all of it, or raise as `commit_transaction` does."""
        await commit_transaction(sink.producer, lambda: self._send(sink))

    async def _send(self, sink: Sink) -> None:
        producer, topic, partition = sink.producer, sink.state_topic, sink.partition
        sends: list[Awaitable[object]] = []
        for key, alert in self.cut.changes:
            value = None if alert is None else encode_alert(alert)
            sends.append(await producer.send(topic, value, encode_key(key), partition))
        sends += await send_dead_letters(producer, sink.dlq_topic, self.dead_letters, sink.dead_letter_limit)
        sends.append(await producer.send(topic, encode_position(self.position), CHECKPOINT_KEY, partition))
        await asyncio.gather(*sends)


async def commit_transaction(producer: AIOKafkaProducer, send: Callable[[], Awaitable[None]]) -> None:
    """Begin, send everything, await every send, commit.

    A transaction can commit without a record whose send nobody awaited, so ``send`` awaits each. Raises what the
    producer raises, or TimeoutError after `COMMIT_TIMEOUT_SECONDS`. The transaction is then open, or its outcome is
    unknown, and the producer is not to be used again: the initialisation of the next one with its id settles that.
    """
    async with asyncio.timeout(COMMIT_TIMEOUT_SECONDS):
        await producer.begin_transaction()
        await send()
        await producer.commit_transaction()


async def send_dead_letters(
    producer: AIOKafkaProducer, topic: str, dead_letters: Sequence[DeadLetter], limit: int | None
) -> list[Awaitable[object]]:
    """Hand dead letters to the producer; each of what is returned is to be awaited before the commit."""
    sends: list[Awaitable[object]] = []
    for dead_letter in dead_letters:
        key, value, headers = dead_letter.encode(limit)
        sends.append(await producer.send(topic, value, key, headers=headers))
    return sends
