"""Where a checkpoint says that it is, among the topics that its transaction goes to."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka.structs import RecordMetadata

from consumer.feedback.moves import Moved, MovingTask
from consumer.kafka.partitioning import Scheme
from consumer.tasks.partition.checkpoint import Checkpoint, Sink
from consumer.timing.turns import Turns
from state.records import Position
from state.store import Cut


class Producer:
    """Takes batches, each at an offset of its topic's own."""

    def __init__(self, **offsets: int) -> None:
        self._offsets = offsets

    async def partitions_for(self, topic: str) -> set[int]:
        return {0}

    def create_batch(self) -> Any:
        return SimpleNamespace(append=lambda **record: SimpleNamespace(), close=lambda: None)

    async def send_batch(self, records: Any, topic: str, *, partition: int) -> "asyncio.Future[RecordMetadata]":
        sent: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        sent.set_result(RecordMetadata(topic, partition, None, self._offsets[topic], None, 0, 0))
        return sent


async def test_it_is_where_its_state_is_also_if_other_tasks_are_told_something_first() -> None:
    async def post(producer: Any, dead_letters: Any) -> None:
        pass

    producer: Any = Producer(feedback=0, state=42)
    dead_letter_writer: Any = SimpleNamespace(write=post)
    clock: Any = SimpleNamespace(now=lambda: 1)
    sink = Sink(producer, "state", 0, dead_letter_writer, clock, Turns(), "feedback")
    moves = (Moved(MovingTask("pagerduty", 0, Scheme(2))),)
    written = await Checkpoint(Cut(()), (), Position("events", 0, 7), moves=moves)._send(sink)
    assert (written.topic, written.offset) == ("state", 42)
