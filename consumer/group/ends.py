"""Asking once a second for the end offsets of a member's partitions: for the lag, for whether the tasks are caught up,
and for records that another producer's open transaction hides."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from consumer.input.progress import HeldBack, Progress
from consumer.kafka.watermarks import Watermarks, each_watermarks
from consumer.timing.clock import Clock

LOOK_SECONDS = 1.0
"""Seconds between two looks."""

POSITION_SECONDS = 1.0
"""How many seconds the consumer may take to say its position. It knows that at once, unless the position is just being
set."""

AskWatermarks = Callable[
    [AIOKafkaConsumer, Sequence[TopicPartition]], AsyncGenerator[Mapping[TopicPartition, Watermarks], None]
]


class Task(Protocol):
    """What this module uses of a task."""

    progress: Progress

    @property
    def is_running(self) -> bool: ...
    def advance(self, position: int) -> None: ...


class PartitionEnds:
    """The end offsets of a member's partitions as they were last seen.

    ``running`` returns the tasks that decide. ``in_hand`` says of a partition whether fetched records of it are not
    decided yet: then the consumer's position is ahead of the task's.
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
        """Ask until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Ask once for the end offsets, and tell the tasks."""
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
                        continue  # the position is being set, or the partition was revoked
                    silent.discard(partition)
        self._log_unknown({partition for partition in silent if running[partition].is_running})
        self._log_standing()

    def trouble(self, partition: TopicPartition) -> str | None:
        """A sentence about records that an open transaction hides, if the last stable offset has not moved for a
        minute; else None."""
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
