"""How a task moves alerts between homes: what it hands over, forwards, takes and waits for (design section 17, "Homes
move").

`consumer.tasks.homes.home` knows where a key has its home and which tasks that home has to wait for; `tests/model`
shows why each rule is needed. Here a task follows the rules. It moves once it has decided its input up to the end at
which it learnt of the change. It does so in checkpoints that hold the tombstones together with the hand-overs; the last
of them has the mark. Where homes have never moved, nothing here waits or writes.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from structlog.typing import FilteringBoundLogger

from consumer.deciding.decisions import DecidedHere, Ended
from consumer.deciding.pipeline import Elsewhere, Pipeline, RecentEnds
from consumer.events.event import FetchedRecord
from consumer.feedback.lane import Lane
from consumer.feedback.moves import Forwarded, HandOver, Move, Moved, MovingTask
from consumer.input.progress import Progress
from consumer.kafka.partitioning import Evidence, Partitioner, Scheme
from consumer.tasks.homes.home import Homes, Place, decode_homes, encode_homes
from consumer.tasks.homes.whole_input import WholeInput
from consumer.telemetry.metrics import PipelineMetrics
from consumer.timing.clock import Clock
from state.alert import Alert, Status
from state.held import is_silenced
from state.joined import joined
from state.records import CorruptState
from state.remembered_ends import REMEMBERED_SECONDS, End, RememberedEnds, session
from state.restored import restored
from state.store import Store
from state.violation import Record

MOVED_AT_A_TIME: Final = 10_000
"""How many alerts one checkpoint hands over or takes, so that no transaction takes too long (design section 16)."""

LATE_SECONDS: Final = 900.0
"""For so many seconds after a move, or after a record that came too late for it, quiet ends alerts only if all
partitions are decided. Producers learn of new partitions within five minutes (``metadata.max.age.ms``)."""

TURN_SECONDS: Final = 900.0
"""After the assumed partitioner has changed, it does not change again for so many seconds; after the next change for
twice as many, and so on."""

NOTICE_SECONDS: Final = 300.0
"""A task that has waited for homes for so many seconds says so in readiness."""

SUSPECTS_SECONDS: Final = 60.0
"""For so many seconds it is remembered that the home of an alert was in doubt. By then its trigger was sent, or its
home is in doubt again."""

FORGETTING_SECONDS: Final = 60.0
"""Seconds between two searches for ends to forget."""

_MOST_DOUBLINGS: Final = 6


class MoveHandler(Protocol):
    """What `Moving` asks of its task."""

    @property
    def is_running(self) -> bool: ...

    def is_busy(self, dedup_key: str) -> bool:
        """Whether a request about the alert is on the wire."""
        ...

    def has_decided_what_was_inherited(self) -> bool:
        """Whether the task has decided everything that an earlier owner may have decided, and all of a former input."""
        ...

    def handed_over(self, alert: Alert) -> Alert:
        """The alert is handed over to another task, as it is returned, and has left the store."""
        ...

    def taken_over(self, alert: Alert, *, has_ended: bool) -> None:
        """The alert was handed over to this task, and is in the store. ``has_ended``: it is over, and neither what was
        handed over nor what the store had of this key was told to be over before."""
        ...

    def gone(self, alert: Alert) -> None:
        """The alert was handed over to this task, is over by that, and not in the store."""
        ...

    def ending(self, ended: Ended) -> Iterator[None]:
        """End the alerts that a decision ends, in steps."""
        ...

    def decided_beside(self, decision: DecidedHere) -> Iterator[None]:
        """A record that was forwarded has been decided: do what was decided, in steps."""
        ...

    def undecidable_beside(self, record: Record, error: Exception) -> None:
        """Such a record cannot be decided because of a bug."""
        ...

    def urge(self) -> None:
        """Ask for a checkpoint soon."""
        ...

    def homes_changed(self, *, are_others: bool) -> None:
        """The partitions that this task waits for may have changed; ``are_others``: also the homes of keys."""
        ...


class Moving:
    """The moves of one task. ``partitioner`` is that of the producers, None if it is to be found out from records;
    ``whole`` is None where nobody asks how many partitions there are."""

    def __init__(
        self,
        *,
        partition: int,
        pipeline: Pipeline,
        store: Store,
        progress: Progress,
        effects: MoveHandler,
        clock: Clock,
        metrics: PipelineMetrics,
        log: FilteringBoundLogger,
        whole: WholeInput | None = None,
        partitioner: Partitioner | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._partition = partition
        self._store = store
        self._progress = progress
        self._effects = effects
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._whole = whole
        # The records of a keyed topic were written by our own stage.
        self._partitioner = Partitioner.MURMUR2 if pipeline.record_key is None else partitioner
        self._homes = Homes(partition, Scheme(1), moved=Scheme(1), earlier=())
        self._there = 1  # partitions there are now; a topic that was created anew can have fewer than before
        self._evidence = Evidence()
        self._ends = RememberedEnds()
        self._moves: list[Move] = []  # records that the next checkpoint writes
        self._noticed_at = 0.0
        self._leaving: Iterator[str | End] | None = None
        self._busy: list[str] = []
        self._handed_over = 0
        self._forwards = False
        self._marks_again = False
        self._is_settled = True
        self._late_until = 0.0
        self._no_turn_before = 0.0
        self._unheard: frozenset[int] = frozenset()
        self._taken: Mapping[int, int] = {}
        self._suspects: OrderedDict[str, float] = OrderedDict()
        self._counted_at: float | None = None
        self._forgets_at = 0.0

    # from and to the checkpoint

    def restore(self, json: Mapping[str, Any], orders: Mapping[int, int]) -> Mapping[int, int]:
        """Take what the checkpoint held; ``orders`` is how far it says that other feedback has been taken. Returns how
        far records about homes have been taken.

        Raises `CorruptState` if the checkpoint's part about homes is malformed.
        """
        homes = decode_homes(dict(json), self._partition)
        try:
            self._ends.restore(json.get("ends", {}))
            self._evidence = Evidence(homes.scheme.partitioner, int(json.get("score", 0)))
            taken = {int(partition): int(offset) for partition, offset in json.get("taken", orders).items()}
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            raise CorruptState(f"checkpoint record: homes: {error!r}") from error
        self._homes, self._there = homes, homes.scheme.partitions
        return taken

    @property
    def partitions(self) -> int:
        """The highest number of partitions that was ever seen."""
        return self._homes.scheme.partitions

    def begin(self, partitions: int, *, have_never_moved: bool) -> None:
        """Begin without a checkpoint that knows of homes. There are so many ``partitions``."""
        self._there, scheme = partitions, self._assumed(Scheme(partitions))
        moved, earlier = (scheme, ()) if have_never_moved else (None, None)
        self._homes = Homes(self._partition, scheme, moved=moved, earlier=earlier)
        self._set(self._homes, began=True)

    def go_on(self, partitions: int) -> None:
        """Go on from what `restore` has taken. There are so many ``partitions`` now."""
        self._there, homes = partitions, self._homes
        if not homes.are_ever_moved:
            scheme = self._assumed(homes.scheme)
            self._homes = homes = replace(homes, scheme=scheme, moved=scheme)
        elif turn := homes.scheme.turn:
            self._no_turn_before = self._clock.monotonic() + TURN_SECONDS * 2.0 ** min(_MOST_DOUBLINGS, turn - 1)
        seen = homes.with_seen(Scheme(partitions, homes.scheme.turn)).with_seen(self._assumed(homes.scheme))
        if not homes.are_ever_moved and partitions < homes.scheme.partitions:  # the topic was created anew
            seen = replace(homes, scheme=Scheme(partitions, homes.scheme.turn), earlier=None)
        self._set(seen, began=True)

    def _assumed(self, scheme: Scheme) -> Scheme:
        return scheme if self._partitioner is None else scheme.believing(self._partitioner)

    def to_json(self, taken: Mapping[int, int], orders: Mapping[int, int]) -> Mapping[str, Any]:
        """What the next checkpoint holds of homes. ``taken`` is how far records about homes have been taken, ``orders``
        how far all other feedback, which the checkpoint holds anyway."""
        json = encode_homes(self._homes)
        if self._evidence.score:
            json["score"] = self._evidence.score
        if not self._is_settled and len(self._ends):
            json["ends"] = self._ends.to_json()
        if taken != orders:
            json["taken"] = {str(partition): offset for partition, offset in taken.items()}
        return json

    def cut(self, taken: Mapping[int, int]) -> tuple[Move, ...]:
        """Take the records for other tasks that the next checkpoint writes. All that was taken and is to be passed on
        is in them, or in an earlier checkpoint, so a mark among them says ``taken``."""
        moves, self._moves = self._moves, []
        if self._marks_again:
            self._marks_again = False
            if self._homes.has_moved:
                moves.append(Moved(self._sender(), self._homes.moved))
        return tuple(
            replace(move, sender=replace(move.sender, feedback=taken)) if isinstance(move, Moved) else move
            for move in moves
        )

    @property
    def has_moves(self) -> bool:
        """Whether the next checkpoint has something to write for other tasks."""
        return bool(self._moves) or self._marks_again

    @property
    def is_at_work(self) -> bool:
        """Whether the task has to move, so that checkpoints have to follow soon."""
        return self._homes.are_ever_moved and not self._homes.has_moved

    # asked for each event (`consumer.deciding.pipeline.Elsewhere`, `consumer.deciding.pipeline.Ends`)

    @property
    def elsewhere(self) -> Elsewhere | None:
        """This object if homes have ever moved, else None."""
        return self if self._homes.are_ever_moved else None

    @property
    def ends(self) -> RecentEnds | None:
        """This object if an end is remembered, else None."""
        return self if len(self._ends) else None

    def forwards(self, key: bytes | None) -> bool:
        """Whether records of this key are forwarded for another task to decide."""
        return self._forwards and self._home_of(key) != self._partition

    def ended_at(self, dedup_key: str, session_id: str | None) -> float | None:
        """The event time of a remembered end of this session, or, where homes have moved, of this dedup key; None if
        there is none. (Within one partition only what is posted can be overtaken. The end of a session is told by the
        clock by which its events are; that of a key may be told by another.)"""
        if not len(self._ends):
            return None
        of_session = None if session_id is None else session(session_id)
        return self._ends.latest(dedup_key if self._homes.are_ever_moved else None, of_session)

    def ended(self, end: End) -> None:
        """Remember an end that was decided: events from before it may still come."""
        self._ends.remember(end)

    def _home_of(self, key: bytes | None) -> int:
        home = self._homes.home_of(key)
        return home if home < self._there else self._partition

    # asked for each alert (`consumer.tasks.alerting.outbox.Voice`)

    @property
    def is_settled(self) -> bool:
        """Whether this task has moved and has heard all that other tasks have to say about its keys."""
        return self._is_settled

    @property
    def notice(self) -> str | None:
        """What has kept the task from resolving its alerts for longer than `NOTICE_SECONDS`; else None."""
        if self._is_settled or self._clock.monotonic() - self._noticed_at < NOTICE_SECONDS:
            return None
        if not self._homes.has_moved:
            return "it has not handed over yet what has moved to other partitions"
        partitions = ", ".join(map(str, sorted(self._unheard)))
        return f"it resolves nothing: of partition {partitions} it waits to hear that what has moved is handed over"

    def is_elsewhere(self, alert: Alert) -> bool:
        """Whether the alert has its home at another task, to which it is about to be handed over."""
        homes = self._homes
        if homes.has_moved or not homes.are_ever_moved:
            return False  # all alerts in the store are at home
        return self._home_of(self._pipeline.home_key_of(alert)) != self._partition

    def awaits(self, alert: Alert) -> bool:
        """Whether another task may still send for this alert, or still has to hand over something of it."""
        if self._is_settled:
            return not self._homes.are_ever_moved and self._is_suspect(alert)
        return not self._unheard.isdisjoint(self._homes.awaited(self._pipeline.home_key_of(alert)))

    @property
    def awaits_since(self) -> float | None:
        """Since when the task waits for earlier homes. None if it does not: then it waits only for single alerts, whose
        key belongs elsewhere."""
        return None if self._is_settled else self._noticed_at

    def _is_suspect(self, alert: Alert) -> bool:
        """Whether the alert's key belongs elsewhere, and this may be its new home because the topic has just grown.

        The doubt ends with the next count of the partitions.
        """
        if self._whole is None or not self._is_known():
            return False
        if self._home_of(self._pipeline.home_key_of(alert)) == self._partition:
            return False
        since = self._suspects.setdefault(alert.dedup_key, self._clock.monotonic())
        return self._whole.counted_at is None or self._whole.counted_at < since

    def quiet_to(self, now: float) -> float | None:
        """The moment up to which silence means that nothing has occurred; None if silence means nothing."""
        if not self._is_settled:
            return None
        if self._whole is None:
            return now
        counted_at = self._whole.counted_at
        if counted_at is None or self._whole.partitions > self._homes.scheme.partitions:
            return None
        if self._wants_to_know_all(now):
            return self._whole.decided_to(self._taken)
        return min(now, counted_at)

    def _wants_to_know_all(self, now: float) -> bool:
        return self._homes.are_ever_moved and now < self._late_until

    @property
    def wants_to_know_all(self) -> bool:
        """Whether the task has to know how far all partitions are decided."""
        return self._wants_to_know_all(self._clock.monotonic())

    # evidence of the producers' partitioner

    def sample(self, record: FetchedRecord) -> None:
        """Take a record of the input, one of many, as evidence of the producers' partitioner. A record of a backlog is
        no evidence once homes have moved: it may be from before a growth."""
        if self._partitioner is not None or self._whole is None:
            return
        homes, now = self._homes, self._clock.monotonic()
        if homes.are_ever_moved and not (homes.has_moved and self._progress.is_caught_up(now)):
            return
        before = self._evidence
        self._evidence = after = before.seen(record.key, self._partition, homes.scheme.partitions)
        if after is before or after.believed is homes.scheme.partitioner or not after.is_convincing:
            return
        if not homes.are_ever_moved:  # the assumed partitioner has not been used yet
            scheme = Scheme(homes.scheme.partitions, list(Partitioner).index(after.believed))
            self._homes = replace(homes, scheme=scheme, moved=scheme)
        elif now >= self._no_turn_before:
            self._see(homes.scheme.believing(after.believed))

    # time

    def tick(self) -> Iterator[None]:
        """Done once a second, in steps: notice new partitions, and forget old doubts and ends."""
        if self._whole is not None and self._whole.partitions > self._there:
            self._there = self._whole.partitions
            self._see(Scheme(self._there, self._homes.scheme.turn))
        yield from self._doubt_no_more()
        now = self._clock.monotonic()
        if len(self._ends) and now >= self._forgets_at:
            self._forgets_at = now + FORGETTING_SECONDS
            # Longer while other tasks may still hand over or forward what occurred before an end.
            kept = REMEMBERED_SECONDS if self._is_settled else 4 * REMEMBERED_SECONDS
            yield from self._ends.forget_before(self._clock.wall() - kept)

    def _doubt_no_more(self) -> Iterator[None]:
        counted_at = self._whole.counted_at if self._whole is not None else None
        if self._suspects and counted_at != self._counted_at:
            self._effects.homes_changed(are_others=False)
        self._counted_at = counted_at
        forgotten_before = self._clock.monotonic() - SUSPECTS_SECONDS
        while self._suspects and next(iter(self._suspects.values())) < forgotten_before:
            self._suspects.popitem(last=False)
            yield

    def _see(self, scheme: Scheme) -> None:
        self._set(self._homes.with_seen(scheme))

    def _set(self, homes: Homes, *, began: bool = False) -> None:
        """Take new knowledge of homes: the homes of keys have changed, or other tasks have moved."""
        before, now = self._homes, self._clock.monotonic()
        if before.are_ever_moved != homes.are_ever_moved and not self._is_known():
            # The partitioner by which keys came here until now is not known.
            homes = replace(homes, earlier=None, old=before.scheme.partitions if homes.earlier else None)
        self._homes = homes
        if homes.scheme.turn > before.scheme.turn and before.are_ever_moved:
            doublings = min(_MOST_DOUBLINGS, homes.scheme.turn - 1)
            self._no_turn_before = now + TURN_SECONDS * 2.0**doublings
        are_others = began or homes.scheme != before.scheme or homes.are_ever_moved != before.are_ever_moved
        if are_others:
            self._noticed_at, self._leaving, self._busy = now, None, []
            self._forwards = homes.are_ever_moved and homes.has_moved
            if homes.are_ever_moved:
                self._late_until = now + LATE_SECONDS
                self._effects.urge()
                if not homes.has_moved:
                    self._log.info(
                        "homes_move",
                        partitions=homes.scheme.partitions,
                        partitioner=homes.scheme.partitioner.value,
                        before=None if homes.moved is None else homes.moved.partitions,
                    )
        self._settle(are_others=are_others)

    def _is_known(self) -> bool:
        return self._partitioner is not None or self._evidence.is_convincing

    def _settle(self, *, are_others: bool = False) -> None:
        homes = self._homes
        self._unheard = frozenset(each for each in homes.unheard if each < self._there)
        self._is_settled = not homes.are_ever_moved or (homes.has_moved and not self._unheard)
        self._effects.homes_changed(are_others=are_others)

    # move

    def leave(self) -> Iterator[None]:
        """Hand over all that has its home elsewhere, at most as much as one checkpoint can hold. When all of it is
        handed over, write the mark."""
        if not self._may_leave():
            return
        if self._leaving is None:
            self._leaving, self._handed_over, self._forwards = self._all_that_there_is(), 0, True
        leaving = self._leaving
        while self._effects.is_running and self._has_room() and self._leaving is leaving:
            found = next(leaving, None)
            match found:
                case None if self._busy:  # alerts with a request on the wire wait for its answer
                    self._leaving, self._busy = iter(self._busy), []
                case None:
                    self._mark()
                case End():
                    self._hand_over_end(found)
                case _ if (alert := self._store.get(found)) is not None and self.is_elsewhere(alert):
                    self._hand_over(alert)
            yield

    def _may_leave(self) -> bool:
        has_decided = self._effects.has_decided_what_was_inherited()
        return self.is_at_work and has_decided and self._progress.is_decided_to(self._noticed_at)

    def _has_room(self) -> bool:
        return self._store.changes < MOVED_AT_A_TIME and len(self._moves) < MOVED_AT_A_TIME

    def _all_that_there_is(self) -> Iterator[str | End]:
        yield from self._ends.all()
        yield from self._store.keys_in_pieces()

    def _hand_over_end(self, end: End) -> None:
        if (home := self._home_of(end.key)) != self._partition:
            self._moves.append(HandOver(self._sender(), home, end.subject, None, end.at, end.key))
            self._ends.forget(end.subject)

    def _hand_over(self, alert: Alert) -> None:
        if self._effects.is_busy(alert.dedup_key):
            self._busy.append(alert.dedup_key)
            return
        key = self._pipeline.home_key_of(alert)
        self._store.drop(alert.dedup_key)
        left = self._effects.handed_over(alert)
        self._moves.append(HandOver(self._sender(), self._home_of(key), alert.dedup_key, left, None, key))
        self._handed_over += 1
        self._metrics.home("handed_over")

    def _mark(self) -> None:
        before, self._homes = self._homes.moved, self._homes.moves()
        self._moves.append(Moved(self._sender(), before))
        self._leaving, self._marks_again = None, False
        scheme = self._homes.scheme
        self._log.info(
            "partition_moved",
            alerts=self._handed_over,
            partitions=scheme.partitions,
            partitioner=scheme.partitioner.value,
        )
        self._settle()

    def forward(self, record: Record, key: bytes | None, *, is_replay: bool = False) -> None:
        """Have the next checkpoint forward this record to the home of its key, whose task decides it."""
        self._moves.append(Forwarded(self._sender(), self._home_of(key), record, key, is_replay))
        self._late_until = self._clock.monotonic() + LATE_SECONDS
        self._metrics.home("forwarded")
        self._effects.urge()

    def _sender(self) -> MovingTask:
        pipeline = self._pipeline
        scheme, group, topic = self._homes.scheme, pipeline.group_id, pipeline.input_topic
        return MovingTask(pipeline.provider.name, self._partition, scheme, group=group, input=topic)

    # take

    def take(self, lane: Lane[Move], newest: Callable[[], float | None]) -> Iterator[None]:
        """Take records that other tasks have written, at most as many as one checkpoint can hold."""
        self._taken = lane.positions
        while self._effects.is_running and self._has_room() and (head := lane.head) is not None:
            feedback, offset, move = head
            if self._has_to_wait(move):
                return
            try:
                yield from self._take(move, (feedback, offset), newest)
                if not self._effects.is_running:
                    return  # perhaps in the middle of the record: its next owner takes it again
            except Exception as error:  # a bug with this record only
                self._log.error("feedback_failed", feedback_offset=offset, exc_info=error)
            lane.took()
            self._taken = lane.positions
            yield

    def _has_to_wait(self, move: Move) -> bool:
        """Whether the record has to wait until a request of its alert is answered, and until all that an earlier owner
        decided is decided again. Else a next owner would decide in another order, and another event would choose the
        route."""
        match move:
            case HandOver(home=self._partition, dedup_key=dedup_key):
                return self._effects.is_busy(dedup_key) or not self._effects.has_decided_what_was_inherited()
            case Forwarded(home=self._partition):
                return not self._effects.has_decided_what_was_inherited()
            case _:
                return False

    def _take(self, move: Move, place: Place, newest: Callable[[], float | None]) -> Iterator[None]:
        if move.sender.input not in ("", self._pipeline.input_topic):
            move = self._of_this_input(move)
        else:
            self._hear(move, place)
        if isinstance(move, Moved) or move.home != self._partition:
            return
        self._late_until = self._clock.monotonic() + LATE_SECONDS
        if self.forwards(move.key):
            self._pass_on(move)
        elif isinstance(move, Forwarded):
            yield from self.decide(move.record, newest, is_replay=move.is_replay)
        elif move.alert is None:
            assert move.ended_at is not None
            yield from self._end(End(move.dedup_key, move.ended_at, move.key))
        else:
            self._join(move.alert)

    def _hear(self, move: Move, place: Place) -> None:
        """Learn from the record where homes are."""
        before = self._homes
        after = before.took(move, place)
        if after is not before:
            if after.scheme.partitions > self._there:
                self._there = after.scheme.partitions
            self._set(after)

    def _of_this_input(self, move: Move) -> Move:
        """The record with its key as this input has it. It was on its way when a repartition stage came or went: it is
        still for the task with this number, but says nothing of where homes are now, and has a key of another kind."""
        match move:
            case HandOver(alert=Alert() as alert):
                return replace(move, key=self._pipeline.home_key_of(alert))
            case Forwarded(record=record):
                return replace(move, key=self._pipeline.home_key_of_record(record))
            case _:
                return move

    def _pass_on(self, move: HandOver | Forwarded) -> None:
        self._moves.append(replace(move, sender=self._sender(), home=self._home_of(move.key)))
        self._marks_again = True
        self._metrics.home("passed_on")
        self._effects.urge()

    def decide(self, record: Record, newest: Callable[[], float | None], *, is_replay: bool = False) -> Iterator[None]:
        """Decide a record that is not of this task's input, like an event and in steps: a forwarded record, or one of
        an input that the pipeline had before."""
        now = self._clock.moment()
        self._metrics.home("decided")
        try:
            decision = self._pipeline.forwarded(record, self._store, now, newest(), self, is_replay=is_replay)
        except Exception as error:  # as with an event: a bug must neither stop the task nor lose the record
            self._log.error("decision_failed", offset=record.offset, of_partition=record.partition, exc_info=error)
            self._effects.undecidable_beside(record, error)
            return
        if decision is not None:
            yield from self._effects.decided_beside(decision)

    def _end(self, end: End) -> Iterator[None]:
        subject = end.subject
        if subject.startswith(session("")):
            ends = self._store.keys_of_session(subject.removeprefix(session("")))
        else:
            ends = [subject]
        yield from self._effects.ending(Ended(dedup_keys=ends, end=end))

    def _join(self, handed: Alert) -> None:
        written = self._pipeline.placed(restored(handed, self._clock.wall()))
        own = self._store.get(written.dedup_key)
        after = joined(own, written, self.ended_at(written.dedup_key, written.session_id))
        if after is not None:
            after = self._pipeline.placed(after)  # the orphans of both are found out anew
        self._metrics.home("taken_over")
        if after is not None:
            self._store.hear(after, self._clock.monotonic())  # for how long it was quiet is not handed over
            was_live = any(one is not None and _may_end(one, after) for one in (own, written))
            self._effects.taken_over(after, has_ended=was_live and after.status is Status.RESOLVING)
        else:
            if own is not None:
                self._store.drop(own.dedup_key)
            whole = joined(own, written)  # as it was when the end came
            assert whole is not None
            self._effects.gone(whole)


def _may_end(one: Alert, joined: Alert) -> bool:
    """Whether the end of the ``joined`` alert is also the end of ``one`` of the two alerts that it is made of. An alert
    that was being resolved has ended before. A silenced alert does not end if the joined one still holds silenced
    occurrences: it goes on after the other one is resolved."""
    return one.status is not Status.RESOLVING and not (is_silenced(one) and joined.held is not None)
