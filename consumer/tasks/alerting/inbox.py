"""The feedback of a task: commands of operators, webhooks of providers, replayed dead letters and moved alerts, which
the member's reader hands to it from the feedback topic (design section 6).

Records are taken strictly in order. The task's checkpoint holds how far they were taken together with what they
changed, so each takes effect once: the next owner of the partition reads again what was not taken. Records about moved
alerts wait in a lane of their own (`consumer.tasks.homes.moving` takes them), because a replay can wait for very long.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, assert_never

from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from consumer.deciding.decisions import (
    BelongsElsewhere,
    Counted,
    DeadLettered,
    Replayed,
    Silenced,
    Suppressed,
    Triggered,
)
from consumer.deciding.pipeline import Elsewhere, Pipeline
from consumer.feedback.lane import Lane
from consumer.feedback.moves import Forwarded, HandOver, Move, Moved
from consumer.feedback.records import Feedback, FeedbackKind, FromProvider, OperatorCommand, Replay, unmeant
from consumer.history.step import Reason
from consumer.history.steps import TaskSteps, kept_actor
from consumer.telemetry.metrics import PipelineMetrics
from consumer.timing.clock import Clock
from state.acknowledging import acknowledge
from state.alert import Alert, Ending, Status
from state.held import is_silenced, last_silence
from state.over import over
from state.provider_feedback import Applied, Happened, Ignored, TellAgain, What, Why, happened, told_again
from state.store import Store
from state.violation import Record

CAPACITY = 500
"""The reader hands over no more records while so many wait."""

MOVES_CAPACITY = 5_000
"""The same for records about moved alerts, which the tasks of a member share in memory."""

LATELY_SECONDS = 300.0
"""How many seconds it is remembered what was heard of an alert that may be handed over yet."""

_MOST_LATELY = 1_000
"""So much of that is remembered: all tasks hear of all alerts."""

_AT_A_TIME = 25
"""How many records are taken before the event loop may run something else."""

_LOOKED_AT = CAPACITY
"""How many records behind one that waits for its event are looked at for others that will wait."""


class FeedbackHandler(Protocol):
    """What a task answers and does about feedback."""

    @property
    def is_running(self) -> bool:
        """Whether the task decides: a task that is closing takes no more feedback."""
        ...

    @property
    def elsewhere(self) -> Elsewhere | None:
        """What is known of the tasks of other partitions; None while no key has ever moved to another partition."""
        ...

    def is_busy(self, dedup_key: str) -> bool:
        """Whether a request about the alert is on the wire."""
        ...

    def has_room_for(self, replay: Replay) -> bool:
        """Whether the route of the replayed event has room for one more owed trigger."""
        ...

    def commanded(self, command: OperatorCommand) -> None:
        """A command was read: it applies to an alert of this task, or the alert is not here (yet)."""
        ...

    def changed_by_feedback(self, alert: Alert) -> None:
        """Have sent what the alert owes after feedback has changed it in the store."""
        ...

    def ended_by_feedback(self, dedup_key: str) -> None:
        """Drop the alert, which feedback has ended."""
        ...

    def replayed(self, decision: Replayed) -> None:
        """Carry out the decision on a replayed dead letter."""
        ...

    def urge(self) -> None:
        """Ask for a checkpoint soon: there are records about moved alerts."""
        ...

    def knows_all(self) -> bool:
        """Whether no alert can appear any more of which the provider may have been told."""
        ...

    def told_event(self, alert: Alert) -> Record | None:
        """The record of the event that the provider was told last about the alert; None until it is read from its
        topic."""
        ...

    def will_ask_for_told_event(self, alert: Alert) -> None:
        """That record is asked for soon, perhaps: it can be read together with others."""
        ...

    def owes_again(self, alert: Alert) -> None:
        """Have the trigger of the alert in the store sent again: its incident was ended at the provider, and the
        problem goes on."""
        ...

    def closed_at_provider(self, dedup_key: str) -> None:
        """Drop the alert: its incident was ended at the provider."""
        ...


class TaskInbox:
    """The feedback of one task. ``moves`` are the records about moved alerts that it was handed.

    ``soon`` is called with a function that is to run after other tasks had their turn.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        partition: int,
        store: Store,
        effects: FeedbackHandler,
        clock: Clock,
        metrics: PipelineMetrics,
        log: FilteringBoundLogger,
        steps: TaskSteps,
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self._pipeline = pipeline
        self._partition = partition
        self._store = store
        self._effects = effects
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._steps = steps
        self._soon = soon
        self._orders: Lane[Feedback] = Lane()
        self.moves: Lane[Move] = Lane()
        self._lately: deque[tuple[float, OperatorCommand | FromProvider]] = deque(maxlen=_MOST_LATELY)
        self._once_more: deque[OperatorCommand | FromProvider] = deque()
        self._is_working = False

    # what the reader hands over

    def start(self, positions: Mapping[int, int], moves: Mapping[int, int] | None = None) -> None:
        """Begin at these positions of the checkpoint, by partition of the feedback topic (0 where there is none).
        ``moves`` are the positions of records about moved alerts, if these differ."""
        self._orders.start(positions)
        self.moves.start(positions if moves is None else moves)

    def next_offset(self, partition: int) -> int:
        """The first offset of the partition that the task was not handed yet, of either kind of records."""
        return min(self._orders.next_offset(partition), self.moves.next_offset(partition))

    def reset(self, partition: int, offset: int) -> None:
        """Begin this partition at this offset: it was created anew, or has lost records."""
        self._orders.reset(partition, offset)
        self.moves.reset(partition, offset)

    @property
    def is_full(self) -> bool:
        """Whether the reader is to hand over nothing more for now."""
        return self._effects.is_running and (len(self._orders) >= CAPACITY or len(self.moves) >= MOVES_CAPACITY)

    @property
    def has_room_again(self) -> bool:
        """Whether the reader may go on after `is_full`."""
        return len(self._orders) <= CAPACITY // 2 and len(self.moves) <= MOVES_CAPACITY // 2

    def hand(self, partition: int, feedback: Iterable[tuple[int, Feedback | Move | None]], position: int) -> None:
        """Take in records of a partition with their offsets, in order (None: the record is not readable); the reader is
        at ``position`` now. Records that were handed before, and records for other tasks, are skipped."""
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
            self._effects.urge()
        self.work()

    def _is_of_this_group(self, move: Move) -> bool:
        sender = move.sender
        return sender.provider == self._pipeline.provider.name and sender.group == self._pipeline.group_id

    def _is_ours(self, feedback: Feedback) -> bool:
        if feedback.provider != self._pipeline.provider.name:
            return False
        if isinstance(feedback, OperatorCommand | FromProvider):
            return True
        if feedback.record.partition != self._partition:
            return False
        if feedback.record.topic != self._pipeline.input_topic:
            self._log.error("replay_ignored", replay=feedback.replay_id, reason=f"not of {self._pipeline.input_topic}")
            self._metrics.feedback(FeedbackKind.REPLAY.value, "ignored")
            return False
        return True

    # what the task takes

    @property
    def positions(self) -> Mapping[int, int]:
        """The next offset of each partition, of commands, webhooks and replays: what a checkpoint holds."""
        return self._orders.positions

    def work(self) -> None:
        """Take the records that can be taken now. An error in one of them is logged, and stops neither the task nor the
        others."""
        if self._is_working:  # what a record sets off may call this again
            return
        self._is_working = True
        try:
            while self._once_more and self._effects.is_running:
                if not self._try_to_take(self._once_more[0]):
                    return
                self._once_more.popleft()
            for _ in range(_AT_A_TIME):
                if (head := self._orders.head) is None or not self._effects.is_running:
                    return
                _, offset, feedback = head
                if not self._try_to_take(feedback, offset):
                    return
                self._orders.took()
                self._remember(feedback)
        finally:
            self._is_working = False
        if self._orders:
            self._soon(self.work)

    def _try_to_take(self, feedback: Feedback, offset: int | None = None) -> bool:
        """Take one record; False if it has to wait. ``offset`` is where it stands, for the log."""
        try:
            return self._take(feedback)
        except Exception as error:  # a fault of this program with this record
            self._log.error("feedback_failed", feedback_offset=offset, exc_info=error)
            return True

    def taken_over(self, dedup_key: str) -> None:
        """Another task has handed the alert over, which is in the store. What was heard of it while it was on its way
        neither found it there nor here: it is taken once more. (What had found it is older than itself by now, or
        changes nothing.)"""
        since = self._clock.monotonic() - LATELY_SECONDS
        lately = [feedback for at, feedback in self._lately if at >= since and feedback.dedup_key == dedup_key]
        if lately:
            self._once_more.extend(lately)
            self._soon(self.work)

    def _remember(self, feedback: Feedback) -> None:
        """What may have to be taken once more. (That an operator has resolved it, the task remembers itself.)"""
        if isinstance(feedback, FromProvider) or (
            isinstance(feedback, OperatorCommand) and feedback.kind is FeedbackKind.ACKNOWLEDGE
        ):
            self._lately.append((self._clock.monotonic(), feedback))

    def _take(self, feedback: Feedback) -> bool:
        """Take one record; False if it, and all behind it, have to wait."""
        if isinstance(feedback, Replay):
            if not self._effects.has_room_for(feedback):
                return False
            self._replay(feedback)
            return True
        alert = self._store.get(feedback.dedup_key)
        if alert is None:
            if isinstance(feedback, FromProvider):
                return self._effects.knows_all()
            self._effects.commanded(feedback)
            return True  # the alert is another task's, or gone
        if self._effects.is_busy(feedback.dedup_key):
            return False
        if isinstance(feedback, FromProvider):
            return self._came_back(feedback, alert)
        self._command(feedback, alert)
        return True

    def _command(self, command: OperatorCommand, alert: Alert) -> None:
        fields = {"command": command.kind.value, "dedup_key": command.dedup_key, "by": command.by, "at": command.at}
        if (news := unmeant(command.kind, command.at, command.seen, alert)) is not None:
            self._metrics.feedback(command.kind.value, "ignored")
            self._log.warning("command_ignored", reason=news.value, status=alert.status.value, **fields)
            return
        self._effects.commanded(command)
        after = acknowledge(alert) if command.kind is FeedbackKind.ACKNOWLEDGE else over(alert, Ending.OPERATOR)
        result = "ignored" if after is alert else "applied"
        if after is not alert:
            after = self._done_by(f"operator:{command.by}", alert, after, is_over=command.kind is FeedbackKind.RESOLVE)
        self._metrics.feedback(command.kind.value, result)
        self._log.info(f"command_{result}", status=after.status.value if after is not None else "gone", **fields)
        if after is None:
            self._effects.ended_by_feedback(alert.dedup_key)
        elif after is not alert:
            self._store.put(after)
            self._effects.changed_by_feedback(after)

    def _done_by(self, actor: str, before: Alert, after: Alert | None, *, is_over: bool) -> Alert | None:
        """Somebody has acknowledged the alert, or ended it: as it is once that is told to its history."""
        if after is None:
            self._store.put(self._steps.resolved(before, kept_actor(actor)))  # as it is gone
            return None
        if is_over and before.status is Status.RESOLVING:
            return after  # only what was silenced since is over
        tell = self._steps.resolved if is_over else self._steps.acknowledged
        return tell(after, kept_actor(actor))

    def _note(self, noted: Alert, alert: Alert) -> None:
        if noted is not alert:
            self._store.put(noted)
            self._effects.changed_by_feedback(noted)

    def _lives_on(self, it: Happened, before: Alert, after: Alert, actor: str) -> Alert:
        """The provider's news are in the alert: as it is once its history has them."""
        if it.what is not What.RESOLVED:
            return self._steps.happened(it.what, after, actor)
        if after.is_at_provider:  # another one: nobody has taken that
            return self._steps.happened(What.UNACKNOWLEDGED, after, actor)
        if after.status is Status.RESOLVING:  # there are incidents elsewhere
            return self._steps.resolved(after, actor)
        if is_silenced(after):
            return self._begun_in_silence(before, after, actor)
        return self._steps.triggered(after, None, Reason.CLOSED_AT_PROVIDER, actor)

    def _came_back(self, feedback: FromProvider, alert: Alert) -> bool:
        """Apply what a person did to the alert's incident at the provider; False if that has to wait."""
        it, dedup_key = feedback.it, feedback.dedup_key
        fields = {"feedback": it.what.value, "dedup_key": dedup_key, "by": feedback.by, "at": it.at}
        actor = kept_actor(f"provider:{feedback.by}")
        match happened(alert, it, self._pipeline.timeout_seconds):
            case Ignored(why, noted):
                if noted is not None:
                    self._store.put(noted)
                if why is Why.HISTORY and not it.by_integration:  # else it may be the echo of our own update
                    self._note(self._steps.happened(it.what, alert, actor), alert)
                self._metrics.feedback(it.what.value, "ignored")
                self._log.info("provider_feedback_ignored", reason=why.value, status=alert.status.value, **fields)
                return True
            case TellAgain(is_repeat):
                if (record := self._effects.told_event(alert)) is None:
                    self._look_ahead()
                    return False
                if not is_repeat:  # what was resolved was one life of the key
                    alert = self._steps.resolved(alert, actor)
                again = told_again(alert, it, record, is_repeat, self._clock.wall())
                after: Alert | None = self._steps.triggered(again, None, Reason.CLOSED_AT_PROVIDER, actor)
            case Applied(None):
                self._store.put(self._steps.resolved(alert, actor))  # as it is gone
                after = None
            case Applied(Alert() as applied):
                after = self._lives_on(it, alert, applied, actor)
        status = "gone" if after is None else after.status.value
        self._metrics.feedback(it.what.value, "applied")
        self._log.info("provider_feedback_applied", status=status, **fields)
        if after is None:
            self._effects.closed_at_provider(dedup_key)
            return True
        self._store.put(after)
        if after.owed is not None and after.owed is not alert.owed:
            self._effects.owes_again(after)
        else:
            self._effects.changed_by_feedback(after)
        return True

    def _look_ahead(self) -> None:
        """Have read at once what is needed soon: somebody may have resolved very many at the provider."""
        for feedback in self._orders.behind(_LOOKED_AT):
            alert = self._store.get(feedback.dedup_key) if isinstance(feedback, FromProvider) else None
            if alert is None or not isinstance(feedback, FromProvider):
                continue
            if isinstance(happened(alert, feedback.it, self._pipeline.timeout_seconds), TellAgain):
                self._effects.will_ask_for_told_event(alert)

    def _begun_in_silence(self, before: Alert, after: Alert, actor: str) -> Alert:
        """Somebody has resolved one life of the key at the provider; what was silenced since is another."""
        ended = self._steps.resolved(before, actor)
        assert after.held is not None
        silence = last_silence(after.held)
        return self._steps.silenced(replace(after, last_step=ended.last_step), silence, is_of_event=False)

    def _replay(self, replay: Replay) -> None:
        record = replay.record
        decision: Replayed | None
        try:
            decision = self._pipeline.replay(replay, self._store, self._clock.moment(), self._effects.elsewhere)
        except Exception as error:  # a fault of this program must neither stop the task nor lose the event
            self._log.error("decision_failed", offset=record.offset, replay=replay.replay_id, exc_info=error)
            decision = self._pipeline.undecidable(record, error)
        fields = {"replay": replay.replay_id, "offset": record.offset}
        match decision:
            case None:
                self._metrics.feedback(FeedbackKind.REPLAY.value, "ignored")
                self._log.info("replay_ignored", reason="not alertable (any more)", **fields)
                return
            case Triggered() | Counted() | Suppressed() | Silenced():
                self._metrics.feedback(FeedbackKind.REPLAY.value, "applied")
                self._log.info("replay_decided", outcome=decision.outcome.value, **fields)
            case DeadLettered():
                self._metrics.feedback(FeedbackKind.REPLAY.value, "ignored")
                self._log.info("replay_decided", outcome="dead_letter", **fields)
            case BelongsElsewhere():
                self._log.info("replay_forwarded", **fields)
            case _:
                assert_never(decision)
        self._effects.replayed(decision)
