"""Whether the logs of a member's partitions are still those that its tasks have decided (design-2 section 17).

A log can become another one while it is read: its topic is created anew, or an unclean election takes its end away. The
client does not notice where the new one is long enough already.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from consumer.beginning import Fit
from consumer.clock import Clock
from consumer.kafka import KafkaClients
from consumer.look import PartitionLook, looking
from state.anchors import Anchor

WATCH_SECONDS = 1.0
"""Between two looks at who leads the partitions."""

CHECK_SECONDS = 60.0
"""Between two checks of a partition whose leader has not changed."""

AGAIN_SECONDS = 10.0
"""Until a check is tried again that could not be made."""

_FAILURES = (KafkaError, OSError, TimeoutError)


Looking = AbstractAsyncContextManager[Sequence[PartitionLook]]


class Watched(Protocol):
    """What is asked of a task."""

    @property
    def newest_anchor(self) -> Anchor | None: ...


@dataclass(slots=True)
class _Seen:
    """What is known of one partition. ``anchor`` was the newest one when its log was last found to have it."""

    task: Watched
    leader: int | None
    check_at: float
    anchor: Anchor | None = None


class AnchorWatch:
    """Checks the logs of all ``running`` tasks, at once where the leader has changed; ``changed`` is told of others.

    Besides the newest anchor it looks at the one that was the newest at the last check: a task that has decided records
    of another log already has anchors that fit.
    """

    def __init__(
        self,
        clients: KafkaClients,
        *,
        leader: Callable[[TopicPartition], int | None],
        running: Callable[[], Mapping[TopicPartition, Watched]],
        changed: Callable[[TopicPartition, Watched], Awaitable[None]],
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

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            due = self._due()
            if due:
                await self._check(due)
            await asyncio.sleep(WATCH_SECONDS)

    def _due(self) -> Mapping[TopicPartition, _Seen]:
        """The partitions that are to be checked now: all of them, once it is time for one of them."""
        running, now = self._running(), self._clock.monotonic()
        self._seen = {partition: seen for partition, seen in self._seen.items() if running.get(partition) is seen.task}
        due, is_time = {}, False
        for partition, task in running.items():
            leader = self._leader(partition)
            seen = self._seen.get(partition)
            if seen is None:
                # It has just looked at its log itself.
                self._seen[partition] = _Seen(task, leader, now + CHECK_SECONDS, task.newest_anchor)
            elif leader in (None, -1):
                seen.leader = None  # whoever leads next may have another log
            elif leader != seen.leader:
                seen.leader = leader
                due[partition] = seen
            elif now >= seen.check_at:
                is_time = True
        return dict(self._seen) if is_time else due

    async def _check(self, due: Mapping[TopicPartition, _Seen]) -> None:
        now = self._clock.monotonic()
        for seen in due.values():
            seen.check_at = now + AGAIN_SECONDS
        try:
            async with self._looking(self._clients, list(due)) as looks:
                for (partition, seen), look in zip(due.items(), looks, strict=True):
                    await self._check_one(partition, seen, look)
        except _FAILURES as error:
            self._log.warning("input_unchecked", error=repr(error))

    async def _check_one(self, partition: TopicPartition, seen: _Seen, look: PartitionLook) -> None:
        newest = seen.task.newest_anchor
        anchors = [anchor for anchor in dict.fromkeys((seen.anchor, newest)) if anchor is not None]
        try:
            fits = await look.fits(anchors) if anchors else []
        except _FAILURES as error:  # one partition's trouble is its own
            self._log.warning("input_unchecked", partition=partition.partition, error=repr(error))
            return
        if Fit.OTHER in fits or Fit.ABSENT in fits:
            await self._changed(partition, seen.task)
        else:
            seen.anchor, seen.check_at = newest, self._clock.monotonic() + CHECK_SECONDS
