"""A task's side of feedback: what it has been handed of the feedback topic, and what follows (design section 6).

Records are taken strictly in order. How far they have been taken is in the task's checkpoint, together with what
followed, so each has its effect once: what was not taken when the task ended is read again by its next owner. Records
about homes have a lane of their own, which the task takes from (`consumer.homes.moving`): a replay can wait for very
long.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, assert_never

from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from consumer.clock import Clock
from consumer.decisions import BelongsElsewhere, Counted, DeadLettered, Replayed, Silenced, Suppressed, Triggered
from consumer.feedback.lane import Lane
from consumer.feedback.moves import Forwarded, HandOver, Move, Moved
from consumer.feedback.records import Command, Feedback, FromProvider, Kind, Replay, unmeant
from consumer.history.steps import TaskSteps, kept_actor
from consumer.pipeline import Elsewhere, Pipeline
from consumer.telemetry.metrics import PipelineMetrics
from state.alert import Alert, Ending, Status, acknowledge, is_silenced, over
from state.provider_feedback import Applied, Ignored, TellAgain, What, happened, told_again
from state.silenced import last_silence
from state.store import Store
from state.violation import Record

CAPACITY = 500
"""Records that wait before the reader is to hand no more."""

MOVES_CAPACITY = 5_000
"""The same of those about homes, which the tasks of a member share in memory."""

_AT_A_TIME = 25
"""Records that are taken before others have their turn."""


class Deeds(Protocol):
    """What a task does about feedback, and what it is asked before."""

    @property
    def is_running(self) -> bool:
        """Whether the task decides: one that closes takes nothing more."""
        ...

    @property
    def elsewhere(self) -> Elsewhere | None:
        """What it knows of other tasks; None while homes have never moved."""
        ...

    def is_busy(self, dedup_key: str) -> bool:
        """Whether a request about the alert is on the wire."""
        ...

    def has_room_for(self, replay: Replay) -> bool:
        """Whether the replay's route takes more to owe."""
        ...

    def commanded(self, command: Command) -> None:
        """A command is about the alert as it is here, or its alert is not here (yet)."""
        ...

    def changed_by_feedback(self, alert: Alert) -> None:
        """Feedback has changed the alert, which is in the store."""
        ...

    def ended_by_feedback(self, dedup_key: str) -> None:
        """Feedback has ended the alert, which is to leave the store."""
        ...

    def replayed(self, decision: Replayed) -> None:
        """A dead letter was decided again, like an event."""
        ...

    def urge(self) -> None:
        """A checkpoint is to be written soon: there are records about homes."""
        ...

    def knows_all(self) -> bool:
        """Whether no alert can come any more of which somebody may have heard at the provider."""
        ...

    def told_event(self, alert: Alert) -> Record | None:
        """The record of the event that the alert's provider was told last; None until it is read."""
        ...

    def owes_again(self, alert: Alert) -> None:
        """The provider has ended the alert's incident, and the alert, which is in the store, owes its trigger again."""
        ...

    def closed_at_provider(self, dedup_key: str) -> None:
        """The provider has ended the alert, which is to leave the store."""
        ...


class TaskInbox:
    """The feedback of one task. ``moves`` are the records about homes that it has been handed.

    ``soon`` is given what is to be called when others have had their turn.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        partition: int,
        store: Store,
        deeds: Deeds,
        clock: Clock,
        metrics: PipelineMetrics,
        log: FilteringBoundLogger,
        steps: TaskSteps,
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self._pipeline = pipeline
        self._partition = partition
        self._store = store
        self._deeds = deeds
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._steps = steps
        self._soon = soon
        self._orders: Lane[Feedback] = Lane()
        self.moves: Lane[Move] = Lane()
        self._is_working = False

    # what the reader hands over

    def start(self, positions: Mapping[int, int], moves: Mapping[int, int] | None = None) -> None:
        """The positions as the checkpoint holds them, by partition; one that is missing is the beginning. ``moves`` are
        those of records about homes, if they are others."""
        self._orders.start(positions)
        self.moves.start(positions if moves is None else moves)

    def next_offset(self, partition: int) -> int:
        """From which offset on it has not been handed everything of this partition."""
        return min(self._orders.next_offset(partition), self.moves.next_offset(partition))

    def reset(self, partition: int, offset: int) -> None:
        """The partition is another one than it was: this is where it begins."""
        self._orders.reset(partition, offset)
        self.moves.reset(partition, offset)

    @property
    def is_full(self) -> bool:
        """Whether it is to be handed nothing more for now."""
        return self._deeds.is_running and (len(self._orders) >= CAPACITY or len(self.moves) >= MOVES_CAPACITY)

    @property
    def has_room_again(self) -> bool:
        """Whether one that was full may be handed more."""
        return len(self._orders) <= CAPACITY // 2 and len(self.moves) <= MOVES_CAPACITY // 2

    def hand(self, partition: int, feedback: Iterable[tuple[int, Feedback | Move | None]], position: int) -> None:
        """Records of a partition with their offsets, in order (None: not readable); the reader is at ``position`` now.

        Those that it has had already are skipped, and those that are not for it.
        """
        orders: list[tuple[int, Feedback]] = []
        moves: list[tuple[int, Move]] = []
        begin = self._orders.next_offset(partition)
        for offset, found in feedback:
            match found:
                case None:
                    pass
                case Moved() | HandOver() | Forwarded():
                    if self._is_of_this_group(found):
                        moves.append((offset, found))
                case _ if offset >= begin and self._is_ours(found):
                    orders.append((offset, found))
        self._orders.hand(partition, orders, position)
        self.moves.hand(partition, moves, position)
        if self.moves:
            self._deeds.urge()
        self.work()

    def _is_of_this_group(self, move: Move) -> bool:
        sender = move.sender
        return sender.provider == self._pipeline.provider.name and sender.group == self._pipeline.group_id

    def _is_ours(self, feedback: Feedback) -> bool:
        if feedback.provider != self._pipeline.provider.name:
            return False
        if isinstance(feedback, Command | FromProvider):
            return True
        if feedback.record.partition != self._partition:
            return False
        if feedback.record.topic != self._pipeline.input_topic:
            self._log.error("replay_ignored", replay=feedback.replay_id, reason=f"not of {self._pipeline.input_topic}")
            self._metrics.feedback(Kind.REPLAY.value, "ignored")
            return False
        return True

    # what the task takes

    @property
    def positions(self) -> Mapping[int, int]:
        """How far commands and replays have been taken, by partition: what a checkpoint holds."""
        return self._orders.positions

    def work(self) -> None:
        """Take what can be taken now. Nothing that happens here stops the task."""
        if self._is_working:  # called back by what it has set off
            return
        self._is_working = True
        try:
            for _ in range(_AT_A_TIME):
                if (head := self._orders.head) is None or not self._deeds.is_running:
                    return
                _, offset, feedback = head
                try:
                    if not self._take(feedback):
                        return
                except Exception as error:  # a fault of ours, of this record only
                    self._log.error("feedback_failed", feedback_offset=offset, exc_info=error)
                self._orders.took()
        finally:
            self._is_working = False
        if self._orders:
            self._soon(self.work)

    def _take(self, feedback: Feedback) -> bool:
        """Take one record; False if it has to wait."""
        if isinstance(feedback, Replay):
            if not self._deeds.has_room_for(feedback):
                return False
            self._replay(feedback)
            return True
        alert = self._store.get(feedback.dedup_key)
        if alert is None:
            if isinstance(feedback, FromProvider):
                return self._deeds.knows_all()
            self._deeds.commanded(feedback)
            return True  # another task's, or gone
        if self._deeds.is_busy(feedback.dedup_key):
            return False
        if isinstance(feedback, FromProvider):
            return self._came_back(feedback, alert)
        self._command(feedback, alert)
        return True

    def _command(self, command: Command, alert: Alert) -> None:
        fields = {"command": command.kind.value, "dedup_key": command.dedup_key, "by": command.by, "at": command.at}
        if (news := unmeant(command.kind, command.at, command.seen, alert)) is not None:
            self._metrics.feedback(command.kind.value, "ignored")
            self._log.warning("command_ignored", reason=news.value, status=alert.status.value, **fields)
            return
        self._deeds.commanded(command)
        after = acknowledge(alert) if command.kind is Kind.ACKNOWLEDGE else over(alert, Ending.OPERATOR)
        result = "ignored" if after is alert else "applied"
        if after is not alert:
            after = self._done_by(f"operator:{command.by}", alert, after, is_over=command.kind is Kind.RESOLVE)
        self._metrics.feedback(command.kind.value, result)
        self._log.info(f"command_{result}", status=after.status.value if after is not None else "gone", **fields)
        if after is None:
            self._deeds.ended_by_feedback(alert.dedup_key)
        elif after is not alert:
            self._store.put(after)
            self._deeds.changed_by_feedback(after)

    def _done_by(self, actor: str, before: Alert, after: Alert | None, *, is_over: bool) -> Alert | None:
        """Somebody has acknowledged the alert, or ended it: as it is once that is told to its history."""
        if after is None:
            self._store.put(self._steps.resolved(before, kept_actor(actor)))  # as it is gone
            return None
        tell = self._steps.resolved if is_over else self._steps.acknowledged
        return tell(after, kept_actor(actor))

    def _came_back(self, feedback: FromProvider, alert: Alert) -> bool:
        """Something has happened to the alert at the provider; False if it has to wait."""
        it, dedup_key = feedback.it, feedback.dedup_key
        fields = {"feedback": it.what.value, "dedup_key": dedup_key, "by": feedback.by, "at": it.at}
        match happened(alert, it, self._pipeline.timeout_seconds):
            case Ignored(why):
                self._metrics.feedback(it.what.value, "ignored")
                self._log.info("provider_feedback_ignored", reason=why.value, status=alert.status.value, **fields)
                return True
            case TellAgain(is_repeat):
                if (record := self._deeds.told_event(alert)) is None:
                    return False
                if not is_repeat:  # what was resolved was one life of the key
                    alert = self._steps.resolved(alert, kept_actor(f"provider:{feedback.by}"))
                after: Alert | None = told_again(alert, it, record, is_repeat, self._clock.wall())
            case Applied(after):
                is_over = after is None or after.status is Status.RESOLVING
                if after is not None and it.what is What.RESOLVED and is_silenced(after):
                    after = self._begun_in_silence(alert, after, feedback.by)
                elif is_over or it.what is What.ACKNOWLEDGED:
                    after = self._done_by(f"provider:{feedback.by}", alert, after, is_over=is_over)
        status = "gone" if after is None else after.status.value
        self._metrics.feedback(it.what.value, "applied")
        self._log.info("provider_feedback_applied", status=status, **fields)
        if after is None:
            self._deeds.closed_at_provider(dedup_key)
            return True
        self._store.put(after)
        if after.owed is not None and after.owed is not alert.owed:
            self._deeds.owes_again(after)
        else:
            self._deeds.changed_by_feedback(after)
        return True

    def _begun_in_silence(self, before: Alert, after: Alert, by: str) -> Alert:
        """Somebody has resolved one life of the key at the provider; what was silenced since is another."""
        ended = self._steps.resolved(before, kept_actor(f"provider:{by}"))
        assert after.held is not None
        silence = last_silence(after.held)
        return self._steps.silenced(replace(after, last_step=ended.last_step), silence, is_of_event=False)

    def _replay(self, replay: Replay) -> None:
        record = replay.record
        decision: Replayed | None
        try:
            decision = self._pipeline.replay(replay, self._store, self._clock.moment(), self._deeds.elsewhere)
        except Exception as error:  # as with an event: neither stop nor lose it
            self._log.error("decision_failed", offset=record.offset, replay=replay.replay_id, exc_info=error)
            decision = self._pipeline.undecidable(record, error)
        fields = {"replay": replay.replay_id, "offset": record.offset}
        match decision:
            case None:
                self._metrics.feedback(Kind.REPLAY.value, "ignored")
                self._log.info("replay_ignored", reason="not alertable (any more)", **fields)
                return
            case Triggered() | Counted() | Suppressed() | Silenced():
                self._metrics.feedback(Kind.REPLAY.value, "applied")
                self._log.info("replay_decided", outcome=decision.outcome.value, **fields)
            case DeadLettered():
                self._metrics.feedback(Kind.REPLAY.value, "ignored")
                self._log.info("replay_decided", outcome="dead_letter", **fields)
            case BelongsElsewhere():
                self._log.info("replay_forwarded", **fields)
            case _:
                assert_never(decision)
        self._deeds.replayed(decision)
