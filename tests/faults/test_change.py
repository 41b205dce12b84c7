"""Yesterday it was not so: versions, groups, topics, keys (design sections 3, 7, 15 and 17)."""

import asyncio
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError

from consumer.cli.main import main
from providers.sandbox import Sandbox
from state.records import BESIDE, CHECKPOINT_KEY, Position, encode_position
from tests.faults.accounts import alerts_in_state, keys, send, sessions
from tests.support.broker import Broker
from tests.support.events import event
from tests.support.kafka import admin, committed_records, create_topic, produce
from tests.support.process import Service, merged, run_to_end, service_process, towards
from tests.support.seen import send as send_unkeyed
from tests.support.service import World, make_world
from tests.support.waiting import wait_until

LATER = orjson.dumps({"v": 2, "status": "held", "silences": ["one"]})


async def _told(sandbox: Sandbox, *names: str, timeout: float = 30.0) -> None:
    await sandbox.wait_for(lambda: set(keys(names)) <= {one.dedup_key for one in sandbox.incidents()}, timeout)


async def _reasons(service: Service) -> str:
    return " ".join((await service.health())[1].get("reasons", ()))


async def _state(world: World) -> dict[bytes, bytes | None]:
    return {record.key: record.value for record in await committed_records(world.bootstrap_servers, world.state())}


# versions


async def test_a_record_of_a_later_release_is_left_as_it_is_and_everything_else_goes_on(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with service_process(world.document, tmp_path, "before") as before:
        await before.restored()
        await send(world, ["known"])
        await before.said("alert_triggered")
    later, no_json = keys(["later", "no-json"])
    (offset,) = await produce(world.bootstrap_servers, world.state(), [LATER], key=later.encode(), partition=0)
    await produce(world.bootstrap_servers, world.state(), [b"{"], key=no_json.encode(), partition=0)
    async with service_process(world.document, tmp_path, "after") as after:
        await after.said("partition_restored", alerts=1)
        await after.said("state_record_unreadable", state_offset=offset, dedup_key=later)
        await after.said("state_record_unreadable", dedup_key=no_json)
        assert "2 records of" in await _reasons(after)
        assert await after.metric("state_unreadable", partition="0") == 2
        assert await after.status("/readyz/traffic") == 200
        await send(world, ["known", "new", "later"])
        await _told(sandbox, "known", "new", "later")
        await asyncio.sleep(12)  # in which there were 46 troubles
        assert await after.metric_sum("task_troubles_total") == 0
        assert len(after.lines("state_record_unreadable")) == 2
    state = await _state(world)
    assert (state[later.encode()], state[no_json.encode()]) == (LATER, b"{")
    assert state[BESIDE + later.encode()]
    async with service_process(world.document, tmp_path, "again") as again:
        await again.said("partition_restored", alerts=3)
        await send(world, ["later"])

        async def is_suppressed() -> bool:
            return await again.metric("events_total", outcome="suppressed") == 1

        await wait_until(is_suppressed, "what stands beside it is known", poll=0.2)
    assert sandbox.extra_incidents() == []


async def test_a_checkpoint_of_a_later_release_stops_its_task_and_no_other(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2)
    checkpoint = orjson.dumps({**orjson.loads(encode_position(Position(world.events, 0, 0))), "v": 2})
    await produce(world.bootstrap_servers, world.state(), [checkpoint], key=CHECKPOINT_KEY, partition=0)
    async with service_process(world.document, tmp_path) as service:
        await service.said("task_stands_still", partition=0)
        await service.said("partition_restored", partition=1)
        await send_unkeyed(world, event(session="here", guard="secret_leak"), partition=1)
        await send_unkeyed(world, event(session="there", guard="secret_leak"), partition=0)
        await _told(sandbox, "here")
        reasons = await _reasons(service)
        assert "partition 0: it stands still: topic " in reasons
        assert "the checkpoint at offset 0 cannot be read" in reasons
        await asyncio.sleep(5)
        assert len(service.lines("task_stands_still")) == 1
    assert {one.dedup_key for one in sandbox.incidents()} == set(keys(["here"]))
    assert await committed_records(world.bootstrap_servers, world.state(), 0) != []
    assert (await _state(world))[CHECKPOINT_KEY] is not None


# groups


async def test_a_second_service_with_another_group_is_refused_and_changes_nothing(
    broker: Broker, sandbox: Sandbox, other_sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Staging on production's topics."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2)
    async with service_process(world.document, tmp_path, "production") as production:
        await production.restored(2)
        await send(world, sessions("live", 6))
        await production.said("alert_triggered", 6)
        await production.end()
    state = await _state(world)
    staging = towards(merged(world.document, kafka={"group_id": "staging"}), other_sandbox.url)
    code, lines = await run_to_end(staging, tmp_path)
    assert (code, len(lines)) == (1, 1), lines
    for part in (world.state(), world.group(), "staging.pagerduty", "kafka.topics.state", "kafka.group_id"):
        assert part in lines[0]
    path = tmp_path / "service.yaml"
    assert await asyncio.to_thread(main, ["topics", "check", "--config", str(path)]) == 1
    assert lines[0] in capsys.readouterr().err
    assert await _state(world) == state
    assert other_sandbox.requests() == []
    async with service_process(world.document, tmp_path, "production-again") as production:
        await production.restored(2)
        await production.said("partition_restored", 2)
    assert sandbox.extra_incidents() == []


# topics


async def _made_anew(world: World, topic: str) -> None:
    """Delete a topic, and have it made anew with one partition and the broker's settings, by whoever asks first."""
    async with admin(world.bootstrap_servers) as client:
        await client.delete_topics([topic])

        async def is_there() -> bool:
            with suppress(TopicAlreadyExistsError):
                await create_topic(world.bootstrap_servers, topic)
            described = [found for found in await client.describe_topics() if found["topic"] == topic]
            return len(described) == 1 and len(described[0]["partitions"]) == 1

        await wait_until(is_there, f"{topic} is made anew", timeout=30, poll=0.5)


@pytest.mark.real_kafka("topics are deleted")
async def test_a_state_topic_that_is_made_anew_under_a_running_member_is_filled_again(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    """By the broker, with one partition and its default settings."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2)
    names = sessions("live", 12)
    async with service_process(world.document, tmp_path, "running") as service:
        await service.restored(2)
        await send(world, names)
        await service.said("alert_triggered", 12)
        await asyncio.sleep(6)  # all is in a checkpoint
        await _made_anew(world, world.state())
        await send(world, sessions("more", 12))
        await _told(sandbox, *sessions("more", 12), timeout=60)
        await service.said("state_written_again", level="error", partition=0, timeout=90)

        async def is_said() -> bool:
            said = await _reasons(service)
            return "cleanup.policy is delete" in said and "has 1 partitions, its input" in said

        await wait_until(is_said, "readiness says what is wrong with the topic", timeout=90, poll=0.5)
        async with admin(world.bootstrap_servers) as client:
            await client.create_partitions({world.state(): NewPartitions(2)})
        await service.said("state_written_again", level="error", partition=1, timeout=120)

        async def is_all_there() -> bool:
            return set(await alerts_in_state(world)) == set(keys([*names, *sessions("more", 12)]))

        await wait_until(is_all_there, "the state holds all alerts", timeout=60, poll=0.5)
        assert await service.metric_sum("task_troubles_total") == 0
        await service.kill()
    compacted = ["--alter", "--entity-type", "topics", "--entity-name", world.state()]
    compacted += ["--add-config", "cleanup.policy=compact"]
    await asyncio.to_thread(broker.kafka.exec, "kafka-configs", *compacted)
    async with service_process(world.document, tmp_path, "next") as following:
        await following.restored(2)
        await send(world, names)
        await asyncio.sleep(3)
    assert sandbox.extra_incidents() == []


async def _set_policy(client: AIOKafkaAdminClient, topic: str, policy: str) -> None:
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, {"cleanup.policy": policy})
    (response,) = await client.alter_configs([resource])
    assert [error_code for error_code, *_ in response.resources] == [0]


@pytest.mark.real_kafka("records are deleted")
async def test_a_state_topic_that_is_emptied_under_a_running_member_is_filled_again(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    names = sessions("live", 8)
    async with service_process(world.document, tmp_path) as service:
        await service.restored()
        await send(world, names)
        await service.said("alert_triggered", 8)
        await asyncio.sleep(6)
        async with admin(world.bootstrap_servers) as client:
            partition = TopicPartition(world.state(), 0)
            await _set_policy(client, world.state(), "compact,delete")  # else nothing can be deleted
            await client.delete_records({partition: RecordsToDelete(before_offset=-1)})
            await _set_policy(client, world.state(), "compact")
        assert service.lines("state_written_again", level="error") == []
        assert await alerts_in_state(world) == {}
        await service.said("state_written_again", level="error", timeout=100)

        async def is_all_there() -> bool:
            return set(await alerts_in_state(world)) == set(keys(names))

        await wait_until(is_all_there, "the state holds all alerts", timeout=20, poll=0.3)
        assert await service.metric("state_written_again_total", pipeline="pagerduty") == 1


@pytest.mark.real_kafka("partitions are added")
@pytest.mark.parametrize("first", ["state", "events"])
async def test_the_topics_grow_in_either_order(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str], first: str
) -> None:
    """From 6 to 8, with a member that runs and one that starts in between."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=6)
    order = [world.state(), world.events] if first == "state" else [world.events, world.state()]
    counts = (8, 6) if first == "state" else (6, 8)
    async with admin(world.bootstrap_servers) as client, service_process(world.document, tmp_path, "one") as one:
        await one.restored(6)
        await client.create_partitions({order[0]: NewPartitions(8)})
        sentence = f"topic {world.state()} has {counts[0]} partitions, its input {world.events} has {counts[1]}: "
        line = await one.said("topic_outgrown", timeout=90)
        assert line["error"].startswith(sentence)
        path = tmp_path / "one.yaml"
        assert await asyncio.to_thread(main, ["topics", "check", "--config", str(path)]) == 1
        assert line["error"] in capsys.readouterr().err
        assert line["error"] in await _reasons(one)
        async with service_process(world.document, tmp_path, "two") as two:
            await two.said("partitions_assigned", timeout=60)
            await send_unkeyed(world, event(session="old", guard="secret_leak"), partition=0)
            await _told(sandbox, "old")
            await client.create_partitions({order[1]: NewPartitions(8)})
            for number in range(8):
                # As soon as anybody can write there.
                async def is_sent(number: int = number) -> bool:
                    try:
                        await send_unkeyed(world, event(session=f"p{number}", guard="secret_leak"), partition=number)
                    except (AssertionError, UnknownTopicOrPartitionError):
                        return False
                    return True

                await wait_until(is_sent, f"partition {number} takes records", timeout=30, poll=0.5)
            await _told(sandbox, *(f"p{number}" for number in range(8)), timeout=120)
            await asyncio.gather(one.restored(4, timeout=120), two.restored(4, timeout=120))
            await one.said("topic_has_grown", timeout=30)
    assert sandbox.extra_incidents() == []


@pytest.mark.real_kafka("partitions are added")
async def test_our_own_command_lets_them_grow_while_the_service_runs(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2)
    async with service_process(world.document, tmp_path, "one") as one:
        await one.restored(2)
        await send_unkeyed(world, event(session="old", guard="secret_leak"), partition=1)
        await _told(sandbox, "old")
        grow = ["topics", "grow", "--config", str(tmp_path / "one.yaml"), "--partitions", "4", "--yes"]
        assert await asyncio.to_thread(main, grow) == 0
        assert capsys.readouterr().err == ""
        for number in range(4):
            await send_unkeyed(world, event(session=f"p{number}", guard="secret_leak"), partition=number)
        await _told(sandbox, *(f"p{number}" for number in range(4)), timeout=120)
        await one.restored(4, timeout=120)
        assert (await one.health())[0] == 200
        assert await one.metric_sum("task_troubles_total") == 0
    assert sandbox.extra_incidents() == []


# keys


async def test_records_without_a_key_are_counted_warned_of_once_and_noted(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=5)
    async with service_process(world.document, tmp_path) as service:
        await service.restored(5)
        await send(world, ["keyed"])
        await service.said("alert_triggered")
        assert (await service.health())[1]["pipelines"]["pagerduty"]["notes"] == []
        for partition in range(5):
            await send_unkeyed(world, event(session="loose", guard="secret_leak"), partition=partition)
        await service.said("alert_triggered", 6)
        line = await service.said("record_key_unexpected", key=None, expected="loose", event_key="session_id")
        assert {"partition", "offset"} <= line.keys()
        assert len(service.lines("record_key_unexpected")) == 1
        assert await service.metric("unexpected_record_keys_total", pipeline="pagerduty") == 5
        status, health = await service.health()
        assert status == 200
        (note,) = health["pipelines"]["pagerduty"]["notes"]
        assert note.startswith("5 records were not keyed by session_id, as kafka.event_key says")
