"""Providers that reject, refuse, throttle, hang, break off and lie: nothing is lost, nothing is opened twice."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

import pytest

from consumer.service.runner import PipelineRunner, RepartitionRunner
from consumer.telemetry.health import readiness
from providers.delivery.outage import Condition
from providers.sandbox import Delay, Drop, Fault, FaultyAnswer, Hang, LandLate, LoseAnswer, Sandbox
from providers.sandbox.faults import Effect
from tests.support.broker import Broker
from tests.support.clocks import Moving
from tests.support.events import encode, event, session_end
from tests.support.kafka import group_offsets
from tests.support.seen import dead_letters, first_dead_letters, group_offset, group_reaches, requests, send, told
from tests.support.service import API_KEY, ROUTING_KEY, Member, World, incidents, make_world, running_member
from tests.support.waiting import wait_until

TEAM_KEY = "e" * 32

PROVIDERS = pytest.mark.parametrize("provider", ["pagerduty", "opsgenie"])


async def world_of(provider: str, broker: Broker, sandbox: Sandbox, **sections: Any) -> World:
    """A world with this provider alone."""
    section = sections.pop(provider, {})
    return await make_world(broker.bootstrap_servers, sandbox.url, **{provider: section}, **sections)


def dedup_key(provider: str, session: str = "sess-1", guard: str = "forbidden_path") -> str:
    return f"{guard}:{session}" if provider == "pagerduty" else f"clawdstrike-{guard}-{session}"


def trigger(provider: str) -> str:
    """The sandbox's word for it."""
    return "trigger" if provider == "pagerduty" else "create"


def refused_routes(runner: PipelineRunner | RepartitionRunner) -> tuple[str, ...]:
    return tuple(one.route for one in runner.health().routes if one.condition is Condition.REFUSED)


async def route_is(member: Member, provider: str, refused: tuple[str, ...]) -> None:
    def is_so() -> bool:
        runner = member.runners.get(provider)
        return runner is not None and refused_routes(runner) == refused

    await wait_until(is_so, f"refused routes are {refused}", timeout=30)


async def all_told(member: Member, provider: str, *, but: int = 0) -> None:
    """Wait until nothing is owed, or so much and no more."""
    await wait_until(lambda: member.metric("owed", pipeline=provider, partition="0") == but, f"only {but} are owed")


# rejected


@PROVIDERS
async def test_a_rejected_trigger_is_dead_lettered_at_once_and_the_next_event_triggers_anew(
    provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    world = await world_of(provider, broker, sandbox)
    secret = ROUTING_KEY if provider == "pagerduty" else API_KEY
    body = f'{{"message": "will not do", "errors": ["\\u0027payload\\u0027 of {secret} is no good"]}}'
    statuses = [400, 409, 413, 422, 451]
    for status in statuses:
        fault = Fault(FaultyAnswer(status=status, body=body), dedup_key=dedup_key(provider, f"s{status}"), times=1)
        sandbox.faults.add(fault)
    first = [event(session=f"s{status}") for status in statuses]
    second = [event(session=f"s{status}") for status in statuses]
    async with running_member(world.config) as member:
        await member.restored(1, provider)  # nothing can have been sent before: no trigger has to be repeated
        await send(world, *first)
        letters = await first_dead_letters(world, len(statuses))
        await send(world, *second)
        await incidents(sandbox, len(statuses), provider)
        assert refused_routes(member.runners[provider]) == ()

    letters.sort(key=lambda letter: letter.record.offset)
    for status, fields, letter in zip(statuses, first, letters, strict=True):
        assert letter.record.value == encode(fields)
        assert (letter.stage, letter.error_class, letter.retryable) == ("deliver", f"rejected_{status}", False)
        assert letter.error == "will not do; 'payload' of [secret] is no good"
        assert (letter.attempts, letter.occurrences, letter.event_id) == (1, 1, fields["event_id"])
        assert letter.first_attempt == letter.last_attempt is not None
        entries = sandbox.requests(dedup_key=dedup_key(provider, f"s{status}"))
        assert told(entries) == [(trigger(provider), status), (trigger(provider), 202)]
    told_of = {event_id for incident in sandbox.incidents() for event_id in incident.event_ids}
    assert told_of == {fields["event_id"] for fields in second}
    assert await group_offset(world, provider) == 2 * len(statuses)
    assert len(await dead_letters(world)) == len(statuses)


@PROVIDERS
async def test_a_rejected_update_is_dead_lettered_and_the_alert_that_the_provider_has_is_still_resolved(
    provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    world = await world_of(provider, broker, sandbox)
    async with running_member(world.config):
        await send(world, event(severity="high"))
        await incidents(sandbox, 1, provider)
        sandbox.faults.add(Fault(FaultyAnswer(status=400), times=1))
        await send(world, event(severity="critical"))
        (letter,) = await first_dead_letters(world, 1)
        await send(world, session_end())
        await sandbox.wait_for(lambda: not sandbox.open_incidents())
    assert (letter.record.offset, letter.error_class) == (1, "rejected_400")
    assert len(sandbox.incidents()) == 1
    assert await group_offset(world, provider) == 3


@PROVIDERS
async def test_an_update_that_is_rejected_after_the_threat_is_over_leaves_no_incident_open(
    provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    world = await world_of(provider, broker, sandbox)
    async with running_member(world.config) as member:
        await send(world, event(severity="high"))
        await incidents(sandbox, 1, provider)
        refused = sandbox.faults.add(Fault(FaultyAnswer(status=503)))
        await send(world, event(severity="critical"))
        await sandbox.wait_for(lambda: any(entry.status == 503 for entry in sandbox.requests()))
        await send(world, session_end())
        await wait_until(
            lambda: member.metric("events_total", pipeline=provider, outcome="ended") == 1, "the end is decided"
        )
        sandbox.faults.add(Fault(FaultyAnswer(status=400), times=1))
        refused.remove()
        (letter,) = await first_dead_letters(world, 1)
        await sandbox.wait_for(lambda: not sandbox.open_incidents())
    assert (letter.record.offset, letter.error_class) == (1, "rejected_400")
    assert len(sandbox.incidents()) == 1
    assert await group_offset(world, provider) == 3


@PROVIDERS
async def test_a_rejected_resolve_ends_the_alert_without_a_dead_letter(
    provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    world = await world_of(provider, broker, sandbox)
    close = "resolve" if provider == "pagerduty" else "close"
    sandbox.faults.add(Fault(FaultyAnswer(status=400), action=close, dedup_key=dedup_key(provider), times=1))
    async with running_member(world.config) as member:
        await send(world, event(), session_end())
        await requests(sandbox, 1, action=close, status=400)
        await wait_until(lambda: _alerts(member, provider) == 0, "the rejection is believed")
        await send(world, event())
        await requests(sandbox, 2, action=trigger(provider), status=202)
    assert "resolve_rejected" in member.output.getvalue()
    assert await dead_letters(world) == []
    assert told(sandbox.requests()) == [(trigger(provider), 202), (close, 400), (trigger(provider), 202)]
    assert await group_offset(world, provider) == 3


# route refused


@PROVIDERS
@pytest.mark.parametrize("malformed", [False, True])
async def test_a_revoked_key_is_said_in_the_health_and_nothing_is_lost_once_it_is_restored(
    malformed: bool, provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    world = await world_of(provider, broker, sandbox)
    key = {"pagerduty": ROUTING_KEY, "opsgenie": API_KEY}[provider]
    async with running_member(world.config) as member:
        await send(world, event(session="told"))
        await incidents(sandbox, 1, provider)
        sandbox.keys(provider).revoke(key, malformed=malformed)
        await send(world, event(), event(session="sess-2"), event(session="sess-2"), session_end("told"))
        await route_is(member, provider, ("default",))
        (reason,) = readiness([member.runners[provider].health()])
        assert reason.startswith(f"{provider}: the provider refuses route default since 2")
        assert member.metric("route_refused", pipeline=provider, route="default") == 1
        await all_told(member, provider, but=2)
        assert await group_offset(world, provider) in (None, 0, 1)
        sandbox.keys(provider).restore(key)
        await incidents(sandbox, 3, provider)
        await route_is(member, provider, ())
        assert readiness([member.runners[provider].health()]) == []
        assert member.metric("route_refused", pipeline=provider, route="default") == 0
        await sandbox.wait_for(lambda: len(sandbox.open_incidents()) == 2)
    said = [line["event"] for line in map(json.loads, member.output.getvalue().splitlines())]
    assert [event for event in said if event.startswith("route_") and event != "route_checked"] == [
        "route_refused",
        "route_works",
    ]
    assert await dead_letters(world) == []
    assert [incident.triggers for incident in sandbox.incidents()] == [1, 1, 1]
    assert await group_offset(world, provider) == 5


@PROVIDERS
async def test_a_key_that_is_revoked_at_start_is_said_before_there_is_any_event(
    provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    world = await world_of(provider, broker, sandbox)
    key = {"pagerduty": ROUTING_KEY, "opsgenie": API_KEY}[provider]
    sandbox.keys(provider).revoke(key)
    async with running_member(world.config) as member:
        await route_is(member, provider, ("default",))
        await send(world, event())
        await all_told(member, provider, but=1)
        sandbox.keys(provider).restore(key)
        await incidents(sandbox, 1, provider)
        await route_is(member, provider, ())
    refused = {"pagerduty": 400, "opsgenie": 401}[provider]
    *before, last = told(sandbox.requests())
    assert last == (trigger(provider), 202)
    assert set(before) <= {(trigger(provider), refused)}, "a probe or two, since something may block the check alone"
    assert len(before) <= 2
    assert await dead_letters(world) == []


@PROVIDERS
@pytest.mark.parametrize("status", [400, 403, 404])
async def test_whatever_a_provider_says_to_everything_is_no_fault_of_the_alerts(
    status: int, provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    world = await world_of(provider, broker, sandbox)
    async with running_member(world.config) as member:
        await member.restored(1, provider)
        fault = sandbox.faults.add(Fault(FaultyAnswer(status=status, body="who are you?")))
        await send(world, *(event(session=f"s{number}") for number in range(10)))
        await route_is(member, provider, ("default",))
        await all_told(member, provider, but=10)
        fault.remove()
        await incidents(sandbox, 10, provider, timeout=30)
        await route_is(member, provider, ())
    assert await dead_letters(world) == []
    assert await group_offset(world, provider) == 10


@PROVIDERS
@pytest.mark.parametrize("has_worked", [False, True])
async def test_without_checks_at_most_two_rejections_are_believed_and_none_before_the_key_has_worked(
    has_worked: bool, provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    world = await world_of(provider, broker, sandbox, delivery={"route_check": 0})
    believed = 2 if has_worked else 0
    async with running_member(world.config) as member:
        if has_worked:
            await send(world, event(session="before"))
            await incidents(sandbox, 1, provider)
        fault = sandbox.faults.add(Fault(FaultyAnswer(status=400, body="who are you?")))
        await send(world, *(event(session=f"s{number}") for number in range(10)))
        await route_is(member, provider, ("default",))
        await all_told(member, provider, but=10 - believed)
        fault.remove()
        await incidents(sandbox, 10 - believed + has_worked, provider)
        await route_is(member, provider, ())
    assert len(await dead_letters(world)) == believed
    assert sandbox.requests(checks=True) == sandbox.requests()


@PROVIDERS
async def test_actions_on_aliases_that_are_not_there_are_rejected_actions_and_hold_nobody_up(
    provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    world = await world_of(provider, broker, sandbox)
    close = "resolve" if provider == "pagerduty" else "close"
    for number in range(6):
        sandbox.faults.add(Fault(FaultyAnswer(status=404), action=close, dedup_key=dedup_key(provider, f"s{number}")))
    async with running_member(world.config) as member:
        await send(world, *(event(session=f"s{number}") for number in range(6)))
        await incidents(sandbox, 6, provider)
        await send(world, *(session_end(f"s{number}") for number in range(6)))
        await requests(sandbox, 6, action=close, status=404)
        before = time.monotonic()
        await send(world, event(session="worst", severity="critical"))
        await incidents(sandbox, 7, provider)
        assert time.monotonic() - before < 5
        await wait_until(lambda: _alerts(member, provider) == 1, "the rejections are believed")
        assert refused_routes(member.runners[provider]) == ()
    assert len(sandbox.requests(action=close)) == 6
    assert await dead_letters(world) == []


# outage


@dataclass(frozen=True)
class Trouble:
    """What happens to the first ``times`` requests about an alert, and whether each had an effect all the same."""

    effect: Effect
    times: int = 2
    applied: bool = False


OUTAGES = {
    "500": Trouble(FaultyAnswer(status=500, body="<h1>Oops</h1>"), times=4),
    "502": Trouble(FaultyAnswer(status=502)),
    "503": Trouble(FaultyAnswer(status=503, body='{"message": "maintenance"}')),
    "504-applied": Trouble(FaultyAnswer(status=504, applied=True), applied=True),
    "408": Trouble(FaultyAnswer(status=408)),
    "425": Trouble(FaultyAnswer(status=425)),
    "302": Trouble(FaultyAnswer(status=302, headers={"Location": "/v2/enqueue"})),
    "307": Trouble(FaultyAnswer(status=307, headers={"Location": "/v2/alerts"})),
    "garbage-200": Trouble(FaultyAnswer(status=200, body="\x00<not json")),
    "empty-204": Trouble(FaultyAnswer(status=204)),
    "hang": Trouble(Hang(), times=1),
    "slow": Trouble(Delay(60), times=1, applied=True),
    "drop": Trouble(Drop()),
    "lose-answer": Trouble(LoseAnswer(), applied=True),
}


@PROVIDERS
async def test_whatever_an_outage_looks_like_each_alert_is_told_and_opens_one_incident(
    provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    world = await world_of(provider, broker, sandbox, delivery={"timeout_seconds": 1.5})
    for session, trouble in OUTAGES.items():
        sandbox.faults.add(Fault(trouble.effect, dedup_key=dedup_key(provider, session), times=trouble.times))
    async with running_member(world.config) as member:
        await send(world, *(event(session=session) for session in OUTAGES))
        for session in OUTAGES:
            await requests(sandbox, 1, dedup_key=dedup_key(provider, session), status=202)
        await all_told(member, provider)

    by_key = {incident.dedup_key: incident for incident in sandbox.incidents()}
    assert len(by_key) == len(sandbox.incidents()) == len(OUTAGES)
    for session, trouble in OUTAGES.items():
        entries = sandbox.requests(dedup_key=dedup_key(provider, session))
        assert [entry.fault is not None for entry in entries] == [True] * trouble.times + [False], session
        assert len({(entry.key, entry.event_id) for entry in entries}) == 1, session
        triggers = trouble.times + 1 if trouble.applied else 1
        assert by_key[dedup_key(provider, session)].triggers == triggers, session
    assert sandbox.extra_incidents() == []
    assert await dead_letters(world) == []
    assert await group_offset(world, provider) == len(OUTAGES)


@PROVIDERS
async def test_accepted_is_decided_by_the_status_whatever_the_body(
    provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    world = await world_of(provider, broker, sandbox)
    for session, body in {"html": "<html>", "empty": "", "contrary": '{"status": "invalid event"}'}.items():
        fault = Fault(FaultyAnswer(status=202, body=body, applied=True), dedup_key=dedup_key(provider, session))
        sandbox.faults.add(fault)
    async with running_member(world.config) as member:
        await send(world, event(session="html"), event(session="empty"), event(session="contrary"))
        await incidents(sandbox, 3, provider)
        await all_told(member, provider)
    assert told(sandbox.requests()) == [(trigger(provider), 202)] * 3
    assert await group_offset(world, provider) == 3


@PROVIDERS
async def test_slow_answers_are_waited_for_and_not_asked_for_twice(
    provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    world = await world_of(provider, broker, sandbox)
    sandbox.faults.add(Fault(Delay(1.0), action=trigger(provider)))
    async with running_member(world.config):
        await send(world, *(event(session=f"s{number}") for number in range(5)))
        await requests(sandbox, 5, status=202)
    answered = [entry.answered_monotonic for entry in sandbox.requests() if entry.answered_monotonic is not None]
    assert len(answered) == len(sandbox.requests()) == 5
    assert max(entry.monotonic for entry in sandbox.requests()) < min(answered)  # none waited for another
    assert await group_offset(world, provider) == 5


@PROVIDERS
async def test_a_trigger_that_lands_after_its_time_out_opens_no_second_incident(
    provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    """And its resolve waits for it: otherwise the late trigger would open what nobody resolves."""
    world = await world_of(provider, broker, sandbox, delivery={"timeout_seconds": 1})
    sandbox.faults.add(Fault(LandLate(1.6), action=trigger(provider), times=1))
    async with running_member(world.config):
        await send(world, event(), session_end())
        await sandbox.wait_for(lambda: len(sandbox.incidents()) == 1 and sandbox.incidents()[0].triggers == 2)
        await sandbox.wait_for(lambda: not sandbox.open_incidents())
    assert len(sandbox.incidents()) == 1
    assert await group_offset(world, provider) == 2


# throttled


@PROVIDERS
async def test_retry_after_is_obeyed_by_all_alerts_of_the_route(
    provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    world = await world_of(provider, broker, sandbox)
    throttle = FaultyAnswer(status=429, headers={"Retry-After": "100"})
    sandbox.faults.add(Fault(throttle, action=trigger(provider), times=1))
    moving = Moving()
    async with running_member(world.config, clock=moving.clock) as member:
        await send(world, event())
        (throttled,) = await requests(sandbox, 1, status=429)
        await send(world, event(session="sess-2"))
        await all_told(member, provider, but=2)
        for seconds in (61.0, 80.0):  # longer than any pause of ours, and not as long as the provider asked for
            await moving.to(seconds, member, provider)
            assert len(sandbox.requests(checks=True, after=throttled.number)) == 0
        await moving.to(120.0, member, provider)
        await incidents(sandbox, 2, provider)
    assert len(sandbox.requests()) == 3
    assert await dead_letters(world) == []
    assert await group_offset(world, provider) == 2


@PROVIDERS
async def test_after_a_429_the_key_is_left_alone_for_a_while_whatever_period_is_named(
    provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    world = await world_of(provider, broker, sandbox)
    headers = {"X-RateLimit-State": "THROTTLED", "X-RateLimit-Period-In-Sec": "1"}
    sandbox.faults.add(Fault(FaultyAnswer(status=429, headers=headers), action=trigger(provider), times=1))
    moving = Moving()
    async with running_member(world.config, clock=moving.clock) as member:
        await send(world, event())
        await requests(sandbox, 1, status=429)
        await moving.to(29.0, member, provider)
        assert len(sandbox.requests()) == 1
        await moving.to(70.0, member, provider)
        await incidents(sandbox, 1, provider)
    assert told(sandbox.requests()) == [(trigger(provider), 429), (trigger(provider), 202)]
    assert await dead_letters(world) == []


# one route and the others


@pytest.mark.parametrize(
    "effect",
    [
        Hang(),
        FaultyAnswer(status=500),
        FaultyAnswer(status=429, headers={"Retry-After": "3600"}),
        FaultyAnswer(status=400, body="Invalid routing key"),
    ],
    ids=["hangs", "500", "throttled", "revoked"],
)
async def test_one_teams_route_is_down_and_the_others_are_paged_promptly(
    effect: Effect, broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_world(
        broker.bootstrap_servers,
        sandbox.url,
        pagerduty={"routing": {"by_guard": {"secret_leak": TEAM_KEY}}},
        delivery={"max_in_flight": 8, "timeout_seconds": 20, "shutdown_grace": "1s"},
    )
    sandbox.faults.add(Fault(effect, key=TEAM_KEY))
    async with running_member(world.config) as member:
        await send(world, *(event(guard="secret_leak", session=f"leak-{number}") for number in range(30)))
        await requests(sandbox, 1, key=TEAM_KEY, checks=True)
        before = time.monotonic()
        await send(world, *(event(session=f"other-{number}") for number in range(30)))
        await incidents(sandbox, 30, timeout=10)
        assert sandbox.incidents()[-1].opened_monotonic - before < 5.0
        assert {incident.key for incident in sandbox.incidents()} == {ROUTING_KEY}
        await all_told(member, "pagerduty", but=30)
    assert await dead_letters(world) == []
    assert await group_offset(world) == 0


@PROVIDERS
async def test_leaving_while_a_provider_hangs_cuts_its_requests_off_and_still_commits(
    provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    world = await world_of(
        provider,
        broker,
        sandbox,
        kafka={"session_timeout": "20s"},  # proofs are rare: what the group has is the last commit's
        delivery={"timeout_seconds": 20, "shutdown_grace": "2s"},
    )
    async with running_member(world.config) as member:
        await send(world, event(session="told"))
        await incidents(sandbox, 1, provider)
        fault = sandbox.faults.add(Fault(Hang()))
        await send(world, event(session="hangs"), event(allowed=True))
        await requests(sandbox, 1, dedup_key=dedup_key(provider, "hangs"))
        left = time.monotonic()
    assert time.monotonic() - left < 4.0
    assert "drain_cut_off" not in member.output.getvalue()
    assert await group_offset(world, provider) == 1
    fault.remove()
    async with running_member(world.config):
        await incidents(sandbox, 2, provider)
    assert await group_offset(world, provider) == 3


# an outage, and its end


@PROVIDERS
async def test_the_group_stays_at_the_oldest_owed_event_and_moves_on_after_the_outage(
    provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    world = await world_of(provider, broker, sandbox)
    async with running_member(world.config) as member:
        await send(world, event(session="before"))
        await incidents(sandbox, 1, provider)
        fault = sandbox.faults.add(Fault(FaultyAnswer(status=503)))
        await send(world, event(allowed=True), event(session="one"), event(session="before"), event(session="two"), {})
        await first_dead_letters(world, 1)  # poison is not held up by what is owed; its checkpoint has all of them
        await group_reaches(world, 2, provider)
        assert member.metric("owed", pipeline=provider, partition="0") == 2
        fault.remove()
        await incidents(sandbox, 3, provider)
        await group_reaches(world, 6, provider)
    (offset,) = (await group_offsets(world.bootstrap_servers, world.group(provider))).values()
    assert (offset.offset, offset.metadata) == (6, "clawdstrike-alerting")
    assert [incident.triggers for incident in sandbox.incidents()] == [1, 1, 1]


async def test_an_outage_of_one_provider_delays_no_page_of_the_other(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, pagerduty={}, opsgenie={})
    fault = sandbox.faults.add(Fault(FaultyAnswer(status=500), provider="opsgenie"))
    async with running_member(world.config):
        await send(world, *(event(session=f"s{number}") for number in range(10)))
        await incidents(sandbox, 10, "pagerduty")
        await requests(sandbox, 10, provider="opsgenie", status=500)
        await group_reaches(world, 10, "pagerduty")
        assert await group_offset(world, "opsgenie") in (None, 0)
        fault.remove()
        await incidents(sandbox, 10, "opsgenie")
    assert (await group_offset(world, "pagerduty"), await group_offset(world, "opsgenie")) == (10, 10)


@PROVIDERS
async def test_what_is_owed_for_too_long_is_dead_lettered_with_its_story(
    provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    world = await world_of(provider, broker, sandbox, delivery={"give_up_after": "1s"})
    fault = sandbox.faults.add(Fault(FaultyAnswer(status=503, body='{"message": "maintenance"}')))
    highest = event(severity="critical")
    begun = time.time()
    async with running_member(world.config) as member:
        await member.restored(1, provider)  # nothing can have been sent before: no trigger has to be repeated
        await send(world, event(severity="high"), event(allowed=True), highest, event(severity="high"))
        (letter,) = await first_dead_letters(world, 1)
        fault.remove()
        anew = event(severity="high")
        await send(world, anew)
        await incidents(sandbox, 1, provider)
    attempts = sandbox.requests(status=503, action=trigger(provider))
    assert letter.record.value == encode(highest)
    assert (letter.record.offset, letter.event_id) == (2, highest["event_id"])
    assert (letter.stage, letter.error_class, letter.retryable) == ("deliver", "given_up", True)
    assert letter.attempts == len(attempts) >= 2
    assert letter.first_attempt is not None
    assert letter.last_attempt is not None
    assert begun <= letter.first_attempt < letter.last_attempt <= time.time()
    assert letter.last_attempt - letter.first_attempt < 5
    assert (letter.occurrences, letter.first_offset, letter.last_offset) == (3, 0, 3)
    assert [incident.event_ids for incident in sandbox.incidents()] == [[anew["event_id"]]]
    assert await group_offset(world, provider) == 5
    assert len(await dead_letters(world)) == 1


async def test_a_refused_route_is_given_up_too(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, delivery={"give_up_after": "1s"})
    sandbox.keys("pagerduty").revoke(ROUTING_KEY)
    async with running_member(world.config):
        await send(world, event())
        (letter,) = await first_dead_letters(world, 1)
    assert (letter.stage, letter.error_class, letter.retryable) == ("deliver", "given_up", True)
    assert await group_offset(world) == 1


@PROVIDERS
async def test_a_resolve_is_repeated_until_it_is_answered(provider: str, broker: Broker, sandbox: Sandbox) -> None:
    world = await world_of(provider, broker, sandbox, delivery={"timeout_seconds": 0.7})
    close = "resolve" if provider == "pagerduty" else "close"
    for effect in (FaultyAnswer(status=500), Hang(), LoseAnswer(), Drop()):
        sandbox.faults.add(Fault(effect, action=close, dedup_key=dedup_key(provider), times=1))
    async with running_member(world.config) as member:
        await send(world, event(), session_end())
        await requests(sandbox, 1, action=close, status=202)
        await wait_until(lambda: _alerts(member, provider) == 0, "the alert is gone")
    assert len(sandbox.requests(action=close)) == 5
    assert [incident.open for incident in sandbox.incidents()] == [False]
    assert await group_offset(world, provider) == 2


@PROVIDERS
async def test_a_violation_while_its_resolve_is_unanswered_leaves_an_open_incident(
    provider: str, broker: Broker, sandbox: Sandbox
) -> None:
    """The resolve may land behind the trigger: so that is said once more, when it no longer can."""
    world = await world_of(provider, broker, sandbox, delivery={"timeout_seconds": 1})
    close = "resolve" if provider == "pagerduty" else "close"
    sandbox.faults.add(Fault(LandLate(1.4), action=close, dedup_key=dedup_key(provider), times=1))
    async with running_member(world.config) as member:
        await send(world, event(), session_end())
        await requests(sandbox, 1, action=close, dedup_key=dedup_key(provider))
        again = event()
        await send(world, again)
        await requests(sandbox, 3, action=trigger(provider), status=202)
        await all_told(member, provider)
    assert sandbox.open_incidents() != []
    assert sandbox.open_incidents()[0].event_ids == [again["event_id"]]
    assert await group_offset(world, provider) == 3


def _alerts(member: Member, provider: str) -> float:
    return sum(
        member.metric("alerts", pipeline=provider, partition="0", status=status)
        for status in ("open", "acknowledged", "resolving")
    )


def _unavailable(member: Member) -> float:
    return member.metric(
        "notifications_total", pipeline="pagerduty", route="default", action="trigger", result="unavailable"
    )


async def test_nothing_listens_at_the_address_and_then_something_does(broker: Broker, sandbox: Sandbox) -> None:
    """Refused connections are an outage like any other."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    world = await make_world(broker.bootstrap_servers, f"http://127.0.0.1:{port}")
    async with running_member(world.config) as member:
        await send(world, event())
        await wait_until(lambda: _unavailable(member) >= 2, "two attempts")
    assert await dead_letters(world) == []
    assert await group_offset(world) == 0
    document = world.document
    document["exporters"]["alerting"]["pagerduty"]["api_endpoint"] = sandbox.url
    async with running_member(world.config):
        await incidents(sandbox, 1)
    assert await group_offset(world) == 1
