"""What somebody's open transaction hides: from a restore, from the lag, from the position of a group."""

import asyncio
import time

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError

from consumer.config import KafkaConfig
from consumer.group.offset_orders import Group, positions_of, targets_of
from consumer.kafka.clients import KafkaClients
from consumer.kafka.reading import read_alerts
from consumer.kafka.startup import StartupError
from consumer.kafka.watermarks import Watermarks, all_watermarks, each_watermarks
from consumer.status.judge import problems
from consumer.status.look import look
from providers.sandbox import Sandbox
from tests.support.broker import Broker
from tests.support.events import encode, event
from tests.support.kafka import admin, create_topic, produce, running, transactional, unique
from tests.support.seen import group_reaches, requests, send, told
from tests.support.service import Member, incidents, make_world, running_member
from tests.support.waiting import wait_until


async def test_both_ends_are_asked_for_whatever_the_reader_is_shown(broker: Broker) -> None:
    topic = await create_topic(broker.bootstrap_servers, partitions=2)
    open_one, plain = TopicPartition(topic, 0), TopicPartition(topic, 1)
    await produce(broker.bootstrap_servers, topic, [b"0", b"1"], partition=0)
    await produce(broker.bootstrap_servers, topic, [b"0"], partition=1)
    async with running(transactional(broker.bootstrap_servers, unique("x"))) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"open", partition=0)
        await produce(broker.bootstrap_servers, topic, [b"behind"] * 5, partition=0)
        async with running(_reader(broker)) as reader:
            found = await all_watermarks(reader, [open_one, plain])
            assert found == {open_one: Watermarks(2, 8), plain: Watermarks(1, 1)}
            await producer.commit_transaction()

            async def is_closed() -> bool:
                return (await all_watermarks(reader, [open_one]))[open_one] == Watermarks(9, 9)  # with its marker

            await wait_until(is_closed, "the transaction is closed")


async def test_a_partition_that_does_not_exist_is_told_at_once_and_keeps_nothing_of_the_others(broker: Broker) -> None:
    topic = await create_topic(broker.bootstrap_servers, partitions=1)
    there, missing = TopicPartition(topic, 0), TopicPartition(topic, 1)
    async with running(_reader(broker)) as reader:
        with pytest.raises(UnknownTopicOrPartitionError, match=f"{topic} has no partition 1: it has 1 partitions"):
            async with asyncio.timeout(2):
                await all_watermarks(reader, [there, missing])
        assert [answer async for answer in each_watermarks(reader, [there, missing])] == [{there: Watermarks(0, 0)}]


async def test_a_restore_waits_for_a_transaction_that_hides_the_last_checkpoints(
    broker: Broker, sandbox: Sandbox
) -> None:
    """A state from before them would tell both problems once more."""
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with running(transactional(broker.bootstrap_servers, unique("x"))) as foreign:
        async with running_member(world.config):
            await send(world, event(session="first"))
            await incidents(sandbox, 1)
            await group_reaches(world, 1)
            await foreign.begin_transaction()
            await foreign.send_and_wait(world.state(), b"{}", key=b"foreign", partition=0)
            await send(world, event(session="second"))
            await incidents(sandbox, 2)
            await group_reaches(world, 2)
        async with running_member(world.config) as member:
            await wait_until(lambda: "HiddenState" in member.output.getvalue(), "it waits, and says so")
            health = member.runners["pagerduty"].health()
            assert (health.partitions, health.restored) == (1, 0)
            await foreign.abort_transaction()
            await member.restored()
            await send(world, event(session="second"), event(session="third"))
            await incidents(sandbox, 3)
            await group_reaches(world, 4)
            assert _alerts(member) == 3
    assert told(sandbox.requests(action="trigger")) == [("trigger", 202)] * 3


async def test_the_list_of_alerts_says_what_it_does_not_show(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    partition = TopicPartition(world.state(), 0)
    async with running_member(world.config), running(transactional(broker.bootstrap_servers, unique("x"))) as foreign:
        await send(world, event(session="first"))
        await incidents(sandbox, 1)
        await group_reaches(world, 1)
        clients = KafkaClients(world.config.kafka)
        alerts, wrong = await read_alerts(clients, [partition])
        assert ([alert.dedup_key for _, alert in alerts], wrong) == (["forbidden_path:first"], [])
        await foreign.begin_transaction()
        written = await foreign.send_and_wait(world.state(), b"{}", key=b"foreign", partition=0)
        await send(world, event(session="second"))
        await incidents(sandbox, 2)
        await group_reaches(world, 2)
        alerts, wrong = await read_alerts(clients, [partition])
        assert [alert.dedup_key for _, alert in alerts] == ["forbidden_path:first"]
        assert wrong == [
            f"topic {world.state()}, partition 0: another producer's transaction is open at offset {written.offset}, "
            "and what has changed since is not shown"
        ]
        await foreign.abort_transaction()


async def test_a_group_is_not_moved_by_a_checkpoint_that_others_have_followed_unseen(
    broker: Broker, sandbox: Sandbox
) -> None:
    """A skip to between the two would decide records again."""
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    clients = KafkaClients(world.config.kafka)
    group = Group(world.group(), [TopicPartition(world.events, 0)], [TopicPartition(world.state(), 0)])
    async with running(transactional(broker.bootstrap_servers, unique("x"))) as foreign:
        async with running_member(world.config):
            await send(world, event(session="first"))
            await incidents(sandbox, 1)
            await group_reaches(world, 1)
            await foreign.begin_transaction()
            await foreign.send_and_wait(world.state(), b"{}", key=b"foreign", partition=0)
            await send(world, event(session="second"), event(session="third"))
            await incidents(sandbox, 3)
            await group_reaches(world, 3)
        async with admin(broker.bootstrap_servers) as client:
            with pytest.raises(
                StartupError, match=f"^topic {world.state()}, partition 0: another .* nothing was moved$"
            ):
                await positions_of(clients, client, group)
            await foreign.abort_transaction()
            assert await positions_of(clients, client, group) == {group.input[0]: 3}


async def test_a_time_is_found_among_what_is_hidden(broker: Broker) -> None:
    """Else a skip to it would pass over everything that came behind it."""
    topic = await create_topic(broker.bootstrap_servers)
    clients = KafkaClients(KafkaConfig(bootstrap_servers=broker.bootstrap_servers))
    group = Group("g", [TopicPartition(topic, 0)], [])
    await produce(broker.bootstrap_servers, topic, [b"0", b"1"])
    await asyncio.sleep(0.02)
    moment = time.time()
    async with running(transactional(broker.bootstrap_servers, unique("x"))) as foreign:
        await foreign.begin_transaction()
        await foreign.send_and_wait(topic, b"open", partition=0)
        await produce(broker.bootstrap_servers, topic, [b"behind"] * 5)
        assert await targets_of(clients, group, moment) == {group.input[0]: 2}
        await foreign.abort_transaction()


async def test_status_says_that_it_does_not_see_how_far_a_stage_is(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(
        broker.bootstrap_servers, sandbox.url, pagerduty={"deduplication": {"key_template": "{guard}"}}
    )
    names = [world.events, world.keyed(), world.positions(), world.state()]
    partitions = {name: [TopicPartition(name, 0)] for name in names}
    async with running(transactional(broker.bootstrap_servers, unique("x"))) as foreign:
        await foreign.begin_transaction()
        await foreign.send_and_wait(world.positions(), b"{}", key=b"foreign", partition=0)
        found = await look(world.config, KafkaClients(world.config.kafka), partitions)
        (said,) = (one for one in problems(found, time.time()) if "transaction" in one)
        assert said.startswith(f"pagerduty: topic {world.positions()}, partition 0: another producer's transaction is ")
        await foreign.abort_transaction()
    found = await look(world.config, KafkaClients(world.config.kafka), partitions)
    assert [one for one in problems(found, time.time()) if "transaction" in one] == []


async def test_the_lag_counts_what_cannot_be_read_yet(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with running_member(world.config) as member:
        await send(world, event())
        await incidents(sandbox, 1)
        async with running(transactional(broker.bootstrap_servers, unique("x"))) as foreign:
            await foreign.begin_transaction()
            await foreign.send_and_wait(world.events, encode(event(session="other")), partition=0)
            await send(world, *[event()] * 4)
            await wait_until(lambda: _partition(member, "lag") == 5, "the lag has all of them")
            await wait_until(lambda: _partition(member, "hidden_seconds") > 0, "so long has it been open")
            progress = await member.runners["pagerduty"].group_progress()
            assert (progress[0].stable, progress[0].end) == (1, 6)
            assert len(sandbox.requests(action="trigger")) == 1
            await foreign.commit_transaction()
        await requests(sandbox, 2, action="trigger", status=202)
        await wait_until(lambda: _partition(member, "lag") == 0, "all is decided")
        await wait_until(lambda: _partition(member, "hidden_seconds") == 0, "nothing is hidden")


def _reader(broker: Broker) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers, isolation_level="read_committed")


def _partition(member: Member, name: str) -> float:
    return member.metric(name, pipeline="pagerduty", partition="0")


def _alerts(member: Member) -> float:
    return member.metric("alerts", pipeline="pagerduty", partition="0", status="open")
