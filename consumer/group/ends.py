"""Looking, once a second, at how far the partitions of a member reach: for lag, for peace, for what is hidden."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from consumer.clock import Clock
from consumer.input.progress import HeldBack, Progress
from consumer.kafka.watermarks import Watermarks, each_watermarks

LOOK_SECONDS = 1.0
"""Between two looks."""

POSITION_SECONDS = 1.0
"""For the consumer to say where it is; it knows, unless its position is being set."""

AskWatermarks = Callable[
    [AIOKafkaConsumer, Sequence[TopicPartition]], AsyncGenerator[Mapping[TopicPartition, Watermarks], None]
]


class Task(Protocol):
    """What a look needs of a task."""

    progress: Progress

    @property
    def is_running(self) -> bool: ...
    def advance(self, position: int) -> None: ...


class PartitionEnds:
    """The ends of a member's partitions as they were last seen.

    ``running`` are the tasks that decide; ``in_hand`` tells of a partition whether records of it were fetched and are
    not decided yet: then the consumer's position says nothing about the task's.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        *,
        running: Callable[[], Mapping[TopicPartition, Task]],
        in_hand: Callable[[TopicPartition], bool],
        clock: Clock,
        log: FilteringBoundLogger,
        ask: AskWatermarks = each_watermarks,
    ) -> None:
        self._consumer = consumer
        self._running = running
        self._in_hand = in_hand
        self._clock = clock
        self._log = log
        self._ask = ask
        self._told_standing: set[TopicPartition] = set()
        self._unknown: set[TopicPartition] = set()
        self.high: dict[TopicPartition, int] = {}
        """The high watermark of each partition that was ever looked at."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Ask how far the partitions reach, and tell the tasks."""
        running = self._running()
        if not running:
            return
        moment, silent = self._clock.monotonic(), set(running)
        async with aclosing(self._ask(self._consumer, list(running))) as answers:
            async for answer in answers:
                for partition, watermarks in answer.items():
                    try:
                        await self._tell(partition, running[partition], moment, watermarks)
                    except (KafkaError, TimeoutError):
                        continue  # it is being set, or no longer ours
                    silent.discard(partition)
        self._log_unknown({partition for partition in silent if running[partition].is_running})
        self._log_standing()

    def trouble(self, partition: TopicPartition) -> str | None:
        """What is hidden of this partition, if its stable offset stands still."""
        if (found := self._standing().get(partition)) is None:
            return None
        return (
            f"another producer's transaction has been open at offset {found.offset} for "
            f"{self._clock.monotonic() - found.since:.0f} s; the {found.end - found.offset} records from there on "
            "cannot be read"
        )

    def _standing(self) -> Mapping[TopicPartition, HeldBack]:
        now = self._clock.monotonic()
        return {
            partition: found
            for partition, task in self._running().items()
            if (found := task.progress.held_back) is not None and found.stands_still(now)
        }

    async def _tell(self, partition: TopicPartition, task: Task, moment: float, watermarks: Watermarks) -> None:
        self.high[partition] = watermarks.high
        async with asyncio.timeout(POSITION_SECONDS):
            position = await self._consumer.position(partition)
        if not task.is_running:
            return
        if not self._in_hand(partition):
            task.advance(position)
        task.progress.observe_end(moment, watermarks.high, self._clock.monotonic(), stable=watermarks.stable)

    def _log_unknown(self, silent: set[TopicPartition]) -> None:
        for partition in sorted(silent - self._unknown):
            self._log.warning("end_unknown", partition=partition.partition)
        for partition in sorted(self._unknown - silent):
            self._log.info("end_known", partition=partition.partition)
        self._unknown = silent

    def _log_standing(self) -> None:
        standing, now = self._standing(), self._clock.monotonic()
        for partition in sorted(standing.keys() - self._told_standing):
            found = standing[partition]
            self._log.error(
                "transaction_left_open",
                partition=partition.partition,
                offset=found.offset,
                end=found.end,
                seconds=round(now - found.since),
            )
        for partition in sorted((self._told_standing - standing.keys()) & self._running().keys()):
            self._log.info("transaction_ended", partition=partition.partition)
        self._told_standing = set(standing)
