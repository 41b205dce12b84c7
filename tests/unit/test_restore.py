"""A state partition that does not answer: its task hears of it, and gives its place to others."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from aiokafka import TopicPartition

from consumer.kafka.watermarks import Watermarks
from consumer.tasks.partition.restore import SILENT_SECONDS, restore
from tests.support.loop import VirtualLoop


class Reader:
    """A reader of a partition with ten records, whose broker falls silent after so many (None: before anything)."""

    def __init__(self, silent_after: int | None, pace: float = 0.0) -> None:
        self._silent_after, self._pace = silent_after, pace
        self._position = 0
        self.stopped = False

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        self.stopped = True

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        pass

    async def watermarks(
        self, reader: object, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, Watermarks]:
        if self._silent_after is None:
            await asyncio.Event().wait()
        return dict.fromkeys(partitions, Watermarks(stable=10, high=10))

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._position = offset

    async def position(self, partition: TopicPartition) -> int:
        return self._position

    async def getmany(
        self, partition: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Any]]:
        assert self._silent_after is not None
        if self._position < self._silent_after:
            await asyncio.sleep(self._pace)
            self._position += 1
            return {partition: [SimpleNamespace(key=b"key", value=None, timestamp=0)]}
        await asyncio.sleep(timeout_ms / 1000)
        return {}


def restored(reader: Reader, seconds: float) -> Any:
    clients: Any = SimpleNamespace(reader=lambda: reader, watermarks=reader.watermarks)
    return VirtualLoop().complete(restore(clients, "state", 3, structlog.get_logger()), seconds)


@pytest.mark.parametrize(
    ("silent_after", "where"), [(None, "its bounds are unknown"), (0, "it is read up to 0 of 10"), (4, "4 of 10")]
)
def test_silence_is_told_with_the_partition(silent_after: int | None, where: str) -> None:
    reader = Reader(silent_after)
    with pytest.raises(TimeoutError, match=rf"^state-3 has given nothing for 30 s: .*{where}$"):
        restored(reader, SILENT_SECONDS + 2)
    assert reader.stopped


def test_what_comes_slowly_is_no_silence() -> None:
    assert restored(Reader(10, pace=SILENT_SECONDS - 1), 10 * SILENT_SECONDS).position is None
