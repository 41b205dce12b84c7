"""A provider that the configuration describes, beside one of ours: each has its own pipeline, from events to an end."""

from pathlib import Path
from typing import Any

import yaml

from providers.sandbox import Sandbox
from tests.support.broker import Broker
from tests.support.events import encode, event, session_end
from tests.support.kafka import committed_records, group_offsets, produce
from tests.support.service import incidents, make_world, running_member
from tests.support.stand_ins import ILert, standing_in
from tests.support.waiting import wait_until

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "http-ilert.yaml"


def section_of(url: str) -> dict[str, Any]:
    """The section of the example, of which the stand-in is the provider."""
    document = yaml.safe_load(EXAMPLE.read_text().replace(ILert.origin, url))
    section: dict[str, Any] = document["exporters"]["alerting"]["http"]["ilert"]
    return {**section, "secret": ILert.keys["ILERT_INTEGRATION_KEY"], "routing": {}}


async def test_a_problem_is_opened_updated_and_ended_at_both_and_an_outage_of_one_is_its_own(
    broker: Broker, sandbox: Sandbox
) -> None:
    async with standing_in(ILert()) as ilert:
        world = await make_world(
            broker.bootstrap_servers, sandbox.url, pagerduty={}, http={"ilert": section_of(ilert.url)}
        )

        async def happen(*events: dict[str, Any]) -> None:
            await produce(world.bootstrap_servers, world.events, [encode(one) for one in events])

        async with running_member(world.config) as member:
            ilert.outage = 503
            await happen(event(session="Sess-1", severity="high"), event(session="sess-1", severity="high"))
            await incidents(sandbox, 2)
            assert ilert.open == {}, "and pages have come all the same"
            ilert.outage = None
            await wait_until(lambda: len(ilert.open) == 2, "both problems are open at ilert, too")

            await happen(event(session="Sess-1", severity="critical"))
            raised = ilert.open["forbidden_path:^sess-1"]
            await wait_until(lambda: raised.told == 2, "the higher severity is told")
            assert raised.last["details"].startswith("Severity critical, 2 occurrences")
            await sandbox.wait_for(lambda: {one.triggers for one in sandbox.incidents()} == {1, 2}, 20)

            await happen(session_end("Sess-1"))
            await wait_until(lambda: ilert.closed == ["forbidden_path:^sess-1"], "one is over")
            assert list(ilert.open) == ["forbidden_path:sess-1"], "and not the one whose key differs in case only"
            await happen(session_end("sess-1"))
            await wait_until(lambda: not ilert.open, "the other one is over")
            await sandbox.wait_for(lambda: not sandbox.open_incidents(), 20)
            for provider in ("pagerduty", "ilert"):
                assert member.metric("events_total", pipeline=provider, outcome="triggered") == 3
        assert ilert.wrong == []
        assert sandbox.extra_incidents() == []
        assert await committed_records(world.bootstrap_servers, world.dlq) == []
        for provider in ("pagerduty", "ilert"):
            (offset,) = (await group_offsets(world.bootstrap_servers, world.group(provider))).values()
            assert offset.offset == 5
        assert ILert.keys["ILERT_INTEGRATION_KEY"] not in member.output.getvalue()
