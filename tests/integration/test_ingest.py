"""The way in at a broker: what was answered with 200 is in the topic, each once, and what alerts is told."""

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from consumer.cli.main import main
from consumer.kafka.partitioning import Partitioner
from providers.sandbox import Sandbox
from tests.support.broker import Broker, KafkaContainer
from tests.support.events import encode, event, session_end
from tests.support.ingest import TOKEN
from tests.support.kafka import admin, committed_records
from tests.support.process import Service, merged, run_to_end, service_process
from tests.support.seen import dead_letters
from tests.support.service import World, incidents, make_world, running_member
from tests.support.waiting import wait_until

NO_SANDBOX = "http://127.0.0.1:1"
OUTAGE_SECONDS = 60.0
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Sender:
    """Posts as the engine's daemon does: one event a post, again after 429 and 5xx. It keeps account."""

    http: aiohttp.ClientSession
    url: str
    acknowledged: list[str] = field(default_factory=list)
    """The ids of the events that were answered with 200, in order."""
    statuses: Counter[int] = field(default_factory=Counter)

    async def post(self, body: Any) -> tuple[int, dict[str, Any]]:
        """One post, whatever comes of it; the status and the line."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        async with self.http.post(f"{self.url}/v1/events", data=data, headers=AUTHORIZED) as response:
            self.statuses[response.status] += 1
            return response.status, orjson.loads(await response.read())

    async def send(self, one: Mapping[str, Any]) -> None:
        """One event, until it is taken."""
        while (await self.post(dict(one)))[0] == 503:  # noqa: ASYNC110 (the other side says when)
            await asyncio.sleep(0.3)
        self.acknowledged.append(one["event_id"])

    async def status(self, path: str) -> int:
        """The status of one of its pages."""
        async with self.http.get(self.url + path) as response:
            return response.status


@contextlib.asynccontextmanager
async def ingest_process(world: World, folder: Path, **ingest: Any) -> AsyncIterator[tuple[Service, Sender]]:
    """``clawdstrike-alerting ingest`` in a process of its own, and who posts to it."""
    document = merged(world.document, ingest={"port": 0, "tokens": [TOKEN], **ingest})
    async with (
        service_process(document, folder, "ingest", command="ingest") as service,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as http,
    ):
        started = await service.said("ingest_started")
        sender = Sender(http, f"http://127.0.0.1:{started['port']}")

        async def is_ready() -> bool:
            return await sender.status("/readyz") == 200

        await wait_until(is_ready, "it takes events", timeout=20)
        yield service, sender


async def written(world: World) -> list[dict[str, Any]]:
    """All events of the topic."""
    return [orjson.loads(record.value) for record in await committed_records(world.bootstrap_servers, world.events)]


async def test_events_are_in_the_topic_byte_for_byte_and_under_their_keys(broker: Broker, tmp_path: Path) -> None:
    for partitioner in Partitioner:
        kafka = {"partitioner": partitioner.value}
        world = await make_world(broker.bootstrap_servers, NO_SANDBOX, partitions=4, kafka=kafka)
        events = [event(session=f"sess-{number % 10}") for number in range(60)]
        async with ingest_process(world, tmp_path) as (_, sender):
            for one in events[:20]:
                assert await sender.post(one) == (200, {"written": 1, "repeated": 0, "invalid": 0})
            assert (await sender.post(events))[1] == {"written": 40, "repeated": 20, "invalid": 0}
        records = await committed_records(world.bootstrap_servers, world.events)
        assert sorted(record.value for record in records) == sorted(map(encode, events))
        for record in records:
            assert record.key == orjson.loads(record.value)["session"]["id"].encode()
            assert record.partition == partitioner.partition_of(record.key, 4)
            assert record.headers == ()
        for number in range(10):
            of_session = [record.value for record in records if record.key == b"sess-%d" % number]
            assert of_session == [encode(one) for one in events if one["session"]["id"] == f"sess-{number}"]


async def test_what_is_no_event_is_a_dead_letter_that_can_be_looked_at(
    broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, NO_SANDBOX)
    bad = event(severity="urgent", event_id="e-bad")
    async with ingest_process(world, tmp_path) as (_, sender):
        status, said = await sender.post([event(), bad])
        assert (status, said["written"], said["invalid"]) == (200, 1, 1)
        assert [(error["event"], error["path"]) for error in said["errors"]] == [(1, "decision.severity")]
    (letter,) = await dead_letters(world)
    assert (letter.stage, letter.event_id, letter.record.value) == ("ingest", "e-bad", encode(bad))
    assert len(await written(world)) == 1
    config = str(tmp_path / "ingest.yaml")
    assert await asyncio.to_thread(main, ["dlq", "list", "--config", config, "--json"]) == 0
    (listed,) = orjson.loads(capsys.readouterr().out)
    assert listed["stage"] == "ingest"
    assert await asyncio.to_thread(main, ["dlq", "show", "0/0", "--config", config]) == 0
    assert "decision.severity" in capsys.readouterr().out

    async def is_answered() -> bool:  # a broker that has just started knows of no groups
        return await asyncio.to_thread(main, ["dlq", "replay", "--config", config, "--dry-run", "--poison"]) == 0

    await wait_until(is_answered, "a replay says what it would send", timeout=30)
    assert "e-bad" not in capsys.readouterr().out, "it was never a record"


async def test_a_posted_violation_is_an_incident_and_ends_with_its_session(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2)
    cloudevent = {"specversion": "1.0", "id": "1", "source": "/hushd", "type": "x", "data": event(session="s-2")}
    async with running_member(world.config), ingest_process(world, tmp_path) as (_, sender):
        assert (await sender.post(event(session="s-1")))[0] == 200
        async with sender.http.post(
            f"{sender.url}/v1/events",
            data=orjson.dumps(cloudevent),
            headers={**AUTHORIZED, "Content-Type": "application/cloudevents+json"},
        ) as response:
            assert response.status == 200
        await incidents(sandbox, 2)
        assert {one.dedup_key for one in sandbox.incidents()} == {"forbidden_path:s-1", "forbidden_path:s-2"}
        for session in ("s-1", "s-2"):
            assert (await sender.post(session_end(session)))[0] == 200
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 20)
    assert sandbox.extra_incidents() == []


async def test_one_that_is_posted_again_behind_the_end_of_its_session_opens_no_second_incident(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    world, one = await make_world(broker.bootstrap_servers, sandbox.url), event(session="s-1")
    async with running_member(world.config), ingest_process(world, tmp_path) as (_, sender):
        await sender.send(one)
        await incidents(sandbox, 1)
        await sender.send(session_end("s-1"))
        await sandbox.wait_for(lambda: not sandbox.open_incidents(), 20)
        assert (await sender.post(one))[1]["repeated"] == 1
        await sender.send(event(session="s-2"))
        await incidents(sandbox, 2)
    assert [incident.dedup_key for incident in sandbox.incidents()] == ["forbidden_path:s-1", "forbidden_path:s-2"]


async def test_it_can_be_in_the_process_of_the_service(broker: Broker, sandbox: Sandbox, tmp_path: Path) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    document = merged(world.document, ingest={"enabled": True, "port": 0, "tokens": [TOKEN]})
    async with service_process(document, tmp_path) as service, aiohttp.ClientSession() as http:
        await service.restored()
        sender = Sender(http, f"http://127.0.0.1:{service.lines('ingest_started')[0]['port']}")
        await sender.send(event(session="s-1"))
        await incidents(sandbox, 1)
        assert await service.metric("ingest_events_total", outcome="written") == 1


async def test_without_its_topics_it_does_not_start(broker: Broker, tmp_path: Path) -> None:
    world = await make_world(broker.bootstrap_servers, NO_SANDBOX)
    document = merged(world.document, ingest={"port": 0, "tokens": [TOKEN]}, kafka={"topics": {"events": "no-such"}})
    code, lines = await run_to_end(document, tmp_path, command="ingest")
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith("topic no-such does not exist, or this user may not see it: run ")


# a broker that goes away, and comes back


class Posting:
    """Several senders at once, each of which sends an event when the one before was taken."""

    def __init__(self, sender: Sender, count: int) -> None:
        self._sender = sender
        self._stop = asyncio.Event()
        self._numbers = itertools.count()
        self._working = [asyncio.create_task(self._work()) for _ in range(count)]

    async def _work(self) -> None:
        while not self._stop.is_set():
            await self._sender.send(event(session=f"s-{next(self._numbers)}"))
            await asyncio.sleep(0.02)

    async def end(self) -> None:
        """Stop when what is under way has been taken."""
        self._stop.set()
        await asyncio.gather(*self._working)

    def leave(self) -> None:
        """Stop at once."""
        for work in self._working:
            work.cancel()

    async def goes_on(self, count: int = 20, timeout: float = 60.0) -> None:
        """Wait until so many more were taken."""
        before = len(self._sender.acknowledged)
        await wait_until(
            lambda: len(self._sender.acknowledged) >= before + count or self._failed(),
            "events are taken",
            timeout=timeout,
        )

    def _failed(self) -> bool:
        for work in self._working:
            if work.done():
                work.result()
        return False


@contextlib.asynccontextmanager
async def posting_by(sender: Sender, count: int = 8) -> AsyncIterator[Posting]:
    """So many senders, for the length of the block."""
    posting = Posting(sender, count)
    try:
        yield posting
    finally:
        posting.leave()


async def each_is_there_once(world: World, sender: Sender) -> None:
    found = Counter(one["event_id"] for one in await written(world))
    lost = [event_id for event_id in sender.acknowledged if event_id not in found]
    assert lost == []
    assert [event_id for event_id, times in found.items() if times > 1] == []


async def _stop_and_start(kafka: KafkaContainer) -> None:
    await asyncio.to_thread(kafka.stop)
    await asyncio.sleep(5)
    await asyncio.to_thread(kafka.start)


async def _kill(kafka: KafkaContainer) -> None:
    await asyncio.to_thread(kafka.kill)
    await asyncio.to_thread(kafka.start)


async def _freeze(kafka: KafkaContainer) -> None:
    await asyncio.to_thread(kafka.pause)
    await asyncio.sleep(12)
    await asyncio.to_thread(kafka.unpause)


@pytest.mark.real_kafka("a broker that can be killed")
@pytest.mark.parametrize("strike", [_stop_and_start, _kill, _freeze], ids=["restart", "kill", "freeze"])
async def test_nothing_that_was_acknowledged_is_lost_or_there_twice(
    own_kafka: KafkaContainer,
    tmp_path: Path,
    strike: Callable[[KafkaContainer], Awaitable[None]],
) -> None:
    world = await make_world(own_kafka.bootstrap_servers, NO_SANDBOX, partitions=3)
    async with ingest_process(world, tmp_path) as (_, sender), posting_by(sender) as posting:
        await posting.goes_on()
        await strike(own_kafka)
        await posting.goes_on(timeout=90)
        await posting.end()
        assert set(sender.statuses) <= {200, 503}
    await each_is_there_once(world, sender)


@pytest.mark.real_kafka("a broker that can be stopped")
async def test_kafka_away_for_a_minute(own_kafka: KafkaContainer, tmp_path: Path) -> None:
    world = await make_world(own_kafka.bootstrap_servers, NO_SANDBOX, partitions=3)
    async with (
        ingest_process(world, tmp_path, answer_within="3s") as (service, sender),
        posting_by(sender, 16) as posting,
    ):
        await posting.goes_on()
        before = await service_memory(sender)
        stopped = len(service.lines("receiver_stopped_taking"))  # on a busy machine it may say so before its first look
        await asyncio.to_thread(own_kafka.stop)
        began = time.monotonic()
        await service.said("receiver_stopped_taking", stopped + 1)
        assert await sender.status("/readyz") == 503
        assert await sender.status("/healthz") == 200
        large = [event(reason="x" * 60_000) for _ in range(15)]
        while time.monotonic() - began < OUTAGE_SECONDS:
            asked = time.monotonic()
            status, said = await sender.post(large)
            assert (status, list(said)) == (503, ["error"])
            assert time.monotonic() - asked < 4
        assert await service_memory(sender) < before + 64 * 1024 * 1024
        await asyncio.to_thread(own_kafka.start)
        await posting.goes_on(timeout=90)
        await posting.end()
        await service.said("receiver_takes_again")
        assert await sender.status("/readyz") == 200
        assert sender.statuses[503] > 16
    await each_is_there_once(world, sender)


async def service_memory(sender: Sender) -> float:
    async with sender.http.get(f"{sender.url}/metrics") as response:
        text = await response.text()
    (line,) = [line for line in text.splitlines() if line.startswith("process_resident_memory_bytes ")]
    return float(line.split()[1])


async def test_what_was_acknowledged_before_sigterm_is_there(broker: Broker, tmp_path: Path) -> None:
    world = await make_world(broker.bootstrap_servers, NO_SANDBOX, partitions=3)
    async with ingest_process(world, tmp_path) as (service, sender), posting_by(sender) as posting:
        await posting.goes_on()
        service.ask_to_end()
        assert await service.ended(within=15) == 0
        with pytest.raises((aiohttp.ClientError, OSError)):
            await posting.end()
    await each_is_there_once(world, sender)


@pytest.mark.real_kafka("the embedded broker has no limits of topics")
async def test_a_topic_that_takes_less_than_before(broker: Broker, tmp_path: Path) -> None:
    world = await make_world(broker.bootstrap_servers, NO_SANDBOX)
    async with ingest_process(world, tmp_path) as (service, sender):
        await sender.send(event())
        async with admin(world.bootstrap_servers) as client:
            lowered = ConfigResource(ConfigResourceType.TOPIC, world.events, {"max.message.bytes": "20000"})
            await client.alter_configs([lowered])
        large = [event(reason="x" * 50_000) for _ in range(100)]
        for one in large:  # the broker knows it a moment later
            status, said = await sender.post(one)
            if status == 503:
                assert list(said) == ["error"], "a producer that was refused something is given up"
                break
        await service.said("receiver_producer_failed")

        async def is_answered() -> bool:
            return (await sender.post(one))[0] == 200

        await wait_until(is_answered, "it is known to be too large", timeout=20, poll=0.2)
        await sender.send(event())
    assert len(await written(world)) == 2 + large.index(one)
    (letter,) = await dead_letters(world)
    assert (letter.error_class, letter.record.value) == ("too_large", encode(one))
