"""Looking once a minute whether the records of the running tasks' state are still in their topic (design section
17)."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from consumer.kafka.clients import KafkaClients, started
from consumer.kafka.watermarks import each_watermarks
from consumer.tasks.partition.state_log import StateLog

LOOK_SECONDS = 60.0
"""Seconds between two looks."""

ASK_SECONDS = 20.0
"""The longest time for one look, in seconds."""

AGAIN_SECONDS = 2.0
AGAIN = 3
"""A broker has to say so many times, so many seconds apart, that records are missing before that is believed."""


class Task(Protocol):
    """What this module uses of a task."""

    @property
    def is_running(self) -> bool: ...
    @property
    def state_log(self) -> StateLog | None: ...
    def state_is_gone(self, beginning: int, high: int) -> None: ...


class StateWatch:
    """Watches the partitions of a state topic to which running tasks of this member write."""

    def __init__(
        self,
        clients: KafkaClients,
        topic: str,
        running: Callable[[], Mapping[TopicPartition, Task]],
        log: FilteringBoundLogger,
    ) -> None:
        self._clients = clients
        self._topic = topic
        self._running = running
        self._log = log

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look once, and tell the tasks whose records are missing."""
        if not self._tasks():
            return
        try:
            async with asyncio.timeout(ASK_SECONDS), started(self._clients.reader()) as reader:
                missing = await self._missing(reader, list(self._tasks()))
                for _ in range(AGAIN - 1):
                    if not missing:
                        return
                    await asyncio.sleep(AGAIN_SECONDS)
                    missing = await self._missing(reader, list(missing))
        except (KafkaError, OSError, TimeoutError) as error:
            self._log.warning("state_bounds_unknown", error=repr(error))
            return
        for partition, (beginning, high) in missing.items():
            if (task := self._tasks().get(partition)) is not None:
                task.state_is_gone(beginning, high)

    def _tasks(self) -> Mapping[TopicPartition, Task]:
        return {
            TopicPartition(self._topic, partition.partition): task
            for partition, task in self._running().items()
            if task.is_running and task.state_log is not None
        }

    async def _missing(
        self, reader: AIOKafkaConsumer, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, int]]:
        """The bounds of the partitions that lack records of their task. A partition that does not answer is left for
        the next look."""
        if not partitions:
            return {}
        reader.assign(partitions)
        logs = {one: task.state_log for one, task in self._tasks().items() if task.state_log is not None}
        last = {one: log.last for one, log in logs.items()}
        missing: dict[TopicPartition, tuple[int, int]] = {}
        async for answer in each_watermarks(reader, partitions):
            beginnings = await reader.beginning_offsets(list(answer))
            for one, watermarks in answer.items():
                bounds = beginnings[one], watermarks.high
                if one in logs and logs[one].misses(*bounds, last[one]):
                    missing[one] = bounds
        return missing
