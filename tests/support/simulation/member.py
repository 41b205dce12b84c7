"""The process that owns the partition: its pipeline, its delivery and its task, and what it has of Kafka."""

import asyncio
from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass, field, replace

from aiokafka.errors import KafkaError

from consumer.deciding.pipeline import Pipeline
from consumer.dlq.dead_letter import DeadLetter
from consumer.events.event import SecurityEvent
from consumer.feedback.records import FromProvider
from consumer.kafka.record_clock import RecordClock
from consumer.tasks.partition.alerter import Alerter, alerting_task
from consumer.tasks.partition.task import PartitionTask
from consumer.tasks.partition.task_context import TaskContext
from providers.delivery.delivery import Delivery, RouteLimits
from providers.retry import Backoff
from providers.sender import Sender
from state.alert import Alert
from state.violation import Record
from tests.support.dead_letter_writer import large_dead_letter_writer
from tests.support.history import topic_there
from tests.support.simulated_kafka import HISTORY, Kafka, Proofs
from tests.support.simulation.events import Events
from tests.support.simulation.fates import Fates
from tests.support.simulation.leaving import watch
from tests.support.simulation.observer import Observer
from tests.support.simulation.pipeline import TIMEOUT, make_pipeline
from tests.support.simulation.routing import Routing
from tests.support.simulation.silences import Silences
from tests.support.simulation.world import World
from tests.support.unheard import FaultLog, Unheard

CHECK = 40.0
"""Seconds between two checks of a key that is not used."""

QUIESCENT_SECONDS = 3.0


@dataclass(slots=True)
class Memory:
    """What is known of one incarnation of the task: up to which offset it has decided (-1: nothing is known yet), and
    which events it owes, lets wait, or is about to dead-letter."""

    task: PartitionTask[Alerter]
    decided: int = -1
    owed: set[int] = field(default_factory=set)
    waiting: set[int] = field(default_factory=set)
    dying: set[int] = field(default_factory=set)


class Member:
    """A process that can end at any time, and be started again. Of Kafka there is what was committed."""

    memory: Memory
    delivery: Delivery

    def __init__(
        self, world: World, events: Events, fates: Fates, silences: Silences, routing: Routing, *, tight: bool
    ) -> None:
        self._world = world
        self._events = events
        self._fates = fates
        self._silences = silences
        self._routing = routing
        self._limits = RouteLimits(check_interval=CHECK, may_owe=1 if tight else None)
        self.pipeline = self.make_pipeline()
        self.kafka = Kafka(self.pipeline.state_topic, world.clock.wall)
        self.proofs = Proofs()
        self._handing_over: asyncio.Task[None] | None = None

    @property
    def task(self) -> PartitionTask[Alerter]:
        """The incarnation of the task that runs, or has run last."""
        return self.memory.task

    @property
    def is_handing_over(self) -> bool:
        return self._handing_over is not None

    def alert(self, key: str) -> Alert | None:
        """What the task has of a key."""
        return self.task.work.store.get(key)

    def alerts(self) -> list[Alert]:
        """All that the task has."""
        keys = self.task.work.store.keys()
        return [alert for key in keys if (alert := self.alert(key)) is not None]

    # its life

    def start(self, sender: Sender) -> None:
        """Start the process, which makes its requests by ``sender``."""
        self._silences.read()  # before it decides
        self.proofs.is_valid = True
        provider = self._routing.provider
        self.delivery = Delivery(
            provider=provider,
            sender=sender,
            timeout=TIMEOUT,
            may_send=lambda: self.proofs.is_valid,
            backoff=Backoff(1.0, 4.0, 2.0, lambda: 0.75),
            max_in_flight=8,
            observer=Observer(self._world),
            limits={
                route: replace(self._limits, checks_idle=route not in provider.retired_routes)
                for route in provider.routes
            },
            clock=self._world.loop.time,
            chance=lambda: 0.5,
        )
        self._context = TaskContext(
            pipeline=self.pipeline,
            clients=self.kafka,  # type: ignore[arg-type]
            delivery=self.delivery,
            proofs=self.proofs,  # type: ignore[arg-type]
            restores=asyncio.Semaphore(4),
            metrics=Unheard(),  # type: ignore[arg-type]
            clock=self._world.clock,
            dead_letter_writer=large_dead_letter_writer("dlq"),
            record_clock=self._record_clock(),
            quiescent_seconds=QUIESCENT_SECONDS,
            read_records=self._read_records,
            history=topic_there(name=HISTORY),
        )
        with self._world.loop.running():
            self.delivery.start()
        self._supervisor = self._world.loop.create_task(self._supervise())
        self._world.loop.settle()

    def restart_as_configured(self, sender: Sender) -> None:
        """Start the process with the keys that the routes have now."""
        self.pipeline = self.make_pipeline()
        self.start(sender)

    def make_pipeline(self) -> Pipeline:
        """A pipeline by the keys that the routes have now."""
        return make_pipeline(self._routing.provider, self._silences.known, self._note_dead_letter)

    def _note_dead_letter(self, letter: DeadLetter) -> None:
        key = self._events.key_of[letter.record.offset]
        dying = self._events.between(key, letter.first_offset, letter.last_offset)
        self.memory.dying.update(dying)
        self._world.say(f"dead letter: {dying} {letter.error_class}")
        if letter.error_class == "overflow":
            self._fates.overflowed.add(key)

    def _record_clock(self) -> RecordClock:
        clock = RecordClock(self._world.clock)
        clock.input.brokers_check(is_so=True)
        return clock

    async def _read_records(self, places: Collection[tuple[str, int, int]]) -> AsyncGenerator[Record, None]:
        for _, _, offset in places:
            yield self._events.input.records[offset]

    async def _supervise(self) -> None:
        """Run the task, and a new one when it ends, as the service does."""
        while True:
            log = FaultLog(self._world.breaks, self._fates.left_behind.add)
            task = alerting_task(self._events.input, self._context, log)  # type: ignore[arg-type]
            self.memory = Memory(task)
            watch(task.work._outbox)
            try:
                await task.run()
            except (KafkaError, TimeoutError) as error:
                self._world.say(f"the task ends: {error!r}")
            except Exception as error:
                self._world.breaks("a fault", repr(error))
                return

    def hand_over(self, grace: float) -> None:
        """Do what a rebalance does that gives the partition to the same member again."""
        self._handing_over = self._world.loop.create_task(self._hand_over(grace))

    async def _hand_over(self, grace: float) -> None:
        self.proofs.is_valid = False
        await self.task.drain(grace)
        self._supervisor.cancel()
        await asyncio.wait([self._supervisor])
        self._handing_over = None
        self.proofs.is_valid = True
        self._supervisor = self._world.loop.create_task(self._supervise())

    def close(self) -> None:
        """End the process; nothing that it still does is seen."""
        self.proofs.is_valid = False
        self.kafka.producer = None
        with self._world.loop.running():
            if self._handing_over is not None:
                self._handing_over.cancel()
                self._handing_over = None
            self._supervisor.cancel()
            self._world.loop.create_task(self.delivery.close())
        self._world.loop.settle()

    # what it does

    def decide(self, most: int) -> None:
        """The task is given the next records, so many if there are."""
        source, task = self._events.input, self.task
        records = source.records[source.next : source.next + most]
        if records and task.is_running:
            source.next += len(records)
            for record in records:
                self._note_silent(record)
            self._world.say(f"decide {[record.offset for record in records]}")
            self._world.loop.create_task(task.decide(records))

    def decide_all(self) -> None:
        """The task is given all records that there are."""
        self.decide(1 + self._events.count)

    def _note_silent(self, record: Record) -> None:
        """The task is about to decide this, by what it knows of silences now."""
        if record.offset in self._events.key_of:
            event = self.pipeline.decoder.decode(record)
            assert isinstance(event, SecurityEvent)
            is_silent = self._silences.keep_silent(record.offset, event, record.timestamp / 1000)
            (self._fates.silent.add if is_silent else self._fates.silent.discard)(record.offset)

    def read_silences(self) -> None:
        """Read all that is written of silences."""
        self._silences.read()
        self.task.work.silences_changed()

    def tick(self) -> None:
        """Do what a member does once in a second."""
        task, now = self.task, self._world.loop.time()
        if task.is_running:
            task.progress.observe_end(now, self._events.count, now)
            for _ in task.tick():
                pass

    def read_feedback(self, feedback: list[FromProvider]) -> None:
        """Read the feedback topic, of which these are all records, from where the task has come to."""
        inbox = self.task.work.effects.inbox
        begin = inbox.next_offset(0)
        inbox.hand(0, list(enumerate(feedback[begin:], begin)), len(feedback))
