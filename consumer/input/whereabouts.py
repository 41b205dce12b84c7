"""How far a task has come in its input, and how it finds its place again (design section 17).

What is decided from is pure (`consumer.input.beginning`, `state.anchors`); here it is looked at, told and remembered.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

from aiokafka.structs import OffsetAndMetadata
from structlog.typing import FilteringBoundLogger

from consumer.clock import Clock
from consumer.input.beginning import (
    Beginning,
    Ignored,
    Judgement,
    Log,
    Look,
    Obeyed,
    StateGone,
    StateWentBack,
    beginning,
    judge,
    proof_of,
)
from consumer.input.commit_metadata import Whose, whose
from consumer.input.partition_input import PartitionInput
from consumer.kafka.clients import KafkaClients
from consumer.telemetry.metrics import PipelineMetrics
from state.anchors import Anchor, AnchorRecord, Anchors, below, with_decided
from state.records import Position

NOTICE_SECONDS = 600.0
"""For so long readiness says that the state of a partition is gone: nothing else will say it again."""


class Whereabouts:
    """The anchors of one task, the group offset that it proved last, and one of somebody else that it has obeyed."""

    def __init__(
        self,
        source: PartitionInput,
        clients: KafkaClients,
        metrics: PipelineMetrics,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self._source = source
        self._clients = clients
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._anchors: Anchors = ()  # of what was decided before the slice in hand
        self._slice: Sequence[AnchorRecord] = ()
        self._proof: int | None = None
        self._obeyed: int | None = None  # for as long as the group may still have it
        self._gone_at: float | None = None
        self.holds: OffsetAndMetadata | None = None
        """What the group's offset stays at until a checkpoint has followed: it stands for what is in none yet."""
        self.inherited_end = 0
        """An earlier owner has decided nothing at or beyond this offset, in whatever log."""

    @property
    def newest(self) -> Anchor | None:
        """The last record that was decided, or one of a moment ago: the log must still have it."""
        return self._anchors[0] if self._anchors else None

    @property
    def notice(self) -> str | None:
        """What somebody should know of this partition, although it goes on."""
        if self._gone_at is None or (age := self._clock.monotonic() - self._gone_at) >= NOTICE_SECONDS:
            return None
        return f"its state was found to be gone {age:.0f} s ago: what was open is not known any more"

    # where to begin

    async def find(
        self, committed: OffsetAndMetadata, here: Position | None, *, has_state: bool, has_had_owners: bool
    ) -> Beginning:
        """Where to go on, by the anchors of the checkpoint and by what the group's offset says.

        ``here`` is what is known of this partition, and ``has_state`` is also true if there is a checkpoint that knows
        nothing of it. Raises KafkaError and TimeoutError.
        """
        begun = committed
        if here is None and whose(committed) in (Whose.ORDER, Whose.FOREIGN):
            begun = await self._source.start(self._clients)
        position, anchors = (begun.offset, ()) if here is None else (here.offset, self._doubted(here.anchors))
        look = await self._source.look(self._clients, position, anchors)
        found = beginning(position, anchors, look)
        self._tell_found(found, position, look)
        judgement = judge(committed, here, found.offset, has_state=has_state)
        self._tell_judgement(judgement)
        self._proof = proof_of(here, found.offset)
        self._obeyed = None if here is None else here.obeyed
        if isinstance(judgement, Obeyed):
            self.holds = committed
            found = self._obey(judgement.offset, self._proof, found, look)
        elif whose(begun) is Whose.FIRST and here is None:
            self.holds = begun
        if found.offset > look.beginning and (not found.anchors or isinstance(judgement, Obeyed)):
            found = await self._with_the_one_before(found)
        self._anchors = found.anchors
        if has_had_owners or has_state:
            self.inherited_end = max(look.end, position)
        return found

    def _doubted(self, anchors: Anchors) -> Anchors:
        """Without those that were made of another log before anybody noticed."""
        suspect = self._source.suspect
        return anchors if suspect is None else (suspect, *below(anchors, suspect.offset))

    def _obey(self, offset: int, proof: int, found: Beginning, look: Look) -> Beginning:
        """Go where an operator wants it, as far as the log reaches."""
        reached = min(max(offset, look.beginning), look.end)
        if reached != offset:
            self._tell_lost(offset, look)
        self._obeyed, self._proof = offset, min(reached, proof)
        return replace(found, offset=reached, anchors=below(found.anchors, reached))

    async def _with_the_one_before(self, found: Beginning) -> Beginning:
        """With the record before the position as the newest anchor: nothing has been decided there by this task."""
        before = await self._source.anchor_before(self._clients, found.offset)
        if before is None:
            return found
        return replace(found, anchors=(before, *below(found.anchors, before.offset)))

    # what has been decided

    def in_hand(self, records: Sequence[AnchorRecord]) -> None:
        """These records are decided next, in their order."""
        self._slice = records

    def through(self, position: int) -> None:
        """What was in hand is decided, as far as it lies below the position."""
        self._anchors, self._slice = self._anchored(position), ()

    def place(
        self, position: int, feedback: Mapping[int, int] | None = None, *, last_proof: int | None = None
    ) -> Position:
        """What a checkpoint says of how far its task has come; that can be in the middle of what is in hand.

        The last one goes before a commit of ``last_proof`` that no further checkpoint can tell of.
        """
        topic, partition = self._source.partition
        proof, obeyed = (self._proof, self._obeyed) if last_proof is None else (last_proof, None)
        return Position(topic, partition, position, dict(feedback or {}), self._anchored(position), proof, obeyed)

    def proved(self, committed: OffsetAndMetadata) -> None:
        """The group has accepted this as its offset."""
        if whose(committed) is Whose.OURS:
            self._proof, self._obeyed = committed.offset, None

    def _anchored(self, position: int) -> Anchors:
        decided = bisect_left(self._slice, position, key=attrgetter("offset"))
        return with_decided(self._anchors, self._slice[:decided])

    # what is told

    def _tell_found(self, found: Beginning, position: int, look: Look) -> None:
        match found.log:
            case Log.TRUNCATED:
                self._log.error("input_truncated", position=position, begins_at=found.offset, again=found.again)
                self._metrics.input_changed(found.log.value)
            case Log.RECREATED:
                records = look.end - look.beginning
                self._log.error("input_recreated", position=position, begins_at=found.offset, records=records)
                self._metrics.input_changed(found.log.value)
            case Log.SAME if found.lost:
                self._tell_lost(position, look)

    def _tell_lost(self, position: int, look: Look) -> None:
        lost = max(0, look.beginning - position)
        self._log.error("position_lost", position=position, beginning=look.beginning, end=look.end, lost=lost)
        self._metrics.position_lost()

    def _tell_judgement(self, judgement: Judgement) -> None:
        match judgement:
            case Obeyed(offset):
                self._log.warning("position_set_by_operator", position=offset)
            case Ignored(offset, repeats, skips):
                self._log.error(
                    "offset_ignored",
                    offset=offset,
                    would_repeat=repeats,
                    would_skip=skips,
                    hint="somebody else uses this group; `clawdstrike-alerting offsets rewind|skip` does it on purpose",
                )
                self._metrics.offset_ignored("skip" if skips else "repeat")
            case StateGone():
                self._gone_at = self._clock.monotonic()
                self._log.error("state_gone", error="the group has an offset of ours, and there is no checkpoint")
                self._metrics.state_lost("gone")
            case StateWentBack(by):
                self._log.error("state_went_back", by=by)
                self._metrics.state_lost("went_back")
