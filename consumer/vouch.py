"""Who pings the heartbeat, and what it vouches for: the whole group, not one member (design section 9)."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Protocol

from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from providers.heartbeat import Heartbeat

LOOK_SECONDS = 1.0
"""Between two looks at who owns partition 0."""


Progress = Mapping[int, tuple[int, int]]
"""Of every partition: the committed offset and the end."""


class Group(Protocol):
    """What is asked of the runner of a pipeline, or of the stage before it."""

    def owns(self, partition: int) -> bool:
        """Whether this member has that partition."""
        ...

    async def group_progress(self) -> Progress:
        """Of every partition of the group: the committed offset (0 without one) and the end."""
        ...


class Vouching:
    """Runs the heartbeat while this member owns partition 0, and watches the partitions of all others."""

    def __init__(self, group: Group, stage: Group | None, log: FilteringBoundLogger) -> None:
        self._group = group
        self._stage = stage
        self._log = log
        self._before: tuple[Progress, Progress] = ({}, {})
        self.stuck: tuple[str, ...] = ()
        """The partitions of the group, and of the stage's, that had lag and made no progress between two looks."""

    async def run(self, heartbeat: Heartbeat) -> None:
        """Until cancelled."""
        pinging: list[asyncio.Task[None]] = []
        async with asyncio.TaskGroup() as group:
            while True:
                owns = self._group.owns(0)
                if owns and not pinging:
                    self._before, self.stuck = ({}, {}), ()
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

    def _compare(self, group: Progress, stage: Progress) -> None:
        self.stuck = (
            *_stuck("partition", group, self._before[0]),
            *_stuck("partition of the repartition stage", stage, self._before[1]),
        )
        self._before = (group, stage)


def _stuck(what: str, progress: Progress, before: Progress) -> Iterator[str]:
    for partition, (offset, end) in sorted(progress.items()):
        if offset < end and partition in before and before[partition][0] == offset and before[partition][1] > offset:
            yield f"{what} {partition} has had a lag of {end - offset} without progress"
