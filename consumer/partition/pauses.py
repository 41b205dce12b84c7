"""Why nothing is fetched of a partition for now."""

from collections.abc import Callable
from enum import Enum

from consumer.input.partition_input import PartitionInput


class Pause(Enum):
    """A reason to fetch nothing."""

    LOG = "log"
    """Whether it is still the same log is to be seen before more is decided: a moment."""
    UNWRITTEN = "unwritten"
    """Too much waits for a checkpoint, so somebody has to do something about what keeps Kafka from taking it."""
    FORWARDS = "forwards"
    """So much is to be forwarded that the next checkpoint comes first: a moment."""
    FORMER_INPUT = "former input"
    """What a repartition stage had forwarded when it went is decided first."""


class Pauses:
    """The reasons of one task. There can be several at a time, each of which is let go by itself.

    ``is_running`` says whether the task decides: one that does not is not to be given anything.
    """

    def __init__(self, source: PartitionInput, is_running: Callable[[], bool]) -> None:
        self._source = source
        self._is_running = is_running
        self._reasons: set[Pause] = set()

    def __contains__(self, reason: Pause) -> bool:
        return reason in self._reasons

    def begin(self) -> None:
        """The task has begun to fetch: what has held it back until now goes on to do so."""
        if self._reasons:
            self._source.pause()

    def hold_back(self, reason: Pause) -> None:
        """Fetch nothing for now."""
        if not self._reasons:
            self._source.pause()
        self._reasons.add(reason)

    def let_go(self, reason: Pause) -> None:
        """For this reason it may go on."""
        if reason in self._reasons:
            self._reasons.remove(reason)
            if not self._reasons and self._is_running():
                self._source.resume()
