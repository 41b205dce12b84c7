"""The fetching loop of a member: it hands the fetched records to the tasks. A partition that cannot be read, or whose
broker does not answer, does not hold up the others."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError, RecordTooLargeError
from structlog.typing import FilteringBoundLogger

from consumer.kafka.unanswered_fetches import SILENT_SECONDS, UnansweredFetches
from consumer.kafka.unreadable import UnreadablePartitions, UnreadableRecords, unreadable
from consumer.tasks.partition.task import PartitionTask
from consumer.telemetry.metrics import PipelineMetrics
from consumer.timing.clock import Clock

FETCH_TIMEOUT_MS = 1000
FETCH_RECORDS = 1000
"""How many records are fetched at a time. The rest of a backlog stays in the client as bytes, not as objects."""

LISTEN_SECONDS = 1.0
"""Seconds between two looks at whether fetches are answered."""

T = TypeVar("T", bound=PartitionTask[Any])


class Fetching(Generic[T]):
    """Fetches for the tasks of a member; ``tasks`` returns those that there are.

    ``position_lost`` is called with positions that the broker does not have any more. ``is_trusted`` says whether
    records of a partition are still of the log that was decided.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        *,
        tasks: Callable[[], Mapping[TopicPartition, T]],
        position_lost: Callable[[Mapping[TopicPartition, int]], Awaitable[None]],
        is_trusted: Callable[[TopicPartition], bool],
        metrics: PipelineMetrics,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self._consumer = consumer
        self._tasks = tasks
        self._position_lost = position_lost
        self._is_trusted = is_trusted
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._in_hand: set[TopicPartition] = set()
        self._unreadable = UnreadablePartitions()
        self._silence = UnansweredFetches()
        self._listened_at = 0.0
        self.turned_at = clock.monotonic()
        """When the loop last began a turn, by the monotonic clock."""

    def has_in_hand(self, partition: TopicPartition) -> bool:
        """Whether fetched records of the partition are not decided yet. The consumer's position is behind them
        already."""
        return partition in self._in_hand

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch from these partitions from now on."""
        self._assigned = frozenset(partitions)
        self._unreadable.keep(self._assigned)
        self.turned_at = self._clock.monotonic()  # the loop had to wait for an assignment

    def trouble(self, partition: TopicPartition) -> str | None:
        """A sentence that says why nothing is fetched from this partition, if something is wrong; else None."""
        if (error := self._unreadable.errors.get(partition)) is not None:
            return f"the records from offset {error.offset} on cannot be read: {error.reason}"
        if (seconds := self._silence.silent(self._clock.monotonic()).get(partition)) is not None:
            return f"no fetch has been answered for {seconds:.0f} s"
        return None

    async def run(self) -> None:
        """Fetch until cancelled.

        Raises `KafkaError` if the consumer cannot go on, and whatever else the consumer raises.
        """
        while True:
            self.turned_at = self._clock.monotonic()
            self._retry_unreadable()
            self._listen()
            readable = self._readable()
            if readable is None:
                await asyncio.sleep(FETCH_TIMEOUT_MS / 1000)
                continue
            try:
                batches = await self._consumer.getmany(
                    *readable, timeout_ms=FETCH_TIMEOUT_MS, max_records=FETCH_RECORDS
                )
            except (UnreadableRecords, RecordTooLargeError) as error:
                self._cannot_read(unreadable(error))
                continue
            except OffsetOutOfRangeError as error:
                await self._position_lost(error.args[0])
                continue
            except NoOffsetForPartitionError:
                continue  # looked up before the assignment's seek; the task sets its position itself
            # The consumer's position is behind these records now; a task's gets there as it decides them.
            self._in_hand = set(batches)
            # A batch goes to the task that there was when it was fetched, not to one that is built meanwhile.
            tasks = self._tasks()
            owned = [(partition, tasks.get(partition), records) for partition, records in batches.items()]
            for partition, task, records in owned:
                if task is not None and self._is_trusted(partition):
                    await task.decide(records)
                elif task is not None:
                    task.doubt()
                self._in_hand.discard(partition)

    def _readable(self) -> Iterable[TopicPartition] | None:
        """The partitions to fetch from; an empty collection stands for all, None for none at all.

        An unreadable partition is left out, and not paused: pausing is up to the tasks.
        """
        waiting = self._unreadable.waiting
        return ((self._assigned - waiting) or None) if waiting else ()

    def _cannot_read(self, error: UnreadableRecords) -> None:
        """Fetch nothing from a partition with an unreadable batch, and log it. Its task goes on sending what it owes,
        and does not count as caught up."""
        self._unreadable.failed(error, self._clock.monotonic())
        self._metrics.task_trouble()
        self._log.error(
            "partition_unreadable", partition=error.partition.partition, offset=error.offset, error=error.reason
        )
        # The failed call has dropped what it had fetched from other partitions: fetch that again. Everything that calls
        # before it returned is decided.
        for partition, task in self._running().items():
            self._consumer.seek(partition, task.position)

    def _retry_unreadable(self) -> None:
        running = self._running()
        for partition in self._unreadable.due(self._clock.monotonic()):
            if partition in running:
                self._consumer.seek(partition, running[partition].position)  # fetch the batch again

    def _listen(self) -> None:
        """Look whether fetches are answered, and whether unreadable batches were passed; log what has changed."""
        now = self._clock.monotonic()
        if now < self._listened_at + LISTEN_SECONDS:
            return
        self._listened_at = now
        running = self._running()
        for partition, task in running.items():
            if self._unreadable.passed(partition, task.position):
                self._log.info("partition_readable", partition=partition.partition, position=task.position)
        silent = self._silence.silent(now)
        fetched = running.keys() - self._consumer.paused() - self._unreadable.waiting
        self._silence.observe({tp: self._consumer.last_poll_timestamp(tp) for tp in fetched}, now)
        for partition in self._silence.silent(now).keys() - silent.keys():
            self._log.error("partition_silent", partition=partition.partition, seconds=SILENT_SECONDS)

    def _running(self) -> Mapping[TopicPartition, T]:
        return {partition: task for partition, task in self._tasks().items() if task.is_running}
