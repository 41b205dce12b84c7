"""Which member pings the provider's heartbeat: the owner of partition 0, and only while every partition of the group
makes progress (design section 9)."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Protocol

from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from consumer.input.progress import STANDSTILL_SECONDS, GroupPosition
from providers.heartbeat import Heartbeat

LOOK_SECONDS = 1.0
"""Seconds between two looks at whether this member owns partition 0."""


GroupPositions = Mapping[int, GroupPosition]
"""How far the group has come in each partition."""


class HeartbeatGroup(Protocol):
    """What is used of a pipeline's group member, or of that of the repartition stage before it."""

    def owns(self, partition: int) -> bool:
        """Whether this member owns the partition."""
        ...

    async def group_progress(self) -> GroupPositions:
        """How far the group has come in each partition. Raises `KafkaError` if the offsets or ends cannot be read."""
        ...


class Standing:
    """Finds the partitions of a group that have lag and the same committed offset for too long.

    Records that an open transaction hides count as lag, but only after `STANDSTILL_SECONDS`: until then an open
    transaction is ordinary.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._since: dict[int, tuple[int, float]] = {}

    def observe(self, progress: GroupPositions, now: float) -> Iterator[str]:
        """Take in the progress at ``now``; yields a sentence for each partition that made none since the last look."""
        before, self._since = self._since, {}
        for partition, found in sorted(progress.items()):
            if found.committed >= found.end:
                continue
            offset, since = before.get(partition, (found.committed, now))
            if offset != found.committed:
                since = now
            self._since[partition] = (found.committed, since)
            patience = STANDSTILL_SECONDS if found.committed >= found.stable else 0.0
            if partition in before and offset == found.committed and now - since >= patience:
                yield f"{self._what} {partition} has had a lag of {found.end - found.committed} without progress"


class HeartbeatOwner:
    """Pings the heartbeat while this member owns partition 0, and watches the progress of every partition of the
    group."""

    def __init__(self, group: HeartbeatGroup, stage: HeartbeatGroup | None, log: FilteringBoundLogger) -> None:
        self._group = group
        self._stage = stage
        self._log = log
        self._begin()

    def _begin(self) -> None:
        self._standing = (Standing("partition"), Standing("partition of the repartition stage"))
        self.stuck: tuple[str, ...] = ()
        """A sentence for each partition, of the group or of its stage, that has lag and makes no progress."""

    async def run(self, heartbeat: Heartbeat) -> None:
        """Ping and watch until cancelled."""
        pinging: list[asyncio.Task[None]] = []
        async with asyncio.TaskGroup() as group:
            while True:
                owns = self._group.owns(0)
                if owns and not pinging:
                    self._begin()
                    pinging = [group.create_task(heartbeat.run()), group.create_task(self._watch(heartbeat.period))]
                elif pinging and not owns:
                    for task in pinging:
                        task.cancel()
                    pinging = []
                await asyncio.sleep(LOOK_SECONDS)

    async def _watch(self, period: float) -> None:
        while True:
            try:
                async with asyncio.timeout(period):
                    stage = await self._stage.group_progress() if self._stage is not None else {}
                    self._compare(await self._group.group_progress(), stage)
            except (KafkaError, OSError, TimeoutError) as error:
                self._log.warning("group_progress_unknown", error=repr(error))
                self.stuck = ("unknown: the group's offsets cannot be read",)
            await asyncio.sleep(period)

    def _compare(self, group: GroupPositions, stage: GroupPositions) -> None:
        now = asyncio.get_running_loop().time()
        of_group, of_stage = self._standing
        self.stuck = (*of_group.observe(group, now), *of_stage.observe(stage, now))
