"""Somebody acknowledges an incident at each provider, and the service hears of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from consumer.demo.check import Check
from consumer.demo.scrape import Numbers, PipelineNumbers
from consumer.demo.stage import PIPELINES
from consumer.demo.table import NAMES
from providers.sandbox import Sandbox

SECONDS = 15.0
"""How many seconds an acknowledge may take to come back."""

_POLL_SECONDS = 0.1


async def acknowledged_there(
    sandbox: Sandbox, numbers: Callable[[], Awaitable[Numbers]], say: Callable[[str], object]
) -> Mapping[str, list[Check]]:
    """Acknowledge the newest open incident of each provider, and wait until the service counts its alert as such; the
    checks by provider, none where nothing is open."""
    before, meant = await numbers(), {}
    for name in PIPELINES:
        if there := [one for one in sandbox.open_incidents(name) if one.status == "open"]:
            meant[name] = there[-1].dedup_key
    began = time.monotonic()
    for name, dedup_key in meant.items():
        sandbox.acknowledge(name, dedup_key)
    left = dict(meant)
    while left and time.monotonic() - began < SECONDS:
        now = await numbers()
        for name in [name for name in left if _acknowledged(now, name) > _acknowledged(before, name)]:
            say(
                f"somebody has acknowledged {left.pop(name)} at {NAMES[name]}; the service knew it "
                f"{time.monotonic() - began:.1f} s later"
            )
        await asyncio.sleep(_POLL_SECONDS if left else 0)
    return {name: [_check(name not in left, dedup_key)] for name, dedup_key in meant.items()}


def _acknowledged(numbers: Numbers, name: str) -> int:
    return numbers.get(name, PipelineNumbers()).alerts["acknowledged"]


def _check(came_back: bool, dedup_key: str) -> Check:
    differences = () if came_back else (f"nothing was heard of the acknowledge of {dedup_key}",)
    return Check("came back", "1 acknowledge", "1 acknowledge" if came_back else "none", differences)
