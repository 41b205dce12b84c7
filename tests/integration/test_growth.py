"""Topics that get more partitions while the service runs (design section 15)."""

import asyncio
from functools import partial
from pathlib import Path

import pytest
from aiokafka.admin import NewPartitions

from consumer.kafka.partitioning import Partitioner
from providers.sandbox import Fault, FaultyAnswer, Sandbox
from tests.integration.test_dlq_and_alerts import Commands, checkpointed
from tests.support.broker import Broker
from tests.support.events import encode, event
from tests.support.kafka import admin, committed_records, produce
from tests.support.seen import send
from tests.support.service import Member, World, incidents, make_world, running_member
from tests.support.waiting import wait_until

KEYED = {"deduplication": {"key_template": "{guard}:{tenant_id}"}}
NOTICED_SECONDS = 60.0


async def _grow(world: World, topic: str, partitions: int) -> None:
    async with admin(world.bootstrap_servers) as client:
        await client.create_partitions({topic: NewPartitions(partitions)})


def _outgrown(member: Member, name: str) -> tuple[str, ...]:
    return member.runners[name].health().outgrown


def _has_four(member: Member, name: str) -> bool:
    return member.runners[name].health().partitions == 4


@pytest.mark.real_kafka("partitions are added")
async def test_partitions_that_are_added_are_noticed_within_a_minute_with_the_topic_that_has_to_grow(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with running_member(world.config) as member:
        await member.restored(1)
        await _grow(world, world.events, 3)
        (sentence,) = await wait_until(
            lambda: _outgrown(member, "pagerduty"), "it is noticed", timeout=NOTICED_SECONDS, poll=0.1
        )
        assert sentence == (
            f"topic {world.state()} has 1 partitions, its input {world.events} has 3: "
            f"`clawdstrike-alerting topics grow --config … --partitions 3`"
        )
        await wait_until(lambda: member.runners["pagerduty"].health().partitions == 3, "all are assigned", timeout=20)
        # The partition that has its state goes on; those that have none are in trouble, and say so.
        await send(world, event(session="old"), partition=0)
        await send(world, event(session="new"), partition=1)
        await incidents(sandbox, 1)
        await wait_until(
            lambda: f"topic {world.state()} has no partition 1: it has 1 partitions" in member.output.getvalue(),
            "the task without a state partition says so",
        )
        assert member.runners["pagerduty"].health().restored == 1
        await _grow(world, world.state(), 3)
        await member.restored(3)
        await incidents(sandbox, 2, timeout=30)
        await wait_until(lambda: _outgrown(member, "pagerduty") == (), "all is well again")
        output = member.output.getvalue()
    assert output.count('"topic_outgrown"') == output.count('"topic_has_grown"') == 1
    assert {one.dedup_key for one in sandbox.incidents()} == {"forbidden_path:old", "forbidden_path:new"}


@pytest.mark.real_kafka("partitions are added")
async def test_a_stage_says_that_its_positions_have_to_grow_and_its_pipeline_that_its_state_has_to(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, pagerduty=KEYED)
    async with running_member(world.config) as member:
        await wait_until(lambda: len(member.runners) == 2, "both run")
        (stage,) = set(member.runners) - {"pagerduty"}
        await asyncio.gather(member.restored(1), member.restored(1, stage))
        await asyncio.gather(_grow(world, world.events, 2), _grow(world, world.keyed(), 3))
        for name, follower, topic, count in (
            (stage, f"{world.keyed()}.positions", world.events, 2),
            ("pagerduty", world.state(), world.keyed(), 3),
        ):
            (sentence,) = await wait_until(
                partial(_outgrown, member, name), f"{name} notices", timeout=NOTICED_SECONDS, poll=0.1
            )
            assert sentence.startswith(
                f"topic {follower} has 1 partitions, its input {topic} has {count}: `clawdstrike-alerting topics grow"
            )


@pytest.mark.real_kafka("partitions are added")
async def test_a_stage_forwards_to_partitions_that_were_added_to_its_pipelines_input(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, pagerduty=KEYED)
    async with running_member(world.config) as member:
        await member.restored(1)
        # In the order of `topics grow`.
        for topic in (world.state(), world.positions(), world.keyed(), world.events):
            await _grow(world, topic, 4)
        for name in ("pagerduty", "pagerduty-repartition"):
            await wait_until(
                partial(_has_four, member, name),
                f"all partitions of {name} are assigned",
                timeout=NOTICED_SECONDS + 20,
            )
            await member.restored(4, name)
        for number in range(24):
            await send(world, event(tenant=f"tenant-{number}"), partition=number % 4)
        await incidents(sandbox, 24, timeout=60)
        forwarded = [record.partition for record in await committed_records(world.bootstrap_servers, world.keyed())]
    assert set(forwarded) == {0, 1, 2, 3}
    assert sandbox.extra_incidents() == []


@pytest.mark.real_kafka("partitions are added")
async def test_who_waits_for_a_resolve_is_not_told_that_it_is_done_while_the_alert_moves(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    world.document["kafka"]["partitioner"] = "murmur2"
    commands = Commands(world, tmp_path, capsys)
    homes = {name: Partitioner.MURMUR2.partition_of(name.encode(), 4) for name in (f"s{n}" for n in range(8))}
    keys = [f"forbidden_path:{name}" for name in homes]
    assert {0} < set(homes.values())
    async with running_member(world.config) as member:
        await member.restored(1)
        for name in homes:
            await produce(world.bootstrap_servers, world.events, [encode(event(session=name))], key=name.encode())
        await incidents(sandbox, len(keys))
        await checkpointed(commands, len(keys))
        sandbox.faults.add(Fault(FaultyAnswer(status=503), action="resolve"))
        waiting = asyncio.create_task(commands.run("alerts", "resolve", *keys, "--wait", "200"))
        await sandbox.wait_for(lambda: bool(sandbox.requests(action="resolve")))
        for topic in (world.state(), world.events):
            await _grow(world, topic, 4)

        async def have_moved() -> bool:
            found = [await committed_records(world.bootstrap_servers, world.state(), at) for at in range(1, 4)]
            there = {record.key for records in found for record in records}
            return there >= {f"forbidden_path:{name}".encode() for name, home in homes.items() if home}

        await wait_until(have_moved, "the alerts have moved", timeout=NOTICED_SECONDS + 60, poll=0.5)
        await asyncio.sleep(3.0)
        assert len(sandbox.open_incidents()) == len(keys)
        assert not waiting.done()
        said_before = capsys.readouterr().out
        assert ": resolved" not in said_before
        sandbox.faults.clear()
        code, out, err = await waiting
    assert (code, err) == (0, "")
    assert sorted(out.splitlines()) == sorted(f"{key}: resolved" for key in keys)
    assert sandbox.open_incidents() == []
