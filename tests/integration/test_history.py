"""The history of alerts on a broker: written with what it tells, shown, counted; and what is done without its topic."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from consumer.cli.alert_history import AlertHistory, history_of
from consumer.history.step import Step, decode, schema
from providers.sandbox import Sandbox
from tests.integration.test_dlq_and_alerts import KEY, Commands, checkpointed
from tests.support.broker import Broker
from tests.support.events import event, session_end
from tests.support.history_account import histories
from tests.support.kafka import admin, committed_records
from tests.support.seen import send
from tests.support.service import World, incidents, make_world, running_member
from tests.support.waiting import wait_until


async def steps_of(world: World) -> list[Step]:
    return [decode(record.value) for record in await committed_records(world.bootstrap_servers, world.history)]


async def until(world: World, *kinds: str) -> list[Step]:
    """All steps, once there are these kinds in this order."""
    found: list[Step] = []

    async def are_there() -> bool:
        found[:] = await steps_of(world)
        return [step.kind.value for step in found] == list(kinds)

    await wait_until(are_there, f"{', '.join(kinds)}", poll=0.1)
    return found


async def test_the_life_of_an_alert_is_written_shown_and_counted(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2)
    commands = Commands(world, tmp_path, capsys)
    async with running_member(world.config):
        await send(world, event(severity="high"), partition=1)
        await incidents(sandbox, 1)
        await checkpointed(commands, 1)
        await send(world, event(severity="high"), event(severity="high"), partition=1)
        await send(world, event(severity="critical"), partition=1)
        await until(world, "triggered", "told", "triggered", "raised")
        await commands.done("alerts", "ack", KEY, "--by", "ann")
        await until(world, "triggered", "told", "triggered", "raised", "acknowledged")
        shown = await commands.json("alerts", "show", KEY)
        assert [step["kind"] for step in shown["history"]][-1] == "acknowledged"
        await send(world, session_end(), partition=1)
        steps = await until(world, "triggered", "told", "triggered", "raised", "acknowledged", "resolved")

        async def is_gone() -> bool:
            return bool(await commands.json("alerts", "list") == [])

        await wait_until(is_gone, "the alert is gone", poll=0.1)
    ((_, history),) = histories(steps).items()
    assert history.wrong == []
    raised = steps[2]
    assert (raised.reason, raised.suppressed, raised.occurrences) == ("raised", 2, 4)
    assert [step.actor for step in steps[4:]] == ["operator:ann", "session_end"]
    assert {step.partition for step in steps} == {1}
    validator = Draft202012Validator(schema())
    for record in await committed_records(broker.bootstrap_servers, world.history):
        validator.validate(orjson.loads(record.value))
        headers: dict[str, Any] = dict(record.headers)
        assert (record.key, headers["ce_specversion"]) == (KEY.encode(), b"1.0")

    gone = await commands.json("alerts", "show", KEY)
    assert gone["status"] == "gone"
    assert gone["ended"].startswith("resolved by session_end at ")
    assert len(gone["history"]) == 6
    lines = (await commands.done("alerts", "show", KEY)).splitlines()
    assert lines[-1].split()[2:4] == ["resolved", "critical"]

    stats = await commands.json("alerts", "stats", "--by", "guard,severity")
    (group,) = stats["groups"]
    assert (group["guard"], group["severity"], group["alerts"], group["pages"]) == ("forbidden_path", "critical", 1, 2)
    assert group["ended_by"] == {"session_end": 1}
    assert (group["occurrences"], group["suppressed"], group["acknowledged"], group["noise"]) == (4, 2, 1, 0)
    report = tmp_path / "report.md"
    out = await commands.done("alerts", "stats", "--report", str(report))
    assert "forbidden_path" in out
    assert "| forbidden\\_path |" in report.read_text()


async def test_without_its_topic_alerts_are_told_all_the_same(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with admin(broker.bootstrap_servers) as client:
        await client.delete_topics([world.history])
    commands = Commands(world, tmp_path, capsys)
    async with running_member(world.config) as member:
        await send(world, event())
        await incidents(sandbox, 1)
        await checkpointed(commands, 1)
        assert member.output.getvalue().count("history_topic_missing") == 1
        shown = await commands.done("alerts", "show", KEY)
        assert shown.splitlines()[-1] == "history: its topic does not exist, or this user may not see it"
        code, _, err = await commands.run("alerts", "stats")
        assert code == 1
        assert "history does not exist" in err


async def test_an_alert_that_begins_while_it_is_looked_for_is_not_gone(
    broker: Broker,
    sandbox: Sandbox,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    commands = Commands(world, tmp_path, capsys)

    async def history_of_a_moment_later(*args: Any, **options: Any) -> AlertHistory:
        await send(world, event())
        await until(world, "triggered", "told")
        return await history_of(*args, **options)

    async with running_member(world.config):
        with monkeypatch.context() as patched:
            patched.setattr("consumer.cli.alerts.history_of", history_of_a_moment_later)
            shown = await commands.json("alerts", "show", KEY)
    assert (shown["status"], [step["kind"] for step in shown["history"]]) == ("open", ["triggered", "told"])
