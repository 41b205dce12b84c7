"""Watching whether the partitions of a member still hold the records that its tasks have decided (design section 17).

A topic can be created anew while it is read, or lose its end by an unclean leader election. Where the new log is long
enough already, the Kafka client does not notice. An *anchor* is a decided record, remembered by offset, time and
digest: if the partition does not have it any more, the log is another one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from consumer.input.beginning import Fit
from consumer.input.look import PartitionLook, looking
from consumer.kafka.clients import KafkaClients
from consumer.timing.clock import Clock
from consumer.timing.waiting import set_within
from state.anchors import Anchor

WATCH_SECONDS = 1.0
"""Seconds between two looks at which brokers lead the partitions."""

CHECK_SECONDS = 60.0
"""Seconds between two checks of a partition whose leader has not changed."""

AGAIN_SECONDS = 2.0
"""Seconds after which a check is tried again that could not be made."""

_FAILURES = (KafkaError, OSError, TimeoutError)


Looking = AbstractAsyncContextManager[Sequence[PartitionLook]]


class Watched(Protocol):
    """What the watch uses of a task."""

    @property
    def newest_anchor(self) -> Anchor | None: ...
    def trust(self) -> None: ...


@dataclass(slots=True)
class _Seen:
    """What is known of one partition. ``anchor`` was the newest anchor when the partition was last found to have it.

    ``leader`` is the broker whose log was checked then; None: the next leader's log has to be checked.
    """

    task: Watched
    leader: int | None
    check_at: float
    anchor: Anchor | None = None


class AnchorWatch:
    """Checks the partitions of all ``running`` tasks. ``changed`` is called with one that is another log, and the
    anchor that it lacks.

    Records of a new leader are not decided before its log was checked (`is_trusted`). Once a minute each partition is
    also checked for the anchor that was the newest at the check before: a task that has already decided records of
    another log has newer anchors that fit that one.
    """

    def __init__(
        self,
        clients: KafkaClients,
        *,
        leader: Callable[[TopicPartition], int | None],
        running: Callable[[], Mapping[TopicPartition, Watched]],
        changed: Callable[[TopicPartition, Watched, Anchor], Awaitable[None]],
        clock: Clock,
        log: FilteringBoundLogger,
        looking: Callable[[KafkaClients, Sequence[TopicPartition]], Looking] = looking,
    ) -> None:
        self._looking = looking
        self._clients = clients
        self._leader = leader
        self._running = running
        self._changed = changed
        self._clock = clock
        self._log = log
        self._seen: dict[TopicPartition, _Seen] = {}
        self._doubts = asyncio.Event()

    def is_trusted(self, partition: TopicPartition) -> bool:
        """Whether records that were just fetched may be decided: they are of the leader whose log was checked last."""
        task = self._running().get(partition)
        if task is None:
            return True  # no task would decide them
        seen = self._of(partition, task)
        leader = self._leader(partition)
        if leader in (None, -1, seen.leader):
            return True  # without a leader nothing new is fetched: they are of the leader before
        self._doubts.set()
        return False

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._doubts.clear()
            due = self._due()
            if due:
                await self._check(due)
            await set_within(self._doubts, WATCH_SECONDS)

    def _of(self, partition: TopicPartition, task: Watched) -> _Seen:
        seen = self._seen.get(partition)
        if seen is None or seen.task is not task:
            # A new task has just checked its log itself.
            leader = self._leader(partition)
            seen = _Seen(task, leader, self._clock.monotonic() + CHECK_SECONDS, task.newest_anchor)
            self._seen[partition] = seen
        return seen

    def _due(self) -> Mapping[TopicPartition, _Seen]:
        """The partitions to check now: those with another leader, or all of them if the time has come for one."""
        running, now = self._running(), self._clock.monotonic()
        self._seen = {partition: self._of(partition, task) for partition, task in running.items()}
        due, is_time = {}, False
        for partition, seen in self._seen.items():
            leader = self._leader(partition)
            if leader in (None, -1):
                seen.leader = None  # the next leader may have another log
            elif leader != seen.leader:
                due[partition] = seen
            elif now >= seen.check_at:
                is_time = True
        return dict(self._seen) if is_time else due

    async def _check(self, due: Mapping[TopicPartition, _Seen]) -> None:
        again = self._clock.monotonic() + AGAIN_SECONDS
        for seen in due.values():
            seen.check_at = again
        try:
            async with self._looking(self._clients, list(due)) as looks:
                for (partition, seen), look in zip(due.items(), looks, strict=True):
                    await self._check_one(partition, seen, look)
        except _FAILURES as error:
            self._log.warning("input_unchecked", error=repr(error))

    async def _check_one(self, partition: TopicPartition, seen: _Seen, look: PartitionLook) -> None:
        leader, newest = self._leader(partition), seen.task.newest_anchor
        anchors = sorted({anchor for anchor in (seen.anchor, newest) if anchor is not None}, key=attrgetter("offset"))
        try:
            fits = await look.fits(anchors) if anchors else []
        except _FAILURES as error:  # the other partitions are checked nevertheless
            self._log.warning("input_unchecked", partition=partition.partition, error=repr(error))
            return
        # An older anchor may be absent because its topic is compacted.
        missing = [
            anchor
            for anchor, fit in zip(anchors, fits, strict=True)
            if fit is Fit.OTHER or (fit is Fit.ABSENT and anchor is newest)
        ]
        if missing:
            await self._changed(partition, seen.task, missing[0])
        else:
            seen.leader, seen.anchor, seen.check_at = leader, newest, self._clock.monotonic() + CHECK_SECONDS
            seen.task.trust()
