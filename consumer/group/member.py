"""A member of a consumer group: assignment, proofs of ownership, fetching, and one task for each of its partitions.

What aiokafka's ``group_coordinator`` does around the rebalance callbacks: both callbacks are awaited. No heartbeat is
sent while ``on_partitions_assigned`` runs, so that only pauses partitions and starts tasks. A rebalance forgets pauses.
``stop`` calls neither callback, so tasks are drained before it.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from consumer.group.anchor_watch import AnchorWatch, Watched
from consumer.group.ends import AskWatermarks, PartitionEnds
from consumer.group.fetching import Fetching
from consumer.group.state_watch import StateWatch
from consumer.group.subscription import Subscription
from consumer.group.supervision import Supervision, end, known
from consumer.group.topic_watch import TopicWatch
from consumer.input.first_start import FirstStart
from consumer.input.partition_input import PartitionInput
from consumer.input.progress import GroupPosition
from consumer.kafka.clients import KafkaClients, start_client, stop_consumer, to_the_end
from consumer.kafka.instance_id import InstanceId, InstanceIdTaken
from consumer.kafka.watermarks import all_watermarks, each_watermarks
from consumer.tasks.partition.ownership import NotAssigned, NotOwner, Proofs, Revoked, UnknownMember
from consumer.tasks.partition.task import PartitionTask
from consumer.telemetry.metrics import PipelineMetrics
from consumer.timing.clock import Clock
from consumer.timing.turns import Turns
from consumer.timing.waiting import unless_set
from providers.retry import Backoff
from state.anchors import Anchor

TICK_SECONDS = 1.0
"""Seconds between two ticks of the tasks."""

STOP_SECONDS = 10.0
"""How many seconds the member waits at most while it leaves the group, since the broker may be gone."""

DRAIN_SHARE = 0.8
"""The part of the grace that is for answers to requests on the wire; the rest is for the last checkpoints and the last
commit."""


class PipelineDelivery(Protocol):
    """What sends for the tasks of a member, as long as that owns their partitions: a pipeline's delivery."""

    def set_share(self, share: float) -> None:
        """Take in which part (0 to 1) of the input's partitions this member has."""
        ...

    def wake(self) -> None:
        """Send what waited for a proof of ownership: one was accepted."""
        ...


T = TypeVar("T", bound=PartitionTask[Any])


class GroupMember(ConsumerRebalanceListener, Generic[T]):  # type: ignore[misc]
    """One member of a group, from joining to leaving. After an error of the Kafka consumer another one is built."""

    def __init__(
        self,
        *,
        clients: KafkaClients,
        consumer: AIOKafkaConsumer,
        admin: AIOKafkaAdminClient,
        subscription: Subscription,
        instance_id: InstanceId | None,
        drain_seconds: float,
        proofs: Proofs,
        sender: PipelineDelivery | None,
        backoff: Backoff,
        make_task: Callable[[PartitionInput], T],
        metrics: PipelineMetrics,
        clock: Clock,
        log: FilteringBoundLogger,
        topics: TopicWatch,
        turns: Turns,
        watch_state: Callable[[Callable[[], Mapping[TopicPartition, T]]], StateWatch] | None = None,
        ask_watermarks: AskWatermarks = each_watermarks,
    ) -> None:
        self._consumer = consumer
        self._admin = admin
        self._topic, self._group_id = subscription.topic, subscription.group_id
        self._instance_id = instance_id
        first_start = FirstStart(admin, self._group_id, subscription.checkpoints, subscription.before)
        self._drain_seconds = drain_seconds
        self._proofs = proofs
        self._sender = sender
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._topics = topics
        self._turns = turns
        self._supervision: Supervision[T] = Supervision(
            make_partition_input=lambda partition, suspect: PartitionInput(
                consumer, admin, self._group_id, partition, subscription.start_from, first_start, clock, suspect
            ),
            make_task=make_task,
            builds=topics.ask,
            know=lambda partition: known(consumer, partition),
            abandon=self._abandon,
            backoff=backoff,
            metrics=metrics,
            clock=clock,
            log=log,
        )
        running = self._supervision.running
        self._state_watch = watch_state(running) if watch_state is not None else None
        self._group: asyncio.TaskGroup | None = None
        self._has_been_member = self._is_lost = False
        self._fault: asyncio.Future[None] | None = None
        self._releasing = asyncio.Lock()
        self._is_leaving = False
        self.assigned: frozenset[TopicPartition] | None = None
        """The partitions of this member; None while it is not in the group."""
        self._fetching = Fetching(
            consumer,
            tasks=lambda: self._supervision.tasks,
            position_lost=self._position_lost,
            is_trusted=lambda partition: self._anchor_watch.is_trusted(partition),
            metrics=metrics,
            clock=clock,
            log=log,
        )
        self._ends = PartitionEnds(
            consumer,
            running=running,
            in_hand=self._fetching.has_in_hand,
            clock=clock,
            log=log,
            ask=ask_watermarks,
        )
        self._anchor_watch = AnchorWatch(
            clients,
            leader=lambda partition: consumer._client.cluster.leader_for_partition(partition),
            running=running,
            changed=self._log_changed,
            clock=clock,
            log=log,
        )

    @property
    def tasks(self) -> Mapping[TopicPartition, T]:
        """The tasks of the assigned partitions, restored or not."""
        return self._supervision.tasks

    @property
    def ends(self) -> Mapping[TopicPartition, int]:
        """The high watermarks of the partitions as they were last seen."""
        return self._ends.high

    @property
    def loop_age(self) -> float:
        """Seconds since the fetching loop last began a turn; 0 while the member is not in the group, where the loop has
        to wait."""
        return self._clock.monotonic() - self._fetching.turned_at if self.assigned is not None else 0.0

    @property
    def is_restoring(self) -> bool:
        """Whether a task has yet to run for the first time since its partition was assigned."""
        return any(self._supervision.has_yet_to_run(partition) for partition in self.assigned or ())

    @property
    def troubles(self) -> Mapping[int, str]:
        """A sentence for each assigned partition with which something is wrong.

        The failure of a task counts until the task that replaces it has committed a checkpoint, an unreadable batch
        until it was passed, hidden records until the transaction has ended.
        """
        troubles = {}
        for partition in sorted(self.assigned or ()):
            task, trouble = self.tasks.get(partition), self._fetching.trouble(partition)
            if trouble is None and task is not None and task.is_refused:
                trouble = "Kafka does not take its checkpoints"
            if trouble is None and task is not None and task.is_paused:
                trouble = "it is paused: its dead letters cannot be written"
            if trouble is None:
                trouble = self._supervision.trouble(partition) or self._ends.trouble(partition)
            if trouble is None and task is not None:
                trouble = "whether it is still the same log is not known yet" if task.is_in_doubt else task.notice
            if trouble is None and task is not None:
                trouble = task.state_trouble
            if trouble is not None:
                troubles[partition.partition] = trouble
        return troubles

    async def progress(self) -> Mapping[int, GroupPosition]:
        """How far the group has come in each partition of the input, whichever member owns it (0 without a commit).
        Empty while this member is not in the group.

        Raises `KafkaError` if the group's offsets, or the ends of some partitions, are not known.
        """
        if self.assigned is None:
            return {}
        partitions = [
            TopicPartition(self._topic, number) for number in self._consumer.partitions_for_topic(self._topic) or ()
        ]
        offsets = await self._admin.list_consumer_group_offsets(self._group_id, partitions=partitions)
        ends = await all_watermarks(self._consumer, partitions)
        return {
            tp.partition: GroupPosition(
                max(0, offsets[tp].offset) if tp in offsets else 0, ends[tp].stable, ends[tp].high
            )
            for tp in partitions
        }

    async def run(self, stopping: asyncio.Event, grace: float) -> None:
        """Join the group, work until ``stopping`` is set, then drain the tasks within ``grace`` seconds and leave.

        Raises `InstanceIdTaken` if another process has this member's ``group_instance_id``, and was there first. Raises
        `KafkaError` if the consumer cannot go on, and whatever else the consumer raises.
        """
        self._fault = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._consumer.subscribe([self._topic], listener=self)
                loops: list[asyncio.Task[None]] = []
                if await self._join(stopping):
                    work = [
                        self._fetching.run,
                        self._prove,
                        self._tick,
                        self._ends.run,
                        self._anchor_watch.run,
                        self._watch_topics,
                        self._watch,
                    ]
                    work += [self._state_watch.run] if self._state_watch is not None else []
                    loops = [group.create_task(loop()) for loop in work]
                    await stopping.wait()
                self._is_leaving = True
                await self._leave(grace)
                for loop in loops:
                    loop.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        finally:
            self._is_leaving = True
            self._proofs.revoke()
            self.assigned = None
            await self._stop_consumer()

    async def _join(self, stopping: asyncio.Event) -> bool:
        """Wait for the first assignment; False if ``stopping`` was set before."""

        async def joined() -> bool:
            await start_client(self._consumer.start())
            return True

        return bool(await unless_set(stopping, joined()))

    async def _leave(self, grace: float) -> None:
        try:
            async with asyncio.timeout(grace):
                await self._release(grace * DRAIN_SHARE)
        except TimeoutError:
            self._log.warning("drain_cut_off", grace=grace)

    async def _stop_consumer(self) -> None:
        await to_the_end(self._stop())

    async def _stop(self) -> None:
        try:
            await stop_consumer(self._consumer, STOP_SECONDS)
        except (KafkaError, TimeoutError) as error:
            self._log.warning("consumer_stop_failed", error=repr(error))

    # rebalance

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Close all tasks: the group revokes every partition, as a rebalance begins."""
        if self.tasks:
            self._log.info("partitions_revoked", partitions=sorted(tp.partition for tp in revoked))
        await self._release(self._drain_seconds)
        # The client joins again as soon as this returns, and would take the id from the other process.
        is_lost, self._is_lost = self._is_lost, False
        await self._check_instance_id(is_lost=is_lost)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Start a task for each of these partitions, which the group has assigned to this member."""
        partitions = sorted(assigned)
        self._consumer.pause(*partitions)
        if self._is_leaving:
            return  # the member leaves the group in a moment
        for partition in partitions:
            # Set a position, so that the client does not look one up. The partition is paused until its task sets the
            # real one.
            self._consumer.seek(partition, 0)
        self.assigned = frozenset(partitions)
        self._has_been_member = True
        self._fetching.assigned(self.assigned)
        self._log.info("partitions_assigned", partitions=[tp.partition for tp in partitions])
        if self._sender is not None:
            everything = self._consumer.partitions_for_topic(self._topic) or partitions
            self._sender.set_share(len(partitions) / len(everything) if partitions else 0.0)
        assert self._group is not None
        self._supervision.begin(partitions, self._group)

    async def _release(self, grace: float) -> None:
        """Drain all tasks, commit their offsets for the last time, and end them (design section 6.9).

        A rebalance that begins while the member leaves waits here until the tasks are drained; the group waits for it.
        """
        self._proofs.revoke()
        async with self._releasing:
            released = self._supervision.release()
            self.assigned = None
            try:
                await asyncio.gather(end(released.idle), *(task.drain(grace) for task in released.tasks.values()))
                await self._conclude(released.tasks)
            finally:
                await end(released.supervisors.values())

    async def _conclude(self, tasks: Mapping[TopicPartition, T]) -> None:
        offsets = {tp: task.committed for tp, task in tasks.items() if task.committed is not None}
        if not offsets:
            return
        try:
            await self._proofs.conclude(offsets)
        except NotOwner as error:
            self._log.warning("last_commit_refused", error=str(error))
            self._is_lost |= isinstance(error, UnknownMember)
        except (KafkaError, TimeoutError) as error:
            self._log.warning("last_commit_failed", error=repr(error))

    async def _abandon(self, error: NotOwner) -> None:
        """End all tasks at once, without a last checkpoint: the group does not know this member any more, so nothing
        may be sent or written until it has joined again."""
        self._log.warning("not_owner", error=str(error))
        self._metrics.proof("refused")
        self._proofs.revoke()
        supervisors = self._supervision.release().supervisors
        self.assigned = None
        self._is_lost |= isinstance(error, UnknownMember)
        current = asyncio.current_task()
        await end(supervisor for supervisor in supervisors.values() if supervisor is not current)
        if isinstance(error, NotAssigned):
            raise error

    async def _check_instance_id(self, *, is_lost: bool) -> None:
        """Look whether another process has this member's ``group_instance_id``; if this process is the one to end, it
        ends."""
        if self._instance_id is None or not self._has_been_member or self._is_leaving:
            return  # until it has joined, the id may be held by a process that is dead
        try:
            await self._instance_id.check(is_lost=is_lost)
        except InstanceIdTaken as error:
            assert self._fault is not None
            self._is_leaving = True
            if not self._fault.done():
                self._fault.set_exception(error)

    # loops

    async def _position_lost(self, lost: Mapping[TopicPartition, int]) -> None:
        """Build the tasks again whose position the broker does not have any more: each then finds where to go on."""
        for partition in lost:
            if partition in self._supervision.running():
                self._log.error("position_out_of_range", partition=partition.partition, position=lost[partition])
                await self._supervision.build_again(partition)

    async def _log_changed(self, partition: TopicPartition, task: Watched, missing: Anchor) -> None:
        """Build a task again whose input lacks a record that it has decided: the topic was truncated or created
        anew."""
        if self._supervision.running().get(partition) is task:
            self._log.error("input_changed", partition=partition.partition, missing=missing.offset)
            await self._supervision.build_again(partition, missing)

    async def _prove(self) -> None:
        while True:
            offsets = {tp: task.committed for tp, task in self.tasks.items() if task.committed is not None}
            if offsets:
                try:
                    await self._proofs.prove(offsets)
                except Revoked:
                    pass  # the rebalance callback closes the tasks
                except NotOwner as error:
                    await self._abandon(error)
                except (KafkaError, TimeoutError) as error:
                    self._metrics.proof("unanswered")
                    self._log.warning("proof_unanswered", error=repr(error))
                else:
                    for partition, task in self.tasks.items():
                        if (committed := offsets.get(partition)) is not None:
                            task.proved(committed)
                    self._metrics.proof("accepted")
                    if self._sender is not None:
                        self._sender.wake()
            await asyncio.sleep(self._proofs.interval)

    async def _tick(self) -> None:
        """Have each task do what is due once a second."""
        while True:
            await self._turns.through(self._ticks())
            self._supervision.tell_restored(self.assigned)
            await asyncio.sleep(TICK_SECONDS)

    def _ticks(self) -> Iterator[None]:
        for task in self._supervision.running().values():
            yield from task.tick()
            yield

    async def _watch_topics(self) -> None:
        await self._topics.run(lambda: len(self._consumer.partitions_for_topic(self._topic) or ()))

    async def _watch(self) -> None:
        assert self._fault is not None
        await self._fault
