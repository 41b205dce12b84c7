"""The repartition stage on a broker: events of one problem that come in several partitions meet in one task."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from consumer.config import Config
from consumer.deciding.pipeline import Pipeline
from consumer.kafka.partitioning import partition_of
from consumer.kafka.transaction import commit_transaction
from consumer.service.build import build_pipelines
from consumer.tasks.partition import task
from consumer.tasks.repartition import forwarder
from consumer.tasks.repartition import stage_progress as stage_progress
from providers.sandbox import Sandbox
from state.records import CHECKPOINT_KEY, decode_position
from tests.support import service
from tests.support.broker import Broker
from tests.support.events import encode, event, session_end
from tests.support.kafka import (
    admin,
    committed_records,
    create_topic,
    group_offsets,
    produce,
    running,
    transactional,
)
from tests.support.process import ROOT, merged, service_process
from tests.support.seen import dead_letters, first_dead_letters, producing, send
from tests.support.service import ROUTING_KEY, Member, World, incidents, make_world, running_member
from tests.support.waiting import wait_until

TEMPLATE = "{guard}:{tenant_id}:{resource}"
PARTITIONS = 6
STAGE = "pagerduty-repartition"
Records = list[ConsumerRecord[bytes, bytes]]


async def make_keyed_world(broker: Broker, sandbox: Sandbox, template: str = TEMPLATE, **options: Any) -> World:
    pagerduty = {"deduplication": {"key_template": template, "window_seconds": 600}, **options.pop("pagerduty", {})}
    kafka = {"event_key": "none" if "session_id" in template else "session_id", **options.pop("kafka", {})}
    options = {"partitions": PARTITIONS, **options}
    return await make_world(broker.bootstrap_servers, sandbox.url, pagerduty=pagerduty, kafka=kafka, **options)


async def forwarded(world: World, count: int, timeout: float = 20.0) -> Records:
    """What is in the keyed topic, once there is so much."""

    async def found() -> Records | None:
        records: Records = await committed_records(world.bootstrap_servers, world.keyed())
        return records if len(records) >= count else None

    records: Records | None = await wait_until(found, f"{count} records are forwarded", timeout=timeout, poll=0.1)
    assert records is not None
    return records


async def positions(world: World) -> dict[int, int]:
    records = await committed_records(world.bootstrap_servers, world.positions())
    assert {record.key for record in records} <= {CHECKPOINT_KEY}
    found = [(record.partition, decode_position(record.value)) for record in records]
    assert all(position.topic == world.events and position.partition == number for number, position in found)
    return {number: position.offset for number, position in found}


@asynccontextmanager
async def three_members(world: World, *groups: str) -> AsyncIterator[list[Member]]:
    async with AsyncExitStack() as stack:
        members = [await stack.enter_async_context(running_member(world.member())) for _ in range(3)]
        for member in members:
            for group in groups:
                await member.restored(PARTITIONS // 3, group)
        yield members


async def spread(world: World, problems: int, each: int) -> list[str]:
    """So many events of each problem, keyed by as many sessions, over all partitions; the problems' dedup keys."""
    async with running(AIOKafkaProducer(bootstrap_servers=world.bootstrap_servers, acks="all")) as producer:
        for number in range(each):
            for problem in range(problems):
                session = f"s-{problem}-{number}"
                value = encode(event(session=session, resource=f"/etc/{problem}"))
                await producer.send(world.events, value, key=session.encode())
        await producer.flush()
    return [f"forbidden_path:acme-corp:/etc/{problem}" for problem in range(problems)]


@pytest.mark.real_kafka("three members share the partitions of two groups")
async def test_events_of_one_problem_that_sessions_spread_over_the_partitions_are_one_incident(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_keyed_world(broker, sandbox)
    async with three_members(world, "pagerduty", STAGE) as members:
        dedup_keys = await spread(world, problems=8, each=12)
        await incidents(sandbox, 8)
        await wait_until(lambda: _suppressed(members) == 8 * 11, "all others are suppressed")
    assert sorted(incident.dedup_key for incident in sandbox.incidents()) == dedup_keys
    assert [incident.triggers for incident in sandbox.incidents()] == [1] * 8
    assert sandbox.extra_incidents() == []
    keyed = await forwarded(world, 96)
    assert len(keyed) == 96
    assert await dead_letters(world) == []


@pytest.mark.real_kafka("three members share the partitions of two groups")
async def test_without_the_stage_every_task_that_meets_a_problem_tells_it(
    broker: Broker, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await make_keyed_world(broker, sandbox)
    _leave_out_the_stage(monkeypatch)
    async with three_members(world, "pagerduty") as members:
        assert set(members[0].runners) == {"pagerduty"}
        await spread(world, problems=8, each=12)
        await wait_until(lambda: _decided(members) == 96, "all are decided")
        await sandbox.wait_for(lambda: len(sandbox.requests()) == _triggered(members))
    told = [incident.triggers for incident in sandbox.incidents()]
    assert min(told) > 1
    assert sum(told) > 24  # of eight problems


def _leave_out_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(config: Config) -> list[Pipeline]:
        return [replace(pipeline, input_topic=config.kafka.topics.events) for pipeline in build_pipelines(config)]

    monkeypatch.setattr(service, "build_pipelines", build)
    monkeypatch.setattr(service, "build_repartition", lambda config, pipeline: None)


def _outcome(members: Sequence[Member], outcome: str) -> float:
    return sum(member.metric("events_total", pipeline="pagerduty", outcome=outcome) for member in members)


def _suppressed(members: Sequence[Member]) -> float:
    return _outcome(members, "suppressed") + _outcome(members, "counted")


def _triggered(members: Sequence[Member]) -> float:
    return _outcome(members, "triggered")


def _decided(members: Sequence[Member]) -> float:
    return _suppressed(members) + _triggered(members)


# --- what is forwarded, and how


async def test_a_record_is_forwarded_byte_for_byte_with_its_headers_and_timestamp(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_keyed_world(broker, sandbox)
    value = encode(event(session="sess-9")) + b"  "
    headers = (("trace", b"\xff\x00"), ("trace", None), ("", b"x"))
    then = int((time.time() - 3600) * 1000)
    async with producing(world) as producer:
        for key in (b"sess-9", None, b"\xff"):
            await producer.send_and_wait(world.events, value, key=key, timestamp_ms=then, headers=list(headers))
    async with running_member(world.config):
        keyed = await forwarded(world, 3)
    assert Counter(record.key for record in keyed) == Counter([b"sess-9", None, b"\xff"])
    assert {(record.value, record.headers, record.timestamp) for record in keyed} == {(value, headers, then)}
    expected = partition_of(b"forbidden_path:acme-corp:/etc/shadow", PARTITIONS)
    assert {record.partition for record in keyed} == {expected}


async def test_only_what_may_alert_or_end_an_alert_is_forwarded(broker: Broker, sandbox: Sandbox) -> None:
    ends = {"enabled": True, "on_events": [{"event_type": "policy_allow", "guard": "egress_allowlist"}]}
    world = await make_keyed_world(broker, sandbox, partitions=1, pagerduty={"auto_resolve": ends})
    denial, allowed = encode(event(guard="egress_allowlist")), encode(event(guard="egress_allowlist", allowed=True))
    async with running_member(world.config, quiescent_seconds=0.0) as member:
        await send(world, event(allowed=True), event(severity="low"), session_end())
        await produce(world.bootstrap_servers, world.events, [None], key=b"gone")
        await produce(world.bootstrap_servers, world.events, [denial])
        await incidents(sandbox, 1)
        await produce(world.bootstrap_servers, world.events, [allowed])
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 40)
        for outcome, count in (("ignored", 3), ("tombstone", 1), ("forwarded", 2), ("poison", 0)):
            assert member.metric("events_total", pipeline=STAGE, outcome=outcome) == count
    assert [record.value for record in await forwarded(world, 2)] == [denial, allowed]
    assert (await positions(world)) == {0: 6}
    (offset,) = (await group_offsets(world.bootstrap_servers, f"{world.group()}-repartition")).values()
    assert (offset.offset, offset.metadata) == (6, "clawdstrike-alerting")


async def test_with_the_session_in_the_key_its_end_is_forwarded_to_where_its_alerts_are(
    broker: Broker, sandbox: Sandbox
) -> None:
    """The engine gives its records no key: only the stage brings a session's events together."""
    world = await make_keyed_world(broker, sandbox, "{guard}:{session_id}")
    sessions = [f"s-{number}" for number in range(8)]
    async with running_member(world.config):
        for number, session in enumerate(sessions):
            for guard in ("secret_leak", "forbidden_path"):
                await send(world, event(session=session, guard=guard), partition=(number + len(guard)) % PARTITIONS)
        await incidents(sandbox, 16)
        for number, session in enumerate(sessions):
            await send(world, session_end(session), partition=(number + 3) % PARTITIONS)
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 40)
    assert sandbox.extra_incidents() == []
    for record in await forwarded(world, 24):
        session = orjson.loads(record.value)["session"]["id"]
        assert record.partition == partition_of(session.encode(), PARTITIONS)


async def test_poison_is_a_dead_letter_once_and_is_not_forwarded(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_keyed_world(broker, sandbox, partitions=2)
    invalid = event(event_id="e-7")
    del invalid["resource"]
    async with running_member(world.config) as member:
        (bad,) = await produce(
            world.bootstrap_servers, world.events, [b"{"], key=b"k", partition=1, headers=[("trace", b"\xff")]
        )
        (worse,) = await send(world, invalid, partition=1)
        await send(world, event(), partition=1)
        await incidents(sandbox, 1)
        letters = await first_dead_letters(world, 2)
        assert member.metric("events_total", pipeline=STAGE, outcome="poison") == 2
        assert member.metric("events_total", pipeline="pagerduty", outcome="poison") == 0
    assert letters == await dead_letters(world)
    assert [(one.record.topic, one.record.partition, one.record.offset) for one in letters] == [
        (world.events, 1, bad),
        (world.events, 1, worse),
    ]
    assert (letters[0].record.key, letters[0].record.value) == (b"k", b"{")
    assert letters[0].record.headers == (("trace", b"\xff"),)
    assert [(one.provider, one.stage, one.event_id) for one in letters] == [
        ("pagerduty", "decode", None),
        ("pagerduty", "decode", "e-7"),
    ]
    assert len(await forwarded(world, 1)) == 1


# --- timestamps that the topic between does not take


@pytest.mark.real_kafka("it refuses timestamps")
async def test_a_timestamp_that_lies_too_far_ahead_is_now_and_holds_up_nothing(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_keyed_world(broker, sandbox, partitions=1)
    await _configure(world, world.events, "message.timestamp.after.max.ms", str(2**62))
    ahead = int((time.time() + 86400) * 1000)
    async with producing(world) as producer:
        await producer.send_and_wait(world.events, encode(event()), timestamp_ms=ahead)
    async with running_member(world.config) as member:
        await incidents(sandbox, 1)
        (record,) = await forwarded(world, 1)
        assert member.metric("task_troubles_total", pipeline=STAGE) == 0
    assert abs(record.timestamp / 1000 - time.time()) < 60


@pytest.mark.real_kafka("it refuses timestamps")
async def test_timestamps_that_the_topic_refuses_are_given_up_rather_than_the_events(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_keyed_world(broker, sandbox, partitions=1)
    await _configure(world, world.keyed(), "message.timestamp.before.max.ms", str(3_600_000))
    async with producing(world) as producer:
        await producer.send_and_wait(world.events, encode(event()), timestamp_ms=int((time.time() - 7200) * 1000))
    async with running_member(world.config) as member:
        await incidents(sandbox, 1)
        assert len(await forwarded(world, 1)) == 1
        assert member.metric("task_troubles_total", pipeline=STAGE) == 0


async def _configure(world: World, topic: str, name: str, value: str) -> None:
    async with admin(world.bootstrap_servers) as client:
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})])


# --- exactly once


Commit = Callable[[AIOKafkaProducer, Callable[[], Awaitable[None]]], Awaitable[None]]


async def dies_before(producer: AIOKafkaProducer, send: Callable[[], Awaitable[None]]) -> None:
    """Nothing was sent."""
    raise KafkaError("died")


async def dies_within(producer: AIOKafkaProducer, send: Callable[[], Awaitable[None]]) -> None:
    """Everything was sent and acknowledged, and nothing is committed."""
    await producer.begin_transaction()
    await send()
    raise KafkaError("died")


async def dies_after(producer: AIOKafkaProducer, send: Callable[[], Awaitable[None]]) -> None:
    """It is committed, and nobody knows."""
    await forwarder_commit(producer, send)
    raise KafkaError("died")


forwarder_commit: Commit = commit_transaction


@pytest.mark.parametrize("dies", [dies_before, dies_within, dies_after])
async def test_a_forwarder_that_dies_anywhere_has_forwarded_each_event_exactly_once(
    broker: Broker, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, dies: Commit
) -> None:
    world = await make_keyed_world(broker, sandbox, partitions=2)
    commits = 0

    async def commit(producer: AIOKafkaProducer, send: Callable[[], Awaitable[None]]) -> None:
        nonlocal commits
        commits += 1
        await (dies if commits % 3 == 0 else forwarder_commit)(producer, send)

    monkeypatch.setattr(forwarder, "commit_transaction", commit)
    sent = []
    async with running_member(world.config) as member:
        await member.restored(2, STAGE)
        for number in range(60):
            made = event(resource=f"/etc/{number % 7}")
            sent.append(made["event_id"])
            await send(world, made, partition=number % 2)
        keyed = await forwarded(world, 60, timeout=40)
        assert member.metric("task_troubles_total", pipeline=STAGE) > 0
        assert member.metric("positions_lost_total", pipeline=STAGE) == 0
    assert Counter(_event_ids(keyed)) == Counter(sent)
    assert Counter(_event_ids(await forwarded(world, 60))) == Counter(sent)
    assert await positions(world) == {0: 30, 1: 30}


@pytest.mark.real_kafka("a member that is killed is missed")
async def test_a_member_killed_while_it_forwards_has_forwarded_each_event_exactly_once(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_keyed_world(broker, sandbox, partitions=2, kafka={"session_timeout": "3s"})
    made = [event(session=f"s-{number}", resource=f"/etc/{number % 50}") for number in range(6000)]
    for kill in range(3):
        async with service_process(world.document, tmp_path, f"member-{kill}") as process:
            await process.said("partition_restored", provider=STAGE, timeout=60)
            slice_ = made[kill * 2000 : (kill + 1) * 2000]
            before = len(await committed_records(world.bootstrap_servers, world.keyed()))
            producing_all = asyncio.create_task(_produce_keyed(world, slice_))
            await forwarded(world, before + 1)
            await process.kill()
            await producing_all
    async with service_process(world.document, tmp_path, "last"):
        keyed = await forwarded(world, len(made), timeout=60)
    assert Counter(_event_ids(keyed)) == Counter(one["event_id"] for one in made)


async def _produce_keyed(world: World, events: Sequence[dict[str, Any]]) -> None:
    async with producing(world) as producer:
        for made in events:
            await producer.send(world.events, encode(made), key=made["session"]["id"].encode())
        await producer.flush()


def _event_ids(records: Records) -> list[str]:
    return [orjson.loads(record.value)["event_id"] for record in records]


@pytest.mark.real_kafka("it fences producers")
async def test_a_forwarder_that_is_fenced_forwards_each_event_exactly_once(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_keyed_world(broker, sandbox, partitions=1)
    async with running_member(world.config) as member:
        await send(world, *(event(resource=f"/etc/{number}") for number in range(5)))
        await forwarded(world, 5)
        async with running(transactional(world.bootstrap_servers, f"{world.group()}-repartition-0")) as foreign:
            await foreign.begin_transaction()
            await foreign.send_and_wait(world.keyed(), encode(event(resource="/zombie")), partition=0)
            await send(world, *(event(resource=f"/etc/{number}") for number in range(5, 10)))
            await wait_until(lambda: "checkpoint_taken" in member.output.getvalue(), "it has been fenced")
            keyed = await forwarded(world, 10)
            with pytest.raises(KafkaError):
                await foreign.commit_transaction()
        await incidents(sandbox, 10)
    assert Counter(orjson.loads(one.value)["resource"]["name"] for one in keyed) == Counter(
        f"/etc/{number}" for number in range(10)
    )
    assert len(await forwarded(world, 10)) == 10


# --- the position


@pytest.mark.real_kafka("its tool resets the position")
async def test_a_position_of_the_stage_that_an_operator_has_set_is_obeyed(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_keyed_world(broker, sandbox, partitions=1)
    async with running_member(world.config):
        await send(world, *(event(resource=f"/etc/{number}") for number in range(5)))
        await forwarded(world, 5)
    group = f"{world.group()}-repartition"
    reset = ["--group", group, "--topic", world.events, "--reset-offsets", "--to-offset", "2", "--execute"]
    await asyncio.to_thread(broker.kafka.exec, "kafka-consumer-groups", *reset)
    async with running_member(world.config) as member:
        keyed = await forwarded(world, 8)
        await wait_until(lambda: '"position_set_by_operator"' in _log(member), "it says so")

        async def is_ours_again() -> bool:
            (offset,) = (await group_offsets(world.bootstrap_servers, group)).values()
            return (offset.offset, offset.metadata) == (5, "clawdstrike-alerting")

        await wait_until(is_ours_again, "the commits carry the mark again", poll=0.2)
    assert len(keyed) == 8


async def test_a_position_of_the_stage_that_the_broker_no_longer_has_is_the_earliest_loudly(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_keyed_world(broker, sandbox, partitions=1)
    async with running_member(world.config):
        await send(world, event(resource="/before"))
        await forwarded(world, 1)
    await send(world, *(event(resource=f"/gone/{number}") for number in range(3)), event(resource="/left"))
    async with admin(world.bootstrap_servers) as client:
        await client.delete_records({TopicPartition(world.events, 0): RecordsToDelete(before_offset=4)})
    async with running_member(world.config) as member:
        keyed = await forwarded(world, 2)
        assert '"position_lost"' in _log(member)
        assert member.metric("positions_lost_total", pipeline=STAGE) == 1
    assert [orjson.loads(one.value)["resource"]["name"] for one in keyed] == ["/before", "/left"]


def _log(member: Member) -> str:
    return member.output.getvalue()


# --- quiet behind a stage that stands still


async def test_a_stage_that_stands_still_is_no_quiescence(
    broker: Broker, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (task, stage_progress):
        monkeypatch.setattr(module, "PROGRESS_SECONDS", 0.5)
    monkeypatch.setattr(stage_progress, "LOOK_SECONDS", 0.2)  # so 2 * (0.5 + 2 + 0.2) s without news are too long
    stands_still = False

    async def commit(producer: AIOKafkaProducer, send: Callable[[], Awaitable[None]]) -> None:
        if stands_still:
            raise KafkaError("no")
        await forwarder_commit(producer, send)

    monkeypatch.setattr(forwarder, "commit_transaction", commit)
    world = await make_keyed_world(broker, sandbox, partitions=1, pagerduty={"auto_resolve": {"after_minutes": 0.15}})
    async with running_member(world.config) as member:
        await send(world, event())
        await incidents(sandbox, 1)
        stands_still = True
        for _ in range(16):
            await send(world, event())
            await asyncio.sleep(1)
        assert sandbox.open_incidents()
        assert member.runners[STAGE].health().troubles
        stands_still = False
        await wait_until(lambda: _suppressed([member]) == 16, "what was held up is suppressed", timeout=20)
        assert sandbox.open_incidents()
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 40)
    assert [incident.triggers for incident in sandbox.incidents()] == [1]


# --- the service as it is run


async def test_the_example_with_tenant_and_resource_in_its_key_does_the_main_job(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_keyed_world(broker, sandbox, partitions=3)
    example = yaml.safe_load((ROOT / "deploy/examples/pagerduty-only.yaml").read_text())
    pagerduty = {"routing_key": ROUTING_KEY, "api_endpoint": sandbox.url}
    document = merged(example, **{name: world.document[name] for name in ("kafka", "server", "delivery", "log")})
    document = merged(document, exporters={"alerting": {"pagerduty": pagerduty}})
    assert document["exporters"]["alerting"]["pagerduty"]["deduplication"]["key_template"] == TEMPLATE
    async with service_process(document, tmp_path) as process:
        await process.restored(3)
        status, health = await process.health()
        assert status == 200
        assert set(health["pipelines"]) == {"pagerduty", STAGE}
        for session in ("s-1", "s-2", "s-3", "s-4"):
            await produce(world.bootstrap_servers, world.events, [encode(event(session=session))], key=session.encode())
        await incidents(sandbox, 1)
        await wait_until(lambda: _suppressed_by(process), "three are suppressed", poll=0.1)
        assert await process.metric("events_total", pipeline=STAGE, outcome="forwarded") == 4
        assert await process.metric("lag", pipeline=STAGE, partition="0") == 0
    assert [incident.triggers for incident in sandbox.incidents()] == [1]


async def _suppressed_by(process: Any) -> bool:
    outcomes = ("suppressed", "counted")
    counts: list[float] = [await process.metric("events_total", pipeline="pagerduty", outcome=o) for o in outcomes]
    return sum(counts) == 3


async def test_a_stage_whose_input_has_more_partitions_than_its_positions_says_so_and_goes_on(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_keyed_world(broker, sandbox, partitions=2)
    events = await create_topic(broker.bootstrap_servers, f"{world.events}.more", partitions=3)
    document = merged(world.document, kafka={"topics": {"events": events}})
    async with service_process(document, tmp_path) as service:
        line = await service.said("topic_outgrown", level="error")
        assert f"topic {world.positions()} has 2 partitions, its input {events} has 3: " in line["error"]
        assert "`clawdstrike-alerting topics grow --config … --partitions 3`" in line["error"]
        await service.said("partition_restored", 2, provider="pagerduty-repartition")
