"""The fetching loop of a member: what its partitions give goes to their tasks; one that gives nothing holds up none."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError, RecordTooLargeError
from structlog.typing import FilteringBoundLogger

from consumer.clock import Clock
from consumer.kafka.silence import SILENT_SECONDS, Silence
from consumer.kafka.unreadable import UnreadablePartitions, UnreadableRecords, unreadable
from consumer.partition.owned import OwnedPartition
from consumer.telemetry.metrics import PipelineMetrics

FETCH_TIMEOUT_MS = 1000
FETCH_RECORDS = 1000
"""At a time. The rest of a backlog stays as the broker sent it, not as objects."""

LISTEN_SECONDS = 1.0
"""Between two looks at whether the fetches are answered."""

T = TypeVar("T", bound=OwnedPartition[Any])


class Fetching(Generic[T]):
    """Fetches for the tasks of a member, which ``tasks`` gives as they are at the moment.

    ``position_lost`` is told of positions that the broker no longer has; ``is_trusted`` says of a partition whether
    what comes from it is of the log that was decided.
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
        self._silence = Silence()
        self._listened_at = 0.0
        self.turned_at = clock.monotonic()
        """When the loop last turned, by the monotonic clock."""

    def has_in_hand(self, partition: TopicPartition) -> bool:
        """Whether records of it are fetched and not decided yet: the consumer's position is behind them already."""
        return partition in self._in_hand

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """The member has these partitions from now on."""
        self._assigned = frozenset(partitions)
        self._unreadable.keep(self._assigned)
        self.turned_at = self._clock.monotonic()  # a loop that waited for this may turn again

    def trouble(self, partition: TopicPartition) -> str | None:
        """Why nothing comes of this partition, if that is no good sign."""
        if (error := self._unreadable.errors.get(partition)) is not None:
            return f"the records from offset {error.offset} on cannot be read: {error.reason}"
        if (seconds := self._silence.silent(self._clock.monotonic()).get(partition)) is not None:
            return f"no fetch has been answered for {seconds:.0f} s"
        return None

    async def run(self) -> None:
        """Until cancelled. Raises what the consumer raises."""
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
            # The consumer's position is behind these records now, and the tasks' are not before each is decided.
            self._in_hand = set(batches)
            # A batch belongs to the task that was there when it was fetched, not to one built meanwhile.
            tasks = self._tasks()
            owned = [(partition, tasks.get(partition), records) for partition, records in batches.items()]
            for partition, task, records in owned:
                if task is not None and self._is_trusted(partition):
                    await task.decide(records)
                elif task is not None:
                    task.doubt()
                self._in_hand.discard(partition)

    def _readable(self) -> Iterable[TopicPartition] | None:
        """The partitions to fetch from: none of them stands for all, None for none at all.

        One that cannot be read is left out rather than paused: pauses are the tasks' own.
        """
        waiting = self._unreadable.waiting
        return ((self._assigned - waiting) or None) if waiting else ()

    def _cannot_read(self, error: UnreadableRecords) -> None:
        """The partition stands still, its task goes on: what it owes is told, and what is behind is no peace."""
        self._unreadable.failed(error, self._clock.monotonic())
        self._metrics.task_trouble()
        self._log.error(
            "partition_unreadable", partition=error.partition.partition, offset=error.offset, error=error.reason
        )
        # The call that failed has passed over what it had taken of the others; all that it gave before is decided.
        for partition, task in self._running().items():
            self._consumer.seek(partition, task.position)

    def _retry_unreadable(self) -> None:
        running = self._running()
        for partition in self._unreadable.due(self._clock.monotonic()):
            if partition in running:
                self._consumer.seek(partition, running[partition].position)  # what was fetched then is thrown away

    def _listen(self) -> None:
        """Whether the fetches of the partitions are answered, and bring what could not be read."""
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
