"""What is done with a partition that this member owns: its life is the same for every kind (`OwnedPartition`), and its
work is this."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.structs import OffsetAndMetadata, RecordMetadata

from consumer.events.event import FetchedRecord
from consumer.partition.state_log import StateLog
from state.records import Position


class Cut(Protocol):
    """What is to be committed of one moment: made without an await, committed once, then thrown away."""

    @property
    def position(self) -> Position:
        """How far the partition had been decided."""
        ...

    @property
    def facts(self) -> Mapping[str, int]:
        """How much of what was committed, for the log."""
        ...

    async def commit(self, producer: AIOKafkaProducer) -> RecordMetadata:
        """Commit it as one transaction; it may be asked for again, with another producer, until one is taken. Returns
        where a record of it is. Raises what `commit_transaction` does."""
        ...

    async def committed(self, written: RecordMetadata) -> None:
        """It is committed, and ``written`` is what `commit` has returned: do what had to wait for that."""
        ...


class Work(ABC):
    """What a kind of task restores, decides and commits. The rest is only for a kind that speaks to somebody."""

    @abstractmethod
    async def restore(self, committed: OffsetAndMetadata) -> None:
        """Read back what the last checkpoint held, and say where to go on (`OwnedPartition.go_on`).

        Raises `StateRefused` if nobody can go on from that, KafkaError and TimeoutError.
        """

    @abstractmethod
    def provable(self) -> int:
        """The offset that the group may have, by what was decided."""

    @abstractmethod
    async def decide(self, records: Sequence[FetchedRecord]) -> None:
        """Decide these records in order; others get their turn where that takes long."""

    @abstractmethod
    def cut(self) -> Cut | None:
        """What is to be committed of this moment: a moment, so there is no await. None if nothing has changed."""

    async def begin(self) -> None:  # noqa: B027 (most kinds have nothing to do)
        """Everything is restored; records are about to come."""

    async def prepare(self) -> None:  # noqa: B027
        """Do what is to be in the next checkpoint and takes long: others get their turn meanwhile."""

    def tick(self) -> Iterator[None]:
        """Do what the passing of time brings, once a second: by going through what is returned, with others' turns in
        between, and no further once the task closes."""
        return iter(())

    async def withdraw(self, grace: float) -> None:  # noqa: B027
        """Let nothing more leave; wait up to ``grace`` seconds for what is on its way."""

    def closed(self) -> None:  # noqa: B027
        """Nothing more will be asked of it: what it has kept in memory can go."""

    # what is seen from outside

    @property
    def contents(self) -> Mapping[str, int]:
        """How much it has of what, for the log."""
        return {}

    @property
    def notice(self) -> str | None:
        """What somebody should know of it, although it goes on."""
        return None

    @property
    def trouble(self) -> str | None:
        """What is wrong with its state, while it goes on all the same; None if nothing is."""
        return None

    @property
    def state_log(self) -> StateLog | None:
        """What it knows of the log of its state; None for a kind that would write nothing again."""
        return None

    def state_is_gone(self, beginning: int, high: int) -> None:  # noqa: B027
        """Records of its state that it has read or written are missing; the partition has these bounds."""
