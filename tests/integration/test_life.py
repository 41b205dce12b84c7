"""The life of an alert on a broker: suppressed, told again, resolved, forgotten; and across members."""

import asyncio
import time
from functools import partial
from typing import Any

import pytest

from consumer.timing.clock import Clock
from providers.sandbox import Fault, FaultyAnswer, Sandbox
from tests.support.broker import Broker
from tests.support.events import encode, event, session_end
from tests.support.kafka import committed_records
from tests.support.seen import (
    dead_letters,
    first_dead_letters,
    group_offset,
    group_reaches,
    producing,
    requests,
    send,
    told,
)
from tests.support.service import ROUTING_KEY, Member, incidents, make_world, running_member
from tests.support.waiting import wait_until

HOUR = 3600.0
PROVIDERS = ("pagerduty", "opsgenie")


class Ahead:
    """Clocks that a test moves forward together, as if so much time had passed."""

    def __init__(self) -> None:
        self.seconds = 0.0
        system = Clock.system()
        self.clock = Clock(lambda: system.wall() + self.seconds, lambda: system.monotonic() + self.seconds)


async def decided(member: Member, outcome: str, count: int = 1, provider: str = "pagerduty") -> None:
    """Wait until so many events have come to this."""
    await wait_until(
        lambda: member.metric("events_total", pipeline=provider, outcome=outcome) >= count, f"{count} {outcome}"
    )


def alerts(member: Member, status: str, provider: str = "pagerduty") -> float:
    return member.metric("alerts", pipeline=provider, partition="0", status=status)


def has_alerts(member: Member, count: int, status: str, provider: str) -> bool:
    return alerts(member, status, provider) == count


async def all_told(member: Member) -> None:
    await wait_until(lambda: member.metric("owed", pipeline="pagerduty", partition="0") == 0, "all is told")


def custom_details(sandbox: Sandbox, number: int) -> dict[str, Any]:
    """The ``custom_details`` of a trigger, by its place."""
    details: dict[str, Any] = sandbox.requests("pagerduty", action="trigger")[number].body["payload"]["custom_details"]
    return details


# window, renotify, quiet


async def test_within_the_window_events_are_suppressed_and_after_it_the_provider_is_told_with_the_count(
    broker: Broker, sandbox: Sandbox
) -> None:
    """By event time: that of the engine, as long as it is in the past."""
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    begin = time.time() - 2 * HOUR
    async with running_member(world.config) as member:
        await send(world, event(at=begin))
        await incidents(sandbox, 1)
        await all_told(member)
        # The window slides: each is within 300 s of the one before.
        await send(world, *(event(at=begin + seconds) for seconds in (200, 400, 100, 690)))
        await decided(member, "suppressed", 4)
        await send(world, event(at=begin + 1000))
        await requests(sandbox, 2, status=202)
        await all_told(member)
    (incident,) = sandbox.incidents()
    assert incident.triggers == 2
    assert custom_details(sandbox, 1)["occurrences"] == 6
    assert "occurrences" not in custom_details(sandbox, 0)
    assert await group_offset(world) == 6


async def test_suppression_ends_after_renotify_seconds(broker: Broker, sandbox: Sandbox) -> None:
    """Somebody closed the incident by hand, and no webhook said so: further events open it again."""
    ahead = Ahead()
    world = await make_world(broker.bootstrap_servers, sandbox.url, pagerduty={"auto_resolve": {"enabled": False}})
    async with running_member(world.config, clock=ahead.clock) as member:
        await send(world, event())
        await incidents(sandbox, 1)
        await all_told(member)
        sandbox.close("pagerduty", "forbidden_path:sess-1")
        ahead.seconds = 0.9 * HOUR
        await send(world, event())
        await decided(member, "suppressed")
        ahead.seconds = 1.1 * HOUR
        await send(world, event())
        await incidents(sandbox, 2)
    assert custom_details(sandbox, 1)["occurrences"] == 3
    assert await group_offset(world) == 3


async def test_quiet_for_long_enough_resolves_and_the_next_event_opens_anew(broker: Broker, sandbox: Sandbox) -> None:
    ahead = Ahead()
    world = await make_world(broker.bootstrap_servers, sandbox.url, pagerduty={}, opsgenie={})
    async with running_member(world.config, clock=ahead.clock) as member:
        await send(world, event())
        for provider in PROVIDERS:
            await incidents(sandbox, 1, provider)
        ahead.seconds = 29 * 60
        await send(world, event(session="later"))
        for provider in PROVIDERS:
            await incidents(sandbox, 2, provider)
        ahead.seconds = 31 * 60
        await sandbox.wait_for(lambda: len(sandbox.open_incidents()) == 2, 15)
        assert {incident.dedup_key for incident in sandbox.open_incidents()} == {
            "forbidden_path:later",
            "clawdstrike-forbidden_path-later",
        }
        for provider in PROVIDERS:
            await wait_until(partial(has_alerts, member, 1, "open", provider), "the other is open")
            await wait_until(partial(has_alerts, member, 0, "resolving", provider), "it is gone")
        again = event()
        await send(world, again)
        for provider in PROVIDERS:
            await incidents(sandbox, 3, provider)
    assert {incident.event_ids[0] for incident in sandbox.incidents()[-2:]} == {again["event_id"]}
    assert sandbox.extra_incidents() == []
    assert [await group_offset(world, provider) for provider in PROVIDERS] == [3, 3]


async def test_quiet_is_no_quiescence_until_the_partition_has_been_caught_up_for_long_enough(
    broker: Broker, sandbox: Sandbox
) -> None:
    """An hour of downtime must not make a live problem look over."""
    ahead = Ahead()
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with running_member(world.config, clock=ahead.clock, quiescent_seconds=600) as member:
        await send(world, event())
        await incidents(sandbox, 1)
        ahead.seconds = HOUR
        # Two proofs are a second apart, and so often does the task look at the clock.
        before = member.metric("proofs_total", pipeline="pagerduty", result="accepted")
        await wait_until(
            lambda: member.metric("proofs_total", pipeline="pagerduty", result="accepted") >= before + 3, "proofs"
        )
        assert alerts(member, "open") == 1
    assert told(sandbox.requests()) == [("trigger", 202)]


async def test_what_has_been_silent_for_a_week_is_forgotten_and_nothing_is_sent(
    broker: Broker, sandbox: Sandbox
) -> None:
    ahead = Ahead()
    world = await make_world(broker.bootstrap_servers, sandbox.url, pagerduty={"auto_resolve": {"enabled": False}})
    async with running_member(world.config, clock=ahead.clock) as member:
        await send(world, event())
        await incidents(sandbox, 1)
        await all_told(member)
        ahead.seconds = 7 * 24 * HOUR + 1
        await wait_until(lambda: alerts(member, "open") == 0, "the alert is forgotten")
        assert len(sandbox.requests()) == 1
        await send(world, event())
        await requests(sandbox, 2, status=202)
        await all_told(member)
    assert "occurrences" not in custom_details(sandbox, 1)
    assert await group_offset(world) == 2


async def test_what_is_owed_is_never_forgotten(broker: Broker, sandbox: Sandbox) -> None:
    ahead = Ahead()
    world = await make_world(
        broker.bootstrap_servers,
        sandbox.url,
        pagerduty={"auto_resolve": {"enabled": False}},
        delivery={"give_up_after": 0, "forget_after": "1h"},
    )
    fault = sandbox.faults.add(Fault(FaultyAnswer(status=500)))
    async with running_member(world.config, clock=ahead.clock):
        await send(world, event())
        await requests(sandbox, 1, status=500)
        ahead.seconds = 30 * 24 * HOUR
        await requests(sandbox, 6, status=500)
        fault.remove()
        await incidents(sandbox, 1)
    assert await dead_letters(world) == []
    assert await group_offset(world) == 1


# the threat is over


async def test_the_end_of_one_session_ends_no_alert_of_another(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, pagerduty={}, opsgenie={})
    async with running_member(world.config):
        await send(
            world,
            event(session="one"),
            event(session="one", guard="secret_leak"),
            event(session="two"),
            event(session="one:two"),
            session_end("one"),
        )
        await sandbox.wait_for(lambda: len(sandbox.incidents()) == 8 and len(sandbox.open_incidents()) == 4, 15)
    assert {incident.dedup_key for incident in sandbox.open_incidents()} == {
        "forbidden_path:two",
        "forbidden_path:one:two",
        "clawdstrike-forbidden_path-two",
        "clawdstrike-forbidden_path-one:two",
    }
    assert [await group_offset(world, provider) for provider in PROVIDERS] == [5, 5]


async def test_on_session_end_can_be_switched_off(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(
        broker.bootstrap_servers, sandbox.url, pagerduty={"auto_resolve": {"on_session_end": False}}
    )
    async with running_member(world.config) as member:
        await send(world, event(), session_end())
        await decided(member, "ignored")
        await incidents(sandbox, 1)
        await all_told(member)
    assert told(sandbox.requests()) == [("trigger", 202)]
    assert await group_offset(world) == 2


async def test_an_event_that_matches_a_rule_ends_the_alert_whose_key_it_renders(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_world(
        broker.bootstrap_servers,
        sandbox.url,
        pagerduty={"auto_resolve": {"on_events": [{"event_type": "policy_allow", "guard": "forbidden_path"}]}},
    )
    async with running_member(world.config):
        await send(
            world,
            event(session="over"),
            event(session="over", guard="secret_leak"),
            event(session="goes-on"),
            event(session="goes-on", guard="secret_leak", allowed=True),  # no rule names this guard
            event(session="over", allowed=True),
        )
        await incidents(sandbox, 3)
        await sandbox.wait_for(lambda: len(sandbox.open_incidents()) == 2, 15)
    assert [incident.dedup_key for incident in sandbox.incidents() if not incident.open] == ["forbidden_path:over"]
    assert await group_offset(world) == 5


async def test_a_violation_during_an_outage_is_told_before_it_is_resolved(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    fault = sandbox.faults.add(Fault(FaultyAnswer(status=503)))
    async with running_member(world.config) as member:
        await send(world, event(), session_end())
        await decided(member, "ended")
        await requests(sandbox, 2, status=503)
        fault.remove()
        await requests(sandbox, 1, action="resolve", status=202)
    assert [entry.action for entry in sandbox.requests(status=202)] == ["trigger", "resolve"]
    assert await group_offset(world) == 2


# members come and go


async def test_the_next_member_knows_what_was_told_and_resolves_it(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(
        broker.bootstrap_servers, sandbox.url, pagerduty={}, opsgenie={}, delivery={"timeout_seconds": 0.5}
    )
    async with running_member(world.config):
        await send(world, event())
        for provider in PROVIDERS:
            await incidents(sandbox, 1, provider)
    async with running_member(world.config) as member:
        await send(world, event())
        for provider in PROVIDERS:
            await decided(member, "suppressed", provider=provider)
    async with running_member(world.config):
        await send(world, session_end())
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 15)
    assert told(sandbox.requests("pagerduty")) == [("trigger", 202), ("resolve", 202)]
    assert told(sandbox.requests("opsgenie")) == [("create", 202), ("close", 202)]
    for provider in PROVIDERS:
        assert await group_offset(world, provider) == 3
        states = {
            record.key: record.value
            for record in await committed_records(broker.bootstrap_servers, world.state(provider))
        }
        assert {key for key, value in states.items() if value is not None} == {b"\0checkpoint"}


async def test_what_was_owed_when_the_member_left_is_told_by_the_next(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, delivery={"timeout_seconds": 0.5})
    fault = sandbox.faults.add(Fault(FaultyAnswer(status=500)))
    first, second = event(), event(session="ended")
    async with running_member(world.config):
        await send(world, first, event(), second, session_end("ended"))
        await requests(sandbox, 4, status=500)
    assert await group_offset(world) == 0
    fault.remove()
    async with running_member(world.config) as member:
        await incidents(sandbox, 2)
        await sandbox.wait_for(lambda: len(sandbox.open_incidents()) == 1, 15)
        await all_told(member)
    assert {tuple(incident.event_ids) for incident in sandbox.incidents()} == {
        (first["event_id"],),
        (second["event_id"],),
    }
    assert [incident.triggers for incident in sandbox.incidents()] == [1, 1]
    assert await dead_letters(world) == []
    assert await group_offset(world) == 4


async def test_a_resolve_that_was_owed_is_sent_by_the_next_member_unless_the_problem_is_back(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, delivery={"timeout_seconds": 0.5})
    fault = sandbox.faults.add(Fault(FaultyAnswer(status=500), action="resolve"))
    async with running_member(world.config):
        await send(world, event(session="over"), event(session="back"))
        await incidents(sandbox, 2)
        await send(world, session_end("over"), session_end("back"))
        for session in ("over", "back"):
            await requests(sandbox, 1, action="resolve", dedup_key=f"forbidden_path:{session}", status=500)
    fault.remove()
    await send(world, event(session="back"))
    number = len(sandbox.requests(checks=True))
    async with running_member(world.config) as member:
        await sandbox.wait_for(lambda: len(sandbox.open_incidents()) == 1, 15)
        await requests(sandbox, 2, action="trigger", dedup_key="forbidden_path:back", status=202)
        await all_told(member)
    assert [incident.dedup_key for incident in sandbox.open_incidents()] == ["forbidden_path:back"]
    assert sandbox.requests(action="resolve", dedup_key="forbidden_path:back", after=number) == []
    assert len(sandbox.incidents()) == 2
    assert await group_offset(world) == 5


async def test_events_that_came_while_nobody_ran_are_handled(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, delivery={"timeout_seconds": 0.5})
    await send(world, event(session="before the first"))
    async with running_member(world.config):
        await incidents(sandbox, 1)
    await send(world, event(session="between"), event(session="before the first"), session_end("before the first"))
    async with running_member(world.config):
        await incidents(sandbox, 2)
        await sandbox.wait_for(lambda: len(sandbox.open_incidents()) == 1, 15)
    assert [incident.triggers for incident in sandbox.incidents()] == [1, 1]
    assert sandbox.open_incidents()[0].dedup_key == "forbidden_path:between"
    assert await group_offset(world) == 4


@pytest.mark.real_kafka("two members that share the partitions of a group")
async def test_two_members_share_two_partitions_and_one_hands_its_over(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2, delivery={"timeout_seconds": 0.5})
    told_sessions: set[str] = set()
    enough = asyncio.Event()

    async def violate() -> None:
        """New problems on both partitions, before, while and after the members change."""
        number = 0
        while not enough.is_set():
            for partition in (0, 1):
                session = f"p{partition}-{number}"
                told_sessions.add(session)
                await send(world, event(session=session), event(session=session), partition=partition)
            number += 1
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        violating = group.create_task(violate())
        async with running_member(world.config) as first:
            await first.restored(2)
            await incidents(sandbox, 4)
            async with running_member(world.config) as second:
                await second.restored(1)
                await first.restored(1)
                await incidents(sandbox, len(told_sessions) + 4)
            await first.restored(2)
            await incidents(sandbox, len(told_sessions) + 4)
            enough.set()
            await violating
            await incidents(sandbox, len(told_sessions))
            for session in sorted(told_sessions):
                await send(world, session_end(session), partition=int(session[1]))
            await sandbox.wait_for(lambda: not sandbox.open_incidents(), 30)
    assert len(sandbox.incidents()) == len(told_sessions)
    assert {incident.dedup_key for incident in sandbox.incidents()} == {
        f"forbidden_path:{session}" for session in told_sessions
    }
    assert sandbox.extra_incidents() == []
    assert await dead_letters(world) == []
    for partition in (0, 1):
        records = await committed_records(broker.bootstrap_servers, world.events, partition)
        assert await group_offset(world, partition=partition) == len(records)


# limits


async def test_what_is_too_old_to_page_is_a_stale_dead_letter(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, delivery={"max_event_age": "1h"})
    old = event(session="old", at=time.time() - 2 * HOUR)
    async with running_member(world.config):
        await send(world, event(session="recent", at=time.time() - 0.9 * HOUR), old)
        await incidents(sandbox, 1)
        (letter,) = await first_dead_letters(world, 1)
    assert letter.record.value == encode(old)
    assert (letter.stage, letter.error_class, letter.retryable, letter.attempts) == ("stale", "stale", True, 0)
    assert (letter.record.offset, letter.occurrences, letter.event_id) == (1, 1, old["event_id"])
    assert "7200 s old, more than the 3600 s of max_event_age" in letter.error
    assert [incident.dedup_key for incident in sandbox.incidents()] == ["forbidden_path:recent"]
    assert await group_offset(world) == 2


@pytest.mark.parametrize("ahead", [365 * 24 * HOUR, -1.75 * HOUR], ids=["a year ahead", "behind"])
async def test_a_host_whose_clock_is_wrong_finds_nothing_too_old_that_is_young(
    broker: Broker, sandbox: Sandbox, ahead: float
) -> None:
    world = await make_world(
        broker.bootstrap_servers, sandbox.url, delivery={"max_event_age": "1h"}, kafka={"start_from": "earliest"}
    )
    now, system = time.time(), Clock.system()
    # Also what lies behind an old record of a backlog is young only beside the newest one.
    async with producing(world) as producer:
        for session, age in (("old", 3 * HOUR), ("old-too", 2.5 * HOUR), ("recent", 0.9 * HOUR), ("newest", 0.0)):
            await producer.send_and_wait(
                world.events,
                encode(event(session=session, at=now - age)),
                partition=0,
                timestamp_ms=int((now - age) * 1000),
            )
    async with running_member(world.config, clock=Clock(lambda: system.wall() + ahead, system.monotonic)):
        if ahead > 0:
            await incidents(sandbox, 2)
            letters = await first_dead_letters(world, 2)
            assert [letter.record.offset for letter in letters] == [0, 1]
            assert [letter.stage for letter in letters] == ["stale", "stale"]
        else:
            await incidents(sandbox, 3)  # it does not know better, and tells rather than not
        await group_reaches(world, 4)
    paged = {incident.dedup_key for incident in sandbox.incidents()}
    assert {"forbidden_path:recent", "forbidden_path:newest"} <= paged


async def test_a_route_that_owes_too_much_lets_go_of_the_least_severe_and_reads_on(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_world(
        broker.bootstrap_servers,
        sandbox.url,
        pagerduty={"routing": {"by_guard": {"secret_leak": "e" * 32}}},
        delivery={"max_owed": 5, "rate_limit": {"requests_per_second": 100}},
    )
    fault = sandbox.faults.add(Fault(FaultyAnswer(status=503), key=ROUTING_KEY))
    async with running_member(world.config) as member:
        await send(world, *(event(session=f"s{number}", severity="high") for number in range(10)))
        await send(world, event(session="worst", severity="critical"), event(session="other", guard="secret_leak"))
        await incidents(sandbox, 1)  # the other route's, at once
        letters = await first_dead_letters(world, 5)
        await wait_until(lambda: member.metric("lag", pipeline="pagerduty", partition="0") == 0, "all is read")
        fault.remove()
        await all_told(member)
    assert {(letter.error_class, letter.retryable) for letter in letters} == {("overflow", True)}
    assert len(await dead_letters(world)) + len(sandbox.incidents()) == 12
    assert {incident.dedup_key for incident in sandbox.incidents()} >= {"forbidden_path:worst", "secret_leak:other"}
    assert sandbox.extra_incidents() == []
    assert await group_offset(world) == 12


async def test_a_take_over_lets_go_of_nothing(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    fault = sandbox.faults.add(Fault(FaultyAnswer(status=503)))
    async with running_member(world.config) as member:
        await send(world, *(event(session=f"s{number}") for number in range(9)))
        await wait_until(lambda: member.metric("owed", pipeline="pagerduty", partition="0") == 9, "all are owed")
    world.document["delivery"] |= {"max_owed": 5, "rate_limit": {"requests_per_second": 100}}
    async with running_member(world.config):
        fault.remove()
        await incidents(sandbox, 9)
        await group_reaches(world, 9)
    assert len(sandbox.incidents()) == 9
    assert sandbox.extra_incidents() == []
    assert await dead_letters(world) == []
