"""The life of alerts, simulated: the real task, outbox, delivery, store and records; a simulated provider and Kafka.

A *walk* is a list of steps, each a name and a small number that chooses among what is possible; a step that is not
possible does nothing, so any part of a walk is a walk, and a failing one shrinks by leaving steps out. The member's
wall clock may be wrong by a year, its key may be revoked for a while, and in a *tight* simulation its route may owe one
trigger only. In a *routed* one there are routes by severity, and from one owner to the next keys are rotated, routes
renamed and removed; in a *shared* one keys are rotated of an account that has one alert for all of them. Events can
be silenced, and a member reads of a silence late. After every
step the promises of design section 5 are checked, as `tests.model.alert` does; at the end everything is delivered and
committed, and here and the provider must agree.

Time is a number (`VirtualLoop`). A request is *on the wire* until it is answered, times out or breaks off; it *lands*
when the provider takes it, which may be before that, never, or, with ``late``, up to ``TIMEOUT`` afterwards.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from aiokafka.errors import KafkaError
from msgspec import structs

from consumer.deciding.pipeline import Pipeline
from consumer.dlq.dead_letter import DeadLetter
from consumer.events.event import Decoder
from consumer.events.filter import EndRules, Filter
from consumer.events.keys import KeyTemplate
from consumer.feedback.records import FromProvider
from consumer.input.commit_metadata import START_METADATA
from consumer.input.progress import FRESH_SECONDS
from consumer.kafka.record_clock import RecordClock
from consumer.silences.known import KnownSilences
from consumer.silences.silence import Match, Silence
from consumer.tasks.alerting.outbox import TaskOutbox
from consumer.tasks.partition.alerter import Alerter, alerting_task
from consumer.tasks.partition.task import PartitionTask
from consumer.tasks.partition.task_context import TaskContext
from consumer.timing.clock import Clock
from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.delivery.delivery import Delivery, RouteLimits
from providers.delivery.outbox import Dispatch
from providers.notification import Trigger
from providers.provider import Request
from providers.retry import Backoff
from state.alert import Alert, Status
from state.due import Due, due
from state.occurrences import ELSEWHERE
from state.policy import Policy
from state.provider_feedback import Happened, What
from state.records import CHECKPOINT_KEY, decode_alert
from state.violation import SEVERITY_BY_LABEL, Record, Severity
from tests.support.dead_letter_writer import large_dead_letter_writer
from tests.support.events import encode, event, session_end
from tests.support.history import topic_there
from tests.support.history_account import histories, wrong_at_rest
from tests.support.loop import VirtualLoop
from tests.support.simulated_kafka import HISTORY, Input, Kafka, Outcome, Proofs
from tests.support.simulated_provider import (
    ACCOUNT,
    CONFIGURATIONS,
    ONE_KEY,
    SHARED_CONFIGURATIONS,
    SimulatedProvider,
)
from tests.support.unheard import FaultLog, Unheard
from tests.support.walks import SAYS, SKEWS, WAITS, Step
from tests.support.wire import OnTheWire

TIMEOUT, WINDOW, QUIET, RENOTIFY, GIVE_UP, QUIESCENT_SECONDS = 4.0, 10.0, 20.0, 60.0, 45.0, 3.0
EPOCH = 1_800_000_000.0
INTERVAL = 0.1
CHECK = 40.0

REST = 900
"""Seconds until all is told: an alert that fails while others are accepted waits for ten minutes."""


class BrokenPromise(AssertionError):
    """What was promised, and the walk that broke it."""


def simulate(
    walk: Iterable[Step],
    *,
    late: bool = False,
    tight: bool = False,
    routed: bool = False,
    shared: bool = False,
    people: bool = False,
) -> None:
    """Take the walk to its end and on to rest. Raises `BrokenPromise`."""
    simulation = Simulation(late=late, tight=tight, routed=routed, shared=shared, people=people)
    try:
        for name, number in walk:
            simulation.step(name, number)
        simulation.rest()
    finally:
        simulation.close()


@dataclass(slots=True)
class Memory:
    """What is known of one incarnation of the task: what it has decided, and what it owes or is about to bury."""

    task: PartitionTask[Alerter]
    decided: int
    owed: set[int] = field(default_factory=set)
    waiting: set[int] = field(default_factory=set)
    dying: set[int] = field(default_factory=set)


_LEAVING: ContextVar[Dispatch] = ContextVar("leaving")


class Simulation:
    """One partition of one pipeline, its provider, its Kafka, and what has happened to every event."""

    def __init__(
        self,
        *,
        late: bool = False,
        tight: bool = False,
        routed: bool = False,
        shared: bool = False,
        people: bool = False,
    ) -> None:
        self.trace: list[str] = []
        self._late = late
        self._configurations = SHARED_CONFIGURATIONS if shared else CONFIGURATIONS if routed else (ONE_KEY,)
        self._shared = shared
        self._keys = self._configurations[0]
        self._has_changed = False
        self._left_behind: set[str] = set()  # alerts that were said to end with an incident out of reach
        self._limits = RouteLimits(check_interval=CHECK, may_owe=1 if tight else None)
        self._loop = VirtualLoop()
        self._skew = 0.0
        self._clock = Clock(wall=lambda: self._true_time() + self._skew, monotonic=self._loop.time)
        self._provider = SimulatedProvider(self._keys, shares_alerts=shared)
        self._written_silences: list[Silence] = []  # in the topic
        self._silences = KnownSilences()  # those that the member has read
        self._pipeline = self._make_pipeline()
        self._kafka = Kafka(self._pipeline.state_topic, self._clock.wall)
        self._input = Input(self._pipeline.input_topic, START_METADATA)
        self._proofs = Proofs()
        self._broken: str | None = None
        # events
        self._key_of: dict[int, str] = {}
        self._severity_of: dict[int, Severity] = {}
        self._produced_at: list[float] = []
        # what has become of them
        self._told: set[int] = set()
        self._told_at: set[tuple[str, int]] = set()  # in which place
        self._seen: set[int] = set()
        self._dead: set[int] = set()
        self._waiting: set[int] = set()
        self._letters = 0
        self._key_works = True
        self._overflowed: set[str] = set()
        self._own_fault: set[str] = set()  # keys of which a notification was rejected while the route's key worked
        self._last_end: dict[str, float] = {}
        self._admitted: set[str] = set()  # keys that a person has to look after: a rejected resolve
        self._dead_keys: set[str] = set()
        self._unpromised: set[str] = set()  # keys about which a request has landed late
        self._silent: set[int] = set()  # events that this owner, or one before it, has decided as silenced
        self._silenced_by: dict[int, set[str]] = {}
        self._muted: set[int] = set()  # those of them that nobody has been told of, nor is to be
        # the provider and the wire
        self._open: dict[tuple[str, str], Severity] = {}  # by place and dedup key
        self._wire: list[OnTheWire] = []
        self._adrift: list[OnTheWire] = []  # cut off, and may still land
        self._taken: set[tuple[str, str]] = set()  # what somebody has acknowledged, by place and dedup key
        self._webhooks: list[FromProvider] = []  # that nobody has heard of yet
        self._feedback: list[FromProvider] = []  # the feedback topic
        self._has_people = people
        self._happenings = 0
        self._handing_over: asyncio.Task[None] | None = None
        self._start()

    # the process

    def _start(self) -> None:
        self._step_read(0)  # before it decides
        self._proofs.is_valid = True
        self._delivery = Delivery(
            provider=self._provider,
            sender=self,
            timeout=TIMEOUT,
            may_send=lambda: self._proofs.is_valid,
            backoff=Backoff(1.0, 4.0, 2.0, lambda: 0.75),
            max_in_flight=8,
            observer=self,
            limits={
                route: replace(self._limits, checks_idle=route not in self._provider.retired_routes)
                for route in self._provider.routes
            },
            clock=self._loop.time,
            chance=lambda: 0.5,
        )
        self._surroundings = TaskContext(
            pipeline=self._pipeline,
            clients=self._kafka,  # type: ignore[arg-type]
            delivery=self._delivery,
            proofs=self._proofs,  # type: ignore[arg-type]
            restores=asyncio.Semaphore(4),
            metrics=Unheard(),  # type: ignore[arg-type]
            clock=self._clock,
            dead_letter_writer=large_dead_letter_writer("dlq"),
            record_clock=self._record_clock(),
            quiescent_seconds=QUIESCENT_SECONDS,
            read_records=self._read_records,
            history=topic_there(name=HISTORY),
        )
        with self._loop.running():
            self._delivery.start()
        self._keeper = self._loop.create_task(self._keep())
        self._loop.settle()
        self._look()

    def _record_clock(self) -> RecordClock:
        clock = RecordClock(self._clock)
        clock.input.brokers_check(is_so=True)
        return clock

    def _true_time(self) -> float:
        return EPOCH + self._loop.time()

    async def _keep(self) -> None:
        while True:
            log = FaultLog(self._break, self._left_behind.add)
            task = alerting_task(self._input, self._surroundings, log)  # type: ignore[arg-type]
            self._memory = Memory(task, -1)
            _watch(task.work._outbox)
            try:
                await task.run()
            except (KafkaError, TimeoutError) as error:
                self._say(f"the task ends: {error!r}")
            except Exception as error:
                self._break("a fault", repr(error))
                return

    async def _hand_over(self, grace: float) -> None:
        """What a rebalance does that gives the partition to the same member again."""
        self._proofs.is_valid = False
        await self._memory.task.drain(grace)
        self._keeper.cancel()
        await asyncio.wait([self._keeper])
        self._handing_over = None
        self._proofs.is_valid = True
        self._keeper = self._loop.create_task(self._keep())

    def close(self) -> None:
        """End the process; nothing that it still does is seen."""
        self._proofs.is_valid = False
        self._kafka.producer = None
        with self._loop.running():
            if self._handing_over is not None:
                self._handing_over.cancel()
                self._handing_over = None
            self._keeper.cancel()
            self._loop.create_task(self._delivery.close())
        self._loop.settle()

    @property
    def on_the_wire(self) -> list[str]:
        """The requests that have left and are not answered."""
        return [str(request) for request in self._wire]

    # steps

    def step(self, name: str, number: int) -> None:
        """One step, if it is possible, and what must be true after it. Raises `BrokenPromise`."""
        with self._loop.running():
            getattr(self, f"_step_{name}")(number)
        self._loop.settle()
        self._look()

    def _step_event(self, number: int) -> None:
        session, severity = SAYS[number % len(SAYS)]
        offset = len(self._input.records)
        self._key_of[offset] = f"forbidden_path:{session}"
        self._severity_of[offset] = SEVERITY_BY_LABEL[severity]
        self._produce(event(session=session, severity=severity, at=self._true_time(), event_id=f"e{offset}"))
        self._say(f"event {offset}: {session} {severity}")

    def _step_end(self, number: int) -> None:
        session = "s2" if number == 0 else "s1"
        self._say(f"event {len(self._input.records)}: end of {session}")
        self._last_end[f"forbidden_path:{session}"] = self._loop.time()
        self._produce(session_end(session))

    def _step_flap(self, number: int) -> None:
        """The threat is over and comes back, or the other way round, all decided at once."""
        for step in (("end",), ("event",), ("event", "end"), ("end", "event"))[number % 4]:
            getattr(self, f"_step_{step}")(1)
        self._step_decide(2 * len(self._input.records))

    def _produce(self, fields: dict[str, Any]) -> None:
        records, now = self._input.records, self._true_time()
        records.append(Record(self._pipeline.input_topic, 0, len(records), int(now * 1000) + 1, b"k", encode(fields)))
        self._produced_at.append(self._loop.time())

    def _step_decide(self, number: int) -> None:
        source, task = self._input, self._memory.task
        records = source.records[source.next : source.next + 1 + number // 2]
        if records and task.is_running:
            source.next += len(records)
            self._note_silent(records)
            self._say(f"decide {[record.offset for record in records]}")
            self._loop.create_task(task.decide(records))

    # silences

    def _step_silence(self, number: int) -> None:
        """Somebody silences a session for a while; the member reads of it at once, or late."""
        session, seconds = ("s1", "s1", "s1", "s2")[number % 4], (4.0, 15.0)[number // 4 % 2]
        self._write(session, number, self._true_time(), seconds)
        if number % 2:
            self._step_read(0)

    def _write(self, session: str, number: int, begin: float, seconds: float) -> None:
        name = f"silence{len(self._written_silences)}"
        self._say(f"{name}: {session} is silenced for {seconds:g} s")
        match = Match({"session_id": session})
        critical = number % 4 != 2
        self._written_silences.append(
            Silence(name, "all", match, "known", "me", begin, begin, begin + seconds, include_critical=critical)
        )

    def _step_read(self, number: int) -> None:
        """The member reads all that is written of silences."""
        for silence in self._written_silences:
            self._silences.put(silence)
        if hasattr(self, "_memory"):
            self._memory.task.work.silences_changed()

    def _step_unsilence(self, number: int) -> None:
        """Somebody ends a silence before its time."""
        if holding := [one for one in self._written_silences if one.expires_at > self._true_time()]:
            ended = holding[number % len(holding)].ended(self._true_time())
            self._say(f"{ended.id} is ended")
            self._written_silences[self._written_silences.index(holding[number % len(holding)])] = ended
            if number % 2:
                self._step_read(0)

    def _step_quietly(self, number: int) -> None:
        """What is silenced occurs, and is decided."""
        self._step_silence(1)
        self._step_event(0)
        self._step_decide(2 * len(self._input.records))

    def _step_pass(self, number: int) -> None:
        """Time passes beyond the ends of silences, with all decided."""
        self._step_decide(2 * len(self._input.records))
        for _ in range((6, 18)[number % 2]):
            self._loop.settle()
            self._look()
            self._step_tick()
            self._step_commit(0)

    def _note_silent(self, records: Iterable[Record]) -> None:
        """The task is about to decide these, by what it knows of silences now."""
        for record in records:
            if record.offset in self._key_of:
                found = self._silences.of(self._facts(record.offset), "simulated", record.timestamp / 1000)
                (self._silent.add if found else self._silent.discard)(record.offset)
                self._silenced_by[record.offset] = {one.id for one in found}

    def _facts(self, offset: int) -> Any:
        event = self._pipeline.decoder.decode(self._input.records[offset])
        assert event is not None
        return event

    def _is_silenced_still(self, offset: int) -> bool:
        """Whether the silences of an event, as this member knows them, have not ended."""
        held_by = self._silenced_by.get(offset, set())
        return any(one.id in held_by and one.expires_at > self._true_time() for one in self._written_silences)

    def _may_be_gone(self, offset: int) -> bool:
        """Whether the problem of a silenced event was over: nobody needs to be told."""
        key, now = self._key_of[offset], self._loop.time()
        if self._last_end.get(key, 0.0) >= self._produced_at[offset]:
            return True
        last = max(self._produced_at[each] for each in self._events_of(key) if each < self._memory.task.position)
        return now - last >= QUIET

    def _step_tick(self, number: int = 0) -> None:
        """A second, and what a member does once in it."""
        self._say("tick")
        self._loop.advance(1.0)
        task, now = self._memory.task, self._loop.time()
        if task.is_running:
            task.progress.observe_end(now, len(self._input.records), now)
            for _ in task.tick():
                pass

    def _step_calm(self, number: int) -> None:
        """Everything is decided, and nothing happens for a while; long enough to be quiet, or just to be caught up."""
        self._step_decide(2 * len(self._input.records))
        self._loop.settle()
        self._look()
        for _ in range(int(QUIET) + 2 if number >= 5 else 5):
            self._step_tick()
            self._step_commit(0)
            self._look()

    def _step_resolve(self, number: int) -> None:
        """All is told and over, and the resolve leaves."""
        self._step_end(number)
        self._step_decide(2 * len(self._input.records))
        for _ in range(3):
            self._loop.settle()
            for request in [request for request in self._wire if request.is_trigger]:
                self._accept(request)
            self._loop.settle()
            self._look()
            self._step_tick()
            self._step_commit(0)
            self._look()

    def _step_wait(self, number: int) -> None:
        self._say(f"wait {WAITS[number]}")
        self._loop.advance(WAITS[number])

    def _step_land(self, number: int) -> None:
        self._land(self._pick(number, lambda request: not request.landed))

    def _step_answer(self, number: int) -> None:
        if (request := self._pick(number)) is not None:
            self._accept(request, number)

    def _accept(self, request: OnTheWire, number: int = 0) -> None:
        self._land(request)
        if request.landed:
            self._answer(request, Accepted(float(int(self._true_time()))))
        else:  # the key is not one: the provider says so in words that are known, or others
            refusals = (Rejected(400, "no"), RouteRefused(400, "Invalid routing key"), Rejected(403, "who?"))
            self._answer(request, refusals[number % len(refusals)])

    def _step_revoke(self, number: int) -> None:
        """The key is revoked, or put right; not so soon that no check has seen it."""
        if self._key_works or not any(one.suspects for one in self._delivery._integrations):
            self._key_works = not self._key_works
            self._say(f"the key {'works' if self._key_works else 'is revoked'}")

    def _step_clock(self, number: int) -> None:
        self._skew = SKEWS[number]
        self._say(f"the wall clock is off by {self._skew:g} s")

    def _step_reject(self, number: int) -> None:
        # What was accepted once is not rejected when repeated.
        request = self._pick(number, lambda request: not request.landed and not (request.covers and self._has(request)))
        if request is not None and self._key_works:
            self._own_fault.add(request.key)
            if not request.is_trigger:
                self._admitted.add(request.key)
            self._answer(request, Rejected(400, "no"))

    def _has(self, request: OnTheWire) -> bool:
        return {(request.place, offset) for offset in request.covers} <= self._told_at

    def _step_outage(self, number: int) -> None:
        self._answer(self._pick(number), Unavailable(503, "down"))

    def _step_throttle(self, number: int) -> None:
        self._answer(self._pick(number, lambda request: not request.landed), Throttled("slow", retry_after=3.0))

    def _step_refuse(self, number: int) -> None:
        self._answer(self._pick(number, lambda request: not request.landed), RouteRefused(400, "Invalid routing key"))

    def _step_break(self, number: int) -> None:
        if (request := self._pick(number)) is not None:
            self._cut_off(request)
            self._answer(request, Unavailable(None, "broke off", unknown=True))

    def _step_late(self, number: int) -> None:
        """A request that was cut off lands after all, or is lost."""
        if self._adrift:
            self._adrift.sort(key=lambda request: (request.deadline, request.key))
            request = self._adrift.pop(number % len(self._adrift))
            self._unpromised.add(request.key)
            if request.keys == self._keys or self._is_known(request):
                self._land(request)

    def _is_known(self, request: OnTheWire) -> bool:
        """Whether the alert has been where this request, of an owner with other keys, lands: else nobody can know."""
        alert = self._memory.task.work.store.get(request.key)
        if alert is None:
            return False
        left = (one.integration for one in (*alert.former, *alert.orphans))
        return request.place in map(self._place, (alert.integration, *left))

    def _step_commit(self, number: int) -> None:
        if self._kafka.waiting is None:
            self._loop.advance(INTERVAL)
        if self._kafka.conclude(Outcome.DONE):
            self._say("commit")
            self._loop.settle()

    def _step_commit_fails(self, number: int) -> None:
        if self._kafka.conclude(Outcome.UNKNOWN if number % 2 else Outcome.FAILED):
            self._say(f"commit fails, {'' if number % 2 else 'not '}applied")

    def _step_crash(self, number: int) -> None:
        """What is on the wire has been accepted, or is lost or adrift; a commit under way comes about or not."""
        self._say(f"crash {number}")
        self._die(number)
        self._start()

    def _die(self, number: int) -> None:
        for index, request in enumerate(sorted(self._wire, key=lambda request: request.key)):
            if number >> (index % 2) & 1:
                self._land(request)
        if number & 4:
            self._kafka.conclude(Outcome.UNKNOWN)
        self.close()

    def _step_reconfigure(self, number: int) -> None:
        """A crash, and a next owner with other keys."""
        keys = self._configurations[number % len(self._configurations)]
        if keys == self._keys:
            return
        self._say(f"from now on {keys}")
        self._die(number)
        self._keys, self._has_changed = keys, True
        if not self._shared:
            self._forget_what_nobody_knows()
        self._provider = SimulatedProvider(keys, shares_alerts=self._shared)
        self._pipeline = self._make_pipeline()
        self._start()

    def _forget_what_nobody_knows(self) -> None:
        """An incident that was opened since the last checkpoint is not in the state, and with other keys it need not be
        opened again: nobody can know of it."""
        written = self._written()
        for integration, key in list(self._open):
            alert = written.get(key)
            if alert is not None and any(one.integration == integration for one in alert.former):
                continue
            is_within_reach = integration in self._keys.within_reach
            if alert is not None and alert.integration == integration and (alert.route is not None or is_within_reach):
                continue
            del self._open[integration, key]
            self._told_at -= {(integration, offset) for offset in self._events_of(key)}

    def _step_hand_over(self, number: int) -> None:
        if self._handing_over is None and self._memory.task.is_running:
            self._say("hand over")
            self._handing_over = self._loop.create_task(self._hand_over(number % 3))

    def _step_proof(self, number: int) -> None:
        if self._handing_over is None:
            self._proofs.is_valid = not self._proofs.is_valid
            self._say(f"proof {'fresh' if self._proofs.is_valid else 'stale'}")
            self._delivery.wake()

    # what people do at the provider

    def _step_take(self, number: int) -> None:
        if (here := self._one_open(number)) is not None and here not in self._taken:
            self._say(f"somebody takes {here}")
            self._taken.add(here)
            self._tell(here, What.ACKNOWLEDGED)

    def _step_close(self, number: int) -> None:
        if (here := self._one_open(number)) is not None:
            self._say(f"somebody closes {here}")
            self._close(here)
            self._unpromised.add(here[1])
            self._tell(here, What.RESOLVED)

    def _one_open(self, number: int) -> tuple[str, str] | None:
        found = sorted(self._open)
        return found[number % len(found)] if found else None

    def _tell(self, here: tuple[str, str], what: What, *, by_integration: bool = False) -> None:
        """It will be heard of, where people are there; no two things happen at one moment."""
        if self._has_people:
            self._happenings += 1
            at = self._true_time() + self._happenings * 1e-6
            self._webhooks.append(FromProvider("simulated", here[1], Happened(what, at, None, by_integration)))

    def _close(self, here: tuple[str, str]) -> None:
        self._open.pop(here, None)
        self._taken.discard(here)

    def _step_hear(self, number: int) -> None:
        if self._webhooks and self._memory.task.is_running:
            self._hear(self._webhooks.pop(number % len(self._webhooks)))

    def _step_twice(self, number: int) -> None:
        if self._webhooks and self._memory.task.is_running:
            self._hear(self._webhooks[number % len(self._webhooks)])

    def _step_hear_all(self, number: int) -> None:
        while self._webhooks:
            self._hear(self._webhooks.pop(0))
        self._hand_feedback()

    def _hear(self, found: FromProvider) -> None:
        self._say(f"hears: {found.it.what.value} {found.dedup_key}")
        self._feedback.append(found)
        self._hand_feedback()

    def _hand_feedback(self) -> None:
        """What a reader does: everything from where the task has come to."""
        inbox = self._memory.task.work.effects.inbox
        begin = inbox.next_offset(0)
        inbox.hand(0, list(enumerate(self._feedback[begin:], begin)), len(self._feedback))

    async def _read_records(self, places: Collection[tuple[str, int, int]]) -> AsyncGenerator[Record, None]:
        for _, _, offset in places:
            yield self._input.records[offset]

    def _pick(self, number: int, which: Callable[[OnTheWire], bool] = lambda request: True) -> OnTheWire | None:
        # By key, for what leaves at the same moment leaves in any order.
        possible = sorted(filter(which, self._wire), key=lambda request: request.key)
        return possible[number % len(possible)] if possible else None

    # the provider

    async def send(self, request: Request, classify: object, timeout: float) -> Answer:
        """What delivery calls to make a request (`providers.notify.Sender`)."""
        if request.url.endswith("/check"):
            self._say(f"check: {'accepted' if self._key_works else 'refused'}")
            return Accepted() if self._key_works else Rejected(400, "no")
        dispatch = _LEAVING.get()
        covers: frozenset[int] = frozenset()
        if isinstance(dispatch.notification, Trigger):
            owed = dispatch.token
            covers = frozenset(self._offsets(dispatch.dedup_key, owed.first_offset, owed.last_offset))
        place = self._place(self._provider.integration_of(dispatch.route))
        leaving = OnTheWire(dispatch, place, self._keys, covers, self._loop.create_future())
        self._say(f"leaves: {leaving}")
        self._check_leaving(leaving)
        self._wire.append(leaving)
        try:
            async with asyncio.timeout(timeout):
                return await leaving.answer
        except TimeoutError:
            self._say(f"times out: {leaving}")
            self._cut_off(leaving)
            return Unavailable(None, "no answer", unknown=True)
        except asyncio.CancelledError:
            self._say(f"cut off: {leaving}")
            self._cut_off(leaving)
            raise
        finally:
            self._wire.remove(leaving)

    def _check_leaving(self, leaving: OnTheWire) -> None:
        if not self._proofs.is_valid:
            self._break("a request without a fresh proof", str(leaving))
        if any(other.key == leaving.key for other in self._wire):
            self._break("two requests at a time about one alert", str(leaving))
        if leaving.is_trigger:
            store = self._memory.task.work.store
            if leaving.covers and all(map(self._is_silenced_still, leaving.covers)):
                self._break("what is silenced tells nobody", str(leaving))
            if leaving.dispatch.token.repeat is False and store.state_holds_another(leaving.key):
                self._unpromised.add(leaving.key)  # it has waited for too long
        elif due(leaving.dispatch.token) is Due.RESOLVE_FORMER and leaving.dispatch.token.is_at_provider:
            at = self._place(leaving.dispatch.token.integration)
            if at == leaving.place or (at, leaving.key) not in self._open:
                self._break("no live problem is resolved", f"{leaving}: it is told nowhere else")
        else:
            alert = leaving.dispatch.token
            held = self._held(leaving.key)
            if _timeless(alert) not in held or alert.status is not Status.RESOLVING or alert.owed is not None:
                self._break("a resolve without its intent committed", f"{leaving}: {held}")
            undecided = range(self._memory.task.position, len(self._produced_at))
            now = self._loop.time()
            if any(self._produced_at[offset] <= now - FRESH_SECONDS for offset in undecided):
                self._break("a resolve from a task that is not caught up", str(leaving))
            decided = [
                offset
                for offset in self._events_of(leaving.key)
                if offset < self._memory.task.position and offset not in self._muted
            ]
            last = max((self._produced_at[offset] for offset in decided), default=0.0)
            if self._last_end.get(leaving.key, 0.0) < last and now - last < QUIET:
                self._break("no live problem is resolved", f"{leaving}: an event {now - last:.1f} s ago")

    def _cut_off(self, request: OnTheWire) -> None:
        if self._late and not request.landed:
            request.deadline = self._loop.time() + TIMEOUT
            self._adrift.append(request)

    def _land(self, request: OnTheWire | None) -> None:
        if request is None or request.landed or not self._key_works:
            return
        request.landed = True
        self._say(f"lands: {request}")
        key = request.key
        here, in_use = (request.place, key), set(map(self._place, self._keys.in_use))
        if not request.is_trigger:
            if here in self._open:
                self._tell(here, What.RESOLVED, by_integration=True)
            self._close(here)
            return
        if here not in self._open and key not in self._unpromised:
            others = in_use if self._shared else in_use - self._left(key)
            told_at = {offset for place, offset in self._told_at if place in others}
            is_second = any((other, key) in self._open for other in others) and key not in self._admitted
            if is_second or request.covers <= told_at:
                self._break("an occurrence opens a second incident", str(request))
        self._told |= request.covers
        self._told_at |= {(request.place, offset) for offset in request.covers}
        notification = request.dispatch.notification
        assert isinstance(notification, Trigger)
        severity = notification.severity
        self._open[here] = max(self._open.get(here, severity), severity)

    def _answer(self, request: OnTheWire | None, answer: Answer) -> None:
        if request is not None and not request.answer.done():
            self._say(f"answer to {request}: {type(answer).__name__}")
            request.answer.set_result(answer)

    # what delivery tells (`providers.delivery.Observer`)

    def answered(self, *_: object) -> None:
        pass

    rejected = fails_alone = failing = given_up = throttled = unthrottled = answered

    def failed(self, dispatch: Dispatch, error: BaseException) -> None:
        self._break("a fault", repr(error))

    def follow_up_rejected(self, dispatch: Dispatch, answer: Rejected) -> None:
        pass

    def checked(self, route: str, answer: Answer) -> None:
        self._say(f"checked: {type(answer).__name__}")

    def refused(self, *_: object) -> None:
        self._say("refused")

    def works(self, *_: object) -> None:
        self._say("works")

    # what must be true

    def _look(self) -> None:
        """After every step: what has become of the events; then nothing may have been broken."""
        now = self._loop.time()
        self._adrift = [request for request in self._adrift if request.deadline is None or now < request.deadline]
        for letter in self._kafka.dead_letters[self._letters :]:
            self._buried(letter)
        self._letters = len(self._kafka.dead_letters)
        if self._memory.task.committed is not None:
            self._account()
            self._check_group_offset()
        if self._loop.errors:
            self._break("a fault", repr(self._loop.errors[0]))
        if self._broken is not None:
            raise BrokenPromise("\n  ".join([self._broken, *self.trace]))

    def _buried(self, letter: DeadLetter) -> None:
        key = self._key_of[letter.record.offset]
        covers = self._offsets(key, letter.first_offset, letter.last_offset)
        self._dead.update(covers)
        self._dead_keys.add(key)
        if letter.error_class.startswith("rejected") and key not in self._own_fault:
            self._break("a revoked key costs no dead letter", f"{letter.error_class}: {covers}")
        if letter.first_offset == ELSEWHERE:
            return  # it was to be told again, and is dead-lettered as what it is: one that was told
        if letter.error_class == "given_up":
            owed_for = self._loop.time() - min(self._produced_at[offset] for offset in covers)
            if owed_for < GIVE_UP:
                self._break("nothing is given up early", f"after {owed_for:.1f} s: {covers}")
        # What was suppressed into an incident that the alert has left is not counted into what it then owes.
        if letter.occurrences > len(covers) or (letter.occurrences < len(covers) and not self._has_changed):
            self._break("a dead letter counts its occurrences", f"{letter.occurrences}, not {len(covers)}: {covers}")

    def _account(self) -> None:
        """An event that is not owed any more was suppressed, into what the provider has or into nothing."""
        memory = self._memory
        store, position = memory.task.work.store, memory.task.position
        if memory.decided < 0:
            memory.decided = position
            memory.waiting = {offset for offset in self._waiting if offset < position}
            memory.owed = {offset for offset in self._key_of if offset < position and self._is_owed(offset)}
            memory.waiting |= {offset for offset in self._silent if offset < position and self._is_held(offset)}
        fresh = {offset for offset in range(memory.decided, position) if offset in self._key_of}
        memory.decided = position
        candidates = memory.owed | fresh | memory.waiting
        memory.owed = {offset for offset in candidates if self._is_owed(offset)}
        memory.waiting = set()
        held = {offset for offset in candidates - memory.owed if self._is_held(offset)}
        self._muted = (self._muted - candidates) | held
        memory.waiting |= held
        for offset in candidates - memory.owed - self._told - memory.dying - held:
            key = self._key_of[offset]
            alert = store.get(key)
            if offset in self._silent and self._open_in_use(key) is None and self._may_be_gone(offset):
                self._seen.add(offset)
                continue
            if key in self._overflowed and (alert is None or not alert.is_at_provider):
                self._seen.add(offset)  # an earlier one is dead-lettered, and this one was counted into its alert
            elif (open_at := self._open_in_use(key)) is not None:
                self._seen.add(offset)
                # A rejected update counts as told, or each further event would be one more dead letter.
                dying = {self._key_of[each] for each in memory.dying}
                excused = self._unpromised | self._overflowed | self._dead_keys | dying
                if self._severity_of[offset] > open_at and key not in excused and offset not in self._silent:
                    self._break("a higher severity is told", f"event {offset}")
            elif key in self._unpromised and alert is not None:
                # Closed by a request that landed late: to be opened again, or over by now.
                (memory.waiting if alert.status is Status.OPEN else self._seen).add(offset)
        self._waiting = memory.waiting

    def _open_in_use(self, key: str) -> Severity | None:
        """The severity of the incident of this key where triggers go."""
        places = map(self._place, self._keys.in_use)
        return max((self._open[one, key] for one in places if (one, key) in self._open), default=None)

    def _is_owed(self, offset: int) -> bool:
        alert = self._memory.task.work.store.get(self._key_of[offset])
        owed = alert.owed if alert is not None else None
        return owed is not None and owed.first_offset <= offset <= owed.last_offset

    def _is_held(self, offset: int) -> bool:
        """Whether the event is silenced, and nobody has been told of it."""
        alert = self._memory.task.work.store.get(self._key_of[offset])
        held = None if alert is None or alert.is_at_provider else alert.held
        return held is not None and held.first_offset <= offset <= held.last_offset and offset in self._silent

    def _check_group_offset(self) -> None:
        committed = self._memory.task.committed
        if committed is not None:
            owed_by_the_state = self._silent & (
                self._memory.owed | self._memory.dying
            )  # what was silenced holds no offset back
            passed = {offset for offset in self._key_of if offset < committed.offset} - self._accounted()
            passed -= owed_by_the_state
            if passed:
                self._break("the group's offset passes no event that is lost", f"{committed.offset} > {sorted(passed)}")

    def _accounted(self) -> set[int]:
        return self._told | self._seen | self._dead | self._waiting

    # rest

    def rest(self) -> None:
        """Let everything be delivered and committed; then here and the provider agree. Raises `BrokenPromise`."""
        self._say("rest")
        while not self._key_works:
            self.step("tick", 0)
            self.step("revoke", 0)
        for _ in range(REST):
            if self._handing_over is None and not self._proofs.is_valid:
                self.step("proof", 0)
            self.step("decide", 2 * len(self._input.records))
            if self._memory.task.is_running:
                self.step("hear_all", 0)
            while self._wire:
                self.step("answer", 0)
            self.step("commit", 0)
            if self._is_at_rest():
                break
            self.step("tick", 0)
            while self._adrift and self._adrift[0].deadline - self._loop.time() <= 1.0:  # type: ignore[operator]  # it has one
                self.step("late", 0)
        else:
            self._break("everything owed is delivered", f"{list(self._memory.task.work.store.owing())}")
        self._check_rest()
        self._check_history()
        self._look()

    def _check_history(self) -> None:
        found = histories(self._kafka.steps).values()
        if wrong := list(wrong_at_rest(found, {alert.dedup_key: alert for alert in self._alerts()})):
            self._break("the history is complete and in order", "; ".join(wrong))

    def _is_at_rest(self) -> bool:
        task = self._memory.task
        store = task.work.store
        return (
            self._handing_over is None
            and task.is_running
            and task.position == len(self._input.records)
            and not self._webhooks
            and task.work.effects.inbox.positions.get(0, 0) == len(self._feedback)
            and not (self._wire or self._adrift or store.has_changes or self._kafka.waiting is not None)
            and all(due(alert) is None for alert in self._alerts())
            and not store.silenced_count
            and not (task.waiting or task.is_refused)  # a checkpoint that has failed is to be written again
        )

    def _alerts(self) -> list[Alert]:
        store = self._memory.task.work.store
        keys = store.keys()
        return [alert for key in keys if (alert := store.get(key)) is not None]

    def _check_rest(self) -> None:
        alerts = {alert.dedup_key: alert for alert in self._alerts()}
        # Nothing has been told: kept for its end, because a trigger that was rejected may have landed before.
        untold = {
            key
            for key, alert in alerts.items()
            if alert.overflow is not None or (alert.last_notified is None and (alert.route is not None or alert.former))
        }
        excused = untold & (alerts.keys() if self._has_changed else self._dead_keys)
        excused |= {key for key, alert in alerts.items() if alert.orphans and alert.route is None}
        places = set(map(self._place, self._keys.within_reach))
        within_reach = {key for place, key in self._open if place in places}
        if only_here := alerts.keys() - within_reach - excused:
            self._break("what is open here is open at the provider", str(only_here))
        taken = {key for _, key in self._taken}
        if untaken := {key for key, one in alerts.items() if one.status is Status.ACKNOWLEDGED} - taken:
            self._break("nobody counts as having taken what nobody has", str(untaken))
        for place, key in self._open:
            alert = alerts.get(key)
            had = (alert.integration, *(one.integration for one in alert.former)) if alert is not None else ()
            if place in places:
                if place not in map(self._place, had) and key not in self._admitted:
                    self._break("what is open at the provider is open here", f"{key} at {place}")
            elif key not in self._left_behind and not self._is_orphan(alert, place):
                self._break("what is out of reach is told of", f"{key} at {place}")
        if missing := self._key_of.keys() - self._accounted():
            self._break("no alertable event is lost", str(sorted(missing)))
        if self._written().keys() != alerts.keys() or any(
            _timeless(alert) not in self._held(key) for key, alert in alerts.items()
        ):
            self._break("the state topic holds what the task knows", str(self._written()))

    def _place(self, integration: str | None) -> str:
        """Where what goes through this integration lands."""
        return ACCOUNT if self._shared else integration or ""

    def _left(self, key: str) -> set[str | None]:
        """The integrations that the alert is known to have left, where its incident will be resolved."""
        alert = self._memory.task.work.store.get(key)
        return {one.integration for one in alert.former} if alert is not None else set()

    @staticmethod
    def _is_orphan(alert: Alert | None, integration: str) -> bool:
        return alert is not None and any(one.integration == integration for one in alert.orphans)

    def _held(self, key: str) -> tuple[Alert, ...]:
        """The alert as the state has it: as it was written by this owner, and as it was read, by today's keys."""
        written = self._written().get(key)
        if written is None:
            return ()
        taken = self._pipeline.placed(self._pipeline.possibly_told(written))
        return _timeless(written), _timeless(self._pipeline.placed(written)), _timeless(taken)

    def _written(self) -> dict[str, Alert]:
        state = self._kafka.state
        return {
            key.decode(): decode_alert(key, value)
            for key, value in state.items()
            if value is not None and key != CHECKPOINT_KEY
        }

    def _events_of(self, key: str) -> list[int]:
        return [offset for offset, its_key in self._key_of.items() if its_key == key]

    def _offsets(self, key: str, first: int, last: int) -> list[int]:
        return [offset for offset, its_key in self._key_of.items() if its_key == key and first <= offset <= last]

    def _break(self, promise: str, what: str) -> None:
        if self._broken is None:
            self._broken = f"{promise}: {what}"

    def _say(self, what: str) -> None:
        self.trace.append(f"{self._loop.time() - 1000:6.1f} {what}")

    def _make_pipeline(self) -> Pipeline:
        simulation = self

        class WatchedPipeline(Pipeline):
            def undelivered(self, owed: Any, *args: Any, **options: Any) -> DeadLetter:
                letter = Pipeline.undelivered(self, owed, *args, **options)
                key = simulation._key_of[letter.record.offset]
                dying = simulation._offsets(key, letter.first_offset, letter.last_offset)
                simulation._memory.dying.update(dying)
                simulation._say(f"dead letter: {dying} {letter.error_class}")
                if letter.error_class == "overflow":
                    simulation._overflowed.add(key)
                return letter

        return WatchedPipeline(
            provider=self._provider,
            group_id="group",
            input_topic="events",
            state_topic="state",
            dlq_topic="dlq",
            decoder=Decoder(Filter(), EndRules(on_session_end=True), 262_144),
            template=KeyTemplate.parse("{guard}:{session_id}"),
            policy=Policy(WINDOW, RENOTIFY, QUIET, 1e9),
            max_event_age=None,
            give_up_seconds=GIVE_UP,
            timeout_seconds=TIMEOUT,
            commit_interval=INTERVAL,
            max_owed=1000,
            silences=self._silences,
        )


def _watch(outbox: TaskOutbox) -> None:
    """Let the sender know which dispatch a request belongs to: the coroutine that makes it inherits the context."""
    take = outbox.take

    def watched(dedup_key: str, route: str) -> Dispatch | None:
        leaving = take(dedup_key, route)
        if leaving is not None:
            _LEAVING.set(leaving)
        return leaving

    outbox.take = watched  # type: ignore[method-assign]


def _timeless(alert: Alert) -> Alert:
    """The alert without the times that a new owner may take for others, if they lie in its future; and without what is
    silenced of it while it is resolved, which is another matter."""
    told, owed = alert.last_notified, alert.owed
    if alert.status is Status.RESOLVING:
        alert = structs.replace(alert, held=None, key=None)
    elif alert.held is not None:
        held = structs.replace(alert.held, first_seen=0.0, last_seen=0.0, decided=0.0)
        alert = structs.replace(alert, held=held)
    return structs.replace(
        alert,
        first_seen=0.0,
        last_seen=0.0,
        decided=0.0,
        last_notified=structs.replace(told, at=0.0) if told is not None else None,
        former=(*alert.former, *alert.orphans),
        orphans=(),
        owed=structs.replace(owed, since=0.0) if owed is not None else None,
    )
