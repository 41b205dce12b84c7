"""The main job on a broker: violations in, one incident per problem out, resolved when they stop."""

from providers.sandbox import Sandbox
from tests.support.broker import Broker
from tests.support.events import encode, event, session_end
from tests.support.kafka import committed_records, group_offsets, produce
from tests.support.service import incidents, make_world, running_member
from tests.support.waiting import wait_until


async def test_one_incident_per_problem_and_it_is_resolved_when_the_session_ends(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with running_member(world.config) as member:
        await produce(
            world.bootstrap_servers,
            world.events,
            [
                encode(event(allowed=True, severity="info")),
                encode(event(guard="secret_leak")),
                encode(event(guard="secret_leak")),
                encode(event(guard="forbidden_path")),
                encode(event(guard="secret_leak", severity="low")),
            ],
        )
        await incidents(sandbox, 2)
        await wait_until(lambda: member.metric("events_total", pipeline="pagerduty", outcome="ignored") == 2, "ignored")
        assert {incident.dedup_key for incident in sandbox.incidents()} == {
            "secret_leak:sess-1",
            "forbidden_path:sess-1",
        }
        await produce(world.bootstrap_servers, world.events, [encode(session_end())])
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 20)
    assert [incident.triggers for incident in sandbox.incidents()] == [1, 1]
    assert sandbox.extra_incidents() == []
    assert await committed_records(world.bootstrap_servers, world.dlq) == []
    (offset,) = (await group_offsets(world.bootstrap_servers, world.group())).values()
    assert (offset.offset, offset.metadata) == (6, "clawdstrike-alerting")
