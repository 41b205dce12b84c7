"""Pausing a partition: no records are fetched from it for as long as there is a reason."""

from collections.abc import Callable
from enum import Enum

from consumer.input.partition_input import PartitionInput


class Pause(Enum):
    """A reason to pause a partition."""

    LOG = "log"
    """First it has to be found out whether the topic was truncated or created anew. This takes a moment."""
    UNWRITTEN = "unwritten"
    """Too many bytes wait in memory for a checkpoint, which Kafka does not take. Somebody has to mend that."""
    FORWARDS = "forwards"
    """Too many records wait to be forwarded: the next checkpoint has to write them first. This takes a moment."""
    FORMER_INPUT = "former input"
    """A repartition stage was removed from the configuration: what it had forwarded is decided before anything else."""


class Pauses:
    """The reasons why one task's partition is paused. There may be several at a time; fetching goes on when the last is
    gone.

    ``is_running`` says whether the task decides: the partition of one that does not is not resumed.
    """

    def __init__(self, partition_input: PartitionInput, is_running: Callable[[], bool]) -> None:
        self._partition_input = partition_input
        self._is_running = is_running
        self._reasons: set[Pause] = set()

    def __contains__(self, reason: Pause) -> bool:
        return reason in self._reasons

    def begin(self) -> None:
        """Pause the partition if there is a reason already, now that the task may fetch."""
        if self._reasons:
            self._partition_input.pause()

    def hold_back(self, reason: Pause) -> None:
        """Pause the partition for this reason."""
        if not self._reasons:
            self._partition_input.pause()
        self._reasons.add(reason)

    def let_go(self, reason: Pause) -> None:
        """Remove this reason; resume the partition if it was the last one."""
        if reason in self._reasons:
            self._reasons.remove(reason)
            if not self._reasons and self._is_running():
                self._partition_input.resume()
