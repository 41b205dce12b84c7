"""A repartition stage comes and goes with the key template (design section 17): nothing is lost, nothing told twice."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer.cli.main import main
from consumer.kafka.partitioning import partition_of
from providers.sandbox import Sandbox
from state.records import CHECKPOINT_KEY, decode_alert
from tests.support.broker import Broker
from tests.support.events import encode, event
from tests.support.kafka import COMPACTED, committed_records, create_topic, produce
from tests.support.process import merged, run_to_end, service_process
from tests.support.seen import dead_letters
from tests.support.service import World, make_world
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_kafka("groups, offsets and checkpoints change hands")

BY_SESSION, BY_RESOURCE = "{guard}:{session_id}", "{guard}:{resource}"
PARTITIONS = 2


def templated(world: World, template: str) -> dict[str, Any]:
    """The configuration with this key template: by resource, a repartition stage is needed."""
    deduplication = {"key_template": template, "window_seconds": 600}
    return merged(world.document, exporters={"alerting": {"pagerduty": {"deduplication": deduplication}}})


async def changing_world(broker: Broker, sandbox: Sandbox, folder: Path) -> World:
    """All topics that either template needs; a pipeline that has never been begins with what comes."""
    world = await make_world(
        broker.bootstrap_servers, sandbox.url, partitions=PARTITIONS, kafka={"start_from": "latest"}
    )
    path = folder / "topics.yaml"
    path.write_text(yaml.safe_dump(templated(world, BY_RESOURCE)))
    assert await asyncio.to_thread(main, ["topics", "create", "--config", str(path)]) == 0
    return world


async def occurs(world: World, *resources: str) -> None:
    """One denial for each resource, of a session of its own, which is also the record's key."""
    for resource in resources:
        value = encode(event(guard="secret_leak", session=f"s-{resource}", resource=resource))
        partition = partition_of(f"s-{resource}".encode(), world.partitions)
        await produce(world.bootstrap_servers, world.events, [value], key=f"s-{resource}".encode(), partition=partition)


def by_session(*resources: str) -> set[str]:
    return {f"secret_leak:s-{resource}" for resource in resources}


def by_resource(*resources: str) -> set[str]:
    return {f"secret_leak:{resource}" for resource in resources}


async def told(sandbox: Sandbox, expected: set[str]) -> None:
    """Wait until all of these have been told, and see that nothing else was."""
    await sandbox.wait_for(lambda: expected <= {one.dedup_key for one in sandbox.incidents()}, 40)
    assert {one.dedup_key for one in sandbox.incidents()} == expected
    assert sandbox.extra_incidents() == []


async def settled(world: World, occurrences: int) -> None:
    """Wait until the state counts so many occurrences, and nothing is owed."""

    async def is_settled() -> bool:
        values = {  # what has moved is a tombstone in the partition where it was
            (record.partition, record.key): record.value
            for record in await committed_records(world.bootstrap_servers, world.state())
            if record.key != CHECKPOINT_KEY
        }
        alerts = [decode_alert(key, value) for (_, key), value in values.items() if value is not None]
        return sum(one.occurrences for one in alerts) == occurrences and not any(one.owed for one in alerts)

    await wait_until(is_settled, f"{occurrences} occurrences are decided, nothing is owed", timeout=40, poll=0.3)


async def test_a_stage_comes_goes_and_comes_again_without_a_loss_or_an_old_problem(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Each time violations come while the service is down, with ``start_from: latest``."""
    world = await changing_world(broker, sandbox, tmp_path)
    without, with_stage = templated(world, BY_SESSION), templated(world, BY_RESOURCE)
    first, second, third, fourth = (tuple(f"{name}-{number}" for number in range(6)) for name in "abcd")
    async with service_process(without, tmp_path, "without") as service:
        await service.restored(PARTITIONS)
        await occurs(world, *first)
        await told(sandbox, expected := by_session(*first))
        await settled(world, 6)

    await occurs(world, *second)
    async with service_process(with_stage, tmp_path, "with") as service:
        await told(sandbox, expected := expected | by_resource(*second))
        await occurs(world, "live")
        await told(sandbox, expected := expected | by_resource("live"))
        await settled(world, 13)

    # What a stage has forwarded when it stops, and nobody has decided; and what came behind that.
    value = encode(event(guard="secret_leak", session="s-forwarded", resource="forwarded"))
    key = partition_of(b"secret_leak:forwarded", PARTITIONS)
    await produce(world.bootstrap_servers, world.keyed(), [value], key=b"s-forwarded", partition=key)
    await occurs(world, *third)
    async with service_process(without, tmp_path, "gone") as service:
        await told(sandbox, expected := expected | by_session("forwarded", *third))
        await occurs(world, "again")
        await told(sandbox, expected := expected | by_session("again"))
        await settled(world, 21)
        await service.kill()

    await occurs(world, *fourth)
    async with service_process(with_stage, tmp_path, "back") as service:
        await told(sandbox, expected := expected | by_resource(*fourth))
        await settled(world, 27)
        assert await service.metric_sum("task_troubles_total") == 0
    async with service_process(without, tmp_path, "last") as service:
        await occurs(world, "last")
        await told(sandbox, expected := expected | by_session("last"))
        await settled(world, 28)
        assert await service.metric_sum("task_troubles_total") == 0
    assert await dead_letters(world) == []


async def test_a_member_that_disagrees_about_the_stage_does_not_start_beside_the_others(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await changing_world(broker, sandbox, tmp_path)
    without, with_stage = templated(world, BY_SESSION), templated(world, BY_RESOURCE)
    for here, other, read in ((without, with_stage, world.events), (with_stage, without, world.keyed())):
        async with service_process(here, tmp_path, "here") as service:
            await service.restored(PARTITIONS)
            code, lines = await run_to_end(other, tmp_path)
            assert code == 1
            (line,) = [line for line in lines if "consumer group" in line]
            assert f"consumer group {world.group()} that runs reads {read}" in line
            assert "stop all members before deduplication.key_template" in line
            assert service.lines("partitions_revoked") == []
            await occurs(world, f"meanwhile-{read}")
            await service.said("alert_triggered")
    await settled(world, 2)
    assert len(sandbox.incidents()) == 2


async def test_one_that_disagrees_waits_for_the_session_of_a_member_that_has_died(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await changing_world(broker, sandbox, tmp_path)
    async with service_process(templated(world, BY_SESSION), tmp_path, "before") as before:
        await before.restored(PARTITIONS)
        await occurs(world, "first")
        await before.said("alert_triggered")
        await settled(world, 1)
        await before.kill()
    await occurs(world, "second")
    async with service_process(templated(world, BY_RESOURCE), tmp_path, "after") as after:
        await after.said("members_disagree")
        await told(sandbox, by_session("first") | by_resource("second"))


async def test_a_stage_before_fewer_partitions_than_the_events_have(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The state has as many as the keyed topic, whatever the events have."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=4)
    topics = {"state": f"{world.events}.fewer.state", "keyed": f"{world.events}.fewer.keyed"}
    document = merged(templated(world, BY_RESOURCE), kafka={"topics": topics})
    fewer = replace(world, document=document)
    await create_topic(world.bootstrap_servers, fewer.state(), partitions=2, configs=COMPACTED)
    await create_topic(world.bootstrap_servers, fewer.keyed(), partitions=2, configs={"retention.ms": "-1"})
    await create_topic(world.bootstrap_servers, fewer.positions(), partitions=4, configs=COMPACTED)
    async with service_process(document, tmp_path, "service") as service:
        await service.said("partition_restored", 6)
        names = [f"r-{number}" for number in range(16)]
        await occurs(fewer, *names)
        await told(sandbox, by_resource(*names))
        assert await service.metric_sum("task_troubles_total") == 0
