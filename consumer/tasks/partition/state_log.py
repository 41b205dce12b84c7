"""The offsets of a task's state partition, by which it is noticed that the topic was emptied, or deleted and created
anew (design section 17).

A running task has all of its alerts in memory, so lost records are only written again. A task that is built anew would
restore nothing, and would have forgotten its alerts.
"""


class StateLog:
    """What one running task knows of its state partition.

    ``beginning`` and ``end`` are the bounds that the partition had when the task restored its state.
    """

    def __init__(self, beginning: int, end: int) -> None:
        self._beginning = beginning
        self._last = end - 1

    @property
    def last(self) -> int:
        """The last offset that this task has read or written."""
        return self._last

    def wrote(self, offset: int, records: int) -> bool:
        """Note that a checkpoint of so many records was written at this offset (-1: the broker did not say where).

        Returns whether all of them stand behind what was read or written before; if not, this is another log.
        """
        if offset < 0:
            return True
        is_behind, self._last = offset > self._last, offset + records - 1
        if not is_behind:
            self._beginning = 0
        return is_behind

    def misses(self, beginning: int, high: int, last: int) -> bool:
        """Whether a partition with these bounds lacks records of this task. ``last`` is what `last` was before the
        bounds were asked for.

        Right after a commit a broker can still report an old end: believe only what it says repeatedly.
        """
        return beginning > self._beginning or high <= last

    def begins_anew(self, beginning: int, high: int) -> None:
        """Take these bounds as those of a new log, to which the task writes everything again."""
        self._beginning, self._last = beginning, high - 1
