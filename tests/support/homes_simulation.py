"""Homes that move, simulated: several whole tasks, each a member of its own, on one simulated Kafka in virtual time.

A *walk* is a list of steps, each a name and a number, as in ``walks.py``. A topic of one or two partitions grows;
producers learn of it early or late, or choose another partition than the tasks believe; tasks die, read the feedback
topic slowly, and commit slowly; brokers know of fewer partitions than there are. Sessions can be silenced
for a while, and each member reads of that for itself. After every step nothing may be broken
of what was promised (design section 17); in the end everything is told, and resolved once.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from consumer.deciding.decisions import Occurred, Silenced, Suppressed
from consumer.deciding.pipeline import Pipeline
from consumer.events.event import Decoder, SecurityEvent
from consumer.events.filter import EndRules, Filter
from consumer.events.keys import KeyTemplate
from consumer.events.record_key import RecordKey
from consumer.feedback.moves import decode_move
from consumer.feedback.records import FeedbackKind, OperatorCommand
from consumer.history.step import Step as HistoryStep
from consumer.input.commit_metadata import BEGINNING_METADATA
from consumer.input.progress import GroupPosition
from consumer.kafka.partitioning import CERTAIN, Evidence, Partitioner
from consumer.kafka.reading import Place
from consumer.kafka.record_clock import RecordClock
from consumer.silences.known import KnownSilences
from consumer.silences.silence import Match, Silence
from consumer.tasks.homes.whole_input import WholeInput
from consumer.tasks.partition.alerter import Alerter, alerting_task
from consumer.tasks.partition.task_context import TaskContext
from consumer.timing.clock import Clock
from providers.answer import Accepted, Answer, Unavailable
from providers.delivery.delivery import Delivery, RouteLimits
from providers.delivery.outbox import Dispatch
from providers.notification import Trigger
from providers.provider import Request
from providers.retry import Backoff
from state.alert import Alert, Ending, Status
from state.policy import Policy
from state.records import CHECKPOINT_KEY, decode_position
from state.store import Store
from state.violation import Record
from tests.support import walks
from tests.support.dead_letter_writer import large_dead_letter_writer
from tests.support.events import encode, event
from tests.support.history import topic_there
from tests.support.history_account import histories, wrong_at_rest
from tests.support.loop import VirtualLoop
from tests.support.simulated_kafka import HISTORY, Input, Kafka, Outcome, Proofs, Sent
from tests.support.simulated_provider import ONE_KEY, SimulatedProvider
from tests.support.simulation import BrokenPromise
from tests.support.unheard import FaultLog, Unheard
from tests.support.walks import Step
from tests.support.wire import Dispatched

TIMEOUT, WINDOW, QUIET, QUIESCENT_SECONDS = 4.0, 10.0, 20.0, 3.0
EPOCH = 1_800_000_000.0
INTERVAL = 0.1
SLACK = 9.0
"""What was produced less than this ago need not be known yet: to be caught up, to look, to take."""

TOPIC, FEEDBACK = "events", "feedback"
MOST = 3
SESSIONS = ("s1", "s2", "s3")

WEIGHTS = {
    "event": 12, "late": 5, "end": 4, "late_end": 2, "grow": 2, "decide": 14, "feed": 10, "tick": 12, "commit": 16,
    "answer": 12, "break": 2, "crash": 3, "calm": 3, "quiet": 1, "command": 1, "commit_fails": 1, "stale": 1,
}  # fmt: skip
NUMBERS = 24

SILENCED_WEIGHTS = {**WEIGHTS, "worse": 3, "silence": 8, "unsilence": 2, "read": 4}
"""The same where sessions are silenced for a while, and some events are critical."""

_LEAVING: ContextVar["tuple[int, Dispatch]"] = ContextVar("leaving homes")


def random_walk(seed: object, length: int = 70, weights: Mapping[str, int] = WEIGHTS) -> list[Step]:
    """A walk, the same for the same seed."""
    return walks.random_walk(seed, length, weights, NUMBERS)


def simulate(walk: Iterable[Step], **options: Any) -> "Homes":
    """Take the walk to its end and on to rest. Raises `BrokenPromise`."""
    homes = Homes(**options)
    try:
        for name, number in walk:
            homes.step(name, number)
        homes.rest()
    finally:
        homes.close()
    return homes


@dataclass(eq=False, slots=True)
class OnTheWire(Dispatched):
    """A request that has left; ``covers`` are the events that a trigger tells of."""

    member: int
    dispatch: Dispatch
    covers: frozenset[int]
    answer: "asyncio.Future[Answer]"
    landed: bool = False

    def __str__(self) -> str:
        return f"{self.member} {self.what} {self.key} {sorted(self.covers) or ''}".rstrip()


@dataclass(slots=True)
class Happened:
    """An event that was produced: in which session, when, where; ``is_end``: its threat is over. ``silenced_by`` are
    the ids of the silences that keep it silent, as its task has decided."""

    session: str
    at: float
    place: tuple[int, int]
    is_end: bool
    is_critical: bool = False
    silenced_by: frozenset[str] = frozenset()


class _Partition(Kafka):
    """The state of one partition, and what its task writes to the feedback topic."""

    def __init__(self, homes: "Homes", number: int) -> None:
        super().__init__("state", lambda: homes.wall())
        self._homes, self._number = homes, number

    def apply(self, sent: Sequence[Sent]) -> None:
        moves = [record for record in sent if record.topic == FEEDBACK]
        super().apply([record for record in sent if record.topic != FEEDBACK])
        self._homes.steps += self.steps
        self.steps.clear()
        for record in moves:
            self._homes.feedback_times[len(self._homes.feedback)] = int(self._homes.wall() * 1000)
            self._homes.feedback.append(decode_move(record.key, record.value, record.headers))


class _Source(Input):
    """A partition of the input."""

    def __init__(self, homes: "Homes", number: int) -> None:
        super().__init__(TOPIC, BEGINNING_METADATA)
        self.partition = TopicPartition(TOPIC, number)
        self._homes = homes
        self.offset: OffsetAndMetadata | None = None

    async def group_offset(self) -> OffsetAndMetadata | None:
        return self.offset

    async def start(self, clients: object) -> OffsetAndMetadata:
        return OffsetAndMetadata(0, BEGINNING_METADATA)

    async def offsets_of_others(self, partitions: int) -> Sequence[OffsetAndMetadata | None]:
        return [one.offset for one in self._homes.sources[:partitions] if one is not self]

    async def newest_time(self, clients: object) -> float | None:
        return None


class _Reader:
    """A task's way to the feedback topic (`FeedbackReader`)."""

    def __init__(self, homes: "Homes", saw: Callable[[int], None]) -> None:
        self._homes = homes
        self._saw = saw
        self.inbox: Any = None

    def attach(self, inbox: Any) -> None:
        self.inbox = inbox

    def detach(self, inbox: Any) -> None:
        self.inbox = None

    async def ends(self) -> Mapping[int, int]:
        return {0: len(self._homes.feedback)}

    def hand(self, most: int) -> None:
        """Hand over so many records more."""
        if self.inbox is None or self.inbox.is_full:
            return
        begin = self.inbox.next_offset(0)
        records = list(enumerate(self._homes.feedback))[begin : begin + most]
        for offset, _ in records:
            if offset in self._homes.feedback_times:
                self._saw(self._homes.feedback_times[offset])
        if records:
            self.inbox.hand(0, records, begin + len(records))


class _Proofs(Proofs):
    """The group takes whatever is proved."""

    def __init__(self, homes: "Homes") -> None:
        super().__init__()
        self._homes = homes

    async def prove(self, offsets: Any) -> None:
        for partition, offset in offsets.items():
            self._homes.sources[partition.partition].offset = offset


class Member:
    """A process with one partition."""

    def __init__(self, homes: "Homes", number: int) -> None:
        self.number, self._homes = number, homes
        self.source = homes.sources[number]
        self.kafka = homes.partitions[number]
        self.known = 0  # how many partitions its broker knows of; 0: the truth
        self.read: dict[str, Silence] = {}  # the silences that it has read
        self.silences = KnownSilences()
        self._proofs = _Proofs(homes)
        self.delivery = Delivery(
            provider=homes.provider,
            sender=homes,
            timeout=TIMEOUT,
            may_send=lambda: self._proofs.is_valid,
            backoff=Backoff(1.0, 4.0, 2.0, lambda: 0.75),
            max_in_flight=8,
            observer=homes,
            limits={route: RouteLimits() for route in homes.provider.routes},
            clock=homes.loop.time,
            chance=lambda: 0.5,
        )
        record_clock = RecordClock(homes.clock)
        self.reader = _Reader(homes, record_clock.saw_of_a_member)
        self.whole = WholeInput(
            TOPIC,
            admin=self,
            progress=homes.progress,
            decided=homes.checkpoints,
            feedback_ends=self.reader.ends,
            is_needed=lambda: self.task.work.wants_to_know_all,
            clock=homes.clock,
            log=homes.log,
        )
        self._context = TaskContext(
            pipeline=homes.make_pipeline(self),
            clients=self.kafka,  # type: ignore[arg-type]
            delivery=self.delivery,
            proofs=self._proofs,  # type: ignore[arg-type]
            restores=asyncio.Semaphore(4),
            metrics=Unheard(),  # type: ignore[arg-type]
            clock=homes.clock,
            dead_letter_writer=large_dead_letter_writer("dlq"),
            record_clock=record_clock,
            quiescent_seconds=QUIESCENT_SECONDS,
            feedback=self.reader,  # type: ignore[arg-type]
            whole=self.whole,
            partitioner=homes.believed,
            feedback_topic=FEEDBACK,
            history=topic_there(name=HISTORY),
            read_records=homes.read_records,
        )
        self.read_silences()  # before it decides
        with homes.loop.running():
            self.delivery.start()
        self._supervisor = homes.loop.create_task(self._supervise())

    async def describe_topics(self, topics: list[str]) -> list[dict[str, object]]:
        count = self.known or self._homes.count
        return [{"topic": TOPIC, "partitions": list(range(count))}]

    async def _supervise(self) -> None:
        while True:
            self.task = task = alerting_task(self.source, self._context, self._homes.log)  # type: ignore[arg-type]
            self._watch(task.work)
            try:
                await task.run()
            except (KafkaError, TimeoutError) as error:
                self._homes.say(f"task {self.number} ends: {error!r}")
            except Exception as error:
                self._homes.break_("a fault", repr(error))
                return

    def _watch(self, alerter: Alerter) -> None:
        take = alerter._outbox.take
        join, over = alerter._moving._join, alerter.effects._over
        live_after_silence, over_after_silence = alerter.effects.live_after_silence, alerter.effects.over_after_silence
        by_feedback = alerter.effects.ended_by_feedback

        def watched(dedup_key: str, route: str) -> Dispatch | None:
            leaving = take(dedup_key, route)
            if leaving is not None:
                _LEAVING.set((self.number, leaving))
            return leaving

        def joining(handed: Alert) -> None:
            join(handed)
            self._homes.moved(handed.dedup_key, self.number, alerter.store.get(handed.dedup_key))

        def ending(alert: Alert, ended_by: Ending, actor: str) -> bool:
            self._homes.ends_silently(alert, self, ended_by)
            is_news = over(alert, ended_by, actor)
            self._homes.ended(alert.dedup_key, self.number)
            return is_news

        def ending_by_feedback(dedup_key: str) -> None:
            by_feedback(dedup_key)
            self._homes.ended(dedup_key, self.number)

        def telling_after_silence(alert: Alert) -> None:
            self._homes.tells_after_silence(alert, self)
            live_after_silence(alert)

        def ending_after_silence(alert: Alert) -> None:
            self._homes.ends_silently(alert, self, Ending.SILENCE)
            over_after_silence(alert)
            self._homes.ended(alert.dedup_key, self.number, only_silenced=True)

        alerter.effects._over = ending  # type: ignore[method-assign]
        alerter.effects.ended_by_feedback = ending_by_feedback  # type: ignore[method-assign]
        alerter.effects.live_after_silence = telling_after_silence  # type: ignore[method-assign]
        alerter.effects.over_after_silence = ending_after_silence  # type: ignore[method-assign]
        alerter._outbox.take = watched  # type: ignore[method-assign]
        alerter._moving._join = joining  # type: ignore[method-assign]

    def read_silences(self) -> None:
        """Read all that is written of silences."""
        self.read = dict(self._homes.written)
        for silence in self.read.values():
            self.silences.put(silence, self._homes.wall())
        if hasattr(self, "task"):
            self.task.work.silences_changed()

    def tick(self) -> None:
        """What a member does once in a second."""
        loop, task, now = self._homes.loop, self.task, self._homes.loop.time()
        if not task.is_running:
            return
        task.progress.observe_end(now, len(self.source.records), now)
        for _ in task.tick():
            pass
        loop.create_task(self._look())
        if task.committed is not None:
            self.source.offset = task.committed
            task.proved(task.committed)

    async def _look(self) -> None:
        await self.whole.look()

    def close(self) -> None:
        """It is gone, and nothing that it still does is seen."""
        self._proofs.is_valid = False
        self.kafka.producer = None
        self.reader.inbox = None
        with self._homes.loop.running():
            self._supervisor.cancel()
            self._homes.loop.create_task(self.delivery.close())
        self._homes.loop.settle()


class Homes:
    """The topic, its tasks, the provider, and what has happened to every event.

    ``count`` partitions there are at first; the producers choose by murmur2, and the tasks believe that, or find it
    out where ``believed`` is None.
    """

    def __init__(self, *, count: int = 1, believed: Partitioner | None = Partitioner.MURMUR2) -> None:
        self.trace: list[str] = []
        self.broken: str | None = None
        self.loop = VirtualLoop()
        self.clock = Clock(wall=self.wall, monotonic=self.loop.time)
        self.log: Any = FaultLog(self.break_, lambda key: None)
        self.provider = SimulatedProvider(ONE_KEY)
        self.believed = believed
        self.count = self._first = count
        self.feedback: list[Any] = []
        self.feedback_times: dict[int, int] = {}  # when records about homes were written, by their offsets
        self.steps: list[HistoryStep] = []  # of all tasks, in the order of their transactions
        self.sources = [_Source(self, number) for number in range(MOST)]
        self.partitions = [_Partition(self, number) for number in range(MOST)]
        self.events: list[Happened] = []
        self.holder: dict[int, int] = {}  # events that are counted into an alert, and whose
        self.told: set[int] = set()
        self.over: set[int] = set()
        self.commanded: dict[str, float] = {}
        self.open: set[str] = set()
        self.opened: dict[str, int] = {}
        self.behind: set[int] = set()  # silenced events that their task has counted behind a resolve
        self.written: dict[str, Silence] = {}  # the silences topic
        self.unpromised: set[str] = set()  # keys of which a request may have landed late
        self._wire: list[OnTheWire] = []
        self._statuses: dict[tuple[int, str], Status] = {}
        self.members: list[Member] = []
        for _ in range(count):
            self._join()
        self.settle()
        for member in self.members:  # it has been running for a while, and has seen how the producers choose
            member.task.work._moving._evidence = Evidence(Partitioner.MURMUR2, -CERTAIN if count > 1 else 0)
        with self.loop.running():
            for _ in range(2):
                self._everything()

    def wall(self) -> float:
        return EPOCH + self.loop.time()

    def _join(self) -> None:
        self.members.append(Member(self, len(self.members)))

    async def checkpoints(self, partitions: Collection[int]) -> Mapping[int, int]:
        states = {number: self.partitions[number].state.get(CHECKPOINT_KEY) for number in partitions}
        return {number: decode_position(value).offset for number, value in states.items() if value is not None}

    async def progress(self) -> Mapping[int, GroupPosition]:
        positions = {}
        for number in range(self.count):
            source = self.sources[number]
            end = len(source.records)
            positions[number] = GroupPosition(source.offset.offset if source.offset else 0, end, end)
        return positions

    def settle(self) -> None:
        self.loop.settle()
        self._look()

    # steps

    def step(self, name: str, number: int) -> None:
        """One step, and what must be true after it. Raises `BrokenPromise`."""
        with self.loop.running():
            getattr(self, f"_step_{name}")(number)
        self.settle()

    def _produce(self, number: int, *, late: bool, is_end: bool, severity: str = "high") -> None:
        session = SESSIONS[number % len(SESSIONS)]
        counts = range(self._first, self.count + 1)
        count = counts[number // len(SESSIONS) % len(counts)] if late else self.count
        partition = Partitioner.MURMUR2.partition_of(session.encode(), count)
        records, now = self.sources[partition].records, self.wall()
        number = len(self.events)
        # No two have the same time: which of them is the later one could not be said.
        self.loop.advance(0.02)
        fields = event(session=session, severity=severity, at=now, event_id=f"e{number}")
        if is_end:
            fields = event(
                session=session, allowed=True, at=now, event_type="session_end", guard="engine", severity="info"
            )
        self.events.append(Happened(session, now, (partition, len(records)), is_end, severity == "critical"))
        records.append(Record(TOPIC, partition, len(records), int(now * 1000) + 1, session.encode(), encode(fields)))
        self.say(f"{'end' if is_end else 'event'} {number} of {session} comes to {partition}")

    def _step_event(self, number: int) -> None:
        self._produce(number, late=False, is_end=False)

    def _step_late(self, number: int) -> None:
        self._produce(number, late=True, is_end=False)

    def _step_end(self, number: int) -> None:
        self._produce(number, late=False, is_end=True)

    def _step_late_end(self, number: int) -> None:
        self._produce(number, late=True, is_end=True)

    def _step_worse(self, number: int) -> None:
        self._produce(number, late=False, is_end=False, severity="critical")

    def _step_silence(self, number: int) -> None:
        """Somebody silences a session for a while, with what is critical or without; a member reads of it at once."""
        session, now = SESSIONS[number % len(SESSIONS)], self.wall()
        seconds, is_whole = (4.0, 15.0)[number // 3 % 2], number // 6 % 2 == 0
        name = f"silence{len(self.written)}"
        self.say(f"{name}: {session} is silenced for {seconds:g} s{'' if is_whole else ', but for what is critical'}")
        self.written[name] = Silence(
            name, "all", Match({"session_id": session}), "known", "me", now, now, now + seconds,
            include_critical=is_whole,
        )  # fmt: skip
        self._read(number // 12)

    def _step_unsilence(self, number: int) -> None:
        """Somebody ends a silence before its time; a member reads of it at once."""
        if holding := [one for one in self.written.values() if one.expires_at > self.wall()]:
            ended = holding[number % len(holding)].ended(self.wall())
            self.say(f"{ended.id} is ended")
            self.written[ended.id] = ended
            self._read(number // 12)

    def _step_read(self, number: int) -> None:
        self._read(number % 2)

    def _read(self, who: int) -> None:
        """All members read of silences, or one half of them."""
        for member in self.members:
            if who == 0 or member.number % 2:
                member.read_silences()

    def _step_grow(self, number: int) -> None:
        if self.count < MOST and number % 3 == 0:
            self.count += 1
            self.say(f"the topic grows to {self.count}")
            self._join()

    def _step_command(self, number: int) -> None:
        """An operator resolves an alert."""
        session = SESSIONS[number % len(SESSIONS)]
        self.loop.advance(0.02)
        key, now = f"forbidden_path:{session}", self.wall()
        self.commanded[key] = now
        self.feedback.append(OperatorCommand(FeedbackKind.RESOLVE, "simulated", key, now, "somebody"))
        self.say(f"an operator resolves {key}")

    def _member(self, number: int) -> Member:
        return self.members[number % len(self.members)]

    def _step_decide(self, number: int) -> None:
        self._decide(self._member(number), 1 + number // 8)

    def _decide(self, member: Member, most: int) -> None:
        source, task = member.source, member.task
        records = source.records[source.next : source.next + most]
        if records and task.is_running:
            source.next += len(records)
            self.say(f"{member.number} decides {[record.offset for record in records]}")
            self.loop.create_task(task.decide(records))

    def _step_feed(self, number: int) -> None:
        member = self._member(number)
        member.reader.hand(1 + number // 6)
        member.task.work.effects.urge()
        self.loop.advance(INTERVAL)

    def _step_tick(self, number: int) -> None:
        self.say("tick")
        self.loop.advance(1.0)
        for member in self.members:
            member.tick()

    def _step_commit(self, number: int) -> None:
        self.loop.advance(INTERVAL)
        member = self._member(number)
        if member.kafka.conclude(Outcome.DONE):
            self.say(f"{member.number} commits")

    def _step_commit_fails(self, number: int) -> None:
        member = self._member(number)
        if member.kafka.conclude(Outcome.UNKNOWN if number % 2 else Outcome.FAILED):
            self.say(f"the commit of {member.number} fails")

    def _step_stale(self, number: int) -> None:
        """The broker of a member does not know yet that the topic has grown; or it does now."""
        member = self._member(number)
        member.known = 0 if member.known else max(member.number + 1, self.count - 1)

    def _step_answer(self, number: int) -> None:
        if self._wire:
            request = sorted(self._wire, key=lambda one: (one.key, one.member))[number % len(self._wire)]
            self._land(request)
            self.say(f"answered: {request}")
            if request.is_trigger:  # and what was counted in meanwhile
                self.told |= self._counted_into(request.member, request.key)
            request.answer.set_result(Accepted(self.wall()))

    def _step_break(self, number: int) -> None:
        if self._wire:
            request = sorted(self._wire, key=lambda one: (one.key, one.member))[number % len(self._wire)]
            if number % 2:
                self._land(request)
            request.answer.set_result(Unavailable(None, "broke off", unknown=True))

    def _step_crash(self, number: int) -> None:
        member = self._member(number)
        self.say(f"{member.number} crashes")
        for request in [one for one in self._wire if one.member == member.number]:
            if number // MOST % 2:
                self._land(request)
        if number // 12:
            member.kafka.conclude(Outcome.UNKNOWN)
        member.close()
        self._statuses = {at: status for at, status in self._statuses.items() if at[0] != member.number}
        self.members[member.number] = Member(self, member.number)

    def _step_calm(self, number: int) -> None:
        for _ in range(6):
            self._everything()

    def _step_quiet(self, number: int) -> None:
        for _ in range(int(QUIET) + 6):
            self._everything()

    def _everything(self) -> None:
        """A second in which everybody does what there is to do."""
        for member in list(self.members):
            member.known = 0
            member.read_silences()
            self._decide(member, len(member.source.records))
            self.settle()
            member.reader.hand(1000)
            member.task.work.effects.urge()
            self.settle()
            self._step_commit(member.number)
            self.settle()
        while self._wire:
            self._step_answer(0)
            self.settle()
        self._step_tick(0)
        self.settle()

    # the provider

    async def send(self, request: Request, classify: object, timeout: float) -> Answer:
        """What delivery calls to make a request."""
        if request.url.endswith("/check"):
            return Accepted()
        member, dispatch = _LEAVING.get()
        key = dispatch.dedup_key
        leaving = OnTheWire(member, dispatch, self._counted_into(member, key), self.loop.create_future())
        self.say(f"leaves: {leaving}")
        if isinstance(dispatch.notification, Trigger) and self._is_silent(self._cause(dispatch.notification)):
            self.break_("what is silenced tells nobody", str(leaving))
        if any((other.key, other.member) == (key, member) for other in self._wire):
            self.break_("two requests at a time about one alert", str(leaving))
        self._wire.append(leaving)
        try:
            async with asyncio.timeout(timeout):
                return await leaving.answer
        except TimeoutError:
            self.say(f"times out: {leaving}")
            return Unavailable(None, "no answer", unknown=True)
        finally:
            self._wire.remove(leaving)

    def _land(self, request: OnTheWire) -> None:
        if request.landed:
            return
        request.landed = True
        self.say(f"lands: {request}")
        key = request.key
        if not request.is_trigger:
            end = max(self._ends(key), default=0.0)
            live = {one for one in self._events(key) if one in self.told - self.over and self.events[one].at > end}
            if key in self.open and live:
                self.break_("no live problem is closed", f"{request}: {sorted(live)} is told and not over")
            self.open.discard(key)
            return
        if key not in self.open:
            self.opened[key] = self.opened.get(key, 0) + 1
            if request.covers and request.covers <= self.told & self.over:
                self.break_("an occurrence opens a second incident", str(request))
        self.open.add(key)
        self.told |= request.covers

    # what delivery tells

    def answered(self, *args: Any) -> None:
        pass

    follow_up_rejected = checked = refused = works = answered
    rejected = fails_alone = failing = given_up = throttled = unthrottled = answered

    def failed(self, dispatch: Dispatch, error: BaseException) -> None:
        self.break_("a fault", repr(error))

    # what must be true

    def key_of(self, number: int) -> str:
        return f"forbidden_path:{self.events[number].session}"

    def _events(self, key: str) -> list[int]:
        return [n for n, one in enumerate(self.events) if not one.is_end and self.key_of(n) == key]

    def _ends(self, key: str) -> list[float]:
        """When the problem was said to be over."""
        session = key.partition(":")[2]
        ends = [one.at for one in self.events if one.is_end and one.session == session]
        return ends + ([self.commanded[key]] if key in self.commanded else [])

    async def read_records(self, places: Collection[Place]) -> AsyncGenerator[Record, None]:
        """How events are read back."""
        for _, partition, offset in places:
            yield self.sources[partition].records[offset]

    def _counted_into(self, member: int, key: str) -> frozenset[int]:
        """The events that are counted into an alert as it is now: what is silenced behind a resolve is not."""
        alert = self.members[member].task.work.store.get(key)
        behind = self.behind if alert is not None and alert.status is Status.RESOLVING else set()
        return frozenset(one for one in self._events(key) if self.holder.get(one) == member and one not in behind)

    @staticmethod
    def _cause(trigger: Trigger) -> int:
        """The event that a trigger tells of."""
        return int(trigger.violation.event_id.removeprefix("e"))

    def _is_silent(self, number: int) -> bool:
        """Whether a silence that keeps an event silent has not ended."""
        ends = [self.written[one].expires_at for one in self.events[number].silenced_by]
        return max(ends, default=0.0) > self.wall()

    def _silenced_by(self, number: int, member: Member) -> frozenset[str]:
        """The silences under which an event falls, as far as a member has read of them."""
        happened, record = self.events[number], self.events[number].place
        at = self.sources[record[0]].records[record[1]].timestamp / 1000
        return frozenset(
            one.id
            for one in member.read.values()
            if one.match.terms["session_id"] == happened.session
            and one.starts_at <= at < one.expires_at
            and (one.include_critical or not happened.is_critical)
        )

    def _untold_of(self, key: str, member: Member) -> list[int]:
        """The silenced events that a member has counted, and of which nobody was told."""
        done = self.told | self.over
        return [
            one
            for one in self._events(key)
            if self.holder.get(one) == member.number and self.events[one].silenced_by and one not in done
        ]

    def _end_of(self, silent: Collection[int], member: Member) -> float:
        """When the last of the silences of these events ends, as far as a member has read of it."""
        return max(
            member.silences.end_of(name, self.written[name].expires_at, "simulated")
            for one in silent
            for name in self.events[one].silenced_by
        )

    def tells_after_silence(self, alert: Alert, member: Member) -> None:
        """A task finds an alert live at the end of its silences."""
        silent = self._untold_of(alert.dedup_key, member)
        if silent and self._end_of(silent, member) > self.wall():
            self.break_("no silence ends early", f"{member.number}: {alert.dedup_key}: {silent}")

    def ends_silently(self, alert: Alert, member: Member, ended_by: Ending) -> None:
        """A task is about to end an alert, or what is silenced of it. Of what nobody was told yet there must be a
        reason why nobody has to be."""
        key, now = alert.dedup_key, self.wall()
        silent = self._untold_of(key, member)
        if not silent or alert.owed is not None:
            return
        end = self._end_of(silent, member)
        last = max(self.events[one].at for one in silent)
        if ended_by is Ending.SILENCE:
            if end > now:
                self.break_("no silence ends early", f"{member.number}: {key}: {silent}")
            # All that was recorded before the end in the task's own partition has to be decided.
            waiting = [one for one in self._events(key) if self._waits(one, member) and self.events[one].at < end]
            last = max([last, *(self.events[one].at for one in waiting)])
        elif end > now - SLACK:
            end = now  # it is no matter of the silences
        if not any(at >= last - 0.001 for at in self._ends(key)) and end - last <= QUIET - 0.05:
            self.break_("what is live at the end of its silences is told", f"{member.number}: {key}: {silent}")

    def _waits(self, number: int, member: Member) -> bool:
        """Whether an event stands in the partition of a member, who has not decided it."""
        partition, offset = self.events[number].place
        return partition == member.number and offset >= member.task.position

    def counted(self, member: Member, record: Record, key: str, decision: Occurred, alert: Alert | None) -> None:
        """A task has counted this record into an alert, which is so afterwards."""
        place, outcome = (record.partition, record.offset), decision.outcome
        number = next(n for n, one in enumerate(self.events) if one.place == place)
        self.holder[number] = member.number
        self.say(f"{member.number} counts {number}: {outcome.value}")
        silenced_by = self._silenced_by(number, member)
        self.events[number].silenced_by = silenced_by
        self.behind.discard(number)
        if isinstance(decision, Silenced):
            if not silenced_by:
                self.break_("what is not silenced is told", f"{member.number}: {number}")
            if decision.is_over:
                self.over.add(number)
            elif alert is not None and alert.status is Status.RESOLVING:
                self.behind.add(number)
            elif alert is not None and alert.is_at_provider and key in self.open:
                self.told.add(number)
            return
        if silenced_by:
            self.break_("what is silenced tells nobody", f"{member.number}: {number} by {sorted(silenced_by)}")
        if alert is not None and alert.status is Status.RESOLVING:
            self.over.add(number)
        is_told = alert is not None and alert.owed is None  # or is over without being told more
        if (isinstance(decision, Suppressed) or is_told) and key in self.open:
            self.told.add(number)

    def ended(self, key: str, member: int, *, only_silenced: bool = False) -> None:
        """A task has ended an alert, or only what is silenced of it, rightly or not."""
        self.over |= {
            one
            for one in self._events(key)
            if self.holder.get(one) == member and (self.events[one].silenced_by or not only_silenced)
        }

    def moved(self, key: str, member: int, alert: Alert | None) -> None:
        """A task has taken over an alert, and with it what others have counted; ``alert`` is what it makes of both."""
        self.say(f"{member} takes over {key}")
        for number in self._events(key):
            if number in self.holder:
                self.holder[number] = member
                if alert is not None and alert.held is not None and self.events[number].silenced_by:
                    if alert.is_at_provider and key in self.open:
                        self.told.add(number)
                    elif number not in self.told:
                        self.behind.add(number)
                elif alert is None or alert.status is Status.RESOLVING:
                    self.over.add(number)

    def _look(self) -> None:
        alerts: dict[tuple[int, str], Alert] = {
            (member.number, key): alert
            for member in self.members
            for key in list(member.task.work.store.keys())
            if (alert := member.task.work.store.get(key)) is not None
        }
        for (number, key), alert in alerts.items():
            before = self._statuses.get((number, key))
            if alert.status is Status.RESOLVING and before is not Status.RESOLVING:
                self._check_end(number, key, alert, was_here=before is not None)
        self._statuses = {at: alert.status for at, alert in alerts.items()}
        if self.loop.errors:
            self.break_("a fault", repr(self.loop.errors[0]))
        if self.broken is not None:
            raise BrokenPromise("\n  ".join([self.broken, *self.trace]))

    def _check_end(self, number: int, key: str, alert: Alert, *, was_here: bool) -> None:
        """An alert has come to its end: by an end that is later than all of it, or by quiet."""
        ends = self._ends(key)
        mine = {one for one in self._events(key) if self.holder.get(one) == number} - self.behind
        ended_at = max((at for at in ends if at >= alert.last_seen - 0.001), default=None)
        self.say(f"{number}: {key} is over{'' if ended_at is None else ' by its end'}")
        if ended_at is None and was_here:
            now = self.wall()
            over = max(ends, default=0.0)
            live = [
                one
                for one in self._events(key)
                if self.events[one].at > over and now - QUIET + SLACK < self.events[one].at < now - SLACK
            ]
            if live:
                self.break_("no live problem is resolved", f"{number}: {key}, of which {live} has just occurred")
            is_open = alert.last_notified is not None and alert.owed is None and not alert.unsettled
            if is_open and key not in self.open and not any(request.key == key for request in self._wire):
                self.break_("what is open here is open at the provider", f"{number}: {key}")
        self.over |= mine

    def rest(self) -> None:
        """Let everything come to its end; then nothing is left. Raises `BrokenPromise`."""
        self.say("rest")
        with self.loop.running():
            for _ in range(150):
                self._everything()
                if self._is_at_rest():
                    break
        alerts = {
            (member.number, key): member.task.work.store.get(key)
            for member in self.members
            for key in list(member.task.work.store.keys())
        }
        if alerts:
            self.break_("everything ends", str(alerts))
        if self.open:
            self.break_("what is open at the provider is open here", str(self.open))
        # What was silenced need not be told if it was over before its silences were.
        done = self.told | {one for one in self.over if self.events[one].silenced_by}
        if missing := {one for one, found in enumerate(self.events) if not found.is_end} - done:
            self.break_("no alertable event is lost", str(sorted(missing)))
        if wrong := list(wrong_at_rest(histories(self.steps).values(), {})):
            self.break_("the history is complete and in order", "; ".join(wrong))
        self._look()

    def _is_at_rest(self) -> bool:
        return not self._wire and all(
            member.task.is_running
            and member.task.position == len(member.source.records)
            and not len(member.task.work.store)
            and not member.task.work.store.has_changes
            and not member.task.work._inbox.moves
            and not member.task.work._moving.has_moves
            and member.kafka.waiting is None
            and member.reader.inbox is not None
            and member.reader.inbox.next_offset(0) == len(self.feedback)
            for member in self.members
        )

    def close(self) -> None:
        """End everything."""
        for member in self.members:
            member.close()

    def break_(self, promise: str, what: str) -> None:
        if self.broken is None:
            self.broken = f"{promise}: {what}"

    def say(self, what: str) -> None:
        self.trace.append(f"{self.loop.time() - 1000:6.1f} {what}")

    def make_pipeline(self, member: Member) -> Pipeline:
        """The pipeline of one member, which tells what is counted."""
        homes = self

        class WatchedPipeline(Pipeline):
            def _occurred(
                self, event: SecurityEvent, record: Record, store: Store, *args: Any, **options: Any
            ) -> Occurred:
                decision = Pipeline._occurred(self, event, record, store, *args, **options)
                dedup_key = self.template.render(event)
                homes.counted(member, record, dedup_key, decision, store.get(dedup_key))
                return decision

        return WatchedPipeline(
            provider=self.provider,
            group_id="group",
            input_topic=TOPIC,
            state_topic="state",
            dlq_topic="dlq",
            decoder=Decoder(Filter(), EndRules(on_session_end=True), 262_144),
            template=KeyTemplate.parse("{guard}:{session_id}"),
            policy=Policy(WINDOW, 1e9, QUIET, 1e9),
            max_event_age=None,
            give_up_seconds=0.0,
            timeout_seconds=TIMEOUT,
            commit_interval=INTERVAL,
            max_owed=1000,
            record_key=RecordKey("session_id"),
            silences=member.silences,
        )
