"""A task for each partition of a member. One that fails is built again, until the partition is revoked."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError
from structlog.typing import FilteringBoundLogger

from consumer.input.partition_input import PartitionInput
from consumer.kafka.transaction import FAILURES, TransactionRefused, Unanswered
from consumer.tasks.partition.ownership import NotOwner, Revoked
from consumer.tasks.partition.restore import StateRefused
from consumer.tasks.partition.task import PartitionTask
from consumer.telemetry.metrics import PipelineMetrics
from consumer.timing.clock import Clock
from providers.retry import Backoff, Restarts
from state.anchors import Anchor

METADATA_LOOKS: Final = 5
METADATA_SECONDS: Final = 5.0
METADATA_WAIT_SECONDS: Final = 0.2
"""How many times the client asks which partitions there are before a new one is tried again later; the seconds for an
answer; the seconds between two questions, as brokers learn of a new partition one after another."""

REFUSED_STATE_SECONDS: Final = 60.0
"""Seconds between two tries to restore a state that no task can go on from."""

T = TypeVar("T", bound=PartitionTask[Any])


@dataclass(frozen=True, slots=True)
class Released(Generic[T]):
    """Tasks that are not supervised any more, and their former supervisors, which the caller has to `end`."""

    tasks: Mapping[TopicPartition, T]
    supervisors: Mapping[TopicPartition, "asyncio.Task[None]"]

    @property
    def idle(self) -> Iterable["asyncio.Task[None]"]:
        """The supervisors of tasks that do not decide yet. These tasks have nothing to drain, and must not send a
        proof."""
        return [
            supervisor
            for partition, supervisor in self.supervisors.items()
            if partition not in self.tasks or not self.tasks[partition].is_running
        ]


class Supervision(Generic[T]):
    """Supervises the tasks of one member.

    ``make_partition_input`` is called for each assigned partition, with the anchor that its log seems to lack (None:
    there is no such suspicion), ``make_task`` for each task. ``builds`` is called whenever a task is built, ``know``
    sees to it that the client knows the partition (`known`), and ``abandon`` is called when the group refuses this
    member.
    """

    def __init__(
        self,
        *,
        make_partition_input: Callable[[TopicPartition, Anchor | None], PartitionInput],
        make_task: Callable[[PartitionInput], T],
        builds: Callable[[], None],
        know: Callable[[TopicPartition], Awaitable[None]],
        abandon: Callable[[NotOwner], Awaitable[None]],
        backoff: Backoff,
        metrics: PipelineMetrics,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self._make_partition_input = make_partition_input
        self._make_task = make_task
        self._builds = builds
        self._know = know
        self._abandon = abandon
        self._backoff = backoff
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[TopicPartition, T] = {}
        self._supervisors: dict[TopicPartition, asyncio.Task[None]] = {}
        self._troubles: dict[TopicPartition, Exception] = {}
        self._restoring_since: float | None = None

    @property
    def tasks(self) -> Mapping[TopicPartition, T]:
        """The tasks, restored or not yet."""
        return self._tasks

    def running(self) -> Mapping[TopicPartition, T]:
        """The tasks that have restored their state and decide records."""
        return {partition: task for partition, task in self._tasks.items() if task.is_running}

    def has_yet_to_run(self, partition: TopicPartition) -> bool:
        """Whether the partition's task has yet to run for the first time."""
        return partition not in self._troubles and partition not in self.running()

    def trouble(self, partition: TopicPartition) -> str | None:
        """A sentence about the error that ended the partition's task, until the task that replaces it has committed a
        checkpoint."""
        task = self._tasks.get(partition)
        if partition not in self._troubles or (task is not None and task.has_checkpointed):
            return None
        error = self._troubles[partition]
        return f"it stands still: {error}" if isinstance(error, StateRefused) else f"its task failed: {error!r}"

    # begin, end

    def begin(self, partitions: Collection[TopicPartition], group: asyncio.TaskGroup) -> None:
        """Supervise these partitions, in asyncio tasks of this group."""
        self._group = group
        self._troubles = {one: error for one, error in self._troubles.items() if one in partitions}
        self._restoring_since = self._clock.monotonic()
        for partition in partitions:
            self._supervisors[partition] = group.create_task(self._supervise(partition))

    def release(self) -> Released[T]:
        """Supervise nothing any more. The caller has to `end` the supervisors that are returned."""
        released = Released(self._tasks, self._supervisors)
        self._tasks, self._supervisors = {}, {}
        return released

    async def build_again(self, partition: TopicPartition, suspect: Anchor | None = None) -> None:
        """End the partition's task, and build another one, which begins with the first step. ``suspect`` is the anchor
        that the log seems to lack."""
        supervisor = self._supervisors.get(partition)
        if supervisor is not None:
            await end([supervisor])
            if self._supervisors.get(partition) is supervisor:  # it has not been released meanwhile
                assert self._group is not None
                self._supervisors[partition] = self._group.create_task(self._supervise(partition, suspect))

    # supervise

    async def _supervise(self, partition: TopicPartition, suspect: Anchor | None = None) -> None:
        partition_input = self._make_partition_input(partition, suspect)
        restarts = Restarts(self._backoff, self._clock.monotonic)
        # Stop once this partition was revoked or has another supervisor.
        while self._supervisors.get(partition) is asyncio.current_task():
            task = self._tasks[partition] = self._make_task(partition_input)
            self._builds()
            restarts.begins()
            try:
                await self._know(partition)
                await task.run()
            except Revoked:
                return
            except NotOwner as error:
                await self._abandon(error)
                return
            except StateRefused as error:
                self._stands_still(partition, error)
                partition_input.pause()
                await asyncio.sleep(REFUSED_STATE_SECONDS)
                continue
            except Exception as error:
                restarts.failed()
                self._failed(partition, error, restarts.failures)
            if task.has_checkpointed:
                partition_input = replace(
                    partition_input, suspect=None
                )  # the checkpoint holds what the suspicion led to
            partition_input.pause()
            await asyncio.sleep(restarts.wait())

    def _failed(self, partition: TopicPartition, error: Exception, failures: int) -> None:
        """Log and count the error that ended a task. One that is no failure of Kafka is a fault of this program, and is
        logged with its traceback."""
        expected = isinstance(error, (*FAILURES, TransactionRefused, Unanswered))
        self._metrics.task_trouble()
        self._troubles[partition] = error
        self._restoring_since = self._clock.monotonic()
        self._log.error(
            "task_trouble",
            partition=partition.partition,
            error=repr(error),
            failures=failures,
            exc_info=None if expected else error,
        )

    def _stands_still(self, partition: TopicPartition, error: StateRefused) -> None:
        """Log, once for each reason, that nothing of this partition is decided until somebody has mended its state."""
        known = self._troubles.get(partition)
        self._troubles[partition] = error
        if str(known) != str(error):
            self._metrics.task_trouble()
            self._log.error("task_stands_still", partition=partition.partition, error=str(error))

    # what is logged

    def tell_restored(self, assigned: Collection[TopicPartition] | None) -> None:
        """Log once that all assigned partitions are restored, and again after one of them had failed."""
        since, running = self._restoring_since, self.running()
        if since is None or not assigned or not running.keys() >= set(assigned):
            return
        self._restoring_since = None
        contents = Counter[str]()
        for task in running.values():
            contents.update(task.contents)
        seconds = round(self._clock.monotonic() - since, 1)
        self._log.info("partitions_restored", partitions=len(running), seconds=seconds, **contents)


async def end(supervisors: Iterable["asyncio.Task[None]"]) -> None:
    """Cancel these supervisors, and wait until their tasks are closed."""
    ending = list(supervisors)
    for supervisor in ending:
        supervisor.cancel()
    if ending:
        await asyncio.wait(ending)


async def known(consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
    """Wait until the client knows the partition, which may just have been added: the member that assigned it knew it
    earlier. For a partition that it does not know, the client would repeat its requests until they time out.

    Raises `UnknownTopicOrPartitionError` if the client does not know it after `METADATA_LOOKS` questions.
    """
    for _ in range(METADATA_LOOKS):
        if partition.partition in (consumer.partitions_for_topic(partition.topic) or ()):
            return
        async with asyncio.timeout(METADATA_SECONDS):
            await consumer._client.force_metadata_update()
        await asyncio.sleep(METADATA_WAIT_SECONDS)
    raise UnknownTopicOrPartitionError(f"topic {partition.topic} has no partition {partition.partition} yet")
