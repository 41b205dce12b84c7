"""The records of a task's state that this release cannot read: they are left in the topic as they are, counted, and
logged (design section 17)."""

from collections.abc import Iterator
from contextlib import suppress

from structlog.typing import FilteringBoundLogger

from state.partition_records import Unreadable
from state.pieces import Pieces

TOLD_OF_EACH = 10
"""At most so many unreadable records of a partition are logged one by one; if there are more, their number is
logged."""

_SHOWN_KEY = 200


class LeftAlone:
    """The unreadable records of one task's state.

    ``told`` are the records (by partition and offset) that were logged before: a task that is built again does not log
    them again.
    """

    def __init__(self, topic: str, partition: int, told: set[tuple[int, int]], log: FilteringBoundLogger) -> None:
        self._topic = topic
        self._partition = partition
        self._told = told
        self._log = log
        self._first: Unreadable | None = None
        self.count = 0
        """The number of unreadable records."""
        self.dedup_keys: Pieces[str, None] = Pieces()
        """The dedup keys of the unreadable records. New alerts of these keys are written under another record key,
        beside them."""

    def found(self, record: Unreadable) -> None:
        """Note and log a record that cannot be read."""
        self.count += 1
        self._first = self._first or record
        with suppress(UnicodeDecodeError, AttributeError):  # a key that is no text is the dedup key of no event
            self.dedup_keys[record.key.decode()] = None
        place = (self._partition, record.offset)
        if self.count <= TOLD_OF_EACH and place not in self._told:
            self._told.add(place)
            self._log.error(
                "state_record_unreadable",
                topic=self._topic,
                state_offset=record.offset,
                dedup_key=_shown(record.key),
                error=record.reason,
            )

    def tell_number(self) -> None:
        """Log the number of unreadable records, now that all are known, if they were too many to be logged one by
        one."""
        place = (self._partition, -1 - self.count)
        if self.count > TOLD_OF_EACH and place not in self._told:
            self._told.add(place)
            self._log.error("state_records_unreadable", topic=self._topic, count=self.count)

    def emptied(self) -> Iterator[None]:
        """Free the dedup keys in small steps, once the task is over."""
        for _ in self.dedup_keys.taken():
            yield

    @property
    def trouble(self) -> str | None:
        """A sentence about the unreadable records for `/readyz`; None if there are none."""
        if self._first is None:
            return None
        records = "1 record" if self.count == 1 else f"{self.count} records"
        return (
            f"{records} of {self._topic} cannot be read and {'is' if self.count == 1 else 'are'} left as "
            f"{'it is' if self.count == 1 else 'they are'}, the first {_shown(self._first.key)} at offset "
            f"{self._first.offset}: a later release can"
        )


def _shown(key: bytes | None) -> str:
    text = "none" if key is None else key.decode(errors="backslashreplace")
    return text if len(text) <= _SHOWN_KEY else f"{text[:_SHOWN_KEY]}…"
