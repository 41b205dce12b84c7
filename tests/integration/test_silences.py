"""Silences on a broker: the commands that set and end them, and the reader that members have (design section 22)."""

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from structlog.testing import capture_logs

from consumer.cli.main import main
from consumer.config import Config
from consumer.history.step import decode
from consumer.kafka.clients import KafkaClients
from consumer.kafka.reading import read_records
from consumer.kafka.topics import check_topics, create_topics
from consumer.silences.reader import SilenceReader
from consumer.tasks.partition.read_back import read_back
from consumer.timing.waiting import meanwhile
from providers.retry import Backoff
from providers.sandbox import Fault, FaultyAnswer, Sandbox
from tests.integration.test_dlq_and_alerts import Commands, checkpointed
from tests.support.broker import Broker
from tests.support.events import encode, event, session_end
from tests.support.history_account import histories
from tests.support.kafka import admin, committed_records, produce, unique
from tests.support.seen import send
from tests.support.service import incidents, make_world, running_member
from tests.support.waiting import wait_until


class Setting:
    """Topics of its own, and commands against them."""

    def __init__(self, broker: Broker, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.servers = broker.bootstrap_servers
        name = unique("silences")
        topics = {kind: f"{name}.{kind}" for kind in ("events", "state", "dlq", "feedback", "keyed", "silences")}
        self.document = {
            "kafka": {"bootstrap_servers": broker.bootstrap_servers, "group_id": name, "topics": topics},
            "exporters": {"alerting": {"pagerduty": {"routing_key": "k" * 32, "api_endpoint": "http://127.0.0.1:1"}}},
        }
        self.config = Config.model_validate(self.document)
        self.topics = self.config.kafka.topics
        self._capsys = capsys
        self._path = folder / "config.yaml"
        self._path.write_text(yaml.safe_dump(self.document))

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = await asyncio.to_thread(main, ["silences", arguments[0], "--config", str(self._path), *arguments[1:]])
        return code, *self._capsys.readouterr()

    async def json(self, *arguments: str) -> Any:
        code, out, err = await self.run(*arguments, *([] if arguments[0] == "export" else ["--json"]))
        assert (code, err) == (0, "")
        return json.loads(out)

    async def create(self) -> None:
        async with admin(self.servers) as client:
            assert (await create_topics(client, self.config, 2, 1)).report.problems == ()


@pytest.fixture
def setting(broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Setting:
    return Setting(broker, tmp_path, capsys)


async def test_a_silence_is_set_seen_and_ended(setting: Setting, tmp_path: Path) -> None:
    await setting.create()
    await produce(
        setting.servers,
        setting.topics.events,
        [
            encode(event(session="s1", guard="egress_allowlist", severity="high")),
            encode(event(session="s1", guard="egress_allowlist", severity="high")),
            encode(event(session="s2", guard="egress_allowlist", severity="critical")),
            encode(event(session="s3", guard="forbidden_path", severity="high")),
        ],
    )
    wanted = ["--guard", "egress*", "--for", "2h", "--reason", "a known leak", "--by", "ana"]
    code, out, err = await setting.run("add", *wanted, "--dry-run")
    assert (code, err) == (0, "")
    assert "it would have matched 2 of 4 alertable events: 1 problem at pagerduty" in out
    assert "nothing was written" in out
    assert await setting.json("list") == []

    added = await setting.json("add", *wanted, "--yes", "--id", "leak")
    assert (added["written"], added["matched"], added["problems"]) == (True, 2, {"pagerduty": 1})
    (listed,) = await setting.json("list")
    assert (listed["id"], listed["state"], listed["created_by"]) == ("leak", "active", "ana")
    assert listed["match"] == {"guard": "egress*"}
    code, out, _ = await setting.run("list")
    assert code == 0
    assert "guard=egress*" in out
    code, _, err = await setting.run("add", *wanted, "--yes", "--id", "leak")
    assert (code, err) == (2, "--id: there is a silence leak already\n")
    code, _, err = await setting.run("show", "other")
    assert (code, err) == (1, "there is no silence other; there are: leak\n")

    exported = await setting.json("export")
    ended = await setting.json("expire", "leak", "--yes")
    assert ended["silences"][0]["status"] == "revoked"
    assert await setting.json("list") == []
    assert [one["state"] for one in await setting.json("list", "--all")] == ["revoked"]
    code, out, _ = await setting.run("expire", "leak", "--yes")
    assert code == 0
    assert "nothing to do: leak is over since" in out

    (tmp_path / "silences.json").write_text(json.dumps(exported))
    assert (await setting.json("import", str(tmp_path / "silences.json"), "--yes"))["written"] is True
    assert await setting.json("export") == exported


async def test_a_member_reads_all_silences_and_goes_on_with_what_is_written(setting: Setting) -> None:
    await setting.create()
    await setting.json("add", "--guard", "a", "--for", "1h", "--reason", "r", "--id", "first", "--yes")
    (first,) = await setting.json("export")
    await produce(setting.servers, setting.topics.silences, [b"{\x00"], key=b"evil")
    await produce(setting.servers, setting.topics.silences, [json.dumps(first).encode()], key=b"other")
    other = ("--tenant", "t", "--for", "1h", "--reason", "r", "--id", "second")
    changes: list[None] = []
    async with admin(setting.servers) as client:
        reader = SilenceReader(
            clients=KafkaClients(setting.config.kafka),
            admin=client,
            topic=setting.topics.silences,
            backoff=Backoff(0.1, 1.0, 2.0, lambda: 1.0),
            changed=lambda: changes.append(None),
            log=structlog.get_logger(),
        )
        with capture_logs() as logs:
            async with meanwhile(reader.run()):
                await asyncio.wait_for(reader.read_once(), 30)
                assert list(reader.known.all()) == ["first"]
                assert [one["error"] for one in logs if one["event"] == "silence_malformed"] == [
                    "the value is no JSON",
                    "the key is not the id",
                ]
                code, _, err = await setting.run("add", *other, "--yes")
                assert code == 0
                assert "the value is no JSON" in err
                await wait_until(lambda: reader.known.get("second"), "the second silence")
                await produce(setting.servers, setting.topics.silences, [None], key=b"first")
                await wait_until(lambda: reader.known.get("first") is None, "the first silence to be gone")
                assert changes


async def test_a_topic_that_is_deleted_or_made_anew_while_it_is_followed(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.silences.reader.LOOK_SECONDS", 0.3)
    await setting.create()
    await setting.json("add", "--guard", "a", "--for", "1h", "--reason", "r", "--id", "first", "--yes")
    (first,) = await setting.json("export")
    async with admin(setting.servers) as client:
        reader = SilenceReader(
            clients=KafkaClients(setting.config.kafka),
            admin=client,
            topic=setting.topics.silences,
            backoff=Backoff(0.1, 1.0, 2.0, lambda: 1.0),
            changed=lambda: None,
            log=structlog.get_logger(),
        )
        async with meanwhile(reader.run()):
            await asyncio.wait_for(reader.read_once(), 30)
            assert list(reader.known.all()) == ["first"]
            await client.delete_topics([setting.topics.silences])
            await wait_until(lambda: not reader.known.all(), "the silences to be gone")
            await create_topics(client, setting.config, 2, 1)
            await produce(setting.servers, setting.topics.silences, [json.dumps(first).encode()], key=b"first")
            await wait_until(lambda: reader.known.get("first"), "the silence to be back")


async def test_without_the_topic_nothing_is_silenced_and_the_service_is_told(setting: Setting) -> None:
    await setting.create()
    async with admin(setting.servers) as client:
        await client.delete_topics([setting.topics.silences])

        async def noted() -> bool:
            report = await check_topics(client, setting.config)
            assert report.problems == ()
            return any("and without it no alert can be silenced" in note for note in report.notes)

        await wait_until(noted, "the note that the topic is missing")
        reader = SilenceReader(
            clients=KafkaClients(setting.config.kafka),
            admin=client,
            topic=setting.topics.silences,
            backoff=Backoff(0.1, 1.0, 2.0, lambda: 1.0),
            changed=lambda: None,
            log=structlog.get_logger(),
        )
        async with meanwhile(reader.run()):
            await asyncio.wait_for(reader.read_once(), 30)
            assert len(reader.known) == 0
    code, _, err = await setting.run("list")
    assert code == 1
    assert f"topic {setting.topics.silences} does not exist" in err


# members


async def test_a_member_is_silent_and_tells_what_is_live_when_the_silence_is_ended(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2)
    commands = Commands(world, tmp_path, capsys)
    wanted = ("--guard", "egress*", "--for", "2h", "--reason", "known", "--id", "leak", "--yes")
    await commands.done("silences", "add", *wanted)
    silenced = event(session="s1", guard="egress_allowlist", severity="high", event_id="silent-1")
    other = event(session="s2", guard="forbidden_path", severity="high")
    async with running_member(world.config) as member:
        await send(world, silenced, silenced, other, partition=1)
        await incidents(sandbox, 1)
        silent = {"pipeline": "pagerduty", "outcome": "silenced"}
        await wait_until(lambda: member.metric("events_total", **silent) == 2, "silence")
        await checkpointed(commands, 2)
        shown = await commands.json("alerts", "show", "egress_allowlist:s1")
        assert (shown["silenced"]["by"], shown["silenced"]["occurrences"]) == (["leak"], 2)
        assert "silenced by" in await commands.done("alerts", "show", "egress_allowlist:s1")
        (explained,) = json.loads(await commands.done("explain", "--json", "--event-id", "silent-1"))["providers"]
        assert (explained["outcome"], explained["kept_by"]) == ("silenced", "the silence leak")
        (listed,) = await commands.json("silences", "list")
        assert (listed["alerts"], listed["occurrences"]) == (1, 2)
        ended = await commands.json("silences", "expire", "leak", "--dry-run")
        assert (ended["written"], ended["pages"]) == (False, 1)
    assert [one.dedup_key for one in sandbox.incidents("pagerduty")] == ["forbidden_path:s2"]

    # The member is gone when the silence ends; the next one tells it, without a new event.
    await commands.done("silences", "expire", "leak", "--yes")
    async with running_member(world.config):
        await incidents(sandbox, 2)
        await send(world, silenced, partition=1)
        await wait_until(lambda: len(sandbox.incidents("pagerduty")) == 2, "no other")
    assert sorted(one.dedup_key for one in sandbox.incidents("pagerduty")) == [
        "egress_allowlist:s1",
        "forbidden_path:s2",
    ]
    steps = [decode(one.value) for one in await committed_records(world.bootstrap_servers, world.history)]
    of_it = [step for step in steps if step.session == "s1"]
    assert [(step.kind.value, step.actor, step.reason) for step in of_it] == [
        ("silenced", "silence:leak", None),
        ("triggered", None, "silence_ended"),
        ("told", None, None),
    ]
    assert histories(steps)["pagerduty", "egress_allowlist:s1"].wrong == []


async def test_records_are_read_again_from_their_places_or_known_to_be_gone(setting: Setting) -> None:
    await setting.create()
    topic = setting.topics.events
    await produce(setting.servers, topic, [b"a", b"b", *([b"x"] * 200), b"c"], partition=1)
    wanted = [(topic, 1, 202), (topic, 1, 0), (topic, 1, 1), (topic, 1, 500), (topic, 9, 0), ("no.such.topic", 0, 0)]
    found = await read_back(partial(read_records, KafkaClients(setting.config.kafka)), wanted)
    assert found.error is None
    assert {place: None if one is None else one.value for place, one in found.records.items()} == {
        (topic, 1, 0): b"a",
        (topic, 1, 1): b"b",
        (topic, 1, 202): b"c",
        (topic, 1, 500): None,
        (topic, 9, 0): None,
        ("no.such.topic", 0, 0): None,
    }


async def test_what_lives_on_is_told_exactly_once_by_whoever_owns_it_then(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The end comes while the provider is down, and the member is replaced while it is being told."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=4)
    commands = Commands(world, tmp_path, capsys)
    wanted = ("--tenant", "acme-corp", "--for", "2h", "--reason", "known", "--id", "release", "--yes")
    await commands.done("silences", "add", *wanted)
    live, over = [f"live-{number}" for number in range(12)], [f"over-{number}" for number in range(12)]

    async def occur(*sessions: str) -> None:
        for number, session in enumerate(sessions):
            await send(world, event(session=session, severity="high"), partition=number % 4)

    async with running_member(world.config) as one:
        await occur(*live, *over)
        for number, session in enumerate(over):
            await send(world, session_end(session), partition=number % 4)
        silent = {"pipeline": "pagerduty", "outcome": "silenced"}
        await wait_until(lambda: one.metric("events_total", **silent) == 24, "silence")
        await checkpointed(commands, 12)
        assert sandbox.requests(action="trigger") == []
        sandbox.faults.add(Fault(FaultyAnswer(status=503), action="trigger", times=6))
        await commands.done("silences", "expire", "release", "--yes")
        await incidents(sandbox, 1)
    async with running_member(world.config):
        await incidents(sandbox, 12)
        await occur(*live)
        found = await checkpointed(commands, 12)
    assert {one["dedup_key"] for one in found} == {f"forbidden_path:{session}" for session in live}
    told = [one.dedup_key for one in sandbox.incidents("pagerduty")]
    assert sorted(told) == sorted(f"forbidden_path:{session}" for session in live), "each once"
    assert [one.extra for one in sandbox.incidents()] == [None] * 12
    steps = [decode(one.value) for one in await committed_records(world.bootstrap_servers, world.history)]
    assert [wrong for history in histories(steps).values() for wrong in history.wrong] == []
