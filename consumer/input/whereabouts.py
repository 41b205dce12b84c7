"""How far a task has come in its input, and how it finds its place again (design section 17).

The decisions are pure (`consumer.input.beginning`, `state.anchors`). This module reads the log, reports what it finds,
and remembers it for the checkpoint.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

from aiokafka.structs import OffsetAndMetadata
from structlog.typing import FilteringBoundLogger

from consumer.input.beginning import (
    Beginning,
    IgnoredOffset,
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
from consumer.timing.clock import Clock
from state.anchors import Anchor, AnchorRecord, Anchors, below, with_decided
from state.records import Position

NOTICE_SECONDS = 600.0
"""For so many seconds readiness says that the state of a partition is gone; after the log line nothing else says it."""


class Whereabouts:
    """One task's place in its input: its anchors, the group offset that it proved last, and a foreign group offset that
    it has obeyed."""

    def __init__(
        self,
        partition_input: PartitionInput,
        clients: KafkaClients,
        metrics: PipelineMetrics,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self._partition_input = partition_input
        self._clients = clients
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._anchors: Anchors = ()  # of records decided before the slice in hand
        self._slice: Sequence[AnchorRecord] = ()
        self._proof: int | None = None
        self._obeyed: int | None = None  # for as long as the group may still have it
        self._gone_at: float | None = None
        self.pinned_commit: OffsetAndMetadata | None = None
        """The commit that the group keeps until a checkpoint has followed: an operator's order, or a first start, which
        no checkpoint holds yet. None if there is none."""
        self.inherited_end = 0
        """No earlier owner can have decided a record at or beyond this offset, whichever log it read."""

    @property
    def newest(self) -> Anchor | None:
        """The anchor of one of the records decided last: the log must still have it. None before the first."""
        return self._anchors[0] if self._anchors else None

    @property
    def notice(self) -> str | None:
        """What people should know of this partition, although its task goes on; None if there is nothing."""
        if self._gone_at is None or (age := self._clock.monotonic() - self._gone_at) >= NOTICE_SECONDS:
            return None
        return f"its state was found to be gone {age:.0f} s ago: what was open is not known any more"

    # where to begin

    async def find(
        self, committed: OffsetAndMetadata, here: Position | None, *, has_state: bool, has_had_owners: bool
    ) -> Beginning:
        """Find where to go on, by the anchors of the checkpoint and by the group's offset, and report what was found.

        ``here`` is the position that is known of this partition; ``has_state`` is also true if there is a checkpoint
        without one. ``has_had_owners``: other tasks may have decided this partition before.

        Raises `KafkaError` or `TimeoutError` if Kafka does not answer as it should.
        """
        begun = committed
        if here is None and whose(committed) in (Whose.ORDER, Whose.FOREIGN):
            begun = await self._partition_input.start(self._clients)
        position, anchors = (begun.offset, ()) if here is None else (here.offset, self._doubted(here.anchors))
        look = await self._partition_input.look(self._clients, position, anchors)
        found = beginning(position, anchors, look)
        self._tell_found(found, position, look)
        judgement = judge(committed, here, found.offset, has_state=has_state)
        self._tell_judgement(judgement)
        self._proof = proof_of(here, found.offset)
        self._obeyed = None if here is None else here.obeyed
        if isinstance(judgement, Obeyed):
            self.pinned_commit = committed
            found = self._obey(judgement.offset, self._proof, found, look)
        elif whose(begun) is Whose.FIRST and here is None:
            self.pinned_commit = begun
        if found.offset > look.beginning and (not found.anchors or isinstance(judgement, Obeyed)):
            found = await self._with_the_one_before(found)
        self._anchors = found.anchors
        if has_had_owners or has_state:
            self.inherited_end = max(look.end, position)
        return found

    def _doubted(self, anchors: Anchors) -> Anchors:
        """The anchors without those that were made of another log before anybody noticed."""
        suspect = self._partition_input.suspect
        return anchors if suspect is None else (suspect, *below(anchors, suspect.offset))

    def _obey(self, offset: int, proof: int, found: Beginning, look: Look) -> Beginning:
        """Begin where an operator's offset says, as far as the log has that."""
        reached = min(max(offset, look.beginning), look.end)
        if reached != offset:
            self._tell_lost(offset, look)
        self._obeyed, self._proof = offset, min(reached, proof)
        return replace(found, offset=reached, anchors=below(found.anchors, reached))

    async def _with_the_one_before(self, found: Beginning) -> Beginning:
        """Add the record before the position as the newest anchor, as this task has decided nothing there yet."""
        before = await self._partition_input.anchor_before(self._clients, found.offset)
        if before is None:
            return found
        return replace(found, anchors=(before, *below(found.anchors, before.offset)))

    # deciding

    def in_hand(self, records: Sequence[AnchorRecord]) -> None:
        """These records are decided next, in their order."""
        self._slice = records

    def through(self, position: int) -> None:
        """The records in hand below the position are decided."""
        self._anchors, self._slice = self._anchored(position), ()

    def place(
        self, position: int, feedback: Mapping[int, int] | None = None, *, last_proof: int | None = None
    ) -> Position:
        """The position for a checkpoint, which can be in the middle of the records in hand.

        ``last_proof`` is given for the last checkpoint: the offset that is committed after it, which no further
        checkpoint can hold.
        """
        topic, partition = self._partition_input.partition
        proof, obeyed = (self._proof, self._obeyed) if last_proof is None else (last_proof, None)
        return Position(topic, partition, position, dict(feedback or {}), self._anchored(position), proof, obeyed)

    def proved(self, committed: OffsetAndMetadata) -> None:
        """The group has accepted this commit."""
        if whose(committed) is Whose.OURS:
            self._proof, self._obeyed = committed.offset, None

    def _anchored(self, position: int) -> Anchors:
        decided = bisect_left(self._slice, position, key=attrgetter("offset"))
        return with_decided(self._anchors, self._slice[:decided])

    # log and metrics

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
            case IgnoredOffset(offset, repeats, skips):
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
