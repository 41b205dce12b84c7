"""The cut of an alerting task: what it knew at one moment (design section 6.4)."""

from collections import Counter
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from consumer.dlq.dead_letter import DeadLetter
from consumer.feedback.moves import Move
from consumer.history.steps import StepsCut
from consumer.partition.checkpoint import Checkpoint, Sink, divided
from consumer.turns import Turns
from state.counts import Counts
from state.records import Position
from state.store import Changed, Cut, Store


@dataclass(slots=True, kw_only=True)
class TaskCut:
    """What has changed of one task, and how far it is decided.

    What is to be written of the alerts of ``store`` that have ``changed`` takes long to say, so that is said when it is
    committed. ``foreign`` are the counts of records that are left alone, ``beside`` the keys of these. ``counts`` says
    what has been done since the last checkpoint, and ``owed`` how many triggers were owed.

    It is committed by what ``sink`` makes of a producer; ``then`` is done once the state holds what is given to it.
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
        """How much of what was committed."""
        return {
            "notified": self.counts["notified"],
            "suppressed": self.counts["suppressed"] + self.counts["counted"],
            "dead_lettered": len(self.dead_letters),
            "owed": self.owed,
            "changed": len(self._written.changes),
        }

    async def commit(self, producer: AIOKafkaProducer) -> RecordMetadata:
        """Commit what was cut; the very same once more, if that has failed."""
        if self._checkpoint is None:
            cut = await divided(self.store, self.changed, self.turns)
            if self.foreign:
                cut = replace(cut, counts={**self.foreign, **cut.counts})
            self._checkpoint = Checkpoint(cut, self.dead_letters, self.position, self.beside, self.moves, self.steps)
        return await self._checkpoint.commit(self.sink(producer))

    async def committed(self, written: RecordMetadata) -> None:
        """The state holds it now."""
        await self.then(self._written, written)

    @property
    def _written(self) -> Cut:
        assert self._checkpoint is not None
        return self._checkpoint.cut
