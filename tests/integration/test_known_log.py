"""The input becomes another log, or somebody else moves the group (design section 17)."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewPartitions, RecordsToDelete
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

import consumer.group.anchor_watch
from consumer.cli.main import main
from consumer.input.commit_metadata import COMMIT_METADATA
from providers.sandbox import Sandbox
from tests.support.broker import Broker
from tests.support.events import encode, event
from tests.support.kafka import COMPACTED, admin, create_topic, group_offsets, running
from tests.support.seen import group_reaches, requests, send
from tests.support.service import Member, World, incidents, make_world, running_member
from tests.support.waiting import wait_until

QUIET = {"auto_resolve": {"enabled": True, "after_minutes": 0.02}}
"""What is told is resolved at once: whatever is decided again opens a second incident."""


# --- the topic becomes another one


def _denials(name: str, count: int) -> list[dict[str, Any]]:
    return [event(session=f"{name}-{number}") for number in range(count)]


def _keys(denials: Sequence[dict[str, Any]]) -> list[str]:
    return [f"forbidden_path:{one['session']['id']}" for one in denials]


async def _write(world: World, denials: Sequence[dict[str, Any]], since: int) -> None:
    """Records that are the same each time they are written: their timestamps too."""
    async with running(AIOKafkaProducer(bootstrap_servers=world.bootstrap_servers, acks="all")) as producer:
        for number, one in enumerate(denials):
            await producer.send_and_wait(world.events, encode(one), partition=0, timestamp_ms=since + number)


async def _create_anew(world: World, partitions: int = 1) -> None:
    async with admin(world.bootstrap_servers) as client:
        await client.delete_topics([world.events])

        async def is_gone() -> bool:
            return world.events not in {found["topic"] for found in await client.describe_topics()}

        await wait_until(is_gone, "the topic is deleted", timeout=30, poll=0.2)

    async def is_created() -> bool:
        try:
            await create_topic(world.bootstrap_servers, world.events, partitions=partitions)
        except KafkaError:  # the broker is not done with the deletion
            return False
        return True

    await wait_until(is_created, "the topic is created anew", timeout=30, poll=0.5)


def _said(member: Member, name: str) -> list[dict[str, Any]]:
    lines = [orjson.loads(line) for line in member.output.getvalue().splitlines()]
    return [line for line in lines if line.get("event") == name]


async def _all_resolved(sandbox: Sandbox, count: int) -> None:
    await incidents(sandbox, count)
    await sandbox.wait_for(lambda: not sandbox.open_incidents(), 60)


def _told(sandbox: Sandbox) -> list[str]:
    return sorted(incident.dedup_key for incident in sandbox.incidents())


@pytest.mark.real_kafka("a topic is deleted")
async def test_a_topic_that_was_created_anew_while_the_service_was_down_is_told_from_its_beginning(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, kafka={"start_from": "latest"})
    before, after = _denials("before", 5), _denials("after", 8)
    async with running_member(world.config) as member:
        await member.restored()
        await send(world, *before)
        await incidents(sandbox, 5)
        await group_reaches(world, 5)
    await _create_anew(world)
    await send(world, *after)
    async with running_member(world.config) as member:
        await incidents(sandbox, 13)
        await group_reaches(world, 8)
        (said,) = _said(member, "input_recreated")
        assert (said["level"], said["position"], said["begins_at"], said["records"]) == ("error", 5, 0, 8)
        assert member.metric("input_changes_total", pipeline="pagerduty", change="recreated") == 1
    async with running_member(world.config) as member:
        await member.restored()
        assert _said(member, "input_recreated") == [], "it is known now"
    assert _told(sandbox) == sorted(_keys([*before, *after]))
    assert sandbox.extra_incidents() == []


@pytest.mark.real_kafka("a topic is deleted under a reader")
async def test_a_topic_that_is_created_anew_under_a_running_member_is_told_from_its_beginning(
    broker: Broker, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it runs."""
    monkeypatch.setattr(consumer.group.anchor_watch, "CHECK_SECONDS", 2.0)
    world = await make_world(broker.bootstrap_servers, sandbox.url, kafka={"start_from": "latest"})
    before, after = _denials("before", 5), _denials("after", 8)
    async with running_member(world.config) as member:
        await member.restored()
        await send(world, *before)
        await incidents(sandbox, 5)
        await group_reaches(world, 5)
        await _create_anew(world)
        await send(world, *after)
        await incidents(sandbox, 13, timeout=120)
        await group_reaches(world, 8, timeout=30)
        assert _said(member, "input_recreated")
    assert _told(sandbox) == sorted(_keys([*before, *after]))
    assert sandbox.extra_incidents() == []


@pytest.mark.real_kafka("a topic is deleted")
@pytest.mark.parametrize("one_by_one", [False, True])
async def test_of_a_topic_that_comes_back_shorter_only_what_no_anchor_knows_is_told_again(
    broker: Broker, sandbox: Sandbox, one_by_one: bool
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, pagerduty=QUIET)
    denials, since = _denials("s", 12), int(time.time() * 1000)
    if not one_by_one:
        await _write(world, denials, since)
    async with running_member(world.config):
        for number, one in enumerate(denials, 1) if one_by_one else ():
            await _write(world, [one], since + number - 1)
            await incidents(sandbox, number)
        await _all_resolved(sandbox, 12)
        await group_reaches(world, 12)
    await _create_anew(world)
    await _write(world, denials[:6], since)
    async with running_member(world.config) as member:
        await member.restored()
        (said,) = _said(member, "input_truncated")
        assert (said["level"], said["position"]) == ("error", 12)
        begins_at, again = said["begins_at"], said["again"]
        assert 1 <= begins_at <= 6
        assert again == 6 - begins_at
        assert member.metric("input_changes_total", pipeline="pagerduty", change="truncated") == 1
        await _all_resolved(sandbox, 12 + again)
        await group_reaches(world, 6)
    assert _told(sandbox) == sorted([*_keys(denials), *_keys(denials[begins_at:6])])


@pytest.mark.real_kafka("a topic is deleted")
@pytest.mark.parametrize(("decided", "common"), [(8, 8), (10, 9)])
async def test_where_the_log_goes_another_way_what_is_new_is_told_and_nothing_old(
    broker: Broker, sandbox: Sandbox, decided: int, common: int
) -> None:
    """As after an unclean election: behind what was decided, and behind the last but one of that."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, pagerduty=QUIET)
    old, new, since = _denials("old", decided), _denials("new", 5), int(time.time() * 1000)
    async with running_member(world.config):
        for number, one in enumerate(old, 1):
            await _write(world, [one], since + number - 1)
            await incidents(sandbox, number)
            await group_reaches(world, number)  # each is a slice of its own
        await _all_resolved(sandbox, decided)
    await _create_anew(world)
    await _write(world, [*old[:common], *new], since)
    async with running_member(world.config) as member:
        await _all_resolved(sandbox, decided + 5)
        await group_reaches(world, common + 5)
        said = _said(member, "input_truncated")
        assert [line["begins_at"] for line in said] == ([common] if common < decided else [])
    assert _told(sandbox) == sorted(_keys([*old, *new]))


async def test_what_retention_has_removed_is_no_other_topic(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with running_member(world.config):
        await send(world, *_denials("before", 3))
        await incidents(sandbox, 3)
        await group_reaches(world, 3)
    async with admin(world.bootstrap_servers) as client:
        await client.delete_records({TopicPartition(world.events, 0): RecordsToDelete(before_offset=3)})
    async with running_member(world.config) as member:
        await member.restored()
        await send(world, *_denials("after", 2))
        await incidents(sandbox, 5)
        assert [_said(member, name) for name in ("position_lost", "input_recreated", "input_truncated")] == [[], [], []]


# --- offsets of others


@pytest.mark.real_kafka("members of one group share its partitions")
async def test_a_script_with_our_groups_id_that_runs_beside_the_service_skips_nothing(
    broker: Broker, sandbox: Sandbox
) -> None:
    """Client defaults, so it commits by itself. One of two partitions is the script's."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2)
    async with running_member(world.config) as member:
        await member.restored(2)
        for partition in range(2):
            await send(world, *_denials(f"before-{partition}", 3), partition=partition)
        await incidents(sandbox, 6)
        script = AIOKafkaConsumer(
            world.events, bootstrap_servers=world.bootstrap_servers, group_id=world.group(), auto_offset_reset="latest"
        )
        async with running(script):
            (taken,) = await wait_until(script.assignment, "the script has a partition", timeout=60)
            await member.restored(1)
            for partition in range(2):
                await send(world, *_denials(f"after-{partition}", 6), partition=partition)
            for _ in range(6):
                await asyncio.wait_for(script.getone(), 30)
        await member.restored(2)
        await incidents(sandbox, 18, timeout=60)
        said = [line for line in _said(member, "offset_ignored") if line["would_skip"]]
        assert [(line["partition"], line["would_skip"]) for line in said] == [(taken.partition, 6)]
        assert member.metric("offsets_ignored_total", pipeline="pagerduty", effect="skip") == 1
        for partition in range(2):
            await group_reaches(world, 9, partition=partition)
    assert sandbox.extra_incidents() == []


@pytest.mark.real_kafka("its console consumer")
async def test_a_console_consumer_with_our_groups_id_while_the_service_is_down_skips_nothing(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with running_member(world.config):
        await send(world, *_denials("before", 3))
        await incidents(sandbox, 3)
        await group_reaches(world, 3)
    await send(world, *_denials("meanwhile", 6))
    read = ["--topic", world.events, "--group", world.group(), "--max-messages", "6"]
    await asyncio.to_thread(broker.kafka.exec, "kafka-console-consumer", *read)
    assert await _group_offset(world) == OffsetAndMetadata(9, "")
    async with running_member(world.config) as member:
        await incidents(sandbox, 9)
        (said,) = _said(member, "offset_ignored")
        assert (said["level"], said["would_skip"], said["would_repeat"]) == ("error", 6, 0)
        await wait_until(lambda: _is_ours(world, 9), "the group's offset is ours again", poll=0.2)
    async with running_member(world.config) as member:
        await member.restored()
        assert _said(member, "offset_ignored") == []
    assert sandbox.extra_incidents() == []


@pytest.mark.real_kafka("its tool resets the position")
async def test_a_reset_to_the_end_is_ignored_and_says_so(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    await _three_told_and_six_more(world, sandbox)
    reset = ["--group", world.group(), "--topic", world.events, "--reset-offsets", "--to-latest", "--execute"]
    await asyncio.to_thread(broker.kafka.exec, "kafka-consumer-groups", *reset)
    async with running_member(world.config) as member:
        await incidents(sandbox, 9)
        (said,) = _said(member, "offset_ignored")
        assert said["would_skip"] == 6
        assert "offsets rewind|skip" in said["hint"]


@pytest.mark.real_kafka("it says whether a group has members")
async def test_offsets_skip_skips_on_purpose(broker: Broker, sandbox: Sandbox, tmp_path: Path) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    await _three_told_and_six_more(world, sandbox)
    assert await _offsets(world, tmp_path, "skip", "--to", "8", "--dry-run") == 0
    assert (await _group_offset(world)).offset == 3
    assert await _offsets(world, tmp_path, "skip", "--to", "8", "--yes") == 0
    async with running_member(world.config) as member:
        await incidents(sandbox, 4)
        await member.restored()
        assert [line["position"] for line in _said(member, "position_set_by_operator")] == [8]
        await wait_until(lambda: _is_ours(world, 9), "the group's offset is ours again", poll=0.2)
    async with running_member(world.config) as member:
        await member.restored()
        assert _said(member, "position_set_by_operator") == []
    assert _told(sandbox) == sorted([*_keys(_denials("before", 3)), "forbidden_path:meanwhile-5"])


@pytest.mark.real_kafka("it says whether a group has members")
async def test_offsets_rewind_decides_again(broker: Broker, sandbox: Sandbox, tmp_path: Path) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, pagerduty=QUIET)
    async with running_member(world.config):
        await send(world, *_denials("s", 4))
        await _all_resolved(sandbox, 4)
        await group_reaches(world, 4)
    assert await _offsets(world, tmp_path, "rewind", "--to", "2", "--yes") == 0
    async with running_member(world.config):
        await _all_resolved(sandbox, 6)
        await group_reaches(world, 4)
    assert _told(sandbox) == sorted([*_keys(_denials("s", 4)), "forbidden_path:s-2", "forbidden_path:s-3"])


@pytest.mark.real_kafka("a group with members takes no offset of another")
async def test_a_running_service_is_not_moved(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with running_member(world.config) as member:
        await member.restored()
        await send(world, *_denials("s", 3))
        await incidents(sandbox, 3)
        assert await _offsets(world, tmp_path, "rewind", "--to", "earliest", "--yes") == 1
    assert f"group {world.group()} has members: stop the service first" in capsys.readouterr().err


async def _three_told_and_six_more(world: World, sandbox: Sandbox) -> None:
    async with running_member(world.config):
        await send(world, *_denials("before", 3))
        await incidents(sandbox, 3)
        await group_reaches(world, 3)
    await send(world, *_denials("meanwhile", 6))


async def _offsets(world: World, path: Path, *arguments: str) -> int:
    config = path / "config.yaml"
    config.write_text(yaml.safe_dump(world.document))
    given = ["offsets", arguments[0], "--config", str(config), *arguments[1:]]
    return await asyncio.to_thread(main, given)


async def _group_offset(world: World) -> OffsetAndMetadata:
    return (await group_offsets(world.bootstrap_servers, world.group()))[TopicPartition(world.events, 0)]


async def _is_ours(world: World, offset: int) -> bool:
    is_ours: bool = await _group_offset(world) == OffsetAndMetadata(offset, COMMIT_METADATA)
    return is_ours


# --- where it begins without an offset


@pytest.mark.real_kafka("partitions are added")
async def test_a_partition_that_is_added_begins_at_its_beginning(broker: Broker, sandbox: Sandbox) -> None:
    """Whatever ``start_from`` says: it is no first start."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, kafka={"start_from": "latest"})
    async with running_member(world.config) as member:
        await member.restored()
        await send(world, event(session="old"), partition=0)
        await incidents(sandbox, 1)
        await group_reaches(world, 1)
    async with admin(world.bootstrap_servers) as client:
        await client.create_partitions({world.state(): NewPartitions(2)})
        await client.create_partitions({world.events: NewPartitions(2)})
    await send(world, event(session="meanwhile"), partition=1)
    async with running_member(world.config):
        await incidents(sandbox, 2)
        await group_reaches(world, 1, partition=1)
    assert _told(sandbox) == ["forbidden_path:meanwhile", "forbidden_path:old"]


async def test_all_partitions_of_a_first_start_begin_where_it_is_configured(broker: Broker, sandbox: Sandbox) -> None:
    """Also those whose tasks begin when others have committed already."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=12, kafka={"start_from": "latest"})
    for partition in range(12):
        await send(world, event(session=f"old-{partition}"), partition=partition)
    async with running_member(world.config) as member:
        await member.restored(12)
        for partition in range(12):
            await send(world, event(session=f"new-{partition}"), partition=partition)
        await incidents(sandbox, 12)
        await requests(sandbox, 12, action="trigger")
    assert _told(sandbox) == sorted(f"forbidden_path:new-{partition}" for partition in range(12))


@pytest.mark.real_kafka("a topic is deleted")
async def test_a_state_that_is_gone_is_told_loudly(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with running_member(world.config):
        await send(world, *_denials("before", 3))
        await incidents(sandbox, 3)
        await group_reaches(world, 3)
    async with admin(world.bootstrap_servers) as client:
        await client.delete_topics([world.state()])

    async def is_created() -> bool:
        try:
            await create_topic(world.bootstrap_servers, world.state(), configs=COMPACTED)
        except KafkaError:
            return False
        return True

    await wait_until(is_created, "the state topic is created anew", timeout=30, poll=0.5)
    await send(world, *_denials("after", 2))
    async with running_member(world.config) as member:
        await incidents(sandbox, 5)
        assert [line["level"] for line in _said(member, "state_gone")] == ["error"]
        assert member.metric("states_lost_total", pipeline="pagerduty", change="gone") == 1
        (trouble,) = member.runners["pagerduty"].health().troubles
        assert trouble.startswith("partition 0: its state was found to be gone")
    assert sandbox.extra_incidents() == []
