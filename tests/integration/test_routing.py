"""Who is told: PagerDuty's integrations, OpsGenie's teams; and that an alert stays where it was opened."""

from functools import partial
from typing import Any

from providers.sandbox import Fault, FaultyAnswer, LoseAnswer, Sandbox
from tests.support.broker import Broker
from tests.support.events import event, session_end
from tests.support.seen import dead_letters, group_offset, group_reaches, requests, send, told
from tests.support.service import ROUTING_KEY, Member, World, incidents, make_world, running_member
from tests.support.waiting import wait_until

GUARD_KEY, TENANT_KEY, CRITICAL_KEY, HIGH_KEY = "g" * 32, "t" * 32, "c" * 32, "h" * 32

ROUTING = {
    "by_guard": {"secret_leak": GUARD_KEY},
    "by_tenant": {"acme-corp": TENANT_KEY},
    "by_severity": {"critical": CRITICAL_KEY, "high": HIGH_KEY},
}


async def routed_world(broker: Broker, sandbox: Sandbox, **sections: Any) -> World:
    sections = {"pagerduty": {"routing": ROUTING}, "alerting": {"min_severity": "medium"}, **sections}
    return await make_world(broker.bootstrap_servers, sandbox.url, **sections)


async def all_told(member: Member, provider: str) -> None:
    await wait_until(lambda: member.metric("owed", pipeline=provider, partition="0") == 0, "all is told")


def heard(member: Member, provider: str) -> float:
    """Events that opened nothing and raised nothing."""
    outcomes = ("counted", "suppressed")
    return sum(member.metric("events_total", pipeline=provider, outcome=outcome) for outcome in outcomes)


def heard_two(member: Member, provider: str) -> bool:
    return heard(member, provider) == 2


async def test_pagerduty_goes_by_guard_then_tenant_then_severity_then_default(broker: Broker, sandbox: Sandbox) -> None:
    world = await routed_world(broker, sandbox)
    expected = {
        "guard": (GUARD_KEY, event(session="guard", guard="secret_leak")),
        "tenant": (TENANT_KEY, event(session="tenant", guard="shell_command")),
        "critical": (CRITICAL_KEY, event(session="critical", tenant="other")),
        "high": (HIGH_KEY, event(session="high", tenant=None, severity="high")),
        "default": (ROUTING_KEY, event(session="default", tenant="other", severity="medium")),
        "guard-low": (GUARD_KEY, event(session="guard-low", guard="secret_leak", tenant="other", severity="medium")),
    }
    async with running_member(world.config):
        await send(world, *(fields for _, fields in expected.values()))
        await incidents(sandbox, len(expected))
        await send(world, *(session_end(session) for session in expected))
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 15)
    assert {incident.dedup_key.partition(":")[2]: incident.key for incident in sandbox.incidents()} == {
        session: key for session, (key, _) in expected.items()
    }
    for incident in sandbox.incidents():
        entries = sandbox.requests(dedup_key=incident.dedup_key)
        assert [(entry.action, entry.key) for entry in entries] == [
            ("trigger", incident.key),
            ("resolve", incident.key),
        ]
    assert await dead_letters(world) == []
    assert await group_offset(world) == 2 * len(expected)


async def test_an_alert_stays_with_the_route_that_triggered_when_its_severity_rises(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await routed_world(broker, sandbox)
    low, high, critical = (
        event(tenant="other", severity="medium"),
        event(tenant="other", severity="high"),
        event(tenant="acme-corp", severity="critical"),
    )
    async with running_member(world.config):
        for number, fields in enumerate((low, high, critical), start=1):
            await send(world, fields)
            await requests(sandbox, number, action="trigger", status=202)
        await send(world, session_end())
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 15)
    (incident,) = sandbox.incidents()
    assert {entry.key for entry in sandbox.requests()} == {ROUTING_KEY}
    assert incident.severities == ["warning", "error", "critical"]
    assert incident.event_ids == [fields["event_id"] for fields in (low, high, critical)]
    assert incident.resolved_at is not None


async def test_a_trigger_that_may_have_landed_stays_with_its_route_too(broker: Broker, sandbox: Sandbox) -> None:
    """Its answer was lost; meanwhile a higher severity is counted into what is owed, and would go elsewhere."""
    world = await routed_world(broker, sandbox)
    sandbox.faults.add(Fault(LoseAnswer(), action="trigger", times=1))
    sandbox.faults.add(Fault(FaultyAnswer(status=503), action="trigger", times=6))
    async with running_member(world.config):
        await send(world, event(tenant="other", severity="medium"))
        await requests(sandbox, 2)
        await send(world, event(tenant="other", severity="critical"))
        await requests(sandbox, 1, status=202)
        await send(world, session_end())
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 15)
    (incident,) = sandbox.incidents()
    assert (incident.key, incident.severity) == (ROUTING_KEY, "critical")
    assert {entry.key for entry in sandbox.requests()} == {ROUTING_KEY}


async def test_the_route_outlives_the_member_that_triggered(broker: Broker, sandbox: Sandbox) -> None:
    world = await routed_world(broker, sandbox, delivery={"timeout_seconds": 0.5})
    async with running_member(world.config):
        await send(world, event(tenant="other", severity="high"))
        await incidents(sandbox, 1)
    async with running_member(world.config):
        await send(world, event(tenant="other", severity="critical"))
        await requests(sandbox, 2, action="trigger", status=202)
        await send(world, session_end())
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 15)
    assert {entry.key for entry in sandbox.requests()} == {HIGH_KEY}
    assert len(sandbox.incidents()) == 1


async def test_a_key_that_is_rotated_is_listed_as_retired_and_resolves_what_it_has_opened(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await routed_world(broker, sandbox, delivery={"timeout_seconds": 0.5})
    async with running_member(world.config):
        await send(world, event(guard="secret_leak"))
        await incidents(sandbox, 1)
    pagerduty = world.document["exporters"]["alerting"]["pagerduty"]
    pagerduty["routing"] = {"by_guard": {"secret_leak": "n" * 32}}
    pagerduty["retired_routing_keys"] = [GUARD_KEY]
    async with running_member(world.config):
        await send(world, session_end())
        await requests(sandbox, 1, action="resolve", status=202)
    assert [entry.key for entry in sandbox.requests()] == [GUARD_KEY, GUARD_KEY]


async def test_what_a_route_has_opened_that_is_gone_is_told_through_todays_route(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await routed_world(broker, sandbox, delivery={"timeout_seconds": 0.5})
    async with running_member(world.config):
        await send(world, event(guard="secret_leak", severity="high"))
        await incidents(sandbox, 1)
    world.document["exporters"]["alerting"]["pagerduty"]["routing"] = {}
    async with running_member(world.config) as member:
        await send(world, event(guard="secret_leak", severity="high"))
        await requests(sandbox, 2, action="trigger", status=202)
        await group_reaches(world, 2)
        assert member.metric("orphaned", pipeline="pagerduty", partition="0") == 1
    assert [entry.key for entry in sandbox.requests()] == [GUARD_KEY, ROUTING_KEY]
    assert "alert_orphaned" in member.output.getvalue()


async def test_opsgenie_adds_up_teams_by_guard_severity_and_tag(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(
        broker.bootstrap_servers,
        sandbox.url,
        opsgenie={
            "responders": [{"type": "schedule", "name": "on-call"}],
            "tags": ["env:production"],
            "routing": {
                "by_guard": {"secret_leak": ["secrets", "platform"]},
                "by_severity": {"critical": "incident-response"},
                "by_tag": {"team:payments": "payments", "guard:shell_command": "shells", "env:production": "platform"},
            },
        },
    )
    async with running_member(world.config):
        await send(
            world,
            event(session="all", guard="secret_leak", labels={"team": "payments"}),
            event(session="few", guard="shell_command", severity="high"),
        )
        await incidents(sandbox, 2, "opsgenie")
        await send(world, session_end("all"), session_end("few"))
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 15)
    responders = {}
    for incident in sandbox.incidents():
        assert incident.opened_with is not None
        first, *teams = [(one["type"], one["name"]) for one in incident.opened_with["responders"]]
        assert first == ("schedule", "on-call")
        assert {kind for kind, _ in teams} == {"team"}
        responders[incident.dedup_key] = sorted(name for _, name in teams)
    assert responders == {
        "clawdstrike-secret_leak-all": ["incident-response", "payments", "platform", "secrets"],
        "clawdstrike-shell_command-few": ["platform", "shells"],
    }


async def test_a_raised_severity_is_told_with_the_same_key(broker: Broker, sandbox: Sandbox) -> None:
    """PagerDuty by the trigger alone; OpsGenie, whose create leaves an open alert as it is, by priority and note."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, pagerduty={}, opsgenie={})
    async with running_member(world.config) as member:
        await send(world, event(severity="high"))
        await incidents(sandbox, 1, "pagerduty")
        await incidents(sandbox, 1, "opsgenie")
        for provider in ("pagerduty", "opsgenie"):
            await all_told(member, provider)
        await send(world, event(severity="critical"), event(severity="high"), event(severity="critical"))
        await requests(sandbox, 2, provider="pagerduty", action="trigger", status=202)
        await requests(sandbox, 1, provider="opsgenie", action="note", status=202)
        for provider in ("pagerduty", "opsgenie"):
            await wait_until(partial(heard_two, member, provider), "the others are decided")
            await all_told(member, provider)
    (page,) = sandbox.incidents("pagerduty")
    assert (page.severities, page.triggers) == (["error", "critical"], 2)
    (alert,) = sandbox.incidents("opsgenie")
    assert alert.severities == ["P2", "P1"]
    assert told(sandbox.requests("opsgenie")) == [
        (action, 202) for action in ("create", "create", "priority", "tags", "note")
    ]
    (note,) = alert.notes
    assert note.startswith("Severity raised to critical, priority P1.")
    assert await group_offset(world) == 4
    assert await group_offset(world, "opsgenie") == 4


async def test_a_raise_that_breaks_off_half_way_is_told_from_the_beginning(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, opsgenie={})
    sandbox.faults.add(Fault(FaultyAnswer(status=500), action="note", times=1))
    async with running_member(world.config) as member:
        await send(world, event(severity="high"))
        await incidents(sandbox, 1, "opsgenie")
        await all_told(member, "opsgenie")
        await send(world, event(severity="critical"))
        await requests(sandbox, 1, action="note", status=202)
        await all_told(member, "opsgenie")
    (alert,) = sandbox.incidents("opsgenie")
    assert (alert.severity, len(alert.notes)) == ("P1", 1)
    assert [entry.action for entry in sandbox.requests()] == ["create", *(["create", "priority", "tags", "note"] * 2)]
    assert await group_offset(world, "opsgenie") == 2
