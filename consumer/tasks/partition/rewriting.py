"""Writing the state of a task again after its records were lost from the topic: a running task has all of its alerts in
memory (design section 17)."""

from collections.abc import Callable, Iterator

from structlog.typing import FilteringBoundLogger

from consumer.tasks.partition.state_log import StateLog
from consumer.telemetry.metrics import PipelineMetrics
from state.store import Store


class Rewriting:
    """Writes the state of one task again if it is gone. ``state_log`` holds the offsets of its partition; ``urge`` asks
    for a checkpoint soon."""

    def __init__(
        self,
        state_log: StateLog,
        store: Store,
        topic: str,
        urge: Callable[[], None],
        metrics: PipelineMetrics,
        log: FilteringBoundLogger,
    ) -> None:
        self.state_log = state_log
        self._store = store
        self._topic = topic
        self._urge = urge
        self._metrics = metrics
        self._log = log
        self._left: Iterator[None] | None = None
        self.has_written_nothing = False
        """Whether the state is gone and no checkpoint was written since. Even a task without alerts then has a position
        to write."""

    @property
    def is_at_work(self) -> bool:
        """Whether some alerts are still to be written again."""
        return self._left is not None

    def is_gone(self, beginning: int, high: int) -> None:
        """Have all alerts written again: records are missing. The partition has these bounds now."""
        self.state_log.begins_anew(beginning, high)
        self._begin("records are missing", high)

    def wrote(self, offset: int, records: int) -> None:
        """Note where a checkpoint was written. If its offset shows that the topic was created anew, all alerts are
        written again."""
        self.has_written_nothing = False
        if not self.state_log.wrote(offset, records):
            self._begin("it takes records before those that were written", offset)

    def _begin(self, reason: str, end: int) -> None:
        self._log.error(
            "state_written_again",
            topic=self._topic,
            error=f"the topic was emptied or made anew: {reason}",
            end=end,
            alerts=len(self._store),
        )
        self._metrics.state_written_again()
        self._left = self._store.write_all_again()
        self.has_written_nothing = True
        self._urge()

    def write(self, has_room: Callable[[], bool]) -> Iterator[None]:
        """Mark more alerts as changed, step by step and as long as the checkpoint ``has_room``, so that it writes them
        again."""
        left = self._left
        while left is not None and has_room():
            if next(left, left) is left:
                if self._left is left:  # the state was not lost once more meanwhile
                    self._left = None
                return
            yield
