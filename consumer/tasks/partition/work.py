"""The protocol between a task and what it does: `PartitionTask` is the same for every kind of task, a `Work` is what
one kind restores, decides and commits."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.structs import OffsetAndMetadata, RecordMetadata

from consumer.events.event import FetchedRecord
from consumer.tasks.partition.state_log import StateLog
from state.records import Position


class Cut(Protocol):
    """The changes up to one moment, to be committed as one transaction. It is made without an await."""

    @property
    def position(self) -> Position:
        """The position that is committed."""
        ...

    @property
    def facts(self) -> Mapping[str, int]:
        """Figures of the checkpoint, for the log."""
        ...

    async def commit(self, producer: AIOKafkaProducer) -> RecordMetadata:
        """Commit it as one transaction. This may be called again with another producer, until one transaction is
        committed. Returns where one of its records stands.

        Raises what `commit_transaction` raises if the commit fails.
        """
        ...

    async def committed(self, written: RecordMetadata) -> None:
        """It was committed, and ``written`` is what `commit` returned: do what had to wait for that."""
        ...


class Work(ABC):
    """What one kind of task restores, decides and commits. The methods with a default do nothing for a kind that sends
    no notifications."""

    @abstractmethod
    async def restore(self, committed: OffsetAndMetadata) -> None:
        """Read what the last checkpoint held, and set the position (`PartitionTask.go_on`).

        Raises `StateRefused` if nobody can go on from what the checkpoint holds, and `KafkaError` or `TimeoutError` if
        Kafka does not answer as it should.
        """

    @abstractmethod
    def provable(self) -> int:
        """The offset that the group may be given now: everything below it is decided, and told where it is to be
        told."""

    @abstractmethod
    async def decide(self, records: Sequence[FetchedRecord]) -> None:
        """Decide these records in order. Where that takes long, let the event loop run other tasks in between."""

    @abstractmethod
    def cut(self) -> Cut | None:
        """The changes since the last cut, for a checkpoint; None if nothing has changed. It is no coroutine, so that
        they are of one moment."""

    async def begin(self) -> None:  # noqa: B027 (most kinds have nothing to do)
        """Begin: the state is restored, and the first records are about to be fetched."""

    async def prepare(self) -> None:  # noqa: B027
        """Do before a cut what takes long and is to be in the checkpoint; other tasks may run meanwhile."""

    def tick(self) -> Iterator[None]:
        """Do what is due once a second. The iterator that is returned does it step by step; the caller may let other
        tasks run between two steps, and stops when the task closes."""
        return iter(())

    async def withdraw(self, grace: float) -> None:  # noqa: B027
        """Send nothing more; wait up to ``grace`` seconds for answers to what was sent."""

    def closed(self) -> None:  # noqa: B027
        """Free what is kept in memory: the task is closed."""

    # what is seen from outside

    @property
    def contents(self) -> Mapping[str, int]:
        """Counts for the log of what is kept in memory, by name."""
        return {}

    @property
    def notice(self) -> str | None:
        """A sentence for `/readyz` about the partition, which goes on nevertheless; None if there is none."""
        return None

    @property
    def trouble(self) -> str | None:
        """A sentence about records of the state that cannot be read, although the task goes on; None if all can be
        read."""
        return None

    @property
    def state_log(self) -> StateLog | None:
        """The offsets of the state partition that were read and written; None for work that cannot write its state
        again."""
        return None

    def state_is_gone(self, beginning: int, high: int) -> None:  # noqa: B027
        """Have the state written again: the state partition lacks records that were read or written. ``beginning`` and
        ``high`` are its first offset and its high watermark now."""
