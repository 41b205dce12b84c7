"""What becomes of dead letters that their topic does not take, and of everybody else meanwhile."""

import hashlib
import json
import random
from typing import Any

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

import consumer.dlq.dead_letter_writer
import consumer.group.membership
from consumer.dlq.dead_letter import DeadLetter
from providers.sandbox import Sandbox
from tests.support.broker import Broker
from tests.support.events import encode, event
from tests.support.kafka import admin, committed_records
from tests.support.seen import dead_letters, first_dead_letters, group_reaches, producing
from tests.support.service import Member, World, incidents, make_world, running_member
from tests.support.waiting import wait_until

LIMIT = 20_000
POISON = random.Random(7).randbytes(60_000)
HEADERS = [("trace", b"\xff\x00"), ("trace", None)]

pytestmark = pytest.mark.real_kafka("it refuses records that are too large")


async def lower(world: World, limit: int, topic: str | None = None) -> None:
    """Give the dead-letter topic, or another, this ``max.message.bytes``."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic or world.dlq, {"max.message.bytes": str(limit)})
    async with admin(world.bootstrap_servers) as client:
        (response,) = await client.alter_configs([resource])
        assert [code for code, *_ in response.resources] == [0]


async def produce_poison(world: World, *values: bytes) -> None:
    async with producing(world) as producer:
        for value in values:
            await producer.send_and_wait(world.events, value, b"sess-1", headers=HEADERS)


async def produce_denial(world: World, session: str) -> None:
    async with producing(world) as producer:
        await producer.send_and_wait(world.events, encode(event(session=session)), session.encode())


def lines(member: Member, name: str) -> list[dict[str, Any]]:
    """The lines of the member's log with this name."""
    found = (json.loads(line) for line in member.output.getvalue().splitlines())
    return [line for line in found if line["event"] == name]


def rebuilt(member: Member, pipeline: str = "pagerduty") -> float:
    return member.metric("task_troubles_total", pipeline=pipeline)


def is_cut_of(letter: DeadLetter, value: bytes, offset: int = 0) -> bool:
    assert letter.cut is not None
    assert letter.cut.value_bytes == len(value)
    assert letter.cut.value_sha256 == hashlib.sha256(value).hexdigest()
    assert letter.record.value is not None
    assert value.startswith(letter.record.value)
    assert (letter.record.offset, letter.error_class, letter.stage) == (offset, "not_utf8", "decode")
    return True


@pytest.mark.parametrize("is_told", [True, False], ids=["the broker tells its limit", "the limit is not told"])
async def test_a_letter_that_the_topic_does_not_take_is_cut_and_nobody_is_told_twice(
    broker: Broker, sandbox: Sandbox, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_told:
        monkeypatch.setattr(consumer.group.membership, "ask_max_bytes", _untold)
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with running_member(world.config) as member:
        await member.restored(1)
        await lower(world, LIMIT)
        await produce_poison(world, POISON)
        await produce_denial(world, "after")
        await incidents(sandbox, 1)
        (letter,) = await first_dead_letters(world, 1)
        await group_reaches(world, 2)
        # What was learnt is known: the next one costs nobody anything.
        refusals = len(lines(member, "checkpoint_refused"))
        await produce_poison(world, POISON)
        await first_dead_letters(world, 2)
        await group_reaches(world, 3)
        assert len(lines(member, "checkpoint_refused")) == refusals <= (1 if is_told else 12)
        assert rebuilt(member) == 0
        told = lines(member, "dead_letter_cut")[0]
    assert is_cut_of(letter, POISON)
    assert letter.record.headers == tuple(HEADERS)
    assert len(letter.record.value or b"") > (LIMIT - 2000 if is_told else LIMIT // 2 - 2000)
    assert told["topic"] == world.dlq
    assert told["limit"] == LIMIT if is_told else told["limit"] <= LIMIT
    assert told["record"] == f"{world.events}/0/0"
    assert len(sandbox.requests(action="trigger")) == 1


async def _untold(*_: object) -> None:
    return None


async def test_a_denial_that_was_accepted_in_the_same_checkpoint_is_not_sent_again(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, delivery={"commit_interval_ms": 1000})
    await lower(world, LIMIT)
    async with running_member(world.config) as member:
        await member.restored(1)
        await produce_poison(world, b"?")
        await first_dead_letters(world, 1)  # the next checkpoint is a second away
        await produce_denial(world, "before")
        await incidents(sandbox, 1)
        await produce_poison(world, POISON)
        await produce_denial(world, "after")
        await incidents(sandbox, 2)
        await group_reaches(world, 4)
        assert len(lines(member, "checkpoint_refused")) == 1
    assert len(sandbox.requests(action="trigger")) == 2
    (_, letter) = await dead_letters(world)
    assert is_cut_of(letter, POISON, offset=2)


async def test_when_the_limit_rises_again_letters_are_whole_again(
    broker: Broker, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer.dlq.dead_letter_writer, "LOOK_SECONDS", 0.0)
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with running_member(world.config):
        await lower(world, LIMIT)
        await produce_poison(world, POISON)
        (letter,) = await first_dead_letters(world, 1)
        assert is_cut_of(letter, POISON)
        await lower(world, 2 << 20)
        await produce_poison(world, POISON)
        (_, letter) = await first_dead_letters(world, 2)
    assert letter.cut is None
    assert letter.record.value == POISON


async def test_what_fits_compressed_is_whole_and_many_small_ones_fit_one_by_one(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    text = b"? " * 100_000
    small = [POISON[number : number + 5000] for number in range(50)]
    async with running_member(world.config) as member:
        await member.restored(1)
        await lower(world, LIMIT)
        await produce_poison(world, text, *small)
        letters = await first_dead_letters(world, 51)
        await group_reaches(world, 51)
        assert rebuilt(member) == 0
    assert [letter.cut for letter in letters] == [None] * 51
    assert {letter.record.value for letter in letters} == {text, *small}
    assert {letter.error for letter in letters} != {""}


async def test_where_nothing_fits_the_partition_says_so_pages_go_on_once_each_and_nothing_is_lost(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with running_member(world.config) as member:
        await member.restored(1)
        await lower(world, 100)
        await produce_poison(world, POISON)
        await produce_denial(world, "during-1")
        await incidents(sandbox, 1)
        await wait_until(lambda: member.runners["pagerduty"].health().troubles, "it is in trouble, loudly")
        await produce_denial(world, "during-2")
        await incidents(sandbox, 2)
        seen = len(lines(member, "checkpoint_refused"))
        await wait_until(
            lambda: len(lines(member, "checkpoint_refused")) > seen, "it is tried again and again", timeout=20
        )
        assert await committed_records(world.bootstrap_servers, world.dlq) == []
        assert rebuilt(member) == 0
        await lower(world, 2 << 20)
        (letter,) = await first_dead_letters(world, 1, timeout=40)
        await group_reaches(world, 3)
        assert not member.runners["pagerduty"].health().troubles
    assert (letter.cut, letter.record.value) == (None, POISON)
    assert len(sandbox.requests(action="trigger")) == 2


async def test_a_member_that_ends_while_its_letters_are_refused_leaves_them_to_the_next(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with running_member(world.config) as member:
        await member.restored(1)
        await lower(world, 100)
        await produce_poison(world, POISON)
        await wait_until(lambda: member.runners["pagerduty"].health().troubles, "it is in trouble")
    await lower(world, LIMIT)
    async with running_member(world.config):
        (letter,) = await first_dead_letters(world, 1)
    assert is_cut_of(letter, POISON)


async def test_the_repartition_stage_cuts_its_letters_too_and_forwards_once(broker: Broker, sandbox: Sandbox) -> None:
    by_resource = {"deduplication": {"key_template": "{guard}:{resource}"}}
    world = await make_world(broker.bootstrap_servers, sandbox.url, pagerduty=by_resource)
    async with running_member(world.config) as member:
        await member.restored(1)
        await lower(world, LIMIT)
        await produce_poison(world, POISON)
        await produce_denial(world, "after")
        await incidents(sandbox, 1)
        (letter,) = await first_dead_letters(world, 1)
        assert rebuilt(member) == 0
    assert is_cut_of(letter, POISON)
    assert len(await committed_records(world.bootstrap_servers, world.keyed())) == 1
    assert len(sandbox.requests(action="trigger")) == 1


async def test_a_state_topic_with_a_lower_limit_takes_smaller_batches(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, delivery={"timeout_seconds": 30})
    await lower(world, 30_000, world.state())
    count = 300
    async with producing(world) as producer:
        for number in range(count):
            await producer.send(world.events, encode(event(session=f"s-{number}")))
    async with running_member(world.config) as member:
        await incidents(sandbox, count, timeout=60)
        await group_reaches(world, count, timeout=30)
        assert rebuilt(member) == 0
    assert len(sandbox.requests(action="trigger")) == count
