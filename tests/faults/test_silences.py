"""Silences end while members die, providers are down, and several members share the partitions (design section 22)."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer.silences.records import encode as silence_record
from consumer.silences.silence import Match, Silence
from providers.sandbox import Delay, Fault, FaultyAnswer, JournalEntry, Sandbox
from state.held import is_silenced, untold
from tests.faults.accounts import alerts_in_state, assert_one_incident_each, keys, sessions, settled
from tests.support.broker import Broker
from tests.support.events import encode, event, session_end
from tests.support.kafka import produce
from tests.support.process import MODULE, ROOT, Service, merged, service_process
from tests.support.seen import group_reaches, producing
from tests.support.service import World, make_world
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_kafka("members that are killed are missed")

HOUR = 3600.0
GUARD = "secret_leak"
MISSED = {"session_timeout": "4s"}

TOLD_SECONDS = 15.0
"""So soon after its command at the latest all is told that a silence has held back, on a machine that is busy."""


def named(world: World, name: str) -> Mapping[str, Any]:
    """The configuration of a member that the provider can tell from the others."""
    return merged(world.document, exporters={"alerting": {"pagerduty": {"client": name}}})


def silence(name: str = "release", guard: str = GUARD) -> Silence:
    """Of all that a guard denies in the next hour."""
    now = time.time()
    return Silence(name, "all", Match({"guard": guard}), "known", "me", now, now, now + HOUR, include_critical=True)


async def write(world: World, silence: Silence) -> None:
    """The record of a silence, as the command writes it."""
    key, value = silence_record(silence)
    await produce(world.bootstrap_servers, world.silences, [value], key=key)


async def occur(world: World, names: Iterable[str], *, severity: str = "high") -> None:
    """One alertable event of each session, keyed by it."""
    async with producing(world) as producer:
        for name in names:
            value = encode(event(session=name, guard=GUARD, severity=severity))
            await producer.send_and_wait(world.events, value, name.encode())


async def are_held(world: World, names: Iterable[str]) -> None:
    """Wait until the state has these as silenced, and nothing else of them."""
    wanted = set(keys(names))

    async def found() -> bool:
        alerts = await alerts_in_state(world)
        return {key for key, alert in alerts.items() if is_silenced(alert)} >= wanted

    await wait_until(found, f"{len(wanted)} alerts are silenced", timeout=30, poll=0.2)


async def none_is_held(world: World) -> None:
    """Wait until no alert of the state has anything silenced of which somebody has to be told yet."""

    async def found() -> bool:
        return not any(untold(alert) for alert in (await alerts_in_state(world)).values())

    await wait_until(found, "nothing is silenced any more", timeout=30, poll=0.2)


def told(sandbox: Sandbox) -> set[str | None]:
    """The dedup keys that the provider was told of and has accepted."""
    return {entry.dedup_key for entry in sandbox.requests(action="trigger", status=202)}


def triggers(sandbox: Sandbox) -> list[JournalEntry]:
    """All triggers that have reached the provider, whatever it has said."""
    return sandbox.requests("pagerduty", action="trigger")


def tried(sandbox: Sandbox) -> list[str | None]:
    """Their dedup keys."""
    return [entry.dedup_key for entry in triggers(sandbox)]


async def all_are_told(world: World, sandbox: Sandbox, names: Iterable[str]) -> None:
    """Wait until all of these are told and counted; each has one incident, and nothing else has one."""
    wanted = set(keys(names))
    await sandbox.wait_for(lambda: told(sandbox) >= wanted, 45)
    await none_is_held(world)
    await settled(world, sandbox)


async def _killed_at_the_end(world: World, sandbox: Sandbox, member: Service, release: Silence) -> None:
    """The end is past, and nobody has looked yet."""
    ends = time.time() + 2
    await write(world, replace(release, expires_at=ends))
    await wait_until(lambda: time.time() >= ends, "the silence ends", poll=0.001)
    await member.kill()


async def _killed_while_it_is_told(world: World, sandbox: Sandbox, member: Service, release: Silence) -> None:
    """The first of what is live has reached the provider, which has not answered yet; no checkpoint has it."""
    slow = sandbox.faults.add(Fault(Delay(1.0), action="trigger"))
    await write(world, release.ended(time.time()))
    await sandbox.wait_for(lambda: any(entry.body["client"] == member.name for entry in triggers(sandbox)), 20)
    await member.kill()
    slow.remove()


@pytest.mark.parametrize("killed", [_killed_at_the_end, _killed_while_it_is_told])
async def test_a_member_dies_when_a_silence_ends_and_what_is_live_is_told_once_by_who_takes_over(
    killed: Callable[[World, Sandbox, Service, Silence], Awaitable[None]],
    broker: Broker,
    sandbox: Sandbox,
    tmp_path: Path,
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=4, kafka=MISSED)
    live, over, release = sessions("live", 12), sessions("over", 4), silence()
    await write(world, release)
    async with service_process(named(world, "first"), tmp_path, "first") as first:
        await first.restored(4)
        await occur(world, live)
        await occur(world, over)
        await are_held(world, [*live, *over])
        async with producing(world) as producer:
            for name in over:
                await producer.send_and_wait(world.events, encode(session_end(name)), name.encode())

        async def are_over() -> bool:
            return set(await alerts_in_state(world)) == set(keys(live))

        await wait_until(are_over, "those that are over are gone", poll=0.2)
        async with service_process(named(world, "second"), tmp_path, "second") as second:
            await second.restored(2)
            await first.restored(2)
            assert tried(sandbox) == []
            await killed(world, sandbox, first, release)
            await sandbox.wait_for(lambda: told(sandbox) >= set(keys(live)), 45)
            await none_is_held(world)
            assert_one_incident_each(keys(live), sandbox)
            # They live on: what occurs now is counted into the incident that is there.
            before = len(tried(sandbox))
            await occur(world, live)

            async def is_counted() -> bool:
                alerts = (await alerts_in_state(world)).values()
                return [alert.occurrences for alert in alerts] == [2] * len(live)

            await wait_until(is_counted, "what occurred since is counted", poll=0.2)
            assert len(tried(sandbox)) == before
            assert_one_incident_each(keys(live), sandbox)


async def test_a_record_that_is_late_silences_what_comes_then_and_leaves_what_was_told_as_it_is(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2)
    late = silence()
    async with service_process(world.document, tmp_path) as service:
        await service.restored(2)
        await occur(world, ["told"])
        await sandbox.wait_for(lambda: told(sandbox) == set(keys(["told"])), 30)
        await write(world, late)
        known = await silenced_by_now(world, sandbox)
        await occur(world, ["told"], severity="critical")
        await occur(world, ["untold"])
        await are_held(world, ["untold"])

        async def is_counted() -> bool:
            return (await alerts_in_state(world))[f"{GUARD}:told"].occurrences == 2

        await wait_until(is_counted, "what is silenced is counted", poll=0.2)
        before = len(tried(sandbox))
        await write(world, late.ended(time.time()))
        await sandbox.wait_for(lambda: told(sandbox) >= set(keys(["untold", known])), 30)
        await none_is_held(world)
        assert sorted(map(str, tried(sandbox)[before:])) == sorted(keys(["untold", known])), "the other was told before"
    assert {incident.triggers for incident in sandbox.incidents()} == {1}
    assert {incident.severity for incident in sandbox.incidents()} == {"error"}


async def test_one_that_is_written_while_no_member_runs_is_known_before_anything_is_decided(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with service_process(world.document, tmp_path, "first") as first:
        await first.restored()
        await occur(world, ["told"])
        await sandbox.wait_for(lambda: told(sandbox) == set(keys(["told"])), 30)
        await group_reaches(world, 1)
        await first.kill()
    # What was recorded before it begins is told, however late; its record is the last of many.
    await occur(world, ["before"])
    for number in range(200):
        await write(world, silence(f"other-{number}", guard=f"other-{number}"))
    release = silence()
    await write(world, release)
    await occur(world, ["silenced"])
    async with service_process(world.document, tmp_path, "second") as second:
        await are_held(world, ["silenced"])
        await sandbox.wait_for(lambda: told(sandbox) == set(keys(["told", "before"])), 30)
        assert set(tried(sandbox)) == set(keys(["told", "before"]))
        await write(world, release.ended(time.time()))
        await sandbox.wait_for(lambda: told(sandbox) == set(keys(["told", "before", "silenced"])), 30)
        await none_is_held(world)
        assert second.lines("silences_unread") == []
    assert_one_incident_each(keys(["told", "before", "silenced"]), sandbox)


async def test_an_end_that_comes_in_an_outage_of_the_provider_is_told_once_after_it(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2, kafka=MISSED)
    live = sessions("live", 10)
    release = silence()
    await write(world, release)
    async with service_process(world.document, tmp_path, "first") as first:
        await first.restored(2)
        await occur(world, live)
        await are_held(world, live)
        outage = sandbox.faults.add(Fault(FaultyAnswer(status=503)))
        await write(world, release.ended(time.time()))
        await sandbox.wait_for(lambda: bool(tried(sandbox)), 30)
        await none_is_held(world)
        assert {key for key, alert in (await alerts_in_state(world)).items() if alert.owed} == set(keys(live))
        await first.kill()
    async with service_process(world.document, tmp_path, "second") as second:
        restored = [await second.said("partition_restored", number) for number in (1, 2)]
        assert sum(line["owed"] for line in restored) == len(live)
        await occur(world, live)  # counted into what is owed
        assert told(sandbox) == set()
        outage.remove()
        await all_are_told(world, sandbox, live)
    assert {incident.triggers for incident in sandbox.incidents()} == {1}


async def test_what_is_ended_by_command_is_told_once_and_soon_by_all_that_share_the_partitions(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=6)
    live = sessions("live", 30)
    await write(world, silence())
    async with AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(service_process(world.document, tmp_path, f"member-{number}"))
            for number in range(3)
        ]
        for member in members:
            await member.restored(2, timeout=60)
        await occur(world, live)
        await are_held(world, live)
        assert tried(sandbox) == []
        assert "its end brings 30 pages" in await command(world, tmp_path, "silences", "expire", "release", "--yes")
        ended = time.monotonic()
        await sandbox.wait_for(lambda: told(sandbox) >= set(keys(live)), 45)
        took = time.monotonic() - ended
        await all_are_told(world, sandbox, live)
        assert took < TOLD_SECONDS
        for member in members:
            assert member.lines("silence_ended", is_live=True), "each had some of them"
    assert {incident.triggers for incident in sandbox.incidents()} == {1}


async def silenced_by_now(world: World, sandbox: Sandbox) -> str:
    """Wait until what comes is silenced: new problems come, one after the other, until one is not told. Returns its
    session."""
    for name in sessions("probe", 100):
        (key,) = keys([name])
        await occur(world, [name])

        async def is_decided(key: str = key) -> bool:
            alert = (await alerts_in_state(world)).get(key)
            return alert is not None and (is_silenced(alert) or key in told(sandbox))

        await wait_until(is_decided, f"{name} is decided", timeout=30, poll=0.1)
        if key not in told(sandbox):
            return name
    raise AssertionError("nothing is silenced")


async def command(world: World, folder: Path, *arguments: str) -> str:
    """What a command says that does not fail, run as a process of its own."""
    path = folder / "command.yaml"
    path.write_text(yaml.safe_dump(world.document))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", MODULE, *arguments, "--config", str(path)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()
