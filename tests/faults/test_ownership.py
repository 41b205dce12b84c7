"""One owner: members that are frozen, cut off, fenced, or share an id neither send nor write what is not theirs."""

import asyncio
from pathlib import Path

import pytest

from consumer.tasks.partition.task import PROGRESS_SECONDS
from providers.sandbox import Fault, FaultyAnswer, Sandbox
from tests.faults.accounts import alerts_in_state, keys, send, sessions, settled, state_at_rest
from tests.support.broker import Broker
from tests.support.kafka import committed_records, running, transactional
from tests.support.process import merged, service_process, towards
from tests.support.proxy import KafkaProxy
from tests.support.service import World, make_world
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_kafka("members that are frozen or cut off are missed, producers are fenced")

CUT_OFF_GRACE = 2.0


def told_by(sandbox: Sandbox, member: str) -> list[str | None]:
    """The dedup keys of the triggers that came from a member, by the name that its configuration has for ``client``."""
    triggers = sandbox.requests("pagerduty", action="trigger")
    return [entry.dedup_key for entry in triggers if entry.body["client"] == member]


async def test_a_frozen_member_sends_and_writes_nothing_when_it_wakes_and_works_again(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(
        broker.bootstrap_servers,
        sandbox.url,
        partitions=2,
        kafka={"session_timeout": "4s"},
        pagerduty={"client": "zombie"},
    )
    document = merged(world.document, exporters={"alerting": {"pagerduty": {"client": "heir"}}})
    before, meanwhile, after = sessions("before", 10), sessions("meanwhile", 4), sessions("after", 16)
    outage = sandbox.faults.add(Fault(FaultyAnswer(status=503)))
    async with service_process(world.document, tmp_path, "zombie") as zombie:
        await zombie.restored(2)
        await send(world, before)
        await wait_until(lambda: _count(world, 10), "all is decided", poll=0.2)
        zombie.freeze()
        tried, told = len(told_by(sandbox, "zombie")), len(zombie.log)
        outage.remove()
        async with service_process(document, tmp_path, "heir") as heir:
            await heir.restored(2)
            await send(world, meanwhile)
            await settled(world, sandbox)
            # What was proved last is written with the next checkpoint of mere progress.
            written = await state_at_rest(world, PROGRESS_SECONDS + 1)
            # It wakes with ten alerts to retry, and with a decided position that is behind.
            zombie.wake()
            await zombie.said("partitions_assigned", after=told)
            assert len(told_by(sandbox, "zombie")) == tried
            assert len(await committed_records(world.bootstrap_servers, world.state())) == written
            await zombie.restored(1)
            await heir.restored(1)
            assert len(told_by(sandbox, "zombie")) == tried
            await send(world, [*before, *meanwhile, *after])
            await settled(world, sandbox)
            by_zombie, by_heir = told_by(sandbox, "zombie")[tried:], told_by(sandbox, "heir")
            assert by_zombie
            assert set(by_zombie) <= set(keys(after))
            assert set(keys([*before, *meanwhile])) <= set(by_heir)


async def test_an_owner_that_is_fenced_by_a_late_loser_writes_by_another_producer_and_nothing_is_lost(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with service_process(world.document, tmp_path, "owner") as owner:
        await owner.restored()
        await send(world, sessions("before", 3))
        await owner.said("alert_triggered", 3)
        outage = sandbox.faults.add(Fault(FaultyAnswer(status=503)))
        await send(world, sessions("owed", 3))
        await wait_until(lambda: _count(world, 6), "all is decided", poll=0.2)
        told = len(owner.log)
        async with running(transactional(world.bootstrap_servers, f"{world.group()}-0")):
            await send(world, sessions("fenced", 3))
            await owner.said("checkpoint_taken", after=told)
            outage.remove()
            await settled(world, sandbox)
        assert owner.lines("task_trouble") == []
        assert await owner.metric("task_troubles_total", pipeline="pagerduty") == 0
    assert {incident.triggers for incident in sandbox.incidents()} == {1}


async def test_a_member_that_is_cut_off_from_its_coordinator_falls_silent_although_it_fetches(
    broker: Broker, sandbox: Sandbox, proxy: KafkaProxy, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, kafka={"session_timeout": "4s"})
    document = merged(world.document, kafka={"bootstrap_servers": broker.kafka.proxied_servers})
    async with service_process(document, tmp_path, "cut-off") as member:
        await member.restored()
        await send(world, ["before"])
        await member.said("alert_triggered")
        proxy.stall_coordination()

        async def is_silent() -> bool:
            status, health = await member.health()
            return status == 503 and "no recent proof" in str(health["reasons"])

        await wait_until(is_silent, "the proof is stale")
        told, decided = len(member.log), await member.metric("events_total", outcome="triggered")
        await send(world, sessions("meanwhile", 3))

        async def is_decided() -> bool:
            return await member.metric("events_total", outcome="triggered") == decided + 3

        await wait_until(is_decided, "it still fetches, and decides")
        await member.said("proof_unanswered", after=told)  # the session is over by then
        assert len(sandbox.requests()) == 1
        proxy.restore()
        await settled(world, sandbox)
        assert (await member.health())[0] == 200
    assert {incident.triggers for incident in sandbox.incidents()} == {1}


async def test_a_member_that_is_cut_off_sends_nothing_while_another_owns_its_partition(
    broker: Broker, sandbox: Sandbox, other_sandbox: Sandbox, proxy: KafkaProxy, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, kafka={"session_timeout": "4s"})
    document = merged(world.document, kafka={"bootstrap_servers": broker.kafka.proxied_servers})
    outage = sandbox.faults.add(Fault(FaultyAnswer(status=503)))
    async with service_process(document, tmp_path, "cut-off") as member:
        await member.restored()
        await send(world, sessions("before", 5))
        await wait_until(lambda: _count(world, 5), "all is decided", poll=0.2)
        proxy.stall_coordination()
        async with service_process(towards(world.document, other_sandbox.url), tmp_path, "heir") as heir:
            await heir.restored()
            silent = len(sandbox.requests())
            await send(world, sessions("meanwhile", 5))
            await settled(world, sandbox, other_sandbox)
            outage.remove()
            assert len(sandbox.requests()) == silent
            told = len(member.log)
            proxy.restore()
            await member.said("partitions_assigned", after=told)
            assert len(sandbox.requests()) == silent
        await member.restored()  # the heir has left
        await send(world, ["after"])
        await settled(world, sandbox, other_sandbox)
    assert [incident.dedup_key for incident in sandbox.incidents()] == ["secret_leak:after"]


async def test_sigterm_ends_a_member_that_is_cut_off_and_waits_for_the_answer_to_a_proof(
    broker: Broker, sandbox: Sandbox, proxy: KafkaProxy, tmp_path: Path
) -> None:
    # A proof that is on its way when its member gives up waiting for anything: stale after 6 s, given up after 12 s.
    world = await make_world(
        broker.bootstrap_servers,
        sandbox.url,
        kafka={"session_timeout": "12s"},
        delivery={"shutdown_grace": f"{CUT_OFF_GRACE}s"},
    )
    document = merged(world.document, kafka={"bootstrap_servers": broker.kafka.proxied_servers})
    async with service_process(document, tmp_path, "cut-off") as member:
        await member.restored()
        proxy.stall()

        async def is_silent() -> bool:
            return (await member.health())[0] == 503

        await wait_until(is_silent, "the proof is stale")
        assert await member.end(within=40) < CUT_OFF_GRACE + 20  # leaving the group, closing the producers
        proxy.restore()


async def test_sigterm_ends_a_member_that_waits_to_be_let_into_its_group(
    broker: Broker, sandbox: Sandbox, proxy: KafkaProxy, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, delivery={"shutdown_grace": f"{CUT_OFF_GRACE}s"})
    document = merged(world.document, kafka={"bootstrap_servers": broker.kafka.proxied_servers})
    proxy.stall_coordination()
    async with service_process(document, tmp_path, "outside") as member:
        await member.said("service_started")

        async def is_outside() -> bool:
            return "not in its consumer group" in str(await member.health())

        await wait_until(is_outside, "it waits")
        assert await member.end(within=40) < CUT_OFF_GRACE + 20


async def test_a_static_member_that_restarts_within_the_session_moves_no_partition(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=4, kafka={"session_timeout": "15s"})
    first, second = (
        merged(world.document, kafka={"group_instance_id": name, "rebalance_timeout": "20s"}) for name in ("one", "two")
    )
    async with service_process(second, tmp_path, "two") as two:
        async with service_process(first, tmp_path, "one") as one:
            await one.restored(2)
            await two.restored(2)
            told = len(two.log)
            (mine,) = [line["partitions"] for line in one.lines("partitions_assigned")[-1:]]
            await one.end()
        await send(world, sessions("absent", 12))
        async with service_process(first, tmp_path, "one-again") as again:
            await again.restored(2)
            assert [line["partitions"] for line in again.lines("partitions_assigned")] == [mine]
            await settled(world, sandbox)
            assert not two.lines("partitions_revoked", after=told)
            assert not two.lines("partitions_assigned", after=told)


@pytest.mark.parametrize("together", [False, True], ids=["one after the other", "together"])
async def test_of_two_members_with_one_id_the_first_goes_on_and_the_other_ends_with_the_line(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, together: bool
) -> None:
    """Design section 15."""
    world = await make_world(
        broker.bootstrap_servers, sandbox.url, partitions=2, kafka={"group_instance_id": "the-same"}
    )
    async with service_process(world.document, tmp_path, "one") as one:
        if not together:
            await one.restored(2)
        async with service_process(world.document, tmp_path, "two") as two:
            await send(world, sessions("before", 6))
            ends = {asyncio.create_task(service.process.wait()): service for service in (one, two)}
            done, _ = await asyncio.wait(ends, timeout=60, return_when=asyncio.FIRST_COMPLETED)
            assert len(done) == 1, "neither, or each of the two gives up"
            ended = ends[done.pop()]
            stayed = one if ended is two else two
            assert together or ended is two
            assert await ended.ended() == 1
            (said,) = [line for line in ended.output if not line.startswith("{")]
            assert "kafka.group_instance_id" in said
            assert "'the-same'" in said
            await stayed.restored(2)
            await send(world, sessions("after", 6))
            await settled(world, sandbox)
            async with service_process(world.document, tmp_path, "again") as again:  # its supervisor starts it again
                assert await again.ended(within=60) == 1
            assert stayed.process.returncode is None
            await stayed.restored(2)


async def _count(world: World, count: int) -> bool:
    return sum(alert.occurrences for alert in (await alerts_in_state(world)).values()) == count
