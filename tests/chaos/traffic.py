"""What agents do while things break: sessions start, work, misbehave, some end, some go on after their end."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.support.events import encode, event, session_end

GUARDS = ("forbidden_path", "secret_leak", "egress_allowlist", "shell_command", "mcp_tool")
ACTIVE_SESSIONS = 12
ENDS = 0.6
"""Of all sessions, the part whose end is told; an alert of the others ends by quiet."""
GOES_ON = 0.4
"""Of the sessions whose end was told, the part that misbehaves once more."""
POISON = 0.005


@dataclass
class _Session:
    name: str
    guards: tuple[str, ...]
    left: int
    ends: bool
    goes_on: bool


@dataclass
class Traffic:
    """A generator of events, the same ones for the same seed. ``acked`` is when the broker confirmed each event id."""

    servers: str
    topic: str
    per_second: float = 40.0
    acked: dict[str, float] = field(default_factory=dict)
    failed: int = 0

    @contextlib.asynccontextmanager
    async def flowing(self, prefix: str, seed: str) -> AsyncIterator[None]:
        """Events for the length of the block. It waits out a broker that is away."""
        stop = asyncio.Event()
        task = asyncio.create_task(self._flow(prefix, random.Random(seed), stop))
        try:
            yield
        finally:
            stop.set()
            async with asyncio.timeout(180):
                await task

    async def _flow(self, prefix: str, chance: random.Random, stop: asyncio.Event) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.servers, enable_idempotence=True, request_timeout_ms=120_000, linger_ms=5
        )
        await producer.start()
        sending: set[asyncio.Future[object]] = set()
        try:
            for session, fields in self._events(prefix, chance):
                if stop.is_set():
                    break
                event_id = str(fields["event_id"]) if fields is not None else ""
                value = encode(fields) if fields is not None else b"{not json"
                future = await producer.send(self.topic, value, key=session.encode())
                sending.add(future)
                future.add_done_callback(lambda done, event_id=event_id: self._sent(done, event_id))
                future.add_done_callback(sending.discard)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), chance.expovariate(self.per_second))
            if sending:
                await asyncio.wait(sending)
        finally:
            with contextlib.suppress(KafkaError):
                await producer.stop()

    def _sent(self, future: "asyncio.Future[object]", event_id: str) -> None:
        if future.cancelled() or future.exception() is not None:
            self.failed += 1  # whether it is in the topic is what the account reads there
        else:
            self.acked[event_id] = time.time()

    def _events(self, prefix: str, chance: random.Random):  # type: ignore[no-untyped-def]
        sessions: list[_Session] = []
        number = 0
        while True:
            if len(sessions) < ACTIVE_SESSIONS:
                number += 1
                guards = tuple(chance.sample(GUARDS, chance.choice((1, 1, 2, 3))))
                ends = chance.random() < ENDS
                started = _Session(
                    f"{prefix}-{number}", guards, chance.randint(4, 40), ends, ends and chance.random() < GOES_ON
                )
                sessions.append(started)
                yield (
                    started.name,
                    event(session=started.name, allowed=True, event_type="session_start", guard="engine"),
                )
                continue
            session = chance.choice(sessions)
            if chance.random() < POISON:
                yield session.name, None
            elif session.left > 0:
                session.left -= 1
                yield session.name, _action(session, chance)
            elif session.ends:
                session.ends = False
                yield session.name, session_end(session.name)
            else:
                sessions.remove(session)
                if session.goes_on:
                    yield session.name, event(session=session.name, guard=session.guards[0], severity="high")


def _action(session: _Session, chance: random.Random) -> dict[str, object]:
    dice = chance.random()
    guard = chance.choice(session.guards)
    if dice < 0.5:
        return event(session=session.name, guard=guard, allowed=True, severity="info")
    if dice < 0.6:
        return event(session=session.name, guard=guard, severity="medium")
    severity = "critical" if chance.random() < 0.3 else "high"
    return event(session=session.name, guard=guard, severity=severity)
