"""What is simulated of a topic is what the service really told the sandbox; and what is explained of it."""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer.cli.main import main
from consumer.demo import events
from consumer.demo.agents import AGENTS, rulesets, sessions_of
from consumer.demo.engine import Engine
from consumer.demo.stage import DemoStage
from providers.sandbox import Sandbox
from tests.support.broker import Broker
from tests.support.events import encode, event
from tests.support.kafka import committed_records, groups
from tests.support.seen import producing
from tests.support.service import Member, World, make_world, running_member
from tests.support.waiting import wait_until

SESSIONS = 1
"""Of each of the demo's agents."""

ALIVE = "still-there"
"""A session that does not end."""

PROVIDERS = {"pagerduty": "{guard}:{session_id}", "opsgenie": "clawdstrike-{guard}-{session_id}"}


def demo_events() -> Iterator[tuple[str, dict[str, Any]]]:
    """What the demo's agents do, as the demo's engines decide it: the session and the event, of now."""
    engines = {ruleset: Engine(ruleset) for ruleset in rulesets()}
    for number, agent in enumerate(AGENTS):
        engine = engines[agent.ruleset]
        for planned in itertools.islice(sessions_of(number, agent), SESSIONS):
            session = planned.session
            yield session.id, events.session_started(session, engine.of_session(), time.time())
            for step in planned.steps:
                verdict = engine.decide(step.action, session)
                yield session.id, events.decided(session, step.action, verdict, time.time())
            if planned.ends:
                yield session.id, events.session_ended(session, engine.of_session(), time.time())
    yield ALIVE, event(session=ALIVE, severity="high")


async def all_told(member: Member, sandbox: Sandbox, wanted: int) -> None:
    """So many problems have been opened at each provider, and nothing is owed."""

    def are_told() -> bool:
        owed = sum(
            member.metric("owed", pipeline=provider, partition=str(partition))
            for provider in PROVIDERS
            for partition in range(2)
        )
        return owed == 0 and all(len(sandbox.incidents(provider)) >= wanted for provider in PROVIDERS)

    await wait_until(are_told, f"{wanted} problems are told")


async def at_work(world: World, member: Member, sandbox: Sandbox) -> tuple[list[str], int]:
    """Produce the demo's events. A problem, and each rise of it, is told before its next event, as it is where agents
    take their time. The ids of the events, and how many sessions were ended that had problems."""
    worst: dict[tuple[str, str], int] = {}
    ranks = {"high": 1, "critical": 2}
    ids: list[str] = []
    ended = 0
    async with producing(world) as producer:
        for session, fields in demo_events():
            decision = fields["decision"]
            await producer.send(world.events, encode(fields), key=session.encode())
            ids.append(fields["event_id"])
            if fields["event_type"] == "session_end":
                ended += sum(key[0] == session for key in worst)
            rank = 0 if decision["allowed"] else ranks.get(decision["severity"], 0)
            key = session, decision["guard"]
            if rank > worst.get(key, 0):
                worst[key] = rank
                await told_of(sandbox, fields["event_id"])
    await all_told(member, sandbox, len(worst))
    await wait_until(
        lambda: all(
            sum(not incident.open for incident in sandbox.incidents(provider)) == ended for provider in PROVIDERS
        ),
        f"{ended} are resolved",
    )
    return ids, ended


async def told_of(sandbox: Sandbox, event_id: str) -> None:
    """Both providers have been told of this event."""
    await sandbox.wait_for(
        lambda: all(
            any(event_id in incident.event_ids for incident in reversed(sandbox.incidents(provider)))
            for provider in PROVIDERS
        ),
        20,
    )


class Commands:
    """Runs commands against a world, as a user would."""

    def __init__(self, world: World, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._config = folder / "config.yaml"
        self._config.write_text(yaml.safe_dump(world.document))

    async def run(self, command: str, *arguments: str, code: int = 0) -> str:
        """Its stdout."""
        self._capsys.readouterr()
        given = [command, *arguments, "--config", str(self._config)]
        found = await asyncio.to_thread(main, given)
        out, err = self._capsys.readouterr()
        assert found == code, (out, err)
        return out if code == 0 else err


async def test_what_is_simulated_of_the_demos_events_is_what_was_told(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("clawdstrike")
    demo = DemoStage(broker.bootstrap_servers, sandbox.url, 0, 60.0).config()["exporters"]["alerting"]
    world = await make_world(
        broker.bootstrap_servers, sandbox.url, partitions=2, pagerduty=demo["pagerduty"], opsgenie=demo["opsgenie"],
        kafka={"session_timeout": "20s", "rebalance_timeout": "40s"},
    )  # fmt: skip
    commands = Commands(world, tmp_path, capsys)
    async with running_member(world.config) as member:
        await member.restored(2)
        ids, ended = await at_work(world, member, sandbox)
    before = await groups(broker.bootstrap_servers, ""), await _everything(world)
    assert ended

    day = str(tmp_path / "day.jsonl.gz")
    report = json.loads(await commands.run("simulate", "--since", "1h", "--keys", "9999", "--json", "--export", day))
    assert report["events"] == len(ids)
    for provider in PROVIDERS:
        found, incidents = report["providers"][provider], sandbox.incidents(provider)
        keys = {row["dedup_key"]: row for row in found["noisiest"]}
        pages = Counter(incident.dedup_key for incident in incidents)
        assert {key: row["pages"] for key, row in keys.items()} == pages
        assert found["resolves"] == sum(not incident.open for incident in incidents) == ended
        assert found["suppressed"] > 0
        triggers = Counter[str]()
        for incident in incidents:
            triggers[incident.dedup_key] += incident.triggers
        if provider == "pagerduty":
            assert {key: row["pages"] + row["updates"] for key, row in keys.items()} == triggers
            routes = {row["route"]: row["pages"] for row in found["by"]["route"]}
            assert sum(routes.values()) == len(incidents)
            assert len(routes) == len({incident.key for incident in incidents})

    again = json.loads(await commands.run("simulate", "--input", day, "--keys", "9999", "--json"))
    for provider in PROVIDERS:
        assert again["providers"][provider]["noisiest"] == report["providers"][provider]["noisiest"]

    # Why did this page, and why did that not?
    first = sandbox.incidents("pagerduty")[0]
    paged = json.loads(await commands.run("explain", "--event-id", first.event_ids[0], "--since", "1h", "--json"))
    assert [one["outcome"] for one in paged["providers"]] == ["pages", "pages"]
    assert world.events in paged["event"]
    for one in paged["providers"]:
        assert [step["kind"] for step in one["history"][:2]] == ["triggered", "told"], "what really happened"
        assert one["history"][0]["event_id"] == first.event_ids[0]
    allowed = next(one for one in ids if one not in {i for x in sandbox.incidents() for i in x.event_ids})
    kept = json.loads(await commands.run("explain", "--event-id", allowed, "--since", "1h", "--json"))
    assert all(one["kept_by"] for one in kept["providers"])
    life = json.loads(await commands.run("explain", "--dedup-key", first.dedup_key, "--since", "1h", "--json"))
    assert life["providers"][0]["counts"]["page"] == 1
    assert "pagerduty" in await commands.run("explain", "--dedup-key", first.dedup_key, "--since", "1h")
    assert "there is no event nobody" in await commands.run("explain", "--event-id", "nobody", code=1)
    assert "there is no alert" in await commands.run("explain", "--dedup-key", "nobody", code=1)

    # An event that comes now finds the alert that the state topic holds.
    (tmp_path / "event.json").write_bytes(encode(event(session=ALIVE, severity="high")))
    shown = json.loads(await commands.run("explain", str(tmp_path / "event.json"), "--provider", "pagerduty", "--json"))
    (only,) = shown["providers"]
    assert only["outcome"] == "suppressed"
    assert only["kept_by"].startswith(f"the alert forbidden_path:{ALIVE}, within ")

    assert (await groups(broker.bootstrap_servers, ""), await _everything(world)) == before, (
        "nothing is joined or written"
    )


async def _everything(world: World) -> list[int]:
    """How many records each topic has."""
    topics = (world.events, world.dlq, world.feedback, *map(world.state, PROVIDERS))
    return [len(await committed_records(world.bootstrap_servers, topic)) for topic in topics]
