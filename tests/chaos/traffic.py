"""What agents do while things break: sessions start, work, misbehave, some end, some go on after their end."""

import asyncio
import contextlib
import random
import sys
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.chaos.keying import AGENT
from tests.support.events import encode, event, session_end

GUARDS = ("forbidden_path", "secret_leak", "egress_allowlist", "shell_command", "mcp_tool")
ENDS = 0.6
"""Of all sessions, the part whose end is told; an alert of the others ends by quiet."""
GOES_ON = 0.4
"""Of the sessions whose end was told, the part that misbehaves once more."""


LONGEST_AWAY_MS = 420_000
"""For which a broker may be away before an event is given up."""

LEAD_SECONDS = 0.005
"""So much earlier than its time an event may be sent, so that not each one is waited for."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How many sessions there are at a time, how many actions each has (from, to), and which part is denied."""

    sessions: int = 12
    actions: tuple[int, int] = (4, 40)
    denied: float = 0.4
    minor: float = 0.1
    poison: float = 0.005


@dataclass
class _Session:
    name: str
    guards: tuple[str, ...]
    left: int
    ends: bool
    goes_on: bool
    partition: int | None


@dataclass
class Traffic:
    """A generator of events, the same ones for the same seed. ``acked`` is when the broker confirmed each event id.

    A session's events stay in the partition that it begins in, of those that there are then (where ``moves`` is set:
    they go to that of its key, of those that there are now); without ``partitions`` the client chooses it by the
    record's key. In each partition of ``endless`` there is one session that goes on being denied as long as the traffic
    flows.
    """

    servers: str
    topic: str
    per_second: float = 40.0
    habits: Habits = Habits()
    partitions: int | None = None
    endless: set[int] = field(default_factory=set)
    moves: bool = False
    acked: dict[str, float] = field(default_factory=dict)
    failed: int = 0
    _may_send: asyncio.Lock = field(default_factory=asyncio.Lock)
    _sending: set["asyncio.Future[object]"] = field(default_factory=set)
    _needs_producer: bool = False

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """For the length of the block nothing is written, and all that was is acknowledged. Then there is another
        producer: the topic may be another one, of which the last has wrong ideas."""
        async with self._may_send:
            if self._sending:
                await asyncio.wait(self._sending)
            yield
            self._needs_producer = True

    @contextlib.asynccontextmanager
    async def flowing(self, prefix: str, seed: str) -> AsyncIterator[None]:
        """Events for the length of the block. It waits out a broker that is away."""
        stop = asyncio.Event()
        task = asyncio.create_task(self._flow(prefix, random.Random(seed), stop))
        try:
            yield
        finally:
            stop.set()
            async with asyncio.timeout(LONGEST_AWAY_MS / 1000 + 60):
                await task

    async def _flow(self, prefix: str, chance: random.Random, stop: asyncio.Event) -> None:
        producer = await self._producer()
        clock = asyncio.get_running_loop().time
        due = clock()
        try:
            for session, partition, fields in self._events(prefix, chance):
                due += chance.expovariate(self.per_second)
                if (ahead := due - clock()) > LEAD_SECONDS:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), ahead)
                if stop.is_set():
                    break
                async with self._may_send:
                    if self._needs_producer:
                        await _stopped(producer)
                        producer, due = await self._producer(), clock()
                        self._needs_producer = False
                    await self._send(producer, session, partition, fields)
            if self._sending:
                await asyncio.wait(self._sending)
        finally:
            await _stopped(producer)

    async def _producer(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.servers, enable_idempotence=True, request_timeout_ms=LONGEST_AWAY_MS, linger_ms=5
        )
        await producer.start()
        return producer

    async def _send(
        self, producer: AIOKafkaProducer, session: str, partition: int | None, fields: dict[str, object] | None
    ) -> None:
        event_id = str(fields["event_id"]) if fields is not None else ""
        value = encode(fields) if fields is not None else b"{not json"
        if self.moves and self.partitions is not None:
            partition = home(session, self.partitions)
        while partition is not None and partition not in await producer.partitions_for(self.topic):
            await producer.client.force_metadata_update()  # it was added just now
            await asyncio.sleep(0.05)
        future = await producer.send(self.topic, value, key=session.encode(), partition=partition)
        self._sending.add(future)
        future.add_done_callback(lambda done: self._sent(done, event_id))
        future.add_done_callback(self._sending.discard)

    def _sent(self, future: "asyncio.Future[object]", event_id: str) -> None:
        if future.cancelled() or future.exception() is not None:
            self.failed += 1  # whether it is in the topic is what the account reads there
        else:
            self.acked[event_id] = time.time()

    def _events(self, prefix: str, chance: random.Random) -> Iterator[tuple[str, int | None, dict[str, Any] | None]]:
        habits = self.habits
        sessions = [
            _Session(f"{prefix}-endless-{partition}", (_guard(partition),), sys.maxsize, False, False, partition)
            for partition in sorted(self.endless)
        ]
        number = 0
        while True:
            if len(sessions) < habits.sessions + len(self.endless):
                number += 1
                guards = tuple(chance.sample(GUARDS, chance.choice((1, 1, 2, 3))))
                ends = chance.random() < ENDS
                name = f"{prefix}-{number}"
                started = _Session(
                    name,
                    guards,
                    chance.randint(*habits.actions),
                    ends,
                    ends and chance.random() < GOES_ON,
                    None if self.partitions is None else home(name, self.partitions),
                )
                sessions.append(started)
                begun = event(session=name, allowed=True, event_type="session_start", guard="engine")
                yield name, started.partition, begun
                continue
            session = chance.choice(sessions)
            if chance.random() < habits.poison:
                yield session.name, session.partition, None
            elif session.left > 0:
                session.left -= 1
                yield session.name, session.partition, _of_its_agent(_action(session, chance, habits), session.name)
            elif session.ends:
                session.ends = False
                yield session.name, session.partition, session_end(session.name)
            else:
                sessions.remove(session)
                if session.goes_on:
                    once_more = event(session=session.name, guard=session.guards[0], severity="high")
                    once_more = _of_its_agent(once_more, session.name)
                    yield session.name, session.partition, once_more


def _guard(partition: int) -> str:
    """The guard that denies the endless session of a partition: where there are enough of them, each is one."""
    return GUARDS[partition % len(GUARDS)]


def home(session: str, partitions: int) -> int:
    """Where librdkafka's producers send what has this key."""
    return zlib.crc32(session.encode()) % partitions


async def _stopped(producer: AIOKafkaProducer) -> None:
    with contextlib.suppress(KafkaError):
        await producer.stop()


def _of_its_agent(fields: dict[str, Any], session: str) -> dict[str, Any]:
    """The event with an agent that no other session has."""
    return {**fields, "agent": {"id": f"{session}{AGENT}", "name": "coder", "version": "1.2.0", "type": "llm"}}


def _action(session: _Session, chance: random.Random, habits: Habits) -> dict[str, Any]:
    dice = chance.random()
    guard = chance.choice(session.guards)
    if dice >= habits.denied + habits.minor:
        return event(session=session.name, guard=guard, allowed=True, severity="info")
    if dice >= habits.denied:
        return event(session=session.name, guard=guard, severity="medium")
    severity = "critical" if chance.random() < 0.3 else "high"
    return event(session=session.name, guard=guard, severity=severity)
