"""What of a task waits in memory for its next checkpoint: dead letters, records that are forwarded, history."""

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from consumer.dlq.dead_letter import DeadLetter
from consumer.tasks.partition.pauses import Pause, Pauses
from consumer.telemetry.metrics import PipelineMetrics

MAX_WAITING_BYTES = 16 * 1024 * 1024
"""How many bytes of dead letters, forwarded records and history may wait for a checkpoint before the partition is
paused."""

WAITING_RECORD_BYTES = 1024
"""How many bytes each waiting record takes in memory in addition to its content, which may be empty."""


class WaitingRecords:
    """The dead letters themselves, and how many bytes of all there are. ``urge`` asks for a checkpoint soon."""

    def __init__(
        self, pauses: Pauses, urge: Callable[[], None], metrics: PipelineMetrics, log: FilteringBoundLogger
    ) -> None:
        self._pauses = pauses
        self._urge = urge
        self._metrics = metrics
        self._log = log
        self._dead_letters: list[DeadLetter] = []
        self._bytes = 0

    def __bool__(self) -> bool:
        """Whether dead letters wait."""
        return bool(self._dead_letters)

    @property
    def are_too_many(self) -> bool:
        """Whether the partition is paused because too many bytes wait."""
        return Pause.UNWRITTEN in self._pauses

    def take(self, dead_letter: DeadLetter) -> None:
        """Have the next checkpoint write this dead letter; it is counted and logged now."""
        self._dead_letters.append(dead_letter)
        self.grow(dead_letter.record.size, "dead letters wait")
        self._metrics.dead_letter(dead_letter.stage, dead_letter.error_class)
        self._log.warning(
            "dead_letter",
            offset=dead_letter.record.offset,
            event_id=dead_letter.event_id,
            stage=dead_letter.stage,
            error_class=dead_letter.error_class,
            error=dead_letter.error,
        )
        self._urge()

    def grow(self, size: int, reason: str) -> None:
        """A record of so many bytes more waits: if that is too much, the partition is paused."""
        self.grow_by(size + WAITING_RECORD_BYTES, reason)

    def grow_by(self, size: int, reason: str) -> None:
        """So many bytes more wait in all: if that is too much, the partition is paused."""
        self._bytes += size
        if self._bytes > MAX_WAITING_BYTES:
            if not self.are_too_many:
                self._log.error("partition_paused", waiting_bytes=self._bytes, reason=reason)
            self._pauses.hold_back(Pause.UNWRITTEN)

    def cut(self) -> tuple[DeadLetter, ...]:
        """Take out all dead letters, for the checkpoint that is being cut."""
        dead_letters, self._dead_letters = tuple(self._dead_letters), []
        return dead_letters

    def committed(self) -> None:
        """The checkpoint was committed: only dead letters that came after its cut still wait, and the partition is
        resumed."""
        self._bytes = sum(letter.record.size + WAITING_RECORD_BYTES for letter in self._dead_letters)
        self._pauses.let_go(Pause.UNWRITTEN)
