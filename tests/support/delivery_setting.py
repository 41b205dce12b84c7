"""A member with real tasks, real delivery and a provider that answers as the test says; hours pass in no time.

Everything between a decided event and a request is the service's own: task, store, outbox, delivery, queues, limiter.
Kafka is `tests.support.simulated_kafka`, with commits that succeed at once; time is a number (`tests.support.loop`).
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from consumer.deciding.pipeline import Pipeline
from consumer.dlq.dead_letter import DeadLetter
from consumer.events.event import Decoder
from consumer.events.filter import EndRules, Filter
from consumer.events.keys import KeyTemplate
from consumer.feedback.records import Feedback, OperatorCommand
from consumer.feedback.records import FeedbackKind as CommandKind
from consumer.input.commit_metadata import START_METADATA
from consumer.kafka.reading import Place
from consumer.kafka.record_clock import RecordClock
from consumer.silences.known import KnownSilences
from consumer.silences.silence import Match, Silence
from consumer.tasks.partition.alerter import Alerter, alerting_task
from consumer.tasks.partition.task import PartitionTask
from consumer.tasks.partition.task_context import TaskContext
from consumer.timing.clock import Clock
from providers.answer import Accepted, Answer, Rejected, Unavailable
from providers.delivery.breaker import BreakerSettings
from providers.delivery.delivery import Delivery, RouteLimits
from providers.delivery.outbox import Dispatch
from providers.notification import Acknowledge, Notification, Resolve, Trigger
from providers.provider import HeartbeatCalls, Request
from providers.rate import Rate
from providers.retry import Backoff
from state.alert import Alert
from state.policy import Policy
from state.records import CHECKPOINT_KEY, decode_alert
from state.seen import Seen
from state.violation import Record, Violation
from tests.support.dead_letter_writer import large_dead_letter_writer
from tests.support.events import encode, event, session_end
from tests.support.loop import VirtualLoop
from tests.support.simulated_kafka import Input, Kafka, Producer, Proofs

EPOCH = 1_800_000_000.0
TIMEOUT = 30.0
LATENCY = 0.2
PAGERDUTY = Rate(1.5, 30)
DAY = 86_400.0

Kind = Literal["trigger", "acknowledge", "resolve", "follow-up", "check"]


class TimesOut:
    """What a provider says that does not answer."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request: when it left (seconds since the setting began), through which key, and what it is about.

    ``key`` is the alert's dedup key, "" for a check; ``session`` its last part.
    """

    at: float
    integration: str
    kind: Kind
    key: str = ""
    route: str = ""
    notification: Notification | None = None
    answer: Answer | None = None

    @property
    def session(self) -> str:
        return self.key.rpartition(":")[2]


Says = Callable[[Call], "Answer | TimesOut"]


def accepts(call: Call) -> Answer:
    """A provider without trouble."""
    return Accepted()


class _Provider:
    """PagerDuty's form, or with ``follows_up`` OpsGenie's: what is told again is followed up by a note."""

    name = "simulated"
    heartbeat: HeartbeatCalls | None = None
    key_limit = 255
    retired_routes: Sequence[str] = ()
    shares_alerts = False
    documented_rate = PAGERDUTY

    def __init__(self, routes: Mapping[str, str], *, follows_up: bool, acts: bool) -> None:
        self._keys = dict(routes)
        self._follows_up = follows_up
        self._acts = acts
        self.routes: Sequence[str] = tuple(routes)

    def integration_of(self, route: str) -> str:
        return self._keys[route]

    def knows(self, route: str) -> bool:
        return route in self._keys

    def route_of(self, violation: Violation) -> str:
        return next((route for route in (f"by_guard:{violation.guard}",) if route in self._keys), self.routes[0])

    def requests(self, route: str, notification: Notification) -> Sequence[Request]:
        match notification:
            case Trigger(again=again):
                first = self._request("trigger", route, notification)
                return (
                    [first, self._request("follow-up", route, notification)] if again and self._follows_up else [first]
                )
            case Acknowledge():
                return [self._request("acknowledge", route, notification)]
            case Resolve():
                return [self._request("resolve", route, notification)]

    def _request(self, kind: Kind, route: str, notification: Notification) -> Request:
        body = {"kind": kind, "notification": notification}
        return Request("POST", route, body=body, is_action=self._acts and kind != "trigger")

    def check(self, route: str) -> Request:
        return Request("POST", route, body={"kind": "check", "notification": None}, is_action=self._acts)

    def classify(self, status: int, headers: object, body: bytes) -> Answer:
        raise NotImplementedError


class _Commits(Producer):
    """A producer whose transactions succeed at once."""

    async def commit_transaction(self) -> None:
        self._check()
        self._is_open = False
        self._kafka.apply(self.sent)


class _Kafka(Kafka):
    def transactional(self, transactional_id: str, *, batch_bytes: int) -> Producer:
        return _Commits(self)


@dataclass(eq=False, slots=True)
class Partition:
    """One partition: its input, its state, and the task that has it now."""

    input: Input
    kafka: _Kafka
    task: PartitionTask[Alerter] | None = None
    runner: "asyncio.Task[None] | None" = None

    @property
    def running(self) -> PartitionTask[Alerter]:
        assert self.task is not None
        return self.task

    def alert(self, session: str, guard: str = "forbidden_path") -> Alert | None:
        """What is known of this alert."""
        return self.running.work.store.get(f"{guard}:{session}")

    def state(self) -> dict[str, Alert]:
        """What the last checkpoint holds."""
        return {
            key.decode(): decode_alert(key, value)
            for key, value in self.kafka.state.items()
            if value is not None and key != CHECKPOINT_KEY
        }


class Setting:
    """One member, with so many partitions. ``routes`` are names with the key of each; ``says`` is what the provider
    answers, and may be replaced at any time."""

    made: ClassVar[list["Setting"]] = []
    """Those that are to be ended when the test is over."""

    def __init__(
        self,
        says: Says = accepts,
        *,
        routes: Mapping[str, str] | None = None,
        rate: Rate | None = PAGERDUTY,
        route_check: float = 3600.0,
        may_owe: int | None = None,
        max_owed_bytes: int = 256 << 20,
        max_in_flight: int = 256,
        give_up: float = DAY,
        quiet: float | None = None,
        partitions: int = 1,
        commit_interval: float = 0.1,
        timeout: float = TIMEOUT,
        latency: float = LATENCY,
        follows_up: bool = False,
        acts: bool = False,
        seed: int = 1,
    ) -> None:
        self.says = says
        self.calls: list[Call] = []
        self.refusals: list[tuple[float, str]] = []
        self.follow_ups_rejected: list[str] = []
        self.faults: list[str] = []
        self.read_again: list[int] = []
        """How many records were read again, each time."""
        self.unreadable: Exception | None = None
        """What comes of it if records are to be read again."""
        self.unreadable_offsets: Collection[int] = ()
        """Where records stand that cannot be read again, though the others can."""
        self.loop = VirtualLoop()
        self.begin = self.loop.time()
        self.share = 1.0
        self.latency = latency
        self._random = random.Random(seed)
        self._timeout = timeout
        self._busy: set[tuple[str, str]] = set()
        self._options: dict[str, Any] = {"max_owed_bytes": max_owed_bytes, "max_in_flight": max_in_flight}
        self.provider = _Provider(routes or {"default": "key"}, follows_up=follows_up, acts=acts)
        self._limits = dict.fromkeys(self.provider.routes, RouteLimits(rate, route_check, may_owe))
        self.brokers_check = True
        """Whether the broker refuses records that are far ahead of its clock; from the next `start` on."""
        self.skew = 0.0
        """By how many seconds the wall clock of the member is ahead of everybody else's."""
        self._clock = Clock(wall=lambda: self.true_time() + self.skew, monotonic=self.loop.time)
        self.proofs = Proofs()
        self.silences = KnownSilences()
        self.pipeline = Pipeline(
            provider=self.provider,
            group_id="group",
            input_topic="events",
            state_topic="state",
            dlq_topic="dlq",
            decoder=Decoder(Filter(), EndRules(on_session_end=True), 8 << 20),
            template=KeyTemplate.parse("{guard}:{session_id}"),
            policy=Policy(300.0, 3600.0, quiet, 30 * DAY),
            max_event_age=None,
            give_up_seconds=give_up,
            timeout_seconds=timeout,
            commit_interval=commit_interval,
            max_owed=10_000,
            silences=self.silences,
        )
        self.partitions = [
            Partition(Input("events", START_METADATA), _Kafka("state", self.true_time)) for _ in range(partitions)
        ]
        for number, partition in enumerate(self.partitions):
            partition.input.partition = TopicPartition("events", number)
        self.start()
        self.made.append(self)

    def limit(self, rate: Rate | None) -> None:
        """The rate of every route, from the next `start` on."""
        self._limits = {route: replace(limits, rate=rate) for route, limits in self._limits.items()}

    # the process

    @property
    def now(self) -> float:
        """Seconds since the setting began."""
        return self.loop.time() - self.begin

    def true_time(self) -> float:
        """Seconds since the epoch, by the clocks of the producers, of operators and of the broker."""
        return EPOCH + self.loop.time()

    def _record_clock(self) -> RecordClock:
        clock = RecordClock(self._clock)
        clock.input.brokers_check(is_so=self.brokers_check)
        return clock

    def start(self) -> None:
        """A new process: its delivery, and a task for each partition."""
        self.proofs.is_valid = True
        self.delivery = Delivery(
            provider=self.provider,
            sender=self,
            timeout=self._timeout,
            may_send=lambda: self.proofs.is_valid,
            backoff=Backoff(1.0, 30.0, 2.0, self._random.random),
            observer=self,
            breaker=BreakerSettings(5, 30.0),
            limits=self._limits,
            clock=self.loop.time,
            chance=self._random.random,
            **self._options,
        )
        with self.loop.running():
            self.delivery.set_share(self.share)
            self.delivery.start()
        for partition in self.partitions:
            self.assign(partition)
        self.loop.settle()

    def assign(self, partition: Partition) -> None:
        """A new task for this partition, from its last checkpoint."""
        context = TaskContext(
            pipeline=self.pipeline,
            clients=partition.kafka,  # type: ignore[arg-type]
            delivery=self.delivery,
            proofs=self.proofs,  # type: ignore[arg-type]
            restores=asyncio.Semaphore(4),
            metrics=_Nothing(),  # type: ignore[arg-type]
            clock=self._clock,
            dead_letter_writer=large_dead_letter_writer("dlq"),
            record_clock=self._record_clock(),
            quiescent_seconds=3.0,
            read_records=self.read_records,
        )
        partition.task = alerting_task(partition.input, context, _Log(self.faults))  # type: ignore[arg-type]
        partition.runner = self.loop.create_task(self._run(partition.task))
        self.loop.settle()
        self.decide(partition)

    async def _run(self, task: PartitionTask[Alerter]) -> None:
        try:
            await task.run()
        except Exception as error:
            self.faults.append(repr(error))

    def release(self, partition: Partition, grace: float = 0.0) -> None:
        """What a revocation does: the task drains, and is gone."""
        task, runner = partition.running, partition.runner
        assert runner is not None
        draining = self.loop.create_task(task.drain(grace))
        self.loop.advance(grace)
        assert draining.done()
        runner.cancel()
        self.loop.settle()
        partition.task = partition.runner = None

    def rebalance(self) -> None:
        """All partitions are taken away and come back to the same member."""
        self.proofs.is_valid = False
        for partition in self.partitions:
            self.release(partition)
        self.proofs.is_valid = True
        for partition in self.partitions:
            self.assign(partition)
        with self.loop.running():
            self.delivery.wake()
        self.loop.settle()

    def crash(self) -> None:
        """The process is gone, and what it had not committed with it."""
        for partition in self.partitions:
            partition.kafka.producer = None
        self.proofs.is_valid = False
        closing = self.loop.create_task(self.delivery.close())
        for partition in self.partitions:
            if partition.runner is not None:
                partition.runner.cancel()
        self.loop.settle()
        assert closing.done()
        assert not self._busy

    def restart(self) -> None:
        """A crash, and a new process."""
        self.crash()
        self.start()

    def rotate(self, key: str) -> None:
        """A new process that has this key for the default route, and the one before only as a retired key."""
        former = self.provider.integration_of("default")
        self.crash()
        provider = _Provider({"default": key, f"retired:{former}": former}, follows_up=False, acts=False)
        provider.retired_routes = (f"retired:{former}",)
        self.provider = provider
        self._limits = dict.fromkeys(provider.routes, self._limits["default"])
        self.pipeline = replace(self.pipeline, provider=provider)
        self.start()

    # what happens

    def occur(
        self,
        *sessions: str,
        severity: str = "high",
        guard: str = "forbidden_path",
        partition: int = 0,
        padding: int = 0,
    ) -> None:
        """One denial of each session, decided at once."""
        chosen = self.partitions[partition]
        for session in sessions:
            fields = event(
                session=session,
                severity=severity,
                guard=guard,
                at=self.true_time(),
                event_id=f"e{len(chosen.input.records)}",
                labels={"padding": "x" * padding} if padding else None,
            )
            self._produce(chosen, fields)
        self.decide(chosen)

    def end(self, *sessions: str, partition: int = 0) -> None:
        """The sessions end."""
        for session in sessions:
            self._produce(self.partitions[partition], session_end(session))
        self.decide(self.partitions[partition])

    def _produce(self, partition: Partition, fields: dict[str, Any]) -> None:
        tp, records = partition.input.partition, partition.input.records
        timestamp = int(self.true_time() * 1000)
        records.append(Record(tp.topic, tp.partition, len(records), timestamp, b"k", encode(fields)))

    def decide(self, partition: Partition) -> None:
        task, source = partition.running, partition.input
        if task.is_running and source.next < len(source.records):
            records, source.next = source.records[source.next :], len(source.records)
            self.loop.create_task(task.decide(records))
            self.loop.settle()

    def run(self, seconds: float, *, tick: float = 1.0) -> None:
        """Let that much time pass; each ``tick`` seconds the tasks do what they do each second."""
        end = self.loop.time() + seconds
        while self.loop.time() < end - 1e-9:
            self.loop.advance(min(tick, end - self.loop.time()))
            now = self.loop.time()
            for partition in self.partitions:
                task = partition.task
                if task is not None and task.is_running:
                    task.progress.observe_end(now, len(partition.input.records), now)
                    with self.loop.running():
                        for _ in task.tick():
                            pass
            self.loop.settle()
            assert not self.loop.errors, self.loop.errors[0]
            assert not self.faults, self.faults[0]

    def set_share(self, share: float) -> None:
        self.share = share
        with self.loop.running():
            self.delivery.set_share(share)
        self.loop.settle()

    def acknowledge(
        self,
        session: str,
        partition: int = 0,
        kind: str = "acknowledge",
        *,
        at: float | None = None,
        seen: Sequence[Seen] = (),
    ) -> None:
        """An operator takes, or ends, the alert: who has given the command just now, or ``at`` that time, and has
        ``seen`` these."""
        given_at = self.true_time() + 1.0 if at is None else at
        dedup_key = f"forbidden_path:{session}"
        self.hand(OperatorCommand(CommandKind(kind), "simulated", dedup_key, given_at, "me", seen), partition)

    def hand(self, feedback: Feedback, partition: int = 0) -> None:
        """The task reads this in the feedback topic."""
        inbox = self.partitions[partition].running.work._inbox
        at = inbox.next_offset(0)
        with self.loop.running():
            inbox.hand(0, [(at, feedback)], at + 1)
        self.loop.settle()

    def hand_over(self, session: str, *, of: int = 0, to: int = 1) -> None:
        """The task of partition ``of`` hands its alert over to that of partition ``to``."""
        source, home = self.partitions[of].running.work, self.partitions[to].running.work
        alert = source.store.get(f"forbidden_path:{session}")
        assert alert is not None
        source.store.drop(alert.dedup_key)
        with self.loop.running():
            home._moving._join(alert)
        self.loop.settle()

    # silences

    def silence(self, name: str, seconds: float, *, guard: str = "forbidden_path", critical: bool = False) -> None:
        """Nobody is paged about this guard, from now on and for so long."""
        now = self.true_time()
        self.read_silence(
            Silence(
                name, "all", Match({"guard": guard}), "known", "me", now, now, now + seconds, include_critical=critical
            )
        )

    def read_silence(self, silence: Silence) -> None:
        """The member reads of this silence."""
        self.silences.put(silence)
        for partition in self.partitions:
            partition.running.work.silences_changed()

    async def read_records(self, places: Collection[Place]) -> AsyncGenerator[Record, None]:
        self.read_again.append(len(places))
        if self.unreadable is not None:
            raise self.unreadable
        inputs = {partition.input.partition.partition: partition.input.records for partition in self.partitions}
        for _, number, at in sorted(places, key=lambda place: place[2] in self.unreadable_offsets):
            if at in self.unreadable_offsets:
                raise KafkaConnectionError
            if inputs[number][at] is not None:
                yield inputs[number][at]

    # what has come of it

    def alerts(self) -> dict[str, Alert]:
        """All alerts that the tasks know, by dedup key."""
        found: dict[str, Alert] = {}
        for partition in self.partitions:
            store, keys = partition.running.work.store, partition.running.work.store.keys()
            found.update((key, alert) for key in keys if (alert := store.get(key)) is not None)
        return found

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """What the dead-letter topic holds."""
        return [letter for partition in self.partitions for letter in partition.kafka.dead_letters]

    def told(self, kind: Kind = "trigger") -> dict[str, float]:
        """When each session was first told, in seconds since the setting began."""
        told: dict[str, float] = {}
        for call in self.calls:
            if call.kind == kind and isinstance(call.answer, Accepted):
                told.setdefault(call.session, call.at)
        return told

    def left(self, kind: Kind | None = None, *, since: float = 0.0, until: float = float("inf")) -> list[Call]:
        """The requests that left in that time."""
        return [call for call in self.calls if since <= call.at < until and kind in (None, call.kind)]

    # what delivery calls

    async def send(self, request: Request, classify: object, timeout: float) -> Answer:
        assert request.body is not None
        notification, kind = request.body["notification"], request.body["kind"]
        key = notification.dedup_key if notification is not None else ""
        route = request.url
        call = Call(self.now, self.provider.integration_of(route), kind, key, route, notification)
        assert kind == "check" or self.proofs.is_valid, f"a request without a fresh proof: {call}"
        busy = (call.integration if kind == "check" else "", key)
        assert busy not in self._busy, f"two requests at a time: {call}"
        self._busy.add(busy)
        answer = self.says(call)
        index = len(self.calls)
        said = Unavailable(None, "no answer", unknown=True) if isinstance(answer, TimesOut) else answer
        self.calls.append(replace(call, answer=said))
        try:
            await asyncio.sleep(timeout if isinstance(answer, TimesOut) else self.latency)
        except asyncio.CancelledError:
            self.calls[index] = replace(call, answer=None)
            raise
        finally:
            self._busy.discard(busy)
        return said

    # what delivery tells

    def answered(self, *_: object) -> None:
        pass

    rejected = fails_alone = failing = given_up = throttled = unthrottled = answered

    def failed(self, dispatch: Dispatch, error: BaseException) -> None:
        self.faults.append(repr(error))

    def follow_up_rejected(self, dispatch: Dispatch, answer: Rejected) -> None:
        self.follow_ups_rejected.append(dispatch.dedup_key)

    def checked(self, route: str, answer: Answer) -> None:
        pass

    def refused(self, *_: object) -> None:
        self.refusals.append((self.now, "refused"))

    def works(self, *_: object) -> None:
        if self.refusals and self.refusals[-1][1] == "refused":
            self.refusals.append((self.now, "works"))


class _Log:
    """A log in which only a fault of the program is of interest."""

    def __init__(self, faults: list[str]) -> None:
        self._faults = faults

    def error(self, name: str, *, exc_info: Exception | None = None, **fields: Any) -> None:
        if exc_info is not None:
            self._faults.append(f"{name}: {exc_info!r}")

    def warning(self, name: str, **fields: Any) -> None:
        pass

    debug = info = warning


class _Nothing:
    """Metrics that nobody reads."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **fields: None
