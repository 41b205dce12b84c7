"""What becomes of pages while checkpoints fail for long: each is told once, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from consumer.kafka.transaction import Unanswered, commit_transaction
from consumer.tasks.partition import checkpoint
from providers.sandbox import Sandbox
from tests.support.broker import Broker
from tests.support.events import encode, event
from tests.support.kafka import admin, running, transactional
from tests.support.seen import group_reaches, producing
from tests.support.service import Member, World, incidents, make_world, running_member
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_kafka("it refuses transactions")

FAILED = ("checkpoint_refused", "checkpoint_unanswered", "checkpoint_unsettled")
Trouble = Callable[[World], AbstractAsyncContextManager[None]]


async def configure_state(world: World, **settings: str) -> None:
    """Give the state topic these settings, and no others."""
    given = {name.replace("_", "."): value for name, value in settings.items()}
    resource = ConfigResource(ConfigResourceType.TOPIC, world.state(), {"cleanup.policy": "compact", **given})
    async with admin(world.bootstrap_servers) as client:
        (response,) = await client.alter_configs([resource])
        assert [code for code, *_ in response.resources] == [0]


@asynccontextmanager
async def too_large(world: World) -> AsyncIterator[None]:
    """The state topic takes the markers of transactions, and no record of ours."""
    await configure_state(world, max_message_bytes="100")
    yield
    await configure_state(world)


@asynccontextmanager
async def fenced(world: World) -> AsyncIterator[None]:
    """Somebody initialises the task's transactional id again and again."""

    async def fence() -> None:
        while True:
            async with running(transactional(world.bootstrap_servers, f"{world.group()}-0")):
                await asyncio.sleep(0.5)

    fencing = asyncio.create_task(fence())
    yield
    fencing.cancel()
    await asyncio.wait([fencing])


async def deny(world: World, session: str) -> None:
    async with producing(world) as producer:
        await producer.send_and_wait(world.events, encode(event(session=session)), session.encode())


def rebuilt(member: Member) -> float:
    return member.metric("task_troubles_total", pipeline="pagerduty")


def failures(member: Member) -> int:
    """How often the log says that a checkpoint has failed, and will be tried again in a while."""
    log = member.output.getvalue()
    return sum(log.count(f'"{event}"') for event in FAILED)


@pytest.mark.parametrize("trouble", [too_large, fenced])
async def test_while_no_checkpoint_is_taken_each_denial_is_sent_once(
    broker: Broker, sandbox: Sandbox, trouble: Trouble
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    denials = 0

    async def is_told_of_another() -> None:
        nonlocal denials
        denials += 1
        await deny(world, f"s-{denials}")
        await incidents(sandbox, denials)

    async with running_member(world.config) as member:
        await member.restored(1)
        async with trouble(world):

            async def has_failed() -> bool:
                await is_told_of_another()  # the broker heeds another setting when it has come round to it
                return failures(member) >= 1

            await wait_until(has_failed, "a checkpoint has been tried in vain", timeout=100, poll=3)
            await is_told_of_another()
        await group_reaches(world, denials, timeout=150)
        await wait_until(lambda: not member.runners["pagerduty"].health().troubles, "it is well again")
        assert rebuilt(member) == 0
    assert len(sandbox.requests(action="trigger")) == denials


Send = Callable[[], Awaitable[RecordMetadata]]


async def answer_is_lost(producer: AIOKafkaProducer, send: Send) -> None:
    """It is committed, and nobody knows."""
    records: list[RecordMetadata] = []

    async def noted() -> RecordMetadata:
        records.append(await send())
        return records[0]

    await commit_transaction(producer, noted)
    raise Unanswered(KafkaError("no answer"), records[0])


async def commit_is_lost(producer: AIOKafkaProducer, send: Send) -> None:
    """All is sent, the commit never arrives, and nobody knows."""
    await producer.begin_transaction()
    raise Unanswered(KafkaError("no answer"), await send())


@pytest.mark.parametrize("lost", [answer_is_lost, commit_is_lost])
async def test_a_commit_without_an_answer_costs_no_second_page(
    broker: Broker,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    lost: Callable[[AIOKafkaProducer, Send], Awaitable[None]],
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    commits = 0

    async def commit(producer: AIOKafkaProducer, send: Send) -> RecordMetadata:
        nonlocal commits
        commits += 1
        if commits % 2:
            await lost(producer, send)
        return await commit_transaction(producer, send)

    monkeypatch.setattr(checkpoint, "commit_transaction", commit)
    async with running_member(world.config) as member:
        await member.restored(1)
        for number in range(5):
            await deny(world, f"s-{number}")
            await incidents(sandbox, number + 1)
            await group_reaches(world, number + 1)
        assert commits >= 5
        assert rebuilt(member) == 0
    async with running_member(world.config) as member:  # and the next owner finds all of it
        await member.restored(1)
        for number in range(5):
            await deny(world, f"s-{number}")
        await group_reaches(world, 10)
    assert len(sandbox.requests(action="trigger")) == 5
