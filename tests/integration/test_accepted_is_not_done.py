"""A request that OpsGenie accepts, and that fails when it is processed, is not told (design section 9)."""

from typing import Any

from providers.sandbox import FailLater, Fault, FaultyAnswer, Sandbox
from tests.support.broker import Broker
from tests.support.events import event
from tests.support.seen import group_reaches, send
from tests.support.service import incidents, make_world, running_member

NOT_YET = FaultyAnswer(status=404, headers={"X-Opsgenie-Errortype": "RequestNotProcessed"}, body="{}")


def statuses(sandbox: Sandbox, session: str) -> list[int | None]:
    """How the questions were answered what has become of the requests about this alert."""
    asked = sandbox.requests("opsgenie", action="request_status", dedup_key=f"clawdstrike-forbidden_path-{session}")
    return [entry.status for entry in asked if entry.status is not None]


def high(session: str) -> dict[str, Any]:
    return event(session=session, severity="high")


async def test_a_first_alert_that_fails_later_stays_owed_and_the_route_is_refused(
    broker: Broker, sandbox: Sandbox
) -> None:
    """Until it comes about; then what is accepted is believed."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, opsgenie={"verify": "first"})
    sandbox.faults.add(Fault(FailLater("Integration is disabled"), action="create", times=1))
    sandbox.faults.add(Fault(NOT_YET, action="request_status", times=1))
    async with running_member(world.config) as member:
        await send(world, high("a"))
        await incidents(sandbox, 1, "opsgenie")
        await sandbox.wait_for(lambda: len(statuses(sandbox, "a")) >= 3)
        offsets = await send(world, high("b"))
        await incidents(sandbox, 2, "opsgenie")
        await group_reaches(world, offsets[-1] + 1, "opsgenie")
    assert statuses(sandbox, "a") == [404, 200, 200]
    assert statuses(sandbox, "b") == []
    assert "accepted, then failed: Integration is disabled" in member.output.getvalue()
    assert sandbox.extra_incidents() == []
