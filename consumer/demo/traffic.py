"""Lets the agents work: every decision of the engine becomes one record of the events topic."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from consumer.demo import events
from consumer.demo.agents import AGENTS, DemoAgent, PlannedSession, sessions_of
from consumer.demo.daemon import Daemon, PostError
from consumer.demo.engine import DemoSession, Engine
from consumer.demo.oracle import Produced
from providers.errors import UserError

SEND_SECONDS = 30.0
"""Time limit for the broker to confirm the last records."""

_DEMO = DemoSession("end-of-traffic", "demo", "demo", "demo", "demo", "demo", "demo", "strict")


_Send = Callable[[DemoSession, dict[str, Any]], Awaitable[None]]


class TrafficError(UserError):
    """Not all events reached the broker."""


class Traffic:
    """All agents at work, and the list of the events that they have produced.

    Every second agent posts its events through a daemon; the other agents produce theirs to Kafka. An agent that
    produces waits for the producer, not for the broker: the record key and the idempotent producer keep the order of a
    session. Whether all events were confirmed is known after `finish`.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        engines: Mapping[str, Engine],
        daemon: Daemon,
        agents: Sequence[DemoAgent] = AGENTS,
    ) -> None:
        self.produced: list[Produced] = []
        self._daemon = daemon
        self._producer = producer
        self._topic = topic
        self._engines = engines
        self._agents = agents
        self._failed = 0
        self._unconfirmed = 0

    async def run(self, stopping: asyncio.Event) -> None:
        """Let the agents work until ``stopping`` is set."""
        async with asyncio.TaskGroup() as group:
            for number, agent in enumerate(self._agents):
                group.create_task(self._work(number, agent, stopping))

    async def finish(self, partitions: int) -> None:
        """End every partition with an event that concerns nobody, and wait until all events are confirmed.

        When the service has counted these last events, it has decided everything before them: a partition is decided
        strictly in order. Raises `TrafficError` if an event did not reach the broker.
        """
        verdict = self._engines[_DEMO.ruleset].of_session()
        for partition in range(partitions):
            event = events.session_started(_DEMO, verdict, time.time())
            await self._send(event, key=None, partition=partition)
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._producer.flush()
        except (TimeoutError, KafkaError) as error:
            raise TrafficError(f"the broker did not confirm all events: {error!r}") from error
        if self._failed or self._unconfirmed:
            raise TrafficError(f"{self._failed + self._unconfirmed} events did not reach the broker")

    async def _work(self, number: int, agent: DemoAgent, stopping: asyncio.Event) -> None:
        engine = self._engines[agent.ruleset]
        send = self._post if number % 2 else self._produce
        for planned in sessions_of(number, agent):
            await self._session(planned, engine, stopping, send)
            if stopping.is_set():
                return

    async def _session(self, planned: PlannedSession, engine: Engine, stopping: asyncio.Event, send: _Send) -> None:
        session = planned.session
        await send(session, events.session_started(session, engine.of_session(), time.time()))
        for step in planned.steps:
            await asyncio.sleep(step.pause)
            if stopping.is_set():
                return  # the session stays open
            verdict = engine.decide(step.action, session)
            await send(session, events.decided(session, step.action, verdict, time.time()))
        if planned.ends:
            await send(session, events.session_ended(session, engine.of_session(), time.time()))

    async def _produce(self, session: DemoSession, event: dict[str, Any]) -> None:
        await self._send(event, key=session.id.encode(), partition=None)

    async def _post(self, session: DemoSession, event: dict[str, Any]) -> None:
        self.produced.append(Produced.of(event))  # before the post: its effect may be seen before the answer
        try:
            await self._daemon.post(event)
        except PostError as error:
            raise TrafficError(str(error)) from error

    async def _send(self, event: dict[str, Any], *, key: bytes | None, partition: int | None) -> None:
        try:
            confirmed = await self._producer.send(self._topic, orjson.dumps(event), key=key, partition=partition)
        except KafkaError as error:
            raise TrafficError(f"an event could not be sent: {error!r}") from error
        self._unconfirmed += 1
        confirmed.add_done_callback(self._confirmed)
        self.produced.append(Produced.of(event))

    def _confirmed(self, answer: "asyncio.Future[Any]") -> None:
        self._unconfirmed -= 1
        if answer.cancelled() or answer.exception() is not None:
            self._failed += 1
