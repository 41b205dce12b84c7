"""A task's side of homes: what it hands over, forwards, takes, and waits for (design section 17, "Homes move").

`consumer.homes.home` says where a key has its home and whom that has to wait for, and `tests/model` what each rule is
for. Here a task lives by it: it moves once it has decided its input to the end at which it learnt of the growth, in
checkpoints that hold the tombstones and the hand-overs together, of which the last one has the mark. Where homes have
never moved, all of this waits for nobody and writes nothing.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from structlog.typing import FilteringBoundLogger

from consumer.clock import Clock
from consumer.decisions import DecidedHere, Ended
from consumer.events.event import FetchedRecord
from consumer.feedback.lane import Lane
from consumer.feedback.moves import Forwarded, HandOver, Move, Moved, Sender
from consumer.homes.home import Homes, Place, decode_homes, encode_homes
from consumer.homes.whole_input import WholeInput
from consumer.input.progress import Progress
from consumer.kafka.partitioning import Evidence, Partitioner, Scheme
from consumer.pipeline import Elsewhere, Pipeline
from consumer.telemetry.metrics import PipelineMetrics
from state.alert import Alert, restored
from state.joined import joined
from state.records import CorruptState
from state.remembered_ends import End, RememberedEnds, session
from state.store import Store
from state.violation import Record

MOVED_AT_A_TIME: Final = 10_000
"""Alerts that are handed over, or taken, for each checkpoint, so that none takes too long (design section 16)."""

LATE_SECONDS: Final = 900.0
"""For so long after a move, or a record that came too late for one, quiet is peace only if all partitions are decided.
Producers ask within five minutes how many partitions there are (``metadata.max.age.ms``)."""

TURN_SECONDS: Final = 900.0
"""After the belief about the partitioner has changed, it does not change again for so long; then for twice as long."""

NOTICE_SECONDS: Final = 300.0
"""After which readiness says what a task waits for."""

SUSPECTS_SECONDS: Final = 60.0
"""For so long it is remembered that a key was in doubt; by then it has been told, or is in doubt again."""

ENDS_SECONDS: Final = 900.0
"""For so long an end is remembered; longer while something from before it may still come."""

FORGETTING_SECONDS: Final = 60.0
"""Between two looks for ends that are to be forgotten."""

_MOST_DOUBLINGS: Final = 6


class Deeds(Protocol):
    """What a task does about what is decided here."""

    @property
    def is_running(self) -> bool: ...

    def is_busy(self, dedup_key: str) -> bool:
        """Whether a request about the alert is on the wire."""
        ...

    def has_decided_what_was_inherited(self) -> bool:
        """Whether all that an earlier owner can have decided is decided again, and all of an input before."""
        ...

    def handed_over(self, alert: Alert) -> None:
        """The alert is another task's, and is gone here."""
        ...

    def taken_over(self, alert: Alert, before: Alert | None) -> None:
        """The alert was handed over, and is in the store; ``before`` is what was known of it here."""
        ...

    def gone(self, alert: Alert) -> None:
        """What was known of it here is over by what was handed over, and has left the store."""
        ...

    def ending(self, ended: Ended) -> Iterator[None]:
        """End what a decision ends, in steps."""
        ...

    def decided_beside(self, decision: DecidedHere) -> Iterator[None]:
        """A record that was forwarded has been decided: do what was decided, in steps."""
        ...

    def undecidable_beside(self, record: Record, error: Exception) -> None:
        """A record that was forwarded cannot be decided, by a fault of ours."""
        ...

    def urge(self) -> None:
        """A checkpoint is to be written soon."""
        ...

    def homes_changed(self, *, are_others: bool) -> None:
        """Whom one has to wait for is news; ``are_others``: and so is who speaks for which key."""
        ...


class Moving:
    """What one task knows of homes. ``partitioner`` is that of the producers, None if it is to be found out; ``whole``
    is None where nobody asks how many partitions there are."""

    def __init__(
        self,
        *,
        partition: int,
        pipeline: Pipeline,
        store: Store,
        progress: Progress,
        deeds: Deeds,
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
        self._deeds = deeds
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._whole = whole
        # What stands in a keyed topic was put there by our own stage.
        self._partitioner = Partitioner.MURMUR2 if pipeline.record_key is None else partitioner
        self._homes = Homes(partition, Scheme(1), moved=Scheme(1), earlier=())
        self._there = 1  # partitions; a topic that was made anew can have fewer than there have been
        self._evidence = Evidence()
        self._ends = RememberedEnds()
        self._moves: list[Move] = []  # that the next checkpoint writes
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
        """Take what the checkpoint held; ``orders`` is what it says of how far other feedback has been taken. How far
        records about homes have been. Raises `CorruptState`."""
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
        """No checkpoint has said anything of homes; there are so many partitions."""
        self._there, scheme = partitions, self._assumed(Scheme(partitions))
        moved, earlier = (scheme, ()) if have_never_moved else (None, None)
        self._homes = Homes(self._partition, scheme, moved=moved, earlier=earlier)
        self._set(self._homes, began=True)

    def go_on(self, partitions: int) -> None:
        """The checkpoint has said what there was; now there are so many partitions."""
        self._there, homes = partitions, self._homes
        if not homes.are_ever_moved:
            scheme = self._assumed(homes.scheme)
            self._homes = homes = replace(homes, scheme=scheme, moved=scheme)
        elif turn := homes.scheme.turn:
            self._no_turn_before = self._clock.monotonic() + TURN_SECONDS * 2.0 ** min(_MOST_DOUBLINGS, turn - 1)
        seen = homes.with_seen(Scheme(partitions, homes.scheme.turn)).with_seen(self._assumed(homes.scheme))
        if not homes.are_ever_moved and partitions < homes.scheme.partitions:  # the topic was made anew
            seen = replace(homes, scheme=Scheme(partitions, homes.scheme.turn), earlier=None)
        self._set(seen, began=True)

    def _assumed(self, scheme: Scheme) -> Scheme:
        return scheme if self._partitioner is None else scheme.believing(self._partitioner)

    def to_json(self, taken: Mapping[int, int], orders: Mapping[int, int]) -> Mapping[str, Any]:
        """What the next checkpoint holds. ``taken`` is how far records about homes have been taken, ``orders`` how far
        all others, which it holds anyway."""
        json = encode_homes(self._homes)
        if self._evidence.score:
            json["score"] = self._evidence.score
        if not self._is_settled and len(self._ends):
            json["ends"] = self._ends.to_json()
        if taken != orders:
            json["taken"] = {str(partition): offset for partition, offset in taken.items()}
        return json

    def cut(self, taken: Mapping[int, int]) -> tuple[Move, ...]:
        """What the next checkpoint writes for other tasks. What was taken is passed on in it, or was before."""
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
        """Whether there is something for other tasks."""
        return bool(self._moves) or self._marks_again

    @property
    def is_at_work(self) -> bool:
        """Whether it has to move, and checkpoints are to follow soon."""
        return self._homes.are_ever_moved and not self._homes.has_moved

    # what is asked for each event (`consumer.pipeline.Elsewhere`)

    @property
    def elsewhere(self) -> Elsewhere | None:
        """Itself, if homes have ever moved."""
        return self if self._homes.are_ever_moved else None

    def forwards(self, key: bytes | None) -> bool:
        """Whether another task is to decide the records of this key."""
        return self._forwards and self._home_of(key) != self._partition

    def ended_at(self, dedup_key: str, session_id: str | None) -> float | None:
        """The event time of an end that was told of before what it ends, if there was one."""
        if not len(self._ends):
            return None
        return self._ends.latest(dedup_key, None if session_id is None else session(session_id))

    def ended(self, end: End) -> None:
        """An end was decided: what occurred before it may still come, from another partition."""
        if self._whole is not None:
            self._ends.remember(end)

    def _home_of(self, key: bytes | None) -> int:
        home = self._homes.home_of(key)
        return home if home < self._there else self._partition

    # what is asked for each alert (`consumer.alerting.outbox.Voice`)

    @property
    def is_settled(self) -> bool:
        """Whether all has been heard that other tasks have to say about keys of this one, and the other way round."""
        return self._is_settled

    @property
    def notice(self) -> str | None:
        """What keeps its alerts from being resolved, if that has lasted for long."""
        if self._is_settled or self._clock.monotonic() - self._noticed_at < NOTICE_SECONDS:
            return None
        if not self._homes.has_moved:
            return "it has not handed over yet what has moved to other partitions"
        partitions = ", ".join(map(str, sorted(self._unheard)))
        return f"it resolves nothing: of partition {partitions} it waits to hear that what has moved is handed over"

    def is_elsewhere(self, alert: Alert) -> bool:
        """Whether another task speaks for this alert."""
        homes = self._homes
        if homes.has_moved or not homes.are_ever_moved:
            return False  # what is here is at home
        return self._home_of(self._pipeline.home_key_of(alert)) != self._partition

    def awaits(self, alert: Alert) -> bool:
        """Whether another task may still speak for this alert, or have something of it."""
        if self._is_settled:
            return not self._homes.are_ever_moved and self._is_suspect(alert)
        return not self._unheard.isdisjoint(self._homes.awaited(self._pipeline.home_key_of(alert)))

    @property
    def awaits_since(self) -> float | None:
        """Since when homes of before are waited for; None where none is, but keys may come that belong elsewhere."""
        return None if self._is_settled else self._noticed_at

    def _is_suspect(self, alert: Alert) -> bool:
        """Whether a key comes here that belongs elsewhere: if the topic has just grown, this may be its new home.

        That is known as soon as it has been asked how many partitions there are.
        """
        if self._whole is None or not self._is_known():
            return False
        if self._home_of(self._pipeline.home_key_of(alert)) == self._partition:
            return False
        since = self._suspects.setdefault(alert.dedup_key, self._clock.monotonic())
        return self._whole.counted_at is None or self._whole.counted_at < since

    def quiet_to(self, now: float) -> float | None:
        """Up to which moment that nothing was heard says that nothing was; None if it says nothing."""
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
        """Whether it has to know how far all partitions are decided."""
        return self._wants_to_know_all(self._clock.monotonic())

    # what shows how producers choose

    def sample(self, record: FetchedRecord) -> None:
        """A record of the input, one of many. Of a backlog it says nothing, for it may be from before a growth."""
        if self._partitioner is not None or self._whole is None:
            return
        homes, now = self._homes, self._clock.monotonic()
        if homes.are_ever_moved and not (homes.has_moved and self._progress.is_caught_up(now)):
            return
        before = self._evidence
        self._evidence = after = before.seen(record.key, self._partition, homes.scheme.partitions)
        if after is before or after.believed is homes.scheme.partitioner or not after.is_convincing:
            return
        if not homes.are_ever_moved:  # nobody has ever gone by it
            scheme = Scheme(homes.scheme.partitions, list(Partitioner).index(after.believed))
            self._homes = replace(homes, scheme=scheme, moved=scheme)
        elif now >= self._no_turn_before:
            self._see(homes.scheme.believing(after.believed))

    # time

    def tick(self) -> Iterator[None]:
        """What the passing of time brings, once a second."""
        if self._whole is not None and self._whole.partitions > self._there:
            self._there = self._whole.partitions
            self._see(Scheme(self._there, self._homes.scheme.turn))
        yield from self._doubt_no_more()
        now = self._clock.monotonic()
        if len(self._ends) and now >= self._forgets_at:
            self._forgets_at = now + FORGETTING_SECONDS
            kept = ENDS_SECONDS if self._is_settled else 4 * ENDS_SECONDS
            yield from self._ends.forget_before(self._clock.wall() - kept)

    def _doubt_no_more(self) -> Iterator[None]:
        counted_at = self._whole.counted_at if self._whole is not None else None
        if self._suspects and counted_at != self._counted_at:
            self._deeds.homes_changed(are_others=False)
        self._counted_at = counted_at
        forgotten_before = self._clock.monotonic() - SUSPECTS_SECONDS
        while self._suspects and next(iter(self._suspects.values())) < forgotten_before:
            self._suspects.popitem(last=False)
            yield

    def _see(self, scheme: Scheme) -> None:
        self._set(self._homes.with_seen(scheme))

    def _set(self, homes: Homes, *, began: bool = False) -> None:
        """Homes are others than they were, or it is known of others that they have moved."""
        before, now = self._homes, self._clock.monotonic()
        if before.are_ever_moved != homes.are_ever_moved and not self._is_known():
            # By which partitioner the keys came here was never seen.
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
                self._deeds.urge()
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
        self._deeds.homes_changed(are_others=are_others)

    # move

    def leave(self) -> Iterator[None]:
        """Hand over what has its home elsewhere, at most so much that one checkpoint can hold it, and then say so."""
        if not self._may_leave():
            return
        if self._leaving is None:
            self._leaving, self._handed_over, self._forwards = self._all_that_there_is(), 0, True
        leaving = self._leaving
        while self._deeds.is_running and self._has_room() and self._leaving is leaving:
            found = next(leaving, None)
            match found:
                case None if self._busy:  # their answers come first
                    self._leaving, self._busy = iter(self._busy), []
                case None:
                    self._mark()
                case End():
                    self._hand_over_end(found)
                case _ if (alert := self._store.get(found)) is not None and self.is_elsewhere(alert):
                    self._hand_over(alert)
            yield

    def _may_leave(self) -> bool:
        has_decided = self._deeds.has_decided_what_was_inherited()
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
        if self._deeds.is_busy(alert.dedup_key):
            self._busy.append(alert.dedup_key)
            return
        key = self._pipeline.home_key_of(alert)
        self._moves.append(HandOver(self._sender(), self._home_of(key), alert.dedup_key, alert, None, key))
        self._store.drop(alert.dedup_key)
        self._handed_over += 1
        self._metrics.home("handed_over")
        self._deeds.handed_over(alert)

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
        """The home of this record's key is to decide it; the next checkpoint holds it."""
        self._moves.append(Forwarded(self._sender(), self._home_of(key), record, key, is_replay))
        self._late_until = self._clock.monotonic() + LATE_SECONDS
        self._metrics.home("forwarded")
        self._deeds.urge()

    def _sender(self) -> Sender:
        pipeline = self._pipeline
        scheme, group, topic = self._homes.scheme, pipeline.group_id, pipeline.input_topic
        return Sender(pipeline.provider.name, self._partition, scheme, group=group, input=topic)

    # take

    def take(self, lane: Lane[Move], newest: Callable[[], float | None]) -> Iterator[None]:
        """Take what other tasks have written, at most so much that one checkpoint can hold it."""
        self._taken = lane.positions
        while self._deeds.is_running and self._has_room() and (head := lane.head) is not None:
            feedback, offset, move = head
            if self._has_to_wait(move):
                return
            try:
                yield from self._take(move, (feedback, offset), newest)
                if not self._deeds.is_running:
                    return  # in the middle of it, perhaps
            except Exception as error:  # a fault of ours, of this record only
                self._log.error("feedback_failed", feedback_offset=offset, exc_info=error)
            lane.took()
            self._taken = lane.positions
            yield

    def _has_to_wait(self, move: Move) -> bool:
        """Until what was sent of the key is answered, and what was decided before is again: else a next owner would
        decide in another order, and another event would choose the route."""
        match move:
            case HandOver(home=self._partition, dedup_key=dedup_key):
                return self._deeds.is_busy(dedup_key) or not self._deeds.has_decided_what_was_inherited()
            case Forwarded(home=self._partition):
                return not self._deeds.has_decided_what_was_inherited()
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
        """What the record says of where homes are."""
        before = self._homes
        after = before.took(move, place)
        if after is not before:
            if after.scheme.partitions > self._there:
                self._there = after.scheme.partitions
            self._set(after)

    def _of_this_input(self, move: Move) -> Move:
        """A record that was on its way when a repartition stage came or went. It is for the task with this number all
        the same; but of where homes are now it says nothing, and the key is of the other kind."""
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
        self._deeds.urge()

    def decide(self, record: Record, newest: Callable[[], float | None], *, is_replay: bool = False) -> Iterator[None]:
        """Decide a record that is not of this task's input, like an event, in steps: one that was forwarded, or of an
        input that the pipeline had before."""
        now = self._clock.moment()
        self._metrics.home("decided")
        try:
            decision = self._pipeline.forwarded(record, self._store, now, newest(), self, is_replay=is_replay)
        except Exception as error:  # as with an event: neither stop nor lose it
            self._log.error("decision_failed", offset=record.offset, of_partition=record.partition, exc_info=error)
            self._deeds.undecidable_beside(record, error)
            return
        if decision is not None:
            yield from self._deeds.decided_beside(decision)

    def _end(self, end: End) -> Iterator[None]:
        subject = end.subject
        if subject.startswith(session("")):
            ends = self._store.keys_of_session(subject.removeprefix(session("")))
        else:
            ends = [subject]
        yield from self._deeds.ending(Ended(dedup_keys=ends, end=end))

    def _join(self, handed: Alert) -> None:
        written = self._pipeline.placed(restored(handed, self._clock.wall()))
        own = self._store.get(written.dedup_key)
        after = joined(own, written, self.ended_at(written.dedup_key, written.session_id))
        if after is not None:
            after = self._pipeline.placed(after)  # of both, what was out of reach is so still
        self._metrics.home("taken_over")
        if after is not None:
            self._store.hear(after, self._clock.monotonic())  # nobody says for how long it has been quiet
            self._deeds.taken_over(after, own)
        elif own is not None:
            self._store.drop(own.dedup_key)
            self._deeds.gone(own)
