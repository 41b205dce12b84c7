"""PagerDuty's change events: allowed events, from the topic to the provider, beside alerts (design section 9)."""

from typing import Any

import pytest

from providers.sandbox import Sandbox
from tests.support.broker import Broker
from tests.support.events import event, session_end
from tests.support.pagerduty_schema import check_schema
from tests.support.seen import dead_letters, group_reaches, requests, send
from tests.support.service import World, incidents, make_world, running_member
from tests.support.waiting import wait_until

CHANGES = {"change_events": {"enabled": True, "categories": ["configuration", "session"]}}


def change(category: str = "configuration", **fields: Any) -> dict[str, Any]:
    return {**event(allowed=True, guard="posture", severity="info", **fields), "event_category": category}


async def a_world(broker: Broker, sandbox: Sandbox, template: str) -> World:
    pagerduty = {**CHANGES, "deduplication": {"key_template": template}}
    return await make_world(broker.bootstrap_servers, sandbox.url, pagerduty=pagerduty)


@pytest.mark.parametrize("template", ["{guard}:{session_id}", "{guard}:{tenant_id}"], ids=["direct", "stage"])
async def test_allowed_events_of_the_categories_are_told_once_and_page_nobody(
    template: str, broker: Broker, sandbox: Sandbox
) -> None:
    """Also where a repartition stage stands between: that forwards none of them, so it tells them itself."""
    world = await a_world(broker, sandbox, template)
    first, other, broken = change(), change("network"), {**change(), "timestamp": "yesterday"}
    end = {**session_end("sess-1"), "event_category": "session"}
    async with running_member(world.config) as member:
        await send(world, first, other, broken, event())
        await incidents(sandbox, 1)
        await requests(sandbox, 1, action="change", status=202)
        await send(world, end)
        await requests(sandbox, 2, action="change", status=202)
        told = sandbox.requests(action="change")
        assert [entry.event_id for entry in told] == [first["event_id"], end["event_id"]]
        if "session_id" in template:
            await sandbox.wait_for(lambda: not sandbox.open_incidents(), 15)
            await group_reaches(world, 5)
        await wait_until(
            lambda: member.metric("change_events_total", pipeline="pagerduty", result="accepted") == 2,
            "both are counted",
        )
        assert member.metric("events_total", pipeline="pagerduty", outcome="poison") == 0
    for entry in told:
        check_schema("/change/enqueue", entry.body)
    assert await dead_letters(world) == []
