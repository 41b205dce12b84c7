"""The account that a test with faults ends with: of every alertable event, what has become of it."""

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping

import orjson
from aiokafka import AIOKafkaProducer

from providers.sandbox import Sandbox
from state.alert import Alert
from state.records import CHECKPOINT_KEY, decode_alert
from tests.support.events import encode, event
from tests.support.kafka import committed_records, running
from tests.support.service import World
from tests.support.waiting import wait_until


async def send(world: World, sessions: Iterable[str], *, guard: str = "secret_leak") -> None:
    """One alertable event of each session, keyed by it."""
    async with running(AIOKafkaProducer(bootstrap_servers=world.bootstrap_servers, acks="all")) as producer:
        futures = [
            await producer.send(world.events, encode(event(session=session, guard=guard)), key=session.encode())
            for session in sessions
        ]
        await asyncio.gather(*futures)


def sessions(prefix: str, count: int) -> list[str]:
    """Names of sessions."""
    return [f"{prefix}-{number}" for number in range(count)]


def keys(names: Iterable[str], *, guard: str = "secret_leak") -> list[str]:
    """The dedup keys of these sessions' events."""
    return [f"{guard}:{name}" for name in names]


@contextlib.asynccontextmanager
async def traffic(
    world: World, prefix: str = "flow", *, per_second: float = 50.0, repeats: int = 4
) -> AsyncIterator[None]:
    """Alertable events for the length of the block, ``repeats`` of each session; waits out a broker that is away."""
    stop = asyncio.Event()

    async def flow() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=world.bootstrap_servers, enable_idempotence=True, request_timeout_ms=120_000
        )
        async with running(producer):
            sent = []
            for number in itertools.count():
                if stop.is_set():
                    break
                session = f"{prefix}-{number // repeats}"
                value = encode(event(session=session, guard="secret_leak"))
                sent.append(await producer.send(world.events, value, key=session.encode()))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 1 / per_second)
            await asyncio.gather(*sent)

    task = asyncio.create_task(flow())
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(150):
            await task


async def produced(world: World) -> Counter[str]:
    """How many alertable events there are in the input of each dedup key of PagerDuty's default template."""
    counts: Counter[str] = Counter()
    for record in await committed_records(world.bootstrap_servers, world.events):
        fields = orjson.loads(record.value)
        if not fields["decision"]["allowed"]:
            counts[f"{fields['decision']['guard']}:{fields['session']['id']}"] += 1
    return counts


async def alerts_in_state(world: World, provider: str = "pagerduty") -> Mapping[str, Alert]:
    """The alerts as the last checkpoints have them."""
    values: dict[bytes, bytes | None] = {
        record.key: record.value for record in await committed_records(world.bootstrap_servers, world.state(provider))
    }
    values.pop(CHECKPOINT_KEY, None)
    return {key.decode(): decode_alert(key, value) for key, value in values.items() if value is not None}


async def owed_in_state(world: World) -> set[str]:
    """The dedup keys of the alerts that owe something, as the last checkpoints have them."""
    return {key for key, alert in (await alerts_in_state(world)).items() if alert.owed is not None}


async def settled(world: World, *sandboxes: Sandbox, timeout: float = 40.0) -> None:
    """Wait until all that was produced is decided and told; then see that it was, each event once, each problem once.

    The state counts every occurrence exactly once, no dead letter was written, and at the providers every problem has
    exactly one incident.
    """
    expected = await produced(world)

    async def is_settled() -> bool:
        alerts = await alerts_in_state(world)
        decided = sum(alert.occurrences for alert in alerts.values())
        return decided >= expected.total() and not any(alert.owed for alert in alerts.values())

    await wait_until(is_settled, f"{expected.total()} events are decided, nothing is owed", timeout=timeout, poll=0.3)
    alerts = await alerts_in_state(world)
    assert Counter({key: alert.occurrences for key, alert in alerts.items()}) == expected
    assert_one_incident_each(expected, *sandboxes)
    assert await committed_records(world.bootstrap_servers, world.dlq) == []


async def state_at_rest(world: World, seconds: float = 1.0) -> int:
    """Wait until no checkpoint has been written for so long; returns how many records the state has by then."""
    count, since = -1, time.monotonic()

    async def is_at_rest() -> bool:
        nonlocal count, since
        now = len(await committed_records(world.bootstrap_servers, world.state()))
        if now != count:
            count, since = now, time.monotonic()
        return time.monotonic() - since >= seconds

    await wait_until(is_at_rest, "no checkpoint is written any more", timeout=30, poll=0.2)
    return count


def assert_one_incident_each(dedup_keys: Iterable[str], *sandboxes: Sandbox) -> None:
    """Each of these problems, and nothing else, has exactly one incident over all sandboxes."""
    opened = Counter(incident.dedup_key for sandbox in sandboxes for incident in sandbox.incidents())
    assert opened == Counter(set(dedup_keys))
    assert [incident for sandbox in sandboxes for incident in sandbox.extra_incidents()] == []
