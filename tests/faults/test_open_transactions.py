"""What other producers' open transactions hide is neither quiet nor caught up (design section 15)."""

import asyncio
import itertools
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from providers.sandbox import Sandbox
from tests.support.broker import Broker
from tests.support.events import encode, event
from tests.support.kafka import running, transactional, unique
from tests.support.process import Service, service_process
from tests.support.seen import told
from tests.support.service import World, make_world
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_kafka("transactions stay open as long as on a real broker")

OPEN_MS = 900_000
"""How long the broker lets a foreign transaction be open: its maximum."""

STANDSTILL_SECONDS = 60.0
PING_SECONDS = 2.0


async def test_what_an_open_transaction_hides_is_no_quiet_and_everybody_is_told(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(
        broker.bootstrap_servers,
        sandbox.url,
        opsgenie={
            "auto_resolve": {"after_minutes": 0.6},
            "heartbeat": {"enabled": True, "name": "clawdstrike", "interval_minutes": 3 * PING_SECONDS / 60},
        },
    )
    async with service_process(world.document, tmp_path) as service:
        await service.restored()
        await _deny(world)
        await sandbox.wait_for(lambda: len(sandbox.open_incidents()) == 1, 20)
        async with running(_foreign(world)) as foreign:
            await foreign.begin_transaction()
            await foreign.send_and_wait(world.events, encode(event(session="other", allowed=True)), partition=0)
            for _ in range(int(STANDSTILL_SECONDS / 3) + 5):
                await asyncio.sleep(3)
                await _deny(world)
            await wait_until(lambda: _lag_is(26, service), "the lag counts what is hidden", poll=0.2)
            status, health = await service.health()
            assert status == 503
            (reason,) = health["reasons"]
            assert reason.startswith("opsgenie: partition 0: another producer's transaction has been open at offset 1 ")
            assert "the 26 records from there on cannot be read" in reason
            assert await service.metric("hidden_seconds", pipeline="opsgenie", partition="0") >= STANDSTILL_SECONDS
            assert len(service.lines("transaction_left_open", partition=0, offset=1)) == 1
            pings = sandbox.requests(action="ping")
            await service.said("heartbeat_withheld", 3)
            assert len(sandbox.requests(action="ping")) <= len(pings) + 1
            assert sandbox.requests(action="close", dedup_key="clawdstrike-forbidden_path-sess-1") == []
            await foreign.commit_transaction()
        await service.said("transaction_ended")
        await service.restored()
        await wait_until(lambda: _lag_is(0, service), "all is decided", poll=0.2)
        await sandbox.wait_for(lambda: len(sandbox.requests(action="ping")) > len(pings) + 1, 20 + 4 * PING_SECONDS)
        (incident,) = sandbox.incidents()
        assert incident.open


async def test_transactions_back_to_back_do_not_keep_a_problem_from_being_resolved(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Each is open for longer than "caught up" may be old, and much shorter than the quiet that ends the alert."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, pagerduty={"auto_resolve": {"after_minutes": 1.5}})
    async with service_process(world.document, tmp_path) as service, asyncio.TaskGroup() as group:
        await service.restored()
        await _deny(world)
        await sandbox.wait_for(lambda: len(sandbox.open_incidents()) == 1, 20)
        others = group.create_task(_transactions(world, seconds=6.0))
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 90 + 45)
        requests = sandbox.requests(dedup_key="forbidden_path:sess-1")
        assert told(requests) == [("trigger", 202), ("resolve", 202)]
        assert service.lines("transaction_left_open") == []
        others.cancel()


def _foreign(world: World) -> AIOKafkaProducer:
    return transactional(world.bootstrap_servers, unique("foreign"), transaction_timeout_ms=OPEN_MS)


async def _deny(world: World) -> None:
    async with running(AIOKafkaProducer(bootstrap_servers=world.bootstrap_servers, acks="all")) as producer:
        await producer.send_and_wait(world.events, encode(event()), partition=0)


async def _transactions(world: World, seconds: float) -> None:
    """One after the other, with at least one open at any time: the next begins before the one before has ended."""
    async with running(_foreign(world)) as first, running(_foreign(world)) as second:
        for producer in itertools.cycle((first, second)):
            await producer.begin_transaction()
            await producer.send_and_wait(world.events, encode(event(session="other", allowed=True)), partition=0)
            other = first if producer is second else second
            if other._txn_manager.is_in_transaction():
                await other.commit_transaction()
            await asyncio.sleep(seconds)
            await producer.send_and_wait(world.events, encode(event(session="other", allowed=True)), partition=0)


async def _lag_is(wanted: int, service: Service) -> bool:
    return await service.metric("lag", pipeline="opsgenie", partition="0") == wanted
