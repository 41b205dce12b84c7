"""The cut of a pipeline's task: what it had changed at one moment, to be written by one checkpoint (design section
6.4)."""

from collections import Counter
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from consumer.dlq.dead_letter import DeadLetter
from consumer.feedback.moves import Move
from consumer.history.steps import StepsCut
from consumer.tasks.partition.checkpoint import Checkpoint, Sink, divided
from consumer.timing.turns import Turns
from state.counts import Counts
from state.records import Position
from state.store import Changed, Cut, Store


@dataclass(slots=True, kw_only=True)
class TaskCut:
    """The changes of one task since its last checkpoint, and its position.

    The records of the ``changed`` alerts of ``store`` are made when the cut is committed, as that takes long.
    ``foreign`` are counters of alerts whose records cannot be read, and ``beside`` the dedup keys of these. ``counts``
    says what was done since the last checkpoint, ``owed`` how many triggers were owed at this moment.

    ``sink`` makes of a producer where the checkpoint is written; ``then`` is called once it is committed.
    """

    store: Store
    changed: Changed
    foreign: Mapping[str, Counts]
    beside: Container[str]
    moves: Sequence[Move]
    dead_letters: tuple[DeadLetter, ...]
    steps: StepsCut | None
    position: Position
    counts: Counter[str]
    owed: int
    turns: Turns
    sink: Callable[[AIOKafkaProducer], Sink]
    then: Callable[[Cut, RecordMetadata], Awaitable[None]]
    _checkpoint: Checkpoint | None = None

    @property
    def facts(self) -> Mapping[str, int]:
        """Figures of the checkpoint, for the log."""
        return {
            "notified": self.counts["notified"],
            "suppressed": self.counts["suppressed"] + self.counts["counted"],
            "dead_lettered": len(self.dead_letters),
            "owed": self.owed,
            "changed": len(self._written.changes),
        }

    async def commit(self, producer: AIOKafkaProducer) -> RecordMetadata:
        """Commit the cut. Called again after a failure, it commits exactly the same."""
        if self._checkpoint is None:
            cut = await divided(self.store, self.changed, self.turns)
            if self.foreign:
                cut = replace(cut, counts={**self.foreign, **cut.counts})
            self._checkpoint = Checkpoint(cut, self.dead_letters, self.position, self.beside, self.moves, self.steps)
        return await self._checkpoint.commit(self.sink(producer))

    async def committed(self, written: RecordMetadata) -> None:
        """The cut is committed: do what had to wait for that."""
        await self.then(self._written, written)

    @property
    def _written(self) -> Cut:
        assert self._checkpoint is not None
        return self._checkpoint.cut
