"""What is true of an alert when routes and keys change from one process to the next (design section 18).

`kill -9` between them where the last checkpoint must not know what has been told.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from providers.integration import digest
from providers.sandbox import Fault, FaultyAnswer, LoseAnswer, Sandbox
from tests.faults.accounts import alerts_in_state
from tests.support.broker import Broker
from tests.support.events import event, session_end
from tests.support.process import ROOT, Service, service_process
from tests.support.seen import dead_letters, send
from tests.support.service import API_KEY, ROUTING_KEY, World, make_world
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_kafka("members that are killed are missed")

GUARD_KEY, NEW_KEY, HIGH_KEY, CRITICAL_KEY = "g" * 32, "n" * 32, "h" * 32, "c" * 32
GUARD = "by_guard:secret_leak"
ALERT = "secret_leak:s1"

KAFKA = {"session_timeout": "4s"}


def leak(severity: str = "high", session: str = "s1") -> dict[str, Any]:
    return event(guard="secret_leak", severity=severity, session=session)


def configured(world: World, provider: str = "pagerduty", **settings: Any) -> dict[str, Any]:
    """The configuration with these settings of a provider in the place of those that it had."""
    alerting = world.document["exporters"]["alerting"]
    section = {**alerting[provider], **settings}
    return {**world.document, "exporters": {"alerting": {**alerting, provider: section}}}


async def guarded_world(broker: Broker, sandbox: Sandbox, **delivery: Any) -> World:
    """One partition, and a route of its own for one guard."""
    pagerduty = {"routing": {"by_guard": {"secret_leak": GUARD_KEY}}}
    return await make_world(broker.bootstrap_servers, sandbox.url, pagerduty=pagerduty, kafka=KAFKA, delivery=delivery)


async def world_by_severity(broker: Broker, sandbox: Sandbox, **delivery: Any) -> World:
    """One partition, and a route for each of two severities."""
    routing = {"by_severity": {"high": HIGH_KEY, "critical": CRITICAL_KEY}}
    return await make_world(
        broker.bootstrap_servers, sandbox.url, pagerduty={"routing": routing}, kafka=KAFKA, delivery=delivery
    )


async def opened(world: World, sandbox: Sandbox, folder: Path, count: int = 1) -> None:
    """A first process opens an incident through the guard's key, and leaves."""
    async with service_process(world.document, folder, "first") as first:
        await first.restored()
        await send(world, leak())
        await first.said("alert_triggered", count)
    assert [incident.key for incident in sandbox.open_incidents()] == [GUARD_KEY]


async def is_told_nothing_new(service: Service) -> None:
    """It has said nothing of alerts whose integration has changed."""
    await service.restored()
    assert not service.lines("alert_orphaned")


def open_keys(sandbox: Sandbox) -> list[str]:
    return sorted(incident.key for incident in sandbox.open_incidents())


async def command(document: Mapping[str, Any], folder: Path, *arguments: str) -> Any:
    """What a command of ours says as JSON; ``{config}`` in its arguments is the configuration's file."""
    path = folder / "command.yaml"
    path.write_text(yaml.safe_dump(dict(document)))
    given = [argument.format(config=path) for argument in arguments]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumer.cli.main", *given), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(out)


async def standings(document: Mapping[str, Any], folder: Path) -> dict[str, int]:
    counts = await command(document, folder, "check-config", "{config}", "--state", "--json")
    return {name: count for name, count in counts["pagerduty"].items() if count}


# the route is decided by the first event


async def test_a_route_that_was_decided_before_kill_9_is_decided_again_whatever_has_come_since(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await world_by_severity(broker, sandbox, commit_interval_ms=600_000)
    async with service_process(world.document, tmp_path, "first") as first:
        await first.restored()
        await send(world, leak(session="checkpointed"))  # the next checkpoint is ten minutes away
        await first.said("checkpoint", notified=1)
        await send(world, leak("high"))
        await first.said("alert_triggered", dedup_key=ALERT)
        await first.kill()
    assert ALERT not in await alerts_in_state(world)
    await send(world, leak("critical"))
    async with service_process(world.document, tmp_path, "second") as second:
        await second.said("alert_triggered", dedup_key=ALERT)
    async with service_process(world.document, tmp_path, "third") as third:
        await third.restored()
        await send(world, session_end("s1"))
        await sandbox.wait_for(lambda: all(not found.open for found in sandbox.incidents(dedup_key=ALERT)), 30)
    (incident,) = sandbox.incidents(dedup_key=ALERT)
    assert (incident.key, incident.severity) == (HIGH_KEY, "critical")
    assert await dead_letters(world) == []


async def test_a_new_life_is_told_once_the_state_knows_of_the_end_of_the_old_one(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    """What is opened as soon as the old one was resolved has another route, by its severity; `kill -9` just then."""
    world = await world_by_severity(broker, sandbox, commit_interval_ms=1000)
    async with service_process(world.document, tmp_path, "first") as first:
        await first.restored()
        await send(world, leak("high"))
        await first.said("alert_triggered", dedup_key=ALERT)
        await send(world, session_end("s1"))
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 30)
        await send(world, leak("critical"))
        await sandbox.wait_for(lambda: len(sandbox.open_incidents()) == 1, 30)
        await first.kill()
    assert open_keys(sandbox) == [CRITICAL_KEY]
    assert (await alerts_in_state(world)).get(ALERT) is None or (await alerts_in_state(world))[ALERT].highest.label == (
        "critical"
    ), "the state holds the old life no more"
    await send(world, leak("critical"))
    async with service_process(world.document, tmp_path, "second") as second:
        await second.said("alert_triggered", dedup_key=ALERT)
        await send(world, session_end("s1"))
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 30)
    assert [incident.key for incident in sandbox.incidents()] == [HIGH_KEY, CRITICAL_KEY]


# a route that is renamed


async def test_a_route_that_is_renamed_is_found_by_its_key(broker: Broker, sandbox: Sandbox, tmp_path: Path) -> None:
    world = await guarded_world(broker, sandbox)
    await opened(world, sandbox, tmp_path)
    document = configured(world, routing={"by_tenant": {"acme-corp": GUARD_KEY}})
    assert await standings(document, tmp_path) == {"open": 1, "renamed": 1}
    async with service_process(document, tmp_path, "second") as second:
        await is_told_nothing_new(second)
        await second.said("integrations_changed", renamed=1, retired=0, orphaned=0, owed=0)
        await send(world, leak("critical"))
        await second.said("alert_triggered")
        await send(world, session_end("s1"))
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 30)
    (incident,) = sandbox.incidents()
    assert (incident.key, incident.triggers) == (GUARD_KEY, 2)


# a key that is rotated, and listed as retired


@pytest.mark.parametrize("change", ["rotated", "removed"])
async def test_what_a_retired_key_has_opened_is_told_anew_and_resolved_by_it(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, change: str
) -> None:
    world = await guarded_world(broker, sandbox)
    await opened(world, sandbox, tmp_path)
    routing, new = ({"by_guard": {"secret_leak": NEW_KEY}}, NEW_KEY) if change == "rotated" else ({}, ROUTING_KEY)
    document = configured(world, routing=routing, retired_routing_keys=[GUARD_KEY])
    assert await standings(document, tmp_path) == {"open": 1, "retired": 1}
    async with service_process(document, tmp_path, "second") as second:
        await is_told_nothing_new(second)
        assert open_keys(sandbox) == [GUARD_KEY]
        await send(world, leak())
        await second.said("alert_triggered")
        await sandbox.wait_for(lambda: open_keys(sandbox) == [new], 30)
        entries = [(entry.action, entry.key) for entry in sandbox.requests(dedup_key=ALERT, status=202)]
        assert entries == [("trigger", GUARD_KEY), ("trigger", new), ("resolve", GUARD_KEY)]
        await send(world, session_end("s1"))
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 30)
    assert ALERT not in await alerts_in_state(world)


async def test_without_another_event_it_is_resolved_by_the_retired_key(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await guarded_world(broker, sandbox)
    await opened(world, sandbox, tmp_path)
    document = configured(world, routing={"by_guard": {"secret_leak": NEW_KEY}}, retired_routing_keys=[GUARD_KEY])
    async with service_process(document, tmp_path, "second") as second:
        await second.restored()
        await send(world, session_end("s1"))
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 30)
    assert [entry.key for entry in sandbox.requests(dedup_key=ALERT)] == [GUARD_KEY, GUARD_KEY]
    assert ALERT not in await alerts_in_state(world)


async def test_kill_9_between_the_new_trigger_and_the_old_resolve(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await guarded_world(broker, sandbox)
    await opened(world, sandbox, tmp_path)
    document = configured(world, routing={"by_guard": {"secret_leak": NEW_KEY}}, retired_routing_keys=[GUARD_KEY])
    outage = sandbox.faults.add(Fault(FaultyAnswer(status=503), action="resolve"))
    async with service_process(document, tmp_path, "second") as second:
        await second.restored()
        await send(world, leak())
        await second.said("alert_triggered")
        await sandbox.wait_for(lambda: bool(sandbox.requests(action="resolve")), 30)
        await second.kill()
    outage.remove()
    async with service_process(document, tmp_path, "third"):
        await sandbox.wait_for(lambda: open_keys(sandbox) == [NEW_KEY], 30)
    assert [incident.key for incident in sandbox.incidents()] == [GUARD_KEY, NEW_KEY]


async def test_a_key_that_is_retired_and_in_use_is_refused(broker: Broker, sandbox: Sandbox, tmp_path: Path) -> None:
    world = await guarded_world(broker, sandbox)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(configured(world, retired_routing_keys=[GUARD_KEY])))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumer.cli.main", "check-config", str(path)),
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert f"retired_routing_keys.0: is the key of route {GUARD}" in said.decode()
    assert GUARD_KEY not in said.decode()


# a key that is gone


async def test_what_a_key_has_opened_that_is_gone_is_an_orphan_and_told_anew(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await guarded_world(broker, sandbox)
    await opened(world, sandbox, tmp_path)
    document = configured(world, routing={"by_guard": {"secret_leak": NEW_KEY}})
    where = f"{GUARD} ({digest(sandbox.url, GUARD_KEY)})"
    assert await standings(document, tmp_path) == {"open": 1, "orphaned": 1}
    listing = ("alerts", "list", "--config", "{config}", "--orphaned", "--json")
    assert await command(world.document, tmp_path, *listing) == []
    (listed,) = await command(document, tmp_path, *listing)
    assert (listed["dedup_key"], listed["orphaned_at"]) == (ALERT, [where])
    async with service_process(document, tmp_path, "second") as second:
        await second.said("alert_orphaned", dedup_key=ALERT, integrations=[where])
        await second.said("integrations_changed", orphaned=1)
        await second.restored()
        labels = {"pipeline": "pagerduty", "partition": "0"}
        assert await second.metric("orphaned", **labels) == 1
        await send(world, leak())
        await second.said("alert_triggered")
        assert open_keys(sandbox) == [GUARD_KEY, NEW_KEY]

        async def is_listed() -> bool:
            return [one["route"] for one in await command(document, tmp_path, *listing)] == [GUARD]

        await wait_until(is_listed, "the old incident is listed", timeout=30, poll=0.5)
        await send(world, session_end("s1"))
        await second.said("orphan_left_behind", dedup_key=ALERT, integrations=[where])
        assert len(second.lines("alert_orphaned")) == 1
    assert open_keys(sandbox) == [GUARD_KEY]


async def test_a_configuration_that_comes_back_finds_its_alerts_again(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await guarded_world(broker, sandbox)
    await opened(world, sandbox, tmp_path)
    async with service_process(configured(world, routing={}), tmp_path, "second") as second:
        await second.said("alert_orphaned", dedup_key=ALERT)
        await second.restored()
    async with service_process(world.document, tmp_path, "third") as third:
        await is_told_nothing_new(third)
        await send(world, session_end("s1"))
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 30)
    assert [entry.key for entry in sandbox.requests(dedup_key=ALERT)] == [GUARD_KEY, GUARD_KEY]


async def test_what_is_resolving_when_its_key_is_gone_ends_and_is_logged(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await guarded_world(broker, sandbox)
    outage = sandbox.faults.add(Fault(FaultyAnswer(status=503), action="resolve"))
    async with service_process(world.document, tmp_path, "first") as first:
        await first.restored()
        await send(world, leak())
        await first.said("alert_triggered")
        await send(world, session_end("s1"))
        await sandbox.wait_for(lambda: bool(sandbox.requests(action="resolve")), 30)
    outage.remove()
    async with service_process(configured(world, routing={}), tmp_path, "second") as second:
        await second.said("orphan_not_told", dedup_key=ALERT, action="resolve")
        await second.said("orphan_left_behind", dedup_key=ALERT)

        async def is_gone() -> bool:
            return ALERT not in await alerts_in_state(world)

        await wait_until(is_gone, "the alert is gone", timeout=30, poll=0.2)
    assert {entry.key for entry in sandbox.requests()} == {GUARD_KEY}


async def test_what_is_owed_by_a_key_that_is_gone_goes_through_todays_route_at_once(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    """One trigger has never been taken; of another the answer was lost: it may have arrived."""
    world = await guarded_world(broker, sandbox)
    sandbox.faults.add(Fault(LoseAnswer(), dedup_key="secret_leak:lost", times=1))
    sandbox.faults.add(Fault(FaultyAnswer(status=503), action="trigger"))
    async with service_process(world.document, tmp_path, "first") as first:
        await first.restored()
        await send(world, leak(session="lost"), leak(session="refused"))
        await sandbox.wait_for(lambda: len(sandbox.requests(dedup_key="secret_leak:lost")) >= 2, 30)
        await sandbox.wait_for(lambda: bool(sandbox.requests(dedup_key="secret_leak:refused")), 30)
    sandbox.faults.clear()
    document = configured(world, routing={"by_guard": {"secret_leak": NEW_KEY}})
    assert await standings(document, tmp_path) == {"open": 2, "owed": 2}
    async with service_process(document, tmp_path, "second") as second:
        await second.said("alert_orphaned", dedup_key="secret_leak:lost")
        await second.said("alert_triggered", 2)
        await second.said("integrations_changed", owed=2, orphaned=0)
        assert len(second.lines("alert_orphaned")) == 1
    assert open_keys(sandbox) == [GUARD_KEY, NEW_KEY, NEW_KEY]
    assert await dead_letters(world) == []


# OpsGenie


async def test_opsgenie_closes_by_both_keys_once_it_is_over(broker: Broker, sandbox: Sandbox, tmp_path: Path) -> None:
    """The keys of an account have one alert: the retired one must not close what the other has just told."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, opsgenie={}, kafka=KAFKA)

    async def is_forgotten() -> bool:
        return not await alerts_in_state(world, "opsgenie")

    async with service_process(world.document, tmp_path, "first") as first:
        await first.restored()
        await send(world, leak())
        await first.said("alert_triggered")
    new = "6b2c3d4e-opsgenie-key"
    document = configured(world, "opsgenie", api_key=new, retired_api_keys=[API_KEY])
    async with service_process(document, tmp_path, "second") as second:
        await second.restored()
        await send(world, leak())
        await second.said("alert_triggered")
        await second.said("checkpoint", notified=1)
        assert sandbox.requests("opsgenie", action="close") == []
        (incident,) = sandbox.open_incidents()
        assert incident.triggers == 2
        await send(world, session_end("s1"))
        await sandbox.wait_for(lambda: len(sandbox.requests("opsgenie", action="close", status=202)) == 2, 30)
        await wait_until(is_forgotten, "the state has no alert any more", timeout=30)
    assert [entry.key for entry in sandbox.requests("opsgenie", action="close", status=202)] == [new, API_KEY]
    assert sandbox.open_incidents() == []
