"""Bad hours of a provider, in small: alerts are late and never lost, and nobody else is held up by them.

Problems begin all the time, before, during and after the outage of PagerDuty's default route. Meanwhile OpsGenie and
PagerDuty's other route have to be as prompt as ever, and the group does not stir. (What is kept in memory is bounded by
`delivery.max_owed`: `tests/integration/test_life.py`.)
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from providers.sandbox import Fault, FaultyAnswer, Hang, Sandbox
from providers.sandbox.faults import Effect
from tests.support.broker import Broker
from tests.support.events import event
from tests.support.seen import dead_letters, group_reaches, send
from tests.support.service import ROUTING_KEY, make_world, running_member
from tests.support.waiting import wait_until

OTHER_KEY = "e" * 32
EVERY_SECONDS = 0.1
PROMPT_SECONDS = 1.5
"""From sending an event to its incident where there is no outage, on a busy machine."""

DOWN = FaultyAnswer(status=503)


async def _down(sandbox: Sandbox, seconds: float, effect: Effect = DOWN) -> None:
    armed = sandbox.faults.add(Fault(effect, key=ROUTING_KEY))
    await asyncio.sleep(seconds)
    armed.remove()


async def _flapping(sandbox: Sandbox, seconds: float) -> None:
    for _ in range(int(seconds / 0.6)):
        await _down(sandbox, 0.3)
        await asyncio.sleep(0.3)


@dataclass(frozen=True)
class Outage:
    """What happens for some seconds, with which settings."""

    play: Callable[[Sandbox], Awaitable[None]]
    delivery: dict[str, Any] = field(default_factory=dict)
    gives_up: bool = False


OUTAGES = {
    "longer than give_up_after": Outage(lambda sandbox: _down(sandbox, 6), {"give_up_after": "2s"}, gives_up=True),
    "half of give_up_after": Outage(lambda sandbox: _down(sandbox, 6), {"give_up_after": "12s"}),
    "flapping": Outage(lambda sandbox: _flapping(sandbox, 6)),
    "429 all the time": Outage(
        lambda sandbox: _down(sandbox, 6, FaultyAnswer(status=429, headers={"Retry-After": "1"}))
    ),
    "hanging until the time-out": Outage(lambda sandbox: _down(sandbox, 6, Hang())),
}


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
async def test_alerts_are_late_never_lost_and_nobody_else_is_delayed(
    outage: Outage, broker: Broker, sandbox: Sandbox
) -> None:
    routing = {"by_guard": {"secret_leak": OTHER_KEY}}
    delivery = {"max_in_flight": 4, **outage.delivery}
    world = await make_world(
        broker.bootstrap_servers, sandbox.url, pagerduty={"routing": routing}, opsgenie={}, delivery=delivery
    )
    sent: dict[str, float] = {}

    async def problems(stop: asyncio.Event) -> None:
        clock = asyncio.get_running_loop().time
        while not stop.is_set():
            for guard in ("forbidden_path", "secret_leak"):
                session = f"s{len(sent)}"
                fields = event(guard=guard, session=session)
                sent[fields["event_id"]] = clock()
                await send(world, fields)
            await asyncio.sleep(EVERY_SECONDS)

    async with running_member(world.config) as member:
        for provider in ("pagerduty", "opsgenie"):
            await member.restored(1, provider)
        stop = asyncio.Event()
        sending = asyncio.create_task(problems(stop))
        await wait_until(lambda: len(sent) >= 10, "problems begin")
        await outage.play(sandbox)
        count = len(sent)
        await wait_until(lambda: len(sent) >= count + 10, "problems begin after the outage")
        stop.set()
        await sending
        for provider in ("pagerduty", "opsgenie"):
            await group_reaches(world, len(sent), provider, timeout=60)
        log = [orjson.loads(line) for line in member.output.getvalue().splitlines()]

    letters = await dead_letters(world)
    given_up = {letter.event_id for letter in letters}
    assert len(letters) == len(given_up)
    assert all((letter.provider, letter.error_class) == ("pagerduty", "given_up") for letter in letters)
    assert bool(given_up) == outage.gives_up
    opened = {(entry.provider, entry.event_ids[0]): entry for entry in sandbox.incidents()}
    assert len(opened) == len(sandbox.incidents())
    assert {event_id for provider, event_id in opened if provider == "opsgenie"} == sent.keys()
    assert {event_id for provider, event_id in opened if provider == "pagerduty"} >= sent.keys() - given_up
    assert sandbox.extra_incidents() == []

    late = {
        key: incident.opened_monotonic - sent[key[1]]
        for key, incident in opened.items()
        if incident.opened_monotonic - sent[key[1]] > PROMPT_SECONDS
    }
    assert {opened[key].key for key in late} <= {ROUTING_KEY}, late
    assert [line["provider"] for line in log if line["event"] == "partitions_assigned"].count("pagerduty") == 1
    assert not [line for line in log if line["event"] in ("not_owner", "proof_unanswered", "task_trouble")]
