"""A task for each partition of a member, built again after trouble, until the partition is released."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError
from structlog.typing import FilteringBoundLogger

from consumer.clock import Clock
from consumer.input.partition_input import PartitionInput
from consumer.kafka.transaction import FAILURES, Refused, Unanswered
from consumer.partition.owned import OwnedPartition
from consumer.partition.ownership import NotOwner, Revoked
from consumer.partition.restore import StateRefused
from consumer.telemetry.metrics import PipelineMetrics
from providers.retry import Backoff, Restarts
from state.anchors import Anchor

METADATA_LOOKS: Final = 5
METADATA_SECONDS: Final = 5.0
METADATA_WAIT_SECONDS: Final = 0.2
"""How often the client asks which partitions there are, before a new one is tried again later; for an answer; between
two, as brokers learn of it one after another."""

REFUSED_STATE_SECONDS: Final = 60.0
"""Between two looks at a state that a task cannot go on from."""

T = TypeVar("T", bound=OwnedPartition[Any])


@dataclass(frozen=True, slots=True)
class Released(Generic[T]):
    """What nobody supervises any more: the tasks, and their supervisors, which are to be ended."""

    tasks: Mapping[TopicPartition, T]
    supervisors: Mapping[TopicPartition, "asyncio.Task[None]"]

    @property
    def idle(self) -> Iterable["asyncio.Task[None]"]:
        """The supervisors of tasks that do not run yet: they have nothing to drain, and must not prove anything."""
        return [
            supervisor
            for partition, supervisor in self.supervisors.items()
            if partition not in self.tasks or not self.tasks[partition].is_running
        ]


class Supervision(Generic[T]):
    """The tasks of one member.

    ``make_source`` is asked for each partition that is assigned, with the anchor that its log is not to have any more
    (None: nobody suspects it), ``make_task`` for each task. ``builds`` is told of each, ``know`` is to see to it that
    the client knows the partition (`known`), and ``abandon`` is told that the group refuses this member.
    """

    def __init__(
        self,
        *,
        make_source: Callable[[TopicPartition, Anchor | None], PartitionInput],
        make_task: Callable[[PartitionInput], T],
        builds: Callable[[], None],
        know: Callable[[TopicPartition], Awaitable[None]],
        abandon: Callable[[NotOwner], Awaitable[None]],
        backoff: Backoff,
        metrics: PipelineMetrics,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self._make_source = make_source
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
        """The tasks, restored or not."""
        return self._tasks

    def running(self) -> Mapping[TopicPartition, T]:
        """Those that are restored and decide."""
        return {partition: task for partition, task in self._tasks.items() if task.is_running}

    def has_yet_to_run(self, partition: TopicPartition) -> bool:
        """Whether the partition's task is on its way to run, and not for the second time."""
        return partition not in self._troubles and partition not in self.running()

    def trouble(self, partition: TopicPartition) -> str | None:
        """What its task has ended with, until the task in its place has committed a checkpoint."""
        task = self._tasks.get(partition)
        if partition not in self._troubles or (task is not None and task.has_checkpointed):
            return None
        error = self._troubles[partition]
        return f"it stands still: {error}" if isinstance(error, StateRefused) else f"its task failed: {error!r}"

    # begin, end

    def begin(self, partitions: Collection[TopicPartition], group: asyncio.TaskGroup) -> None:
        """Supervise these partitions, in tasks of this group."""
        self._group = group
        self._troubles = {one: error for one, error in self._troubles.items() if one in partitions}
        self._restoring_since = self._clock.monotonic()
        for partition in partitions:
            self._supervisors[partition] = group.create_task(self._supervise(partition))

    def release(self) -> Released[T]:
        """Supervise nothing any more. Whoever asks for that ends the supervisors (`end`)."""
        released = Released(self._tasks, self._supervisors)
        self._tasks, self._supervisors = {}, {}
        return released

    async def build_again(self, partition: TopicPartition, suspect: Anchor | None = None) -> None:
        """End the partition's task, and build another from the first step."""
        supervisor = self._supervisors.get(partition)
        if supervisor is not None:
            await end([supervisor])
            if self._supervisors.get(partition) is supervisor:  # it has not been released meanwhile
                assert self._group is not None
                self._supervisors[partition] = self._group.create_task(self._supervise(partition, suspect))

    # supervise

    async def _supervise(self, partition: TopicPartition, suspect: Anchor | None = None) -> None:
        source = self._make_source(partition, suspect)
        restarts = Restarts(self._backoff, self._clock.monotonic)
        # Stop once this partition was revoked or has another supervisor.
        while self._supervisors.get(partition) is asyncio.current_task():
            task = self._tasks[partition] = self._make_task(source)
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
                source.pause()
                await asyncio.sleep(REFUSED_STATE_SECONDS)
                continue
            except Exception as error:
                restarts.failed()
                self._failed(partition, error, restarts.failures)
            if task.has_checkpointed:
                source = replace(source, suspect=None)  # what that showed is in the checkpoint
            source.pause()
            await asyncio.sleep(restarts.wait())

    def _failed(self, partition: TopicPartition, error: Exception, failures: int) -> None:
        """Whatever it is, only a task built anew can be trusted. A fault of ours shows its traceback."""
        expected = isinstance(error, (*FAILURES, Refused, Unanswered))
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
        """Nothing is decided of this partition until somebody has mended its state, which is looked at now and then."""
        known = self._troubles.get(partition)
        self._troubles[partition] = error
        if str(known) != str(error):
            self._metrics.task_trouble()
            self._log.error("task_stands_still", partition=partition.partition, error=str(error))

    # told

    def tell_restored(self, assigned: Collection[TopicPartition] | None) -> None:
        """Say once, of all that is assigned together, that it is restored and decides; again after a trouble."""
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
    """See to it that the client knows a partition that was just added: whoever assigned it knew more.

    Of one that it does not know it would ask until its requests time out. Raises `UnknownTopicOrPartitionError`.
    """
    for _ in range(METADATA_LOOKS):
        if partition.partition in (consumer.partitions_for_topic(partition.topic) or ()):
            return
        async with asyncio.timeout(METADATA_SECONDS):
            await consumer._client.force_metadata_update()
        await asyncio.sleep(METADATA_WAIT_SECONDS)
    raise UnknownTopicOrPartitionError(f"topic {partition.topic} has no partition {partition.partition} yet")
