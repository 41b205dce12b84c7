"""Keeps the trouble of a corrupt batch to its own partition (design section 15).

aiokafka 0.14 raises the error of a corrupt batch from ``getmany``, at each call, and does not name the partition. By
then it has moved the positions past records that the same call took from other partitions, and past the records before
the batch (source: ``Fetcher.fetched_records``, ``FetchResult.getall``). So a caller that goes on has to seek back.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import aiokafka.consumer.fetcher
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import KafkaError, RecordTooLargeError

RETRY_SECONDS = 30.0
"""Time between two attempts to read on: another leader, or a repaired or compacted log, may give readable records."""


class UnreadableRecords(KafkaError):  # type: ignore[misc]
    """The batch at this offset of this partition cannot be read: its checksum, its length or its records are wrong."""

    def __init__(self, partition: TopicPartition, offset: int, reason: str) -> None:
        super().__init__(f"{partition.topic}-{partition.partition} at offset {offset}: {reason}")
        self.partition = partition
        self.offset = offset
        self.reason = reason


def name_what_cannot_be_read() -> None:
    """Make aiokafka's consumers in this process raise `UnreadableRecords` for a batch that they cannot read."""
    # The fetcher looks the class up in its own module; there is no parameter for it.
    aiokafka.consumer.fetcher.PartitionRecords = NamedRecords


class NamedRecords(PartitionRecords):  # type: ignore[misc]
    """The fetched records of one partition, as the fetcher uses them.

    Records before an unreadable batch are handed out without an error. The batch is then the first of the next fetch,
    and raises.
    """

    def __init__(self, tp: TopicPartition, records: Any, aborted: Any, fetch_offset: int, *settings: Any) -> None:
        super().__init__(tp, records, aborted, fetch_offset, *settings)
        self._fetch_offset = fetch_offset

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except Exception as error:
            if self.next_fetch_offset == self._fetch_offset:
                reason = str(error) or type(error).__name__
                raise UnreadableRecords(self._tp, self.next_fetch_offset, reason) from error


def unreadable(error: UnreadableRecords | RecordTooLargeError) -> UnreadableRecords:
    """The same error with the partition's name.

    `RecordTooLargeError` says that a fetch did not contain one whole batch. Brokers send the first batch whole, however
    large it is (KIP-74), so the length in the batch is wrong.
    """
    if isinstance(error, UnreadableRecords):
        return error
    _, partition, offset, _ = error.args
    return UnreadableRecords(partition, offset, "the batch is longer than what the broker has sent of it")


class UnreadablePartitions:
    """The partitions of a member that cannot be read on, and when each is tried again. Pure."""

    def __init__(self) -> None:
        self._errors: dict[TopicPartition, UnreadableRecords] = {}
        self._retry_at: dict[TopicPartition, float] = {}

    @property
    def errors(self) -> Mapping[TopicPartition, UnreadableRecords]:
        """The error of each partition that cannot be read, until its batch has been passed."""
        return self._errors

    @property
    def waiting(self) -> frozenset[TopicPartition]:
        """The partitions to leave out of a fetch, because their next attempt is not due."""
        return frozenset(self._retry_at)

    def failed(self, error: UnreadableRecords, now: float) -> None:
        """Take note that a partition cannot be read on."""
        self._errors[error.partition] = error
        self._retry_at[error.partition] = now + RETRY_SECONDS

    def due(self, now: float) -> list[TopicPartition]:
        """The partitions whose next attempt is due; from now on they are not `waiting`."""
        due = [partition for partition, retry_at in self._retry_at.items() if retry_at <= now]
        for partition in due:
            del self._retry_at[partition]
        return due

    def passed(self, partition: TopicPartition, position: int) -> bool:
        """Take note that everything below this position was read. Returns whether this passed an unreadable batch."""
        error = self._errors.get(partition)
        if error is None or position <= error.offset:
            return False
        self._forget(partition)
        return True

    def keep(self, assigned: Iterable[TopicPartition]) -> None:
        """Forget all partitions but these, which the member has now."""
        for partition in self._errors.keys() - set(assigned):
            self._forget(partition)

    def _forget(self, partition: TopicPartition) -> None:
        del self._errors[partition]
        self._retry_at.pop(partition, None)
