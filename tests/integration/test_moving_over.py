"""From OpsGenie to Jira Service Management: both for a while, what is open at one only, and the last step."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer.cli.main import main
from providers.sandbox import Sandbox
from tests.support.broker import Broker
from tests.support.events import event
from tests.support.seen import group_reaches, send
from tests.support.service import World, incidents, make_world, running_member
from tests.support.waiting import wait_until

CLOUD = {"cloud_id": "11-aa", "email": "bot@example.com", "token": "an-api-token"}


def both(world: World, *providers: str) -> World:
    """The same with these providers only."""
    alerting = world.document["exporters"]["alerting"]
    kept = {name: section for name, section in alerting.items() if name in providers}
    return World(world.bootstrap_servers, world.partitions, {**world.document, "exporters": {"alerting": kept}})


async def command(world: World, folder: Path, *arguments: str) -> int:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(world.document))
    return await asyncio.to_thread(main, [*arguments, "--config", str(file)])


async def compared(world: World, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[tuple[str, str]]]:
    capsys.readouterr()
    code = await command(world, folder, "alerts", "compare", "--provider", "opsgenie", "--with", "jsm", "--json")
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return code, [(one["provider"], one["dedup_key"]) for one in found]


def high(session: str) -> dict[str, Any]:
    return event(session=session, severity="high")


def is_open(sandbox: Sandbox, provider: str) -> list[str]:
    return sorted(one.dedup_key for one in sandbox.open_incidents(provider))


async def test_a_service_moves_with_open_alerts(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud = {**CLOUD, "api_endpoint": sandbox.url}
    world = await make_world(
        broker.bootstrap_servers,
        sandbox.url,
        opsgenie={"verify": "first"},
        jsm={"cloud": cloud},
        kafka={"start_from": "latest"},
    )
    old, moving, new = both(world, "opsgenie"), world, both(world, "jsm")
    key = "clawdstrike-forbidden_path-{}".format

    # OpsGenie alone.
    async with running_member(old.config) as member:
        await member.restored(provider="opsgenie")
        offsets = await send(old, high("before"), high("goes-on"))
        await incidents(sandbox, 2, "opsgenie")
        await group_reaches(old, offsets[-1] + 1, "opsgenie")

    # Both: what is open stays where it is; what goes on, and what is new, is told at both.
    async with running_member(moving.config) as member:
        await member.restored(provider="opsgenie")
        await member.restored(provider="jsm")
        offsets = await send(moving, high("goes-on"), high("after"))
        await incidents(sandbox, 2, "jsm")
        await incidents(sandbox, 3, "opsgenie")
        for provider in ("opsgenie", "jsm"):
            await group_reaches(moving, offsets[-1] + 1, provider)
        assert await compared(moving, tmp_path, capsys) == (1, [("opsgenie", key("before"))])
        assert is_open(sandbox, "opsgenie") == sorted(map(key, ("before", "goes-on", "after")))
        assert is_open(sandbox, "jsm") == sorted(map(key, ("goes-on", "after")))

        # What is left there is closed on purpose, at the one only.
        assert await command(moving, tmp_path, "alerts", "resolve", key("before"), "--provider", "opsgenie") == 0
        await sandbox.wait_for(lambda: key("before") not in is_open(sandbox, "opsgenie"))

        async def is_settled() -> bool:
            return await compared(moving, tmp_path, capsys) == (0, [])

        await wait_until(is_settled, "nothing is open at one only", poll=0.2)

    # Jira Service Management alone. What is open at OpsGenie is nobody's any more, so it was closed before.
    async with running_member(new.config) as member:
        await member.restored(provider="jsm")
        await send(new, event(session="goes-on", severity="critical"))
        (raised,) = sandbox.incidents("jsm", dedup_key=key("goes-on"))
        await sandbox.wait_for(lambda: raised.notes != [])
        # By itself, through the cloud API, as is its tag.
        await sandbox.wait_for(lambda: raised.severity == "P1" and "severity:critical" in raised.tags)
    assert sandbox.extra_incidents() == []
