"""A state that is gone is written again: a task that runs knows all of its alerts (design section 17)."""

from collections.abc import Callable, Iterator

from structlog.typing import FilteringBoundLogger

from consumer.partition.state_log import StateLog
from consumer.telemetry.metrics import PipelineMetrics
from state.store import Store


class Rewriting:
    """The state of one task in its topic, of which ``log`` is known. ``urge`` asks for a checkpoint soon."""

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
        """Whether the state is gone, and nothing has been written since: also without an alert there is the position
        to write."""

    @property
    def is_at_work(self) -> bool:
        """Whether there is more to write again."""
        return self._left is not None

    def is_gone(self, beginning: int, high: int) -> None:
        """Records are missing, in a partition with these bounds: all alerts are written again."""
        self.state_log.begins_anew(beginning, high)
        self._begin("records are missing", high)

    def wrote(self, offset: int, records: int) -> None:
        """A checkpoint of so many records begins at this offset."""
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
        """Have the next checkpoint hold more of it, as long as that ``has_room``."""
        left = self._left
        while left is not None and has_room():
            if next(left, left) is left:
                if self._left is left:  # it has not gone once more meanwhile
                    self._left = None
                return
            yield
