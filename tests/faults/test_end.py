"""SIGTERM and `kill -9`: what was accepted is known to the next process, what was cut off is owed and sent by it."""

from pathlib import Path

import pytest

from providers.sandbox import Delay, Fault, FaultyAnswer, Hang, Sandbox
from tests.faults.accounts import (
    alerts_in_state,
    keys,
    owed_in_state,
    send,
    sessions,
    settled,
    traffic,
)
from tests.support.broker import Broker
from tests.support.kafka import group_offsets
from tests.support.process import service_process
from tests.support.service import World, make_world
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_kafka("members that are killed are missed")

GRACE = 3.0


async def test_sigterm_in_the_middle_of_traffic_loses_and_doubles_nothing(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2)
    sandbox.faults.add(Fault(Delay(0.3), action="trigger"))
    async with traffic(world):
        async with service_process(world.document, tmp_path, "first") as first:
            await first.restored(2)
            await sandbox.wait_for(lambda: len(sandbox.requests(status=202)) >= 5)
            assert await first.end(within=10) < 5
            assert not first.lines("drain_cut_off")
            told = {key for key, alert in (await alerts_in_state(world)).items() if alert.is_at_provider}
            accepted = {request.dedup_key for request in sandbox.requests(status=202)}
            assert told == accepted
            unanswered = [request for request in sandbox.requests() if request.status is None]
            assert unanswered == []
        async with service_process(world.document, tmp_path, "second") as second:
            await second.restored(2)
            await second.said("alert_triggered")
            sandbox.faults.clear()
    async with service_process(world.document, tmp_path, "third"):
        await settled(world, sandbox)
    assert {incident.triggers for incident in sandbox.incidents()} == {1}


async def test_what_sigterm_cuts_off_is_owed_and_sent_by_the_next_process(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    delivery = {"timeout_seconds": 20, "shutdown_grace": f"{GRACE}s"}
    world = await make_world(broker.bootstrap_servers, sandbox.url, delivery=delivery)
    slow, hung = sessions("slow", 3), sessions("hung", 2)
    for dedup_key in keys(hung):
        sandbox.faults.add(Fault(Hang(), dedup_key=dedup_key, times=1))
    sandbox.faults.add(Fault(Delay(1.0), action="trigger", times=3))
    async with service_process(world.document, tmp_path, "first") as first:
        await first.restored()
        await send(world, [*hung, *slow])
        await sandbox.wait_for(lambda: len(sandbox.requests()) == 5)
        assert await first.end(within=GRACE + 10) < GRACE + 2
    assert len(sandbox.requests(status=202)) == 3
    alerts = await alerts_in_state(world)
    assert {key for key, alert in alerts.items() if alert.is_at_provider and alert.owed is None} == set(keys(slow))
    assert {key for key, alert in alerts.items() if alert.owed is not None} == set(keys(hung))
    (offset,) = (await group_offsets(world.bootstrap_servers, world.group())).values()
    assert offset.offset == 0  # of the oldest event that is still owed
    async with service_process(world.document, tmp_path, "second"):
        await settled(world, sandbox)
    assert {incident.triggers for incident in sandbox.incidents()} == {1}
    assert len(sandbox.requests()) == 7  # those that were cut off once more, the others not


async def test_the_last_commit_is_made_within_the_grace_even_if_a_request_hangs(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    delivery = {"timeout_seconds": 20, "shutdown_grace": f"{GRACE}s"}
    # Between two proofs there is more time than the grace.
    world = await make_world(
        broker.bootstrap_servers,
        sandbox.url,
        delivery=delivery,
        kafka={"session_timeout": "30s", "rebalance_timeout": "60s"},
    )
    async with service_process(world.document, tmp_path, "first") as first:
        await first.restored()
        await send(world, ["told"])
        await first.said("alert_triggered")
        sandbox.faults.add(Fault(Hang()))
        await send(world, ["hung"])
        await sandbox.wait_for(lambda: len(sandbox.requests()) == 2)
        await first.end(within=GRACE + 10)
        assert not first.lines("drain_cut_off")
    (offset,) = (await group_offsets(world.bootstrap_servers, world.group())).values()
    assert offset.offset == 1


async def test_kill_9_in_an_outage_of_the_provider_forgets_nothing(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2, kafka={"session_timeout": "4s"})
    before, after = sessions("before", 12), sessions("after", 6)
    outage = sandbox.faults.add(Fault(FaultyAnswer(status=503)))
    async with service_process(world.document, tmp_path, "first") as first:
        await first.restored(2)
        await send(world, before)
        await send(world, before)
        await wait_until(lambda: _all_decided(world, 24), "everything decided is in the state", poll=0.2)
        assert await owed_in_state(world) == set(keys(before))
        await first.kill()
    await send(world, after)
    async with service_process(world.document, tmp_path, "second") as second:
        # It is not ready while the outage goes on.
        restored = [await second.said("partition_restored", number) for number in (1, 2)]
        # What the first process had decided is not read again: it is in the state, with all that it owes.
        assert sum(line["owed"] for line in restored) == 12
        assert sum(line["position"] for line in restored) == 24
        await wait_until(lambda: _all_decided(world, 30), "the rest is decided", poll=0.2)
        assert sandbox.incidents() == []
        outage.remove()
        await settled(world, sandbox)
    assert {incident.triggers for incident in sandbox.incidents()} == {1}


async def test_a_trigger_accepted_but_not_checkpointed_before_kill_9_is_repeated_into_the_same_incident(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(
        broker.bootstrap_servers,
        sandbox.url,
        kafka={"session_timeout": "4s"},
        delivery={"commit_interval_ms": 600_000},
    )
    async with service_process(world.document, tmp_path, "first") as first:
        await first.restored()
        await send(world, ["checkpointed"])  # the next checkpoint is ten minutes away
        await first.said("checkpoint", notified=1)
        await send(world, ["accepted", "accepted"])
        await first.said("alert_triggered", dedup_key="secret_leak:accepted")
        await first.kill()
    assert set(await alerts_in_state(world)) == {"secret_leak:checkpointed"}
    async with service_process(world.document, tmp_path, "second") as second:
        await second.said("alert_triggered", dedup_key="secret_leak:accepted")
        await second.said("checkpoint", notified=1)
    await settled(world, sandbox)
    (repeated,) = sandbox.incidents(dedup_key="secret_leak:accepted")
    assert repeated.triggers == 2
    (once,) = sandbox.incidents(dedup_key="secret_leak:checkpointed")
    assert once.triggers == 1


async def _all_decided(world: World, count: int) -> bool:
    return sum(alert.occurrences for alert in (await alerts_in_state(world)).values()) == count
