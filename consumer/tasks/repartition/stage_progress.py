"""How far the stage before a pipeline has forwarded the events (design section 6, "Caught up to a moment").

A task that has decided all of its input has seen all events only if the stage was caught up, in every partition and
whichever member owns it. Else a stage that stands still would look like quiet, and live problems would be resolved. All
members can see the offsets that the stage's group has committed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from consumer.input.progress import GroupPosition, Progress
from consumer.tasks.partition.task import PROGRESS_SECONDS
from consumer.timing.clock import Clock

LOOK_SECONDS = 2.0
"""Seconds between two looks at the group's committed offsets."""

Commits = Callable[[], Awaitable[Mapping[int, GroupPosition]]]
"""Returns how far the stage's group has come, by partition; empty while that is not known."""


class StageProgress:
    """Watches the stage's group from one member of the pipeline."""

    def __init__(
        self,
        commits: Commits,
        *,
        proof_interval: float,
        quiescent_seconds: float,
        quiet_seconds: float | None,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self._commits = commits
        # A position waits for its checkpoint, the checkpoint for a proof, and the proof for a look. If all that takes
        # twice as long as it should, the stage is behind.
        self._fresh_seconds = 2 * (PROGRESS_SECONDS + proof_interval + LOOK_SECONDS)
        self._quiescent_seconds = quiescent_seconds
        self._quiet_seconds = quiet_seconds
        self._clock = clock
        self._log = log
        self._progress: dict[int, Progress] = {}

    async def run(self) -> None:
        """Look at the group's offsets every `LOOK_SECONDS`, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._fresh_seconds):
                    moment = self._clock.monotonic()
                    self.observe(moment, await self._commits(), self._clock.monotonic())
            except (KafkaError, OSError, TimeoutError) as error:
                self._log.warning("stage_progress_unknown", error=repr(error))
            except Exception as error:  # a bug must not stop the looks: nothing would ever be resolved
                self._log.error("stage_progress_unknown", exc_info=error)
            await asyncio.sleep(LOOK_SECONDS)

    def observe(self, moment: float, commits: Mapping[int, GroupPosition], now: float) -> None:
        """Take the group's positions, which were asked for at ``moment``."""
        for partition, found in commits.items():
            progress = self._progress.get(partition)
            if progress is None:
                progress = self._progress[partition] = Progress(
                    self._quiescent_seconds, fresh_seconds=self._fresh_seconds, quiet_seconds=self._quiet_seconds
                )
            progress.decided(found.committed, now)
            progress.observe_end(moment, found.end, now, stable=found.stable)

    def is_caught_up(self, now: float) -> bool:
        """Whether the stage has forwarded everything up to a recent enough moment, in all partitions."""
        return bool(self._progress) and all(progress.is_caught_up(now) for progress in self._progress.values())

    def is_quiescent(self, now: float) -> bool:
        """Whether the stage has been caught up for long enough that quiet may end alerts."""
        return bool(self._progress) and all(progress.is_quiescent(now) for progress in self._progress.values())
