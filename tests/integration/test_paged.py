"""A service that runs looks whether anybody is paged (design section 13, "Accepted is not paged")."""

from providers.sandbox import Sandbox
from tests.support.broker import Broker
from tests.support.events import event
from tests.support.seen import requests, send
from tests.support.service import ROUTING_KEY, make_world, running_member
from tests.support.waiting import wait_until


async def test_a_member_says_that_a_route_pages_nobody_and_that_what_was_accepted_is_not_there(
    broker: Broker, sandbox: Sandbox
) -> None:
    service = sandbox.pagerduty.services.of(ROUTING_KEY)
    service.status = "disabled"
    token = {"rest_token": "y_NbAkKc66ryYTWUXYEu", "rest_endpoint": sandbox.url}
    world = await make_world(broker.bootstrap_servers, sandbox.url, pagerduty=token)
    async with running_member(world.config) as member:
        await member.restored()
        runner = member.runners["pagerduty"]
        told = "nobody is paged through route default: service Service 1 is disabled"
        await wait_until(lambda: told in runner.health().notes, "the note is there")
        service.status = "active"
        await send(world, event())
        await requests(sandbox, 1, action="trigger", status=202)
        await wait_until(lambda: told not in runner.health().notes, "the incident was found")
    assert len(sandbox.incidents()) == 1
    assert [word in member.output.getvalue() for word in ("route_pages_nobody", "route_pages_again")] == [True, True]
    assert token["rest_token"] not in member.output.getvalue()
