"""The records of a task's state that this release cannot read: left as they are, counted, told (design section 17)."""

from collections.abc import Iterator
from contextlib import suppress

from structlog.typing import FilteringBoundLogger

from state.partition_records import Unreadable
from state.pieces import Pieces

TOLD_OF_EACH = 10
"""So many records of a partition are told one by one; a whole state of a later release is told by its number."""

_SHOWN_KEY = 200


class LeftAlone:
    """What of one task's state cannot be read.

    ``told`` are the records (by partition and offset) that somebody has been told of already: a task that is built
    again tells them no second time.
    """

    def __init__(self, topic: str, partition: int, told: set[tuple[int, int]], log: FilteringBoundLogger) -> None:
        self._topic = topic
        self._partition = partition
        self._told = told
        self._log = log
        self._first: Unreadable | None = None
        self.count = 0
        """How many records that is."""
        self.dedup_keys: Pieces[str, None] = Pieces()
        """Their dedup keys: what comes of these is written beside them."""

    def found(self, record: Unreadable) -> None:
        """This one cannot be read."""
        self.count += 1
        self._first = self._first or record
        with suppress(UnicodeDecodeError, AttributeError):  # of no text no event has the key
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
        """All have been found."""
        place = (self._partition, -1 - self.count)
        if self.count > TOLD_OF_EACH and place not in self._told:
            self._told.add(place)
            self._log.error("state_records_unreadable", topic=self._topic, count=self.count)

    def emptied(self) -> Iterator[None]:
        """Forget the dedup keys bit by bit, once the task is over."""
        for _ in self.dedup_keys.taken():
            yield

    @property
    def trouble(self) -> str | None:
        """What is wrong, for people; None if nothing is."""
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
