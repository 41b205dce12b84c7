"""The commands ``alerts`` and ``dlq`` on a broker: what they show, what they do, and that hostile text stays text."""

import asyncio
import contextlib
import hashlib
import json
import random
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiokafka import TopicPartition
from aiokafka.admin import NewPartitions, RecordsToDelete

import consumer.replay.replay
from consumer.cli.main import main
from consumer.dlq.dead_letter import DeadLetter
from consumer.feedback.records import replay_headers, replay_id_of
from providers.sandbox import Fault, FaultyAnswer, Sandbox
from tests.support.broker import Broker
from tests.support.dead_letters import letter
from tests.support.events import event, session_end
from tests.support.kafka import (
    admin,
    committed_records,
    create_topic,
    group_offsets,
    groups,
    produce,
    running,
    transactional,
    unique,
)
from tests.support.seen import dead_letters, first_dead_letters, send
from tests.support.service import World, incidents, make_world, running_member
from tests.support.waiting import wait_until

HOSTILE = "\x1b[2J\x9b31m[red]evil[/red] \u202eexe.\r\n:bomb:"
KEY = "forbidden_path:sess-1"


class Commands:
    """Runs commands against a world, as a user would."""

    def __init__(self, world: World, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self._path = folder / "config.yaml"
        self._path.write_text(yaml.safe_dump(world.document))

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        self.capsys.readouterr()
        given = [*arguments[:2], "--config", str(self._path), *arguments[2:]]
        code = await asyncio.to_thread(main, given)
        out, err = self.capsys.readouterr()
        return code, out, err

    async def done(self, *arguments: str) -> str:
        """What a command says that does not fail."""
        code, out, err = await self.run(*arguments)
        assert (code, err) == (0, "")
        return out

    async def json(self, *arguments: str) -> Any:
        """The same, for programs."""
        return json.loads(await self.done(*arguments, "--json"))


async def checkpointed(commands: Commands, count: int) -> list[dict[str, Any]]:
    """The alerts, once the state topics hold so many that owe nothing."""

    async def found() -> list[dict[str, Any]] | None:
        alerts: list[dict[str, Any]] = await commands.json("alerts", "list")
        return alerts if len(alerts) == count and not any(alert["owes"] for alert in alerts) else None

    alerts: list[dict[str, Any]] | None = await wait_until(found, f"{count} alerts", poll=0.1)
    assert alerts is not None
    return alerts


# alerts


async def test_alerts_are_listed_shown_acknowledged_and_resolved(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2, pagerduty={}, opsgenie={})
    commands = Commands(world, tmp_path, capsys)
    assert await commands.done("alerts", "list") == "no alerts\n"
    assert await commands.json("alerts", "list") == []
    async with running_member(world.config):
        await send(world, event(severity="high"), event(severity="high"), partition=0)
        await send(world, event(guard="secret_leak", session="s2"), partition=1)
        await incidents(sandbox, 2)
        await incidents(sandbox, 2, "opsgenie")
        alerts = await checkpointed(commands, 4)
        assert [(alert["severity"], alert["dedup_key"], alert["provider"]) for alert in alerts] == [
            ("critical", "clawdstrike-secret_leak-s2", "opsgenie"),
            ("critical", "secret_leak:s2", "pagerduty"),
            ("high", "clawdstrike-forbidden_path-sess-1", "opsgenie"),
            ("high", KEY, "pagerduty"),
        ]
        assert {alert["status"] for alert in alerts} == {"open"}
        out = await commands.done("alerts", "list", "--provider", "pagerduty")
        heading, *rows, counted = out.splitlines()
        assert heading.split() == ["STATUS", "SEVERITY", "SEEN", "SINCE", "LAST", "PROVIDER", "DEDUP", "KEY"]
        assert [[*row.split()[:3], *row.split()[-2:]] for row in rows] == [
            ["open", "critical", "1", "pagerduty", "secret_leak:s2"],
            ["open", "high", "2", "pagerduty", KEY],
        ]
        assert counted == "2 alerts"

        shown = await commands.json("alerts", "show", KEY)
        assert (shown["occurrences"], shown["session_id"], shown["told"]["severity"]) == (2, "sess-1", "high")
        lines = (await commands.done("alerts", "show", KEY)).splitlines()
        assert lines[0].split() == ["dedup", "key", KEY]
        assert [line.split()[-1] for line in lines if line.startswith("told severity")] == ["high"]

        out = await commands.done("alerts", "ack", KEY, "--provider", "pagerduty", "--by", "me")
        assert out == f"acknowledge: written to {world.feedback}; the member that has the alert tells pagerduty\n"
        await sandbox.wait_for(lambda: any(incident.status == "acknowledged" for incident in sandbox.incidents()))

        async def acknowledged() -> Any:
            return await commands.json("alerts", "list", "--status", "acknowledged")

        (alert,) = await wait_until(acknowledged, "one is acknowledged", poll=0.1)
        assert (alert["dedup_key"], alert["provider"]) == (KEY, "pagerduty")
        out = await commands.done("alerts", "ack", KEY, "--provider", "pagerduty")
        assert out == "nothing to do: the alert is acknowledged already\n"

        await commands.done("alerts", "resolve", "clawdstrike-secret_leak-s2", "--provider", "opsgenie")
        await sandbox.wait_for(lambda: len(sandbox.open_incidents()) == 3)
        await checkpointed(commands, 3)


async def test_an_alert_is_shown_with_the_event_that_was_told_or_is_owed(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    commands = Commands(world, tmp_path, capsys)
    async with running_member(world.config):
        await send(world, event(event_id="e-1", reason="why", tenant="acme"))
        await incidents(sandbox, 1)
        await checkpointed(commands, 1)
        await send(world, event(event_id="e-2", reason="another"))  # is suppressed
        shown = await commands.json("alerts", "show", KEY)
        assert shown["event"] == {
            "id": "e-1", "reason": "why", "agent": "agent-7", "topic": world.events, "partition": 0, "offset": 0,
        }  # fmt: skip
        assert (shown["guard"], shown["tenant"]) == ("forbidden_path", "acme")

        sandbox.faults.add(Fault(FaultyAnswer(status=503, body=json.dumps({"message": "down"})), action="trigger"))
        await send(world, event(session="s2", guard="secret_leak", event_id="e-3", tenant=None))

        async def failed() -> Any:
            code, out, _ = await commands.run("alerts", "show", "secret_leak:s2", "--json")
            return json.loads(out) if code == 0 and json.loads(out)["owed"]["attempts"] else None

        shown = await wait_until(failed, "an attempt that has failed is in the state", poll=0.1)
        assert (shown["event"]["id"], shown["event"]["offset"], shown["tenant"]) == ("e-3", 2, None)
        assert (shown["owed"]["last_error"], shown["owed"]["route"]) == ("503 down", "default")
        assert "when its route works again" in shown["owed"]["next_attempt"]
        listed = await commands.json("alerts", "list", "--guard", "secret_leak")
        assert [one["dedup_key"] for one in listed] == ["secret_leak:s2"]
        assert [one["dedup_key"] for one in await commands.json("alerts", "list", "--tenant", "acme")] == [KEY]
    async with admin(world.bootstrap_servers) as client:
        await client.delete_records({TopicPartition(world.events, 0): RecordsToDelete(before_offset=3)})
    shown = await commands.json("alerts", "show", KEY)
    assert shown["event"] == {
        "topic": world.events, "partition": 0, "offset": 0,
        "note": "not there any more: its topic no longer has the record",
    }  # fmt: skip
    assert (await commands.json("alerts", "show", "secret_leak:s2"))["event"]["id"] == "e-3", "it is in the state"


async def test_a_key_in_two_partitions_is_one_answer_with_the_partition_each_time(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The topics grew, or the records have no key."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2)
    commands = Commands(world, tmp_path, capsys)
    async with running_member(world.config):
        await send(world, event(), event(), partition=0)
        await incidents(sandbox, 1)
        await checkpointed(commands, 1)
        await send(world, event(), partition=1)
        listed = await checkpointed(commands, 2)
    assert sorted((alert["partition"], alert["occurrences"]) for alert in listed) == [(0, 2), (1, 1)]
    for _ in range(4):
        assert await commands.json("alerts", "list") == listed
        shown = await commands.json("alerts", "show", KEY)
        assert (shown["partition"], [one["partition"] for one in shown["others"]]) == (1, [0])
    out = await commands.done("alerts", "show", KEY)
    assert "\nalso in partition 0: open, seen 2 times, last at " in out


async def test_several_alerts_are_commanded_at_once_and_waited_for(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2)
    commands = Commands(world, tmp_path, capsys)
    keys = [f"forbidden_path:s{number}" for number in range(4)]
    async with running_member(world.config):
        for number in range(4):
            await send(world, event(session=f"s{number}", severity="high"), partition=number % 2)
        await send(world, event(session="worse"), partition=0)
        await incidents(sandbox, 5)
        await checkpointed(commands, 5)

        code, out, err = await commands.run("alerts", "resolve", keys[0], "forbidden_path:s9")
        assert (code, out) == (1, "")
        assert err.startswith("there is no alert with the dedup key forbidden_path:s9 at pagerduty; the nearest: ")
        assert err.endswith("; nothing was written about the others\n")
        assert await committed_records(world.bootstrap_servers, world.feedback) == []

        out = await commands.done("alerts", "ack", keys[0], keys[1], "--wait", "20")
        written, *done = out.splitlines()
        assert written == f"acknowledge: 2 written to {world.feedback}; the members that have the alerts tell pagerduty"
        assert sorted(done) == [f"{key}: acknowledged" for key in keys[:2]]
        assert len(sandbox.open_incidents()) == 5

        out = await commands.done("alerts", "resolve", "--severity", "high", "--yes", "--wait", "20")
        _, *rows, count, written = out.splitlines()[:7]
        assert sorted(row.split()[-1] for row in rows) == keys
        assert (count, written[:19]) == ("4 alerts to resolve", "resolve: 4 written ")
        assert sorted(out.splitlines()[7:]) == [f"{key}: resolved" for key in keys]
        assert len(sandbox.open_incidents()) == 1
        assert [one["dedup_key"] for one in await commands.json("alerts", "list")] == ["forbidden_path:worse"]


@pytest.mark.parametrize("action", ["ack", "resolve"])
async def test_what_was_not_shown_is_not_commanded(
    action: str,
    broker: Broker,
    sandbox: Sandbox,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between what is shown and the yes an alert ends and comes back, one gets worse, and one only goes on."""
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    commands = Commands(world, tmp_path, capsys)
    asked, may_go_on = threading.Event(), threading.Event()

    async def agreed(what: str) -> bool:
        asked.set()
        assert await asyncio.to_thread(may_go_on.wait, 60)
        return True

    monkeypatch.setattr("consumer.cli.alerts_order.agreed", agreed)
    monkeypatch.setattr("consumer.cli.alerts_order.require_somebody", lambda args: None)
    before = time.time() - 60  # by their own time, all events are from before anybody looked
    async with running_member(world.config) as member:
        for session in ("back", "worse", "on"):
            await send(world, event(session=session, severity="high", at=before))
        await incidents(sandbox, 3)
        await checkpointed(commands, 3)
        command = asyncio.create_task(commands.run("alerts", action, "--guard", "forbidden_path", "--wait", "30"))
        assert await asyncio.to_thread(asked.wait, 60)
        await send(world, session_end(session="back", at=before))
        await sandbox.wait_for(lambda: len(sandbox.open_incidents()) == 2)
        await send(world, event(session="back", severity="high", at=before))
        await incidents(sandbox, 4)
        await send(world, event(session="worse", at=before), event(session="on", severity="high", at=before))
        await wait_until(
            lambda: len(sandbox.requests(action="trigger", status=202)) == 5, "it is told that it is worse"
        )
        may_go_on.set()
        code, out, err = await command
        done = "acknowledged" if action == "ack" else "resolved"
        assert code == 1
        assert sorted(out.splitlines()[-3:]) == [
            f"forbidden_path:back: not {done}: it has come back since",
            f"forbidden_path:on: {done}",
            f"forbidden_path:worse: not {done}: it has got worse since",
        ]
        assert err == (
            "not done: forbidden_path:back (it has come back since), forbidden_path:worse (it has got worse since)\n"
        )
        kind = "acknowledge" if action == "ack" else action
        assert member.metric("feedback_total", pipeline="pagerduty", kind=kind, result="applied") == 1
        assert member.metric("feedback_total", pipeline="pagerduty", kind=kind, result="ignored") == 2
    alerts = {one["dedup_key"]: one["status"] for one in await commands.json("alerts", "list")}
    left = {"forbidden_path:back": "open", "forbidden_path:worse": "open"}
    assert alerts == (left | {"forbidden_path:on": "acknowledged"} if action == "ack" else left)


async def test_what_is_not_done_in_time_is_said_with_how_far_it_is(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    commands = Commands(world, tmp_path, capsys)
    async with running_member(world.config):
        await send(world, event())
        await incidents(sandbox, 1)
        await checkpointed(commands, 1)
        sandbox.faults.add(Fault(FaultyAnswer(status=503), action="resolve"))
        written = f"resolve: written to {world.feedback}; the member that has the alert tells pagerduty\n"
        assert await commands.run("alerts", "resolve", KEY, "--wait", "3") == (
            1, written, f"not done within 3 s: {KEY} (the provider has not taken it yet)\n",
        )  # fmt: skip
        sandbox.faults.clear()
        out = await commands.done("alerts", "resolve", KEY, "--wait", "60s")
        assert out.splitlines()[-1] == f"{KEY}: resolved", "what is under way already can be waited for, too"
        await send(world, event())
        await checkpointed(commands, 1)
    assert await commands.run("alerts", "resolve", KEY, "--wait", "2") == (
        1, written, f"not done within 2 s: {KEY} (no member has taken it)\n",
    )  # fmt: skip


async def test_what_is_not_there_is_said_in_one_line(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    commands = Commands(world, tmp_path, capsys)
    none = "there is no alert with the dedup key \\x1bx at pagerduty\n"
    for arguments in (["show"], ["ack", "--provider", "pagerduty"], ["resolve", "--provider", "pagerduty"]):
        assert await commands.run("alerts", *arguments, "\x1bx") == (1, "", none)
    assert await commands.run("alerts", "ack", KEY, "--provider", "opsgenie") == (
        2, "", "exporters.alerting.opsgenie: is not configured\n",
    )  # fmt: skip
    assert await commands.run("dlq", "show", "0/0") == (1, "", "there is no dead letter 0/0\n")
    assert await commands.run("dlq", "show", "7/0") == (1, "", "there is no dead letter 7/0\n")
    assert await committed_records(world.bootstrap_servers, world.feedback) == []
    world.document["kafka"]["topics"]["dlq"] = "not-there"
    code, out, err = await Commands(world, tmp_path, capsys).run("dlq", "list")
    assert (code, out) == (1, "")
    assert err.startswith(
        "topic not-there does not exist, or this user may not see it: run `clawdstrike-alerting topics"
    )


async def test_hostile_text_is_only_text(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    commands = Commands(world, tmp_path, capsys)
    sandbox.faults.add(
        Fault(FaultyAnswer(status=400, body=json.dumps({"message": HOSTILE})), action="trigger", times=1)
    )
    async with running_member(world.config):
        await produce(
            world.bootstrap_servers,
            world.events,
            [json.dumps(event(session=f"{HOSTILE}-first", reason=HOSTILE)).encode()],
            key=HOSTILE.encode(),
            headers=[(HOSTILE, HOSTILE.encode())],
        )
        await first_dead_letters(world, 1)
        await send(world, event(session=HOSTILE, reason=HOSTILE, tenant=HOSTILE))
        await checkpointed(commands, 1)
        await produce(world.bootstrap_servers, world.dlq, [HOSTILE.encode()], headers=[(HOSTILE, b"\xff")])
        (alert,) = await commands.json("alerts", "list")
        for arguments in (
            ["alerts", "list"], ["alerts", "show", alert["dedup_key"]],
            ["dlq", "list"], ["dlq", "show", "0/0"], ["dlq", "replay", "--dry-run"],
        ):  # fmt: skip
            for extra in ([], ["--json"]):
                out = await commands.done(*arguments, *extra)
                assert "evil" in out or arguments[1] == "replay"
                assert all(character.isprintable() or character == "\n" for character in out)
                assert "\u202e" not in out
        assert "[red]evil[/red]" in await commands.done("alerts", "list")
        (last,) = [one["id"] for one in await commands.json("dlq", "list") if "provider" not in one]
        assert "not readable" in await commands.done("dlq", "show", last)


# dlq


async def test_dead_letters_are_listed_filtered_and_shown(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(
        broker.bootstrap_servers, sandbox.url, pagerduty={}, opsgenie={}, delivery={"max_event_age": "1h"}
    )
    commands = Commands(world, tmp_path, capsys)
    assert await commands.done("dlq", "list") == "no dead letters\n"
    sandbox.faults.add(Fault(FaultyAnswer(status=400), provider="pagerduty", action="trigger"))
    fields = event()
    async with running_member(world.config):
        await send(world, fields)
        await first_dead_letters(world, 1)
        await produce(world.bootstrap_servers, world.events, [b"\xff\x00"])
        await first_dead_letters(world, 3)
        await send(world, event(at=time.time() - 7200))
        await first_dead_letters(world, 5)

    async def classes(*filters: str) -> list[str]:
        return [letter["error_class"] for letter in await commands.json("dlq", "list", *filters)]

    everything = await classes()
    assert len(everything) == 5
    assert await classes("--error-class", "rejected_400") == ["rejected_400"]
    assert await classes("--provider", "pagerduty", "--retryable") == ["stale"]
    assert len(await classes("--provider", "opsgenie")) == 2
    assert await classes("--since", "1h") == everything
    assert await classes("--until", "1h") == []
    assert await classes("--since", "2020-01-01T00:00:00Z", "--until", "2100-01-01T00:00:00+01:00") == everything
    assert await classes("--limit", "2") == everything[-2:]
    out = await commands.done("dlq", "list", "--error-class", "rejected_400")
    heading, row, counted = out.splitlines()
    assert heading.startswith("ID")
    assert row.split()[0] == "0/0"
    assert {"pagerduty", "deliver", "rejected_400", "no"} <= set(row.split())
    assert counted == "1 dead letter"

    shown = await commands.json("dlq", "show", "0/0")
    assert json.loads(shown["value"]) == fields
    assert (shown["partition"], shown["offset"], shown["replay_of"]) == (0, 0, [])
    assert "value" in await commands.done("dlq", "show", "0/0")
    poison = next(one for one in await commands.json("dlq", "list") if one["stage"] == "decode")
    assert (await commands.json("dlq", "show", poison["id"]))["value_base64"] == "/wA="


async def test_a_dead_letter_that_was_cut_says_what_it_lacks_and_is_not_replayed(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    commands = Commands(world, tmp_path, capsys)
    value = random.Random(7).randbytes(60_000)
    async with running_member(world.config, dead_letter_limit=20_000):
        await produce(world.bootstrap_servers, world.events, [value], key=b"sess-1", headers=[("trace", b"1")])
        await first_dead_letters(world, 1)
    _, row, _ = (await commands.done("dlq", "list")).splitlines()
    assert "(cut)" in row
    shown = await commands.json("dlq", "show", "0/0")
    assert {name: fact for name, fact in shown.items() if "cut" in name or "original" in name} == {
        "cut": True,
        "original_key_bytes": 6,
        "original_value_bytes": 60_000,
        "original_headers": 1,
        "original_value_sha256": hashlib.sha256(value).hexdigest(),
    }
    assert "original value sha256" in await commands.done("dlq", "show", "0/0")
    out = await commands.done("dlq", "replay", "--poison")
    assert out == "0 dead letters replayed; skipped: 1 cut (only a part of each is stored)\n"


async def test_replay_shows_what_it_would_do_then_does_it_once(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    commands = Commands(world, tmp_path, capsys)
    sandbox.faults.add(Fault(FaultyAnswer(status=400), action="trigger"))
    async with running_member(world.config):
        await send(world, *(event(session=f"s{number}") for number in range(4)))
        await first_dead_letters(world, 4)
        await produce(world.bootstrap_servers, world.events, [b"poison"])
        await first_dead_letters(world, 5)
        sandbox.faults.clear()
        group = f"{world.config.kafka.group_id}-dlq-replay"

        out = await commands.done("dlq", "replay", "--dry-run")
        assert out.splitlines()[-1] == ("4 dead letters would be replayed; skipped: 1 poison (--poison replays them)")
        assert len(out.splitlines()) == 6
        assert await committed_records(world.bootstrap_servers, world.feedback) == []
        assert await group_offsets(world.bootstrap_servers, group) == {}

        assert await commands.done("dlq", "replay", "--limit", "1") == "1 dead letter replayed\n"
        await incidents(sandbox, 1)
        summary = await commands.json("dlq", "replay", "--error-class", "rejected_400", "--limit", "2", "--rate", "50")
        assert (summary["replayed"], summary["skipped"]) == (2, {"replayed before": 1})
        assert summary["group"] is None
        await incidents(sandbox, 3)
        out = await commands.done("dlq", "replay")
        assert out == (
            "1 dead letter replayed; skipped: 1 poison (--poison replays them), "
            "3 replayed before (--again replays them once more)\n"
        )
        await incidents(sandbox, 4)
        assert await commands.done("dlq", "replay") == (
            "0 dead letters replayed; skipped: 1 poison (--poison replays them), "
            "4 replayed before (--again replays them once more)\n"
        )
        summary = await commands.json("dlq", "replay", "--poison")
        assert (summary["replayed"], summary["skipped"]) == (1, {"replayed before": 4})
        await first_dead_letters(world, 6)
    assert [incident.triggers for incident in sandbox.incidents()] == [1] * 4
    assert len(await dead_letters(world)) == 6


async def test_a_replay_leaves_no_group_for_its_filters_and_again_goes_on_where_it_was(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    commands = Commands(world, tmp_path, capsys)
    sandbox.faults.add(Fault(FaultyAnswer(status=400), action="trigger"))
    async with running_member(world.config):
        await send(world, *(event(session=f"s{number}") for number in range(4)))
        await first_dead_letters(world, 4)
    group = f"{world.config.kafka.group_id}-dlq-replay"
    by_class = ["--error-class", "rejected_400"]

    async def sent() -> list[str | None]:
        return [
            replay_id_of(record.headers) for record in await committed_records(world.bootstrap_servers, world.feedback)
        ]

    for arguments in (["--limit", "1"], ["--limit", "1"], ["--provider", "pagerduty"]):
        await commands.done("dlq", "replay", *by_class, *arguments)
    assert await sent() == ["0/0", "0/1", "0/2", "0/3"]
    assert await groups(world.bootstrap_servers, group) == []
    assert await commands.done("dlq", "replay") == (
        "0 dead letters replayed; skipped: 4 replayed before (--again replays them once more)\n"
    )
    assert await groups(world.bootstrap_servers, group) == []

    summary = await commands.json("dlq", "replay", *by_class, "--again", "--limit", "3")
    assert summary["ids"] == ["0/0", "0/1", "0/2"]
    assert await groups(world.bootstrap_servers, group) == [summary["group"]], "it is not done yet"
    assert (await commands.json("dlq", "replay", *by_class, "--again"))["ids"] == ["0/3"]
    assert await groups(world.bootstrap_servers, group) == []
    assert len((await commands.json("dlq", "replay", "--again"))["ids"]) == 4
    assert await groups(world.bootstrap_servers, group) == []


async def test_what_was_replayed_is_left_out_and_says_how_it_ended(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    commands = Commands(world, tmp_path, capsys)
    sandbox.faults.add(Fault(FaultyAnswer(status=400), action="trigger"))
    async with running_member(world.config):
        await send(world, *(event(session=f"s{number}") for number in range(3)))
        await first_dead_letters(world, 3)
        assert await commands.done("dlq", "replay", "--limit", "1") == "1 dead letter replayed\n"
        await first_dead_letters(world, 4)
        sandbox.faults.clear()
        assert await commands.done("dlq", "replay", "--error-class", "rejected_400", "--limit", "1") == (
            "1 dead letter replayed; skipped: 1 replayed before (--again replays them once more)\n"
        )
        await incidents(sandbox, 1)

        async def ended() -> bool:
            return bool((await commands.json("dlq", "show", "0/1"))["replay_ended"] == "decided")

        await wait_until(ended, "the second is decided", poll=0.1)
    assert await commands.done("dlq", "replay", "--error-class", "rejected_400", "--limit", "1")
    listed = {letter["id"]: letter for letter in await commands.json("dlq", "list", "--all")}
    again = next(iter(listed.keys() - {"0/0", "0/1", "0/2"}))
    assert [(listed[key]["replay_ended"], listed[key]["replayed_as"]) for key in ("0/0", "0/1", "0/2", again)] == [
        ("dead again", again),
        ("decided", None),
        ("waits", None),
        (None, None),
    ]
    assert [letter["id"] for letter in await commands.json("dlq", "list")] == [again]
    out = await commands.done("dlq", "list")
    assert out.splitlines()[-1] == "1 dead letter; 3 more were replayed (--all shows them)"
    assert [line.split()[0] for line in out.splitlines()[1:-1]] == [again]
    assert await commands.done("dlq", "list", "--limit", "1", "--until", listed[again]["at"]) == (
        "no dead letters\n3 more were replayed (--all shows them)\n"
    )
    lines = (await commands.done("dlq", "show", "0/0")).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith(("replay ended", "replayed as"))] == ["again", again]

    # A replay of an earlier release is known by what it has left in the feedback topic.
    key, value, headers = next(
        (record.key, record.value, record.headers)
        for record in await committed_records(world.bootstrap_servers, world.dlq)
        if f"0/{record.offset}" == again
    )
    sent: Any = replay_headers(headers, again)
    assert value is not None
    await produce(world.bootstrap_servers, world.feedback, [value], key=key, headers=sent)
    assert await commands.json("dlq", "list") == []
    assert "0 dead letters replayed; skipped: " in await commands.done("dlq", "replay", "--provider", "pagerduty")


async def test_a_letter_that_is_too_large_for_the_feedback_topic_stops_it_with_the_fix(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    commands = Commands(world, tmp_path, capsys)
    async with running_member(world.config):
        await produce(world.bootstrap_servers, world.events, [b"x" * 300_000])
        await first_dead_letters(world, 1)
    usual = world.feedback
    small = f"{usual}.small"
    await create_topic(world.bootstrap_servers, small, configs={"max.message.bytes": "100000"})
    world.document["kafka"]["topics"]["feedback"] = small
    code, out, err = await Commands(world, tmp_path, capsys).run("dlq", "replay", "--poison")
    assert (code, out) == (1, "")
    assert err.startswith(f"stopped: dead letter 0/0 is larger than topic {small} takes: ")
    world.document["kafka"]["topics"]["feedback"] = usual
    commands = Commands(world, tmp_path, capsys)
    assert await commands.done("dlq", "replay", "--poison") == "1 dead letter replayed\n"


@pytest.mark.parametrize("filters", [["--group", "x"], []], ids=["by its position", "by its marks"])
async def test_a_replay_that_is_killed_goes_on_where_it_was(
    filters: list[str], broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    commands = Commands(world, tmp_path, capsys)
    sandbox.faults.add(Fault(FaultyAnswer(status=400), action="trigger"))
    async with running_member(world.config):
        await send(world, *(event(session=f"s{number}") for number in range(40)))
        await first_dead_letters(world, 40)
    arguments = ["dlq", "replay", "--config", str(tmp_path / "config.yaml"), "--rate", "10", *filters]
    killed = await asyncio.create_subprocess_exec(sys.executable, "-m", "consumer.cli.main", *arguments)

    async def has_begun() -> bool:
        return len(await committed_records(world.bootstrap_servers, world.feedback)) >= 10

    await wait_until(has_begun, "some are replayed", timeout=30, poll=0.05)
    killed.kill()
    await killed.wait()
    await commands.done("dlq", "replay", *filters)
    sent = [replay_id_of(record.headers) for record in await committed_records(world.bootstrap_servers, world.feedback)]
    assert len(sent) == len(set(sent)) == 40
    sandbox.faults.clear()
    async with running_member(world.config):
        await incidents(sandbox, 40)
    assert [incident.triggers for incident in sandbox.incidents()] == [1] * 40


async def _put(world: World, *letters: DeadLetter) -> None:
    for one in letters:
        key, value, headers = one.encode()
        given: Any = headers
        await produce(world.bootstrap_servers, world.dlq, [value], key=key, headers=given)


@pytest.mark.parametrize("arguments", [[], ["--group", "NAMED"]], ids=["plain", "with a group"])
async def test_what_no_task_would_decide_waits_until_there_is_one_again(
    arguments: list[str], broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The provider is not configured any more, or the topic has fewer partitions than it had."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, pagerduty={}, opsgenie={})
    both = world.document["exporters"]["alerting"]
    commands = Commands(world, tmp_path, capsys)
    arguments = [unique() if one == "NAMED" else one for one in arguments]
    await _put(world, *(letter(world.events, *of) for of in ((0, "opsgenie"), (1, "pagerduty"), (0, "pagerduty"))))
    world.document["exporters"]["alerting"] = {"pagerduty": both["pagerduty"]}
    without = Commands(world, tmp_path, capsys)
    waiting = "2 not of an input of this configuration (they stay until a configuration has their input)\n"
    for said in (
        f"1 dead letter replayed; skipped: {waiting}",
        f"0 dead letters replayed; skipped: 1 replayed before (--again replays them once more), {waiting}",
    ):
        assert await without.done("dlq", "replay", *arguments) == said
    assert [letter["id"] for letter in await without.json("dlq", "list")] == ["0/0", "0/1"]
    assert await without.json("dlq", "list", "--retryable") == []

    world.document["exporters"]["alerting"] = both
    commands = Commands(world, tmp_path, capsys)
    assert [letter["id"] for letter in await commands.json("dlq", "list", "--retryable")] == ["0/0"]
    assert (await commands.json("dlq", "replay", *arguments))["ids"] == ["0/0"]
    async with admin(world.bootstrap_servers) as client:
        await client.create_partitions({world.events: NewPartitions(2)})

    async def replayed() -> bool:
        return bool((await commands.json("dlq", "replay", *arguments))["ids"] == ["0/1"])

    await wait_until(replayed, "the one of the partition that was not there", poll=0.2)
    assert await commands.json("dlq", "list") == []


@contextlib.asynccontextmanager
async def _hiding(world: World, *topics: str) -> AsyncIterator[None]:
    """Somebody's transaction is open in these topics for the length of the block."""
    async with running(transactional(world.bootstrap_servers, unique("x"))) as foreign:
        await foreign.begin_transaction()
        for topic in topics:
            await foreign.send_and_wait(topic, b"{}", b"foreign", partition=0)
        yield
        await foreign.abort_transaction()


async def test_nothing_is_replayed_while_it_is_hidden_what_was(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A filtered replay knows by the marks, and by the feedback topic, what has been sent."""
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    commands = Commands(world, tmp_path, capsys)
    await _put(world, *(letter(world.events) for _ in range(3)))
    for hidden in ((world.dlq, world.feedback), (world.dlq,), (world.feedback,)):
        async with _hiding(world, *hidden):
            for arguments in (["--provider", "pagerduty"], [], ["--again"]):
                code, out, err = await commands.run("dlq", "replay", *arguments)
                assert (code, out, err.count("\n")) == (1, "", 1)
                assert err.startswith(
                    f"stopped: topic {hidden[0]}, partition 0: another producer's transaction is open "
                )
                assert ("in 1 more of the partitions" in err) == (len(hidden) == 2)
                assert "nothing was sent" in err
            assert await committed_records(world.bootstrap_servers, world.feedback) == []
            code, out, err = await commands.run("dlq", "replay", "--dry-run")
            assert (code, out.splitlines()[-1]) == (0, "3 dead letters would be replayed")
            assert [line.split(",")[0] for line in err.splitlines()] == [f"topic {topic}" for topic in hidden]
    assert await commands.done("dlq", "replay", "--provider", "pagerduty") == "3 dead letters replayed\n"


async def test_a_list_and_a_letter_say_what_they_do_not_show(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    commands = Commands(world, tmp_path, capsys)
    await _put(world, letter(world.events))
    assert await commands.done("dlq", "replay") == "1 dead letter replayed\n"
    async with _hiding(world, world.dlq):
        await _put(world, letter(world.events))
        said = f"topic {world.dlq}, partition 0: another producer's transaction is open at offset 3, and what has "
        code, out, err = await commands.run("dlq", "list")
        assert (code, out, err.count("\n")) == (0, "no dead letters\n1 more was replayed (--all shows them)\n", 1)
        assert err.startswith(said)
        code, out, err = await commands.run("dlq", "show", "0/4")
        assert (code, out) == (1, "")
        assert err.startswith(said)
        assert err.splitlines()[1:] == ["there is no dead letter 0/4 among the records that can be read"]
    assert [letter["id"] for letter in await commands.json("dlq", "list")] == ["0/4"]
    async with _hiding(world, world.state()):
        assert [letter["id"] for letter in await commands.json("dlq", "list")] == ["0/4"]
        for shown in (["list", "--all"], ["show", "0/0"]):
            code, out, err = await commands.run("dlq", *shown)
            assert code == 0
            assert err.startswith(f"topic {world.state()}, partition 0: another producer's transaction is open "), (
                "how a replay has ended is not known"
            )


class Crash(Exception):
    """A replay that is ended at a place where nothing can be cleaned up."""


async def _many_dead_letters(world: World, sandbox: Sandbox, count: int) -> None:
    sandbox.faults.add(Fault(FaultyAnswer(status=400), action="trigger"))
    async with running_member(world.config):
        await send(world, *(event(session=f"s{number}") for number in range(count)))
        await first_dead_letters(world, count)
    sandbox.faults.clear()


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
async def test_again_sends_everything_each_time_where_its_group_cannot_be_deleted(
    batch: int,
    broker: Broker,
    sandbox: Sandbox,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Refused, or killed before it: what is done is said in the last transaction, whatever letters that has."""
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    commands = Commands(world, tmp_path, capsys)
    await _many_dead_letters(world, sandbox, 4)
    ids = ["0/0", "0/1", "0/2", "0/3"]
    group = f"{world.config.kafka.group_id}-dlq-replay"
    monkeypatch.setattr(consumer.replay.replay, "BATCH", batch)

    async def refused(admin: object, groups: list[str], seconds: float) -> dict[str, str]:
        return dict.fromkeys(groups, "this user may not delete it")

    monkeypatch.setattr(consumer.replay.replay, "delete_groups", refused)
    for _ in range(2):
        code, out, err = await commands.run("dlq", "replay", "--again", "--json")
        assert (code, json.loads(out)["ids"]) == (0, ids)
        (left,) = await groups(world.bootstrap_servers, group)
        assert err.startswith(f"group {left} could not be deleted: this user may not delete it (`kafka-acls.sh ")
        assert err.endswith("; the next --again sends everything all the same\n")

    async def crash(*given: object) -> None:
        raise Crash

    monkeypatch.setattr(consumer.replay.replay, "delete_groups", crash)
    with pytest.raises(Crash):
        await commands.run("dlq", "replay", "--again")
    monkeypatch.undo()
    assert (await commands.json("dlq", "replay", "--again", "--limit", "3"))["ids"] == ids[:3]
    summary = await commands.json("dlq", "replay", "--again")
    assert (summary["ids"], summary["passed_before"]) == (ids[3:], 3), "that one was not done"
    assert await groups(world.bootstrap_servers, group) == []
    assert len(await committed_records(world.bootstrap_servers, world.feedback)) == 16
