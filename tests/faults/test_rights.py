"""What the service may do at a broker that asks: the rights of the book are enough, and a missing one is told."""

import asyncio
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer.cli.main import main
from providers.sandbox import Sandbox
from tests.support.authorizer import PRINCIPAL, USER, AuthorizingKafka, Operation, Resource, Right, authorizing_kafka
from tests.support.events import encode, event
from tests.support.kafka import admin, committed_records, groups
from tests.support.process import ROOT, merged, run_to_end, service_process
from tests.support.seen import dead_letters, first_dead_letters, group_reaches, producing
from tests.support.service import World, incidents, make_world

pytestmark = pytest.mark.real_kafka("it asks for rights")

READ, WRITE, DESCRIBE, CONFIGS = Operation.READ, Operation.WRITE, Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS


@pytest.fixture(scope="module")
def kafka() -> Iterator[AuthorizingKafka]:
    """One broker for this file: the rights of each test are for topics and groups of its own."""
    with authorizing_kafka() as kafka:
        yield kafka


def dead_letter_right(world: World) -> Right:
    return Right(Resource.TOPIC, world.dlq, (WRITE, DESCRIBE))


def documented(world: World) -> list[Right]:
    """The rights of the book's table, besides that to write dead letters; that to transactional ids is the last."""
    topics, group = world.config.kafka.topics, world.config.kafka.group_id
    ours = (READ, WRITE, DESCRIBE, CONFIGS)
    return [
        Right(Resource.TOPIC, topics.events, (READ, DESCRIBE, CONFIGS)),
        Right(Resource.TOPIC, topics.state, ours, prefixed=True),
        Right(Resource.TOPIC, topics.keyed, ours, prefixed=True),
        Right(Resource.TOPIC, topics.feedback, ours),
        Right(Resource.TOPIC, topics.history, ours),
        Right(Resource.TOPIC, topics.silences, (READ, DESCRIBE, CONFIGS)),
        Right(Resource.TOPIC, topics.dlq, (CONFIGS,)),
        Right(Resource.GROUP, group, (READ, DESCRIBE), prefixed=True),
        Right(Resource.TRANSACTIONAL_ID, group, (WRITE, DESCRIBE), prefixed=True),
    ]


def served(world: World, kafka: AuthorizingKafka) -> Mapping[str, Any]:
    return merged(world.document, kafka=kafka.login)


async def poison_and_denial(world: World, session: str) -> None:
    async with producing(world) as producer:
        await producer.send_and_wait(world.events, b"\xff" * 100)
        await producer.send_and_wait(world.events, encode(event(session=session)), session.encode())


async def test_the_documented_rights_are_enough_and_one_that_is_lost_sends_nothing_twice(
    kafka: AuthorizingKafka, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(kafka.bootstrap_servers, sandbox.url)
    await kafka.grant(*documented(world), dead_letter_right(world))
    async with service_process(served(world, kafka), tmp_path) as service:
        await service.restored()
        assert service.lines("dead_letters_untried") == []
        assert await committed_records(world.bootstrap_servers, world.dlq) == []  # the trial leaves nothing behind
        await poison_and_denial(world, "before")
        await first_dead_letters(world, 1)
        await group_reaches(world, 2)

        await kafka.revoke(dead_letter_right(world))
        await poison_and_denial(world, "during")
        await incidents(sandbox, 2)
        await service.said("checkpoint_refused", 5)
        assert world.dlq in service.lines("checkpoint_refused")[-1]["error"]
        status, _ = await service.health()
        assert status == 503
        assert len(sandbox.requests(action="trigger")) == 2
        assert service.lines("task_trouble") == []

        await kafka.grant(dead_letter_right(world))
        await first_dead_letters(world, 2, timeout=60)
        await group_reaches(world, 4)
        await service.restored()
    assert len(sandbox.requests(action="trigger")) == 2
    assert [letter.record.offset for letter in await dead_letters(world)] == [0, 2]


async def test_while_the_right_to_write_the_state_is_lost_each_denial_is_sent_once(
    kafka: AuthorizingKafka, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(kafka.bootstrap_servers, sandbox.url)
    (state,) = (right for right in documented(world) if right.name == world.config.kafka.topics.state)
    others = [right for right in documented(world) if right is not state]
    await kafka.grant(*others, state, dead_letter_right(world))
    async with service_process(served(world, kafka), tmp_path) as service:
        await service.restored()
        await kafka.revoke(state)
        for number in range(3):
            await poison_and_denial(world, f"during-{number}")
            await service.said("checkpoint_refused", 2 * number + 2, timeout=60)
        await incidents(sandbox, 3)
        assert (await service.health())[0] == 503
        await kafka.grant(state)
        await first_dead_letters(world, 3, timeout=60)
        await group_reaches(world, 6)
        assert service.lines("task_trouble") == []
    assert len(sandbox.requests(action="trigger")) == 3


async def test_without_the_right_to_write_dead_letters_it_does_not_start(
    kafka: AuthorizingKafka, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(kafka.bootstrap_servers, sandbox.url)
    await kafka.grant(*documented(world), Right(Resource.TOPIC, world.dlq, (DESCRIBE,)))
    await poison_and_denial(world, "one")
    code, lines = await run_to_end(served(world, kafka), tmp_path)
    assert (code, lines) == (
        1,
        [
            f"topic {world.dlq}: this user may not write to it, and what cannot become a notification has to go there: "
            f"`kafka-acls.sh --bootstrap-server … --add --allow-principal User:{USER} --operation Write "
            f"--operation Describe --topic {world.dlq}`"
        ],
    )
    assert sandbox.requests() == []
    command = ["topics", "check", "--config", str(tmp_path / "service.yaml")]
    assert await asyncio.to_thread(main, command) == 1
    assert capsys.readouterr().err.splitlines() == lines


async def test_without_the_right_to_its_transactional_ids_it_does_not_start(
    kafka: AuthorizingKafka, sandbox: Sandbox, tmp_path: Path
) -> None:
    world = await make_world(kafka.bootstrap_servers, sandbox.url)
    await kafka.grant(*documented(world)[:-1], dead_letter_right(world))
    code, lines = await run_to_end(served(world, kafka), tmp_path)
    assert (code, len(lines)) == (1, 1)
    group = world.config.kafka.group_id
    assert f"--transactional-id {group} --resource-pattern-type prefixed`" in lines[0]


def by_script(world: World, kafka: AuthorizingKafka, *options: str) -> None:
    """Grant what `deploy/acls.sh` prints for the topics and groups of this world."""
    prefix = world.events.removesuffix(".events")
    script = [str(ROOT / "deploy" / "acls.sh"), "--principal", PRINCIPAL, "--prefix", prefix, *options]
    names = ["--events", world.events, "--group-id", world.config.kafka.group_id]
    printed = subprocess.run([*script, *names], capture_output=True, text=True, check=True).stdout
    for line in printed.splitlines():
        _, _, _, *arguments = shlex.split(line)  # the tool and its broker
        kafka.acls(*arguments)


async def test_the_rights_that_the_script_gives_are_enough(
    kafka: AuthorizingKafka, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(kafka.bootstrap_servers, sandbox.url)
    await asyncio.to_thread(by_script, world, kafka, "--dlq-commands", "--grow")
    async with service_process(served(world, kafka), tmp_path) as service:
        await service.restored()
        assert service.lines("dead_letters_untried") == []
        await poison_and_denial(world, "one")
        await first_dead_letters(world, 1)
        await incidents(sandbox, 1)
        await group_reaches(world, 2)
        for command in (["topics", "check"], ["alerts", "list"], ["dlq", "list"], ["status"]):
            code = await asyncio.to_thread(main, [*command, "--config", str(tmp_path / "service.yaml")])
            assert (code, capsys.readouterr().err) == (0, ""), command
        grow = ["topics", "grow", "--config", str(tmp_path / "service.yaml"), "--partitions", "2", "--yes"]
        assert await asyncio.to_thread(main, grow) == 0
        await service.restored(2)


async def test_topics_grow_only_for_whoever_may_alter_them(
    kafka: AuthorizingKafka, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(kafka.bootstrap_servers, sandbox.url)
    await kafka.grant(*documented(world), Right(Resource.TOPIC, world.state(), (Operation.ALTER,)))
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(served(world, kafka)))
    command = ["topics", "grow", "--config", str(path), "--partitions", "2", "--yes"]
    assert await asyncio.to_thread(main, command) == 1
    assert capsys.readouterr() == (
        "",
        f"topic {world.events}: this user may not alter it: `kafka-acls.sh --bootstrap-server … --add "
        f"--allow-principal User:{USER} --operation Alter --topic {world.events}`\n",
    )

    async def partitions() -> list[int]:
        async with admin(kafka.bootstrap_servers) as client:
            described = await client.describe_topics([world.state(), world.events])
            return [len(topic["partitions"]) for topic in described]

    assert await partitions() == [1, 1], "not even those that it may alter have grown"
    await kafka.grant(Right(Resource.TOPIC, world.events, (Operation.ALTER,)))
    assert await asyncio.to_thread(main, command) == 0
    assert await partitions() == [2, 2]


async def test_again_sends_again_whether_or_not_its_group_may_be_deleted(
    kafka: AuthorizingKafka, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(kafka.bootstrap_servers, sandbox.url)
    await kafka.grant(*documented(world), dead_letter_right(world), Right(Resource.TOPIC, world.dlq, (READ,)))
    async with service_process(served(world, kafka), tmp_path) as service:
        await service.restored()
        await poison_and_denial(world, "one")
        await first_dead_letters(world, 1)
    again = ["dlq", "replay", "--poison", "--again", "--config", str(tmp_path / "service.yaml")]
    group = f"{world.config.kafka.group_id}-dlq-replay"
    for _ in range(2):
        assert await asyncio.to_thread(main, again) == 0
        (left,) = await groups(kafka.bootstrap_servers, group)
        out, err = capsys.readouterr()
        assert out == "1 dead letter replayed\n"
        assert err.startswith(f"group {left} could not be deleted: this user may not delete it (")
        assert err.count("\n") == 1
        assert f"--operation Delete --group {group} --resource-pattern-type prefixed`" in err
    await asyncio.to_thread(by_script, world, kafka, "--dlq-commands")
    assert await asyncio.to_thread(main, again) == 0
    assert capsys.readouterr() == ("1 dead letter replayed\n", "")
    assert await groups(kafka.bootstrap_servers, group) == []
    assert len(await committed_records(world.bootstrap_servers, world.feedback)) == 3
