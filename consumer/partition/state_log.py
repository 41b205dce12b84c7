"""Whether what a task has written of its state is still there: topics are emptied, deleted and made anew
(design section 17).

A task that runs knows all of its alerts. So when their records are gone, they are only to be written again; a task that
was built anew instead would have forgotten them.
"""


class StateLog:
    """The state partition of one running task, by its offsets.

    ``beginning`` and ``end`` are its bounds when it was read back.
    """

    def __init__(self, beginning: int, end: int) -> None:
        self._beginning = beginning
        self._last = end - 1

    @property
    def last(self) -> int:
        """The last offset that was read or written."""
        return self._last

    def wrote(self, offset: int, records: int) -> bool:
        """A checkpoint of so many records begins at this offset. Whether all of them are behind what was read or
        written before, or this is another log. (-1: the broker did not say where.)"""
        if offset < 0:
            return True
        is_behind, self._last = offset > self._last, offset + records - 1
        if not is_behind:
            self._beginning = 0
        return is_behind

    def misses(self, beginning: int, high: int, last: int) -> bool:
        """Whether records are not in these bounds (any more); ``last`` is `last` before they were asked for.

        Right after a commit a broker can still give an old end: only what it goes on saying is so.
        """
        return beginning > self._beginning or high <= last

    def begins_anew(self, beginning: int, high: int) -> None:
        """What is in these bounds is what there is; the task writes everything again."""
        self._beginning, self._last = beginning, high - 1
