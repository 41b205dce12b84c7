"""A task's side of feedback: what it has been handed of the feedback topic, and what follows (design section 6).

Records are taken strictly in order. How far they have been taken is in the task's checkpoint, together with what
followed, so each has its effect once: what was not taken when the task ended is read again by its next owner. Records
about homes have a lane of their own, which the task takes from (`consumer.homes.moving`): a replay can wait for very
long.
"""

from collections.abc import Callable, Iterable, Mapping

from structlog.typing import FilteringBoundLogger

from consumer.clock import Clock
from consumer.feedback.lane import Lane
from consumer.feedback.moves import Forwarded, HandOver, Move, Moved
from consumer.feedback.records import Command, Feedback, FromProvider, Kind, Replay, unmeant
from consumer.pipeline import Decision, Elsewhere, Pipeline
from consumer.telemetry.metrics import PipelineMetrics
from state.alert import Alert, Ending, acknowledge, over
from state.provider_feedback import Applied, Ignored, TellAgain, happened, told_again
from state.store import Store
from state.violation import Record

CAPACITY = 500
"""Records that wait before the reader is to hand no more."""

MOVES_CAPACITY = 5_000
"""The same of those about homes, which the tasks of a member share in memory."""

_AT_A_TIME = 25
"""Records that are taken before others have their turn."""


class TaskInbox:
    """The feedback of one task. ``moves`` are the records about homes that it has been handed; ``elsewhere`` is what it
    knows of other tasks, None while homes have never moved. ``commanded`` is told of each command that is about the
    alert as it is here, or whose alert is not here (yet), ``arrived`` that there are moves.

    ``waits`` says of a dedup key that its request is on the wire, ``has_room`` of a replay that its route takes more to
    owe; ``changed`` is told of an alert that feedback has changed, ``ended`` of one that it has ended, ``decided`` of a
    replay that was decided like an event. ``soon`` is given what is to be called when others have had their turn.

    Of what has happened at the provider, ``knows_all`` says whether an alert that is not here may still come: then that
    waits. ``told_event`` gives the record of the event that an alert's provider was told last, None until it is read;
    ``owes_again`` is told of an alert that owes it again, ``closed`` of one that the provider has ended.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        partition: int,
        store: Store,
        clock: Clock,
        metrics: PipelineMetrics,
        log: FilteringBoundLogger,
        is_running: Callable[[], bool],
        waits: Callable[[str], bool],
        has_room: Callable[[Replay], bool],
        changed: Callable[[Alert], None],
        ended: Callable[[str], None],
        decided: Callable[[Decision], None],
        soon: Callable[[Callable[[], None]], object],
        elsewhere: Callable[[], Elsewhere | None] = lambda: None,
        commanded: Callable[[Command], None] = lambda command: None,
        arrived: Callable[[], None] = lambda: None,
        knows_all: Callable[[], bool] = lambda: True,
        told_event: Callable[[Alert], Record | None] = lambda alert: None,
        owes_again: Callable[[Alert], None] = lambda alert: None,
        closed: Callable[[str], None] = lambda dedup_key: None,
    ) -> None:
        self._pipeline = pipeline
        self._partition = partition
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._is_running = is_running
        self._waits = waits
        self._has_room = has_room
        self._changed = changed
        self._ended = ended
        self._decided = decided
        self._soon = soon
        self._elsewhere = elsewhere
        self._commanded = commanded
        self._arrived = arrived
        self._knows_all = knows_all
        self._told_event = told_event
        self._owes_again = owes_again
        self._closed = closed
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
        return self._is_running() and (len(self._orders) >= CAPACITY or len(self.moves) >= MOVES_CAPACITY)

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
            self._arrived()
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
                if (head := self._orders.head) is None or not self._is_running():
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
            if not self._has_room(feedback):
                return False
            self._replay(feedback)
            return True
        alert = self._store.get(feedback.dedup_key)
        if alert is None:
            if isinstance(feedback, FromProvider):
                return self._knows_all()
            self._commanded(feedback)
            return True  # another task's, or gone
        if self._waits(feedback.dedup_key):
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
        self._commanded(command)
        after = acknowledge(alert) if command.kind is Kind.ACKNOWLEDGE else over(alert, Ending.OPERATOR)
        result = "ignored" if after is alert else "applied"
        self._metrics.feedback(command.kind.value, result)
        self._log.info(f"command_{result}", status=after.status.value if after is not None else "gone", **fields)
        if after is None:
            self._ended(alert.dedup_key)
        elif after is not alert:
            self._store.put(after)
            self._changed(after)

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
                if (record := self._told_event(alert)) is None:
                    return False
                after: Alert | None = told_again(alert, it, record, is_repeat, self._clock.wall())
            case Applied(after):
                pass
        status = "gone" if after is None else after.status.value
        self._metrics.feedback(it.what.value, "applied")
        self._log.info("provider_feedback_applied", status=status, **fields)
        if after is None:
            self._closed(dedup_key)
            return True
        self._store.put(after)
        if after.owed is not None and after.owed is not alert.owed:
            self._owes_again(after)
        else:
            self._changed(after)
        return True

    def _replay(self, replay: Replay) -> None:
        record = replay.record
        try:
            decision = self._pipeline.replay(replay, self._store, self._clock.moment(), self._elsewhere())
        except Exception as error:  # as with an event: neither stop nor lose it
            self._log.error("decision_failed", offset=record.offset, replay=replay.replay_id, exc_info=error)
            decision = self._pipeline.undecidable(record, error)
        if decision is None:
            self._metrics.feedback(Kind.REPLAY.value, "ignored")
            self._log.info(
                "replay_ignored", replay=replay.replay_id, offset=record.offset, reason="not alertable (any more)"
            )
            return
        if decision.forward is not None:
            self._log.info("replay_forwarded", replay=replay.replay_id, offset=record.offset)
            self._decided(decision)
            return
        outcome = "dead_letter" if decision.outcome is None else decision.outcome.value
        self._metrics.feedback(Kind.REPLAY.value, "ignored" if decision.outcome is None else "applied")
        self._log.info("replay_decided", replay=replay.replay_id, offset=record.offset, outcome=outcome)
        self._decided(decision)
