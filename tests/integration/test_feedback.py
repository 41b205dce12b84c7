"""Feedback on a broker: operators' commands and replayed dead letters reach the one task that they are for, once."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka import TopicPartition

from consumer.feedback.records import (
    Feedback,
    FeedbackKind,
    OperatorCommand,
    Replay,
    decode_feedback,
    encode_command,
    history_of,
)
from consumer.kafka.clients import KafkaClients
from consumer.kafka.reading import read_alerts
from consumer.replay.replay import Plan, Summary, replay
from consumer.replay.replayed import decode_mark
from consumer.replay.stored_dead_letters import Selection
from consumer.tasks.partition.alerter import Alerter
from providers.sandbox import Delay, Fault, FaultyAnswer, Sandbox
from state.alert import Alert, Status
from state.records import CHECKPOINT_KEY, Position, decode_position
from tests.support.broker import Broker
from tests.support.events import encode, event, session_end
from tests.support.kafka import admin, committed_records, produce
from tests.support.seen import dead_letters, first_dead_letters, group_offset, group_reaches, requests, send
from tests.support.service import Member, World, incidents, make_world, running_member
from tests.support.waiting import wait_until

KEY = "forbidden_path:sess-1"


async def command(world: World, kind: FeedbackKind, dedup_key: str = KEY, provider: str = "pagerduty") -> None:
    key, value, headers = encode_command(OperatorCommand(kind, provider, dedup_key, time.time(), "a test"))
    await produce(world.bootstrap_servers, world.feedback, [value], key=key, headers=headers)  # type: ignore[arg-type]


async def alerts(world: World, provider: str = "pagerduty") -> dict[str, Alert]:
    """The alerts as the state topic holds them now."""
    partitions = [TopicPartition(world.state(provider), number) for number in range(world.partitions)]
    found, corrupt = await read_alerts(KafkaClients(world.config.kafka), partitions)
    assert corrupt == []
    return {alert.dedup_key: alert for _, alert in found}


async def status_is(world: World, status: Status | None, dedup_key: str = KEY, provider: str = "pagerduty") -> None:
    async def is_so() -> bool:
        alert = (await alerts(world, provider)).get(dedup_key)
        return (None if alert is None else alert.status) is status

    await wait_until(is_so, f"{dedup_key} is {status}", poll=0.1)


async def position(world: World, partition: int = 0, provider: str = "pagerduty") -> Position:
    records = await committed_records(world.bootstrap_servers, world.state(provider), partition)
    return decode_position([record.value for record in records if record.key == CHECKPOINT_KEY][-1])


async def taken(world: World, offset: int, partition: int = 0, provider: str = "pagerduty") -> None:
    """Wait until a checkpoint of the task holds this feedback position."""

    async def is_taken() -> bool:
        return (await position(world, partition, provider)).feedback.get(0, 0) >= offset

    await wait_until(is_taken, f"feedback is taken up to {offset}", timeout=20, poll=0.2)


async def replay_all(world: World, *, sleep: Any = asyncio.sleep, **changes: Any) -> Summary:
    """Replay what is in the dead-letter topic, as the command line does."""
    config = world.config
    clients = KafkaClients(config.kafka)
    plan: dict[str, Any] = {
        "selection": Selection(),
        "tasks": {
            provider: [TopicPartition(world.events, number) for number in range(world.partitions)]
            for provider in config.pipelines
        },
        "group": f"{config.kafka.group_id}-dlq-replay",
        "transactional_id": f"{config.kafka.group_id}-dlq-replay",
        "feedback": [TopicPartition(world.feedback, 0)],
        "dead_letters": [TopicPartition(world.dlq, 0)],
    }
    async with admin(world.bootstrap_servers) as client:
        return await replay(clients, client, Plan(**{**plan, **changes}), lambda done, total: None, sleep)


async def feedback(world: World) -> list[Feedback]:
    records = await committed_records(world.bootstrap_servers, world.feedback)
    return [decode_feedback(record.key, record.value, record.headers, record.timestamp) for record in records]


# commands


@pytest.mark.parametrize(
    ("provider", "dedup_key"), [("pagerduty", KEY), ("opsgenie", "clawdstrike-forbidden_path-sess-1")]
)
async def test_an_operator_acknowledges_and_resolves(
    provider: str, dedup_key: str, broker: Broker, sandbox: Sandbox
) -> None:
    section: Mapping[str, Any] = {provider: {}}
    world = await make_world(broker.bootstrap_servers, sandbox.url, **section)
    async with running_member(world.config) as member:
        await send(world, event())
        await incidents(sandbox, 1, provider)
        await command(world, FeedbackKind.ACKNOWLEDGE, dedup_key, provider)
        await requests(sandbox, 1, action="acknowledge", status=202)
        await status_is(world, Status.ACKNOWLEDGED, dedup_key, provider)
        await send(world, event())
        await command(world, FeedbackKind.RESOLVE, dedup_key, provider)
        await sandbox.wait_for(lambda: not sandbox.open_incidents())
        await status_is(world, None, dedup_key, provider)
        assert member.metric("feedback_total", pipeline=provider, kind="acknowledge", result="applied") == 1
    (incident,) = sandbox.incidents()
    assert (incident.acknowledgements, incident.triggers) == (1, 1)
    assert await group_offset(world, provider) == 2
    assert "command_applied" in member.output.getvalue()


async def test_a_rejected_acknowledge_leaves_the_alert_open(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    sandbox.faults.add(Fault(FaultyAnswer(status=400), action="acknowledge", times=1))
    async with running_member(world.config) as member:
        await send(world, event())
        await incidents(sandbox, 1)
        await command(world, FeedbackKind.ACKNOWLEDGE)
        await requests(sandbox, 1, action="acknowledge")
        await wait_until(lambda: "acknowledge_rejected" in member.output.getvalue(), "it is logged")
        await status_is(world, Status.OPEN)
        await command(world, FeedbackKind.ACKNOWLEDGE)
        await status_is(world, Status.ACKNOWLEDGED)
    assert await dead_letters(world) == []


async def test_an_acknowledge_is_said_again_until_it_is_answered_also_by_the_next_owner(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    sandbox.faults.add(Fault(FaultyAnswer(status=503), action="acknowledge"))
    async with running_member(world.config):
        await send(world, event())
        await incidents(sandbox, 1)
        await command(world, FeedbackKind.ACKNOWLEDGE)
        await requests(sandbox, 2, action="acknowledge", status=503)
    assert (await alerts(world))[KEY].acknowledging
    sandbox.faults.clear()
    async with running_member(world.config):
        await requests(sandbox, 1, action="acknowledge", status=202)
        await status_is(world, Status.ACKNOWLEDGED)


async def test_a_command_that_comes_while_nobody_runs_is_taken_afterwards(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with running_member(world.config):
        await send(world, event())
        await incidents(sandbox, 1)
        await taken(world, 0)
    await command(world, FeedbackKind.RESOLVE)
    async with running_member(world.config):
        await sandbox.wait_for(lambda: not sandbox.open_incidents())
        await status_is(world, None)
    # Taken once: an alert of the same key that begins afterwards has nothing to do with it.
    async with running_member(world.config):
        await send(world, event())
        await incidents(sandbox, 2)
        await command(world, FeedbackKind.ACKNOWLEDGE, "of another alert")
        await taken(world, 2)
        assert len(sandbox.open_incidents()) == 1


async def test_what_was_there_before_the_first_checkpoint_is_history(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    await command(world, FeedbackKind.RESOLVE)
    async with running_member(world.config):
        await send(world, event())
        await incidents(sandbox, 1)
        await taken(world, 1)
        await status_is(world, Status.OPEN)
    assert len(sandbox.open_incidents()) == 1


async def test_a_command_about_an_alert_whose_request_is_on_the_wire_waits_for_the_answer(
    broker: Broker, sandbox: Sandbox
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with running_member(world.config):
        await send(world, event(guard="secret_leak"))
        await incidents(sandbox, 1)
        sandbox.faults.add(Fault(Delay(1.5), action="trigger", times=1))
        await send(world, event())
        await incidents(sandbox, 2)
        await command(world, FeedbackKind.ACKNOWLEDGE)
        await command(world, FeedbackKind.ACKNOWLEDGE, "secret_leak:sess-1")
        await asyncio.sleep(0.7)
        assert sandbox.requests(action="acknowledge") == []
        assert (await position(world)).feedback.get(0, 0) == 0, "no checkpoint passes what waits"
        await requests(sandbox, 2, action="acknowledge", status=202)
        await status_is(world, Status.ACKNOWLEDGED)


async def test_what_is_no_feedback_or_about_nothing_is_passed_over(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    async with running_member(world.config) as member:
        await send(world, event())
        await incidents(sandbox, 1)
        await produce(world.bootstrap_servers, world.feedback, [b"\xff", None, b"{}"], key=b"\xff")
        kinds = [("alerting.kind", b"replay"), ("alerting.replay", b"0/1")]
        await produce(world.bootstrap_servers, world.feedback, [b"\x1b[31m"], headers=kinds)
        await command(world, FeedbackKind.RESOLVE, "of nobody")
        await command(world, FeedbackKind.RESOLVE, provider="opsgenie")
        await command(world, FeedbackKind.ACKNOWLEDGE)
        await status_is(world, Status.ACKNOWLEDGED)
        assert member.metric("feedback_total", pipeline="pagerduty", kind="malformed", result="ignored") == 4
    assert len(sandbox.open_incidents()) == 1
    assert "\x1b" not in member.output.getvalue()


async def test_only_the_task_that_has_the_alert_takes_the_command(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=4)
    async with running_member(world.config) as first, running_member(world.config) as second:
        await first.restored()
        await second.restored()
        for partition in range(4):
            await send(world, event(session=f"s{partition}"), partition=partition)
        await incidents(sandbox, 4)
        await command(world, FeedbackKind.RESOLVE, "forbidden_path:s1")
        await command(world, FeedbackKind.ACKNOWLEDGE, "forbidden_path:s3")
        await sandbox.wait_for(lambda: len(sandbox.open_incidents()) == 3)
        await status_is(world, Status.ACKNOWLEDGED, "forbidden_path:s3")
        for partition in range(4):
            await taken(world, 2, partition)
    assert len(sandbox.requests(action="acknowledge")) == 1
    assert len(sandbox.requests(action="resolve")) == 1


async def test_the_reader_goes_back_when_a_partition_with_older_positions_arrives(
    broker: Broker, sandbox: Sandbox
) -> None:
    """While partitions move, what was commanded meanwhile is not lost for those that were owned by nobody."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2)
    async with running_member(world.config) as first:
        await first.restored(2)
        for partition in range(2):
            await send(world, event(session=f"s{partition}"), partition=partition)
        await incidents(sandbox, 2)
        for partition in range(2):
            await taken(world, 0, partition)
        await go_back(world, first)
    assert len(sandbox.requests(action="acknowledge")) == 2
    assert len(sandbox.requests(action="resolve")) == 1


async def go_back(world: World, member: Member) -> None:
    """Take a task out for a while, in which its partner is told much."""
    group = member.runners["pagerduty"]._member
    assert group is not None
    gone = TopicPartition(world.events, 1)

    def alerter() -> Alerter:
        work = group.tasks[gone].work
        assert isinstance(work, Alerter)
        return work

    feedback = alerter()._context.feedback
    assert feedback is not None
    feedback.detach(alerter()._inbox)
    await command(world, FeedbackKind.ACKNOWLEDGE, "forbidden_path:s0")
    await command(world, FeedbackKind.ACKNOWLEDGE, "forbidden_path:s1")
    await status_is(world, Status.ACKNOWLEDGED, "forbidden_path:s0")
    await taken(world, 2, 0)
    await status_is(world, Status.OPEN, "forbidden_path:s1")
    feedback.attach(alerter()._inbox)
    await status_is(world, Status.ACKNOWLEDGED, "forbidden_path:s1")
    await command(world, FeedbackKind.RESOLVE, "forbidden_path:s1")
    await status_is(world, None, "forbidden_path:s1")
    await status_is(world, Status.ACKNOWLEDGED, "forbidden_path:s0")


# replays


async def test_a_rejected_letter_is_replayed_once_to_its_provider_alone(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, pagerduty={}, opsgenie={})
    sandbox.faults.add(Fault(FaultyAnswer(status=400), provider="pagerduty", action="trigger"))
    async with running_member(world.config) as member:
        await send(world, event())
        await first_dead_letters(world, 1)
        await incidents(sandbox, 1, "opsgenie")
        for number in range(20):
            await send(world, event(severity="low", session=f"s{number}"))
        await group_reaches(world, 21)
        sandbox.faults.clear()
        assert (await replay_all(world)).sent == ["0/0"]
        await incidents(sandbox, 1, "pagerduty")
        await status_is(world, Status.OPEN)
        assert (await replay_all(world)).sent == []
        await send(world, session_end())
        await sandbox.wait_for(lambda: not sandbox.open_incidents())
        await group_reaches(world, 22)
        assert member.metric("feedback_total", pipeline="pagerduty", kind="replay", result="applied") == 1
    assert [incident.triggers for incident in sandbox.incidents()] == [1, 1]
    assert sandbox.extra_incidents() == []
    assert len(await dead_letters(world)) == 1


async def test_a_replay_does_not_hold_the_groups_offset_back(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    sandbox.faults.add(Fault(FaultyAnswer(status=400), action="trigger"))
    async with running_member(world.config):
        await send(world, event())
        await first_dead_letters(world, 1)
        sandbox.faults.clear()
        sandbox.faults.add(Fault(FaultyAnswer(status=503), action="trigger"))
        await replay_all(world)
        await requests(sandbox, 1, status=503)
        await send(world, *(event(allowed=True, severity="info") for _ in range(9)))
        await group_reaches(world, 10)
        assert (await alerts(world))[KEY].owed is not None
    assert await group_offset(world) == 10
    async with running_member(world.config):  # what it owes is in the state: the next owner sends it
        sandbox.faults.clear()
        await incidents(sandbox, 1)
    assert sandbox.incidents()[0].triggers == 1


async def test_what_fails_again_is_one_new_letter_with_its_history(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2)
    sandbox.faults.add(Fault(FaultyAnswer(status=400), action="trigger"))
    fields = event()
    async with running_member(world.config):
        (offset,) = await send(world, fields, partition=1)
        await first_dead_letters(world, 1)
        assert (await replay_all(world)).sent == ["0/0"]
        first, second = await first_dead_letters(world, 2)
        await taken(world, 1, 1)
        assert await dead_letters(world) == [first, second], "it is not replayed by the same run"
        marks, stored = (await committed_records(world.bootstrap_servers, world.dlq))[1:]
        assert decode_mark(marks.value, marks.headers) == {0: (0, 0)}
        sandbox.faults.clear()
        assert (await replay_all(world)).sent == [f"0/{stored.offset}"]
        await incidents(sandbox, 1)
    for letter in (first, second):
        assert (letter.record.topic, letter.record.partition, letter.record.offset) == (world.events, 1, offset)
        assert (letter.record.value, letter.event_id) == (encode(fields), fields["event_id"])
    assert (history_of(first), history_of(second)) == ([], ["0/0"])
    assert sandbox.incidents()[0].triggers == 1


async def test_a_replay_that_is_cut_off_goes_on_and_sends_nothing_twice(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    sandbox.faults.add(Fault(FaultyAnswer(status=400), action="trigger"))
    async with running_member(world.config):
        await send(world, *(event(session=f"s{number}") for number in range(50)))
        await first_dead_letters(world, 50)
    sleeps = 0

    async def cut_off(seconds: float) -> None:
        nonlocal sleeps
        sleeps += 1
        if sleeps == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await replay_all(world, rate=7.0, sleep=cut_off)
    assert len(await feedback(world)) == 21
    task = asyncio.create_task(replay_all(world))  # killed at any moment
    await asyncio.sleep(0.03)
    task.cancel()
    await asyncio.wait([task])
    await replay_all(world)
    sent = [found.replay_id for found in await feedback(world) if isinstance(found, Replay)]
    assert len(sent) == len(set(sent)) == 50
    assert (await replay_all(world, group="another")).sent == [], "nor by a replay with other filters"
    assert len((await replay_all(world, group="third", again=True)).sent) == 50


async def test_two_replays_at_once_send_nothing_twice(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    sandbox.faults.add(Fault(FaultyAnswer(status=400), action="trigger"))
    async with running_member(world.config):
        await send(world, *(event(session=f"s{number}") for number in range(30)))
        await first_dead_letters(world, 30)
    first = asyncio.create_task(replay_all(world, rate=10.0))
    await asyncio.sleep(0.5)
    second = await replay_all(world)
    with pytest.raises(Exception):  # noqa: B017, PT011 - fenced, as the client says it
        await first
    sent = [found.replay_id for found in await feedback(world) if isinstance(found, Replay)]
    assert len(sent) == len(set(sent)) == 30
    assert 0 < len(second.sent) <= 30


async def test_age_does_not_make_a_replay_stale_again_but_poison_stays_poison(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, delivery={"max_event_age": "1h"})
    async with running_member(world.config):
        await send(world, event(at=time.time() - 7200))
        await produce(world.bootstrap_servers, world.events, [b"poison"])
        await first_dead_letters(world, 2)
        summary = await replay_all(world)
        assert (len(summary.sent), sum(summary.skipped.values())) == (1, 1)
        await incidents(sandbox, 1)
        assert (await replay_all(world, group="with-poison", poison=True)).sent == ["0/1"]
        letters = await first_dead_letters(world, 3)
    assert [letter.stage for letter in letters] == ["stale", "decode", "decode"]


async def test_what_is_not_alertable_any_more_is_done(broker: Broker, sandbox: Sandbox) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url)
    sandbox.faults.add(Fault(FaultyAnswer(status=400), action="trigger"))
    async with running_member(world.config):
        await send(world, event())
        await first_dead_letters(world, 1)
    sandbox.faults.clear()
    world.document["exporters"]["alerting"]["exclude_guards"] = ["forbidden_path"]
    async with running_member(world.config) as member:
        await member.restored()
        await replay_all(world)
        await taken(world, 1)
        assert member.metric("feedback_total", pipeline="pagerduty", kind="replay", result="ignored") == 1
    assert "replay_ignored" in member.output.getvalue()
    assert sandbox.incidents() == []
