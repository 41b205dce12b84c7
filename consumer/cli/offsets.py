"""``offsets rewind|skip --to …``: move a group on purpose, to decide records again or to skip some."""

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition

from consumer.cli.arguments import add_config
from consumer.cli.confirmation import add_arguments, agreed, require_somebody
from consumer.cli.provider import add_provider, not_configured
from consumer.cli.terminal import complain, plain, show_json, show_table
from consumer.cli.times import moment_of
from consumer.cli.with_configuration import UsageError
from consumer.cli.with_kafka import Partitions, run_with_kafka
from consumer.config import Config
from consumer.group.offset_orders import (
    Direction,
    Group,
    Move,
    NamedOffset,
    Target,
    moves,
    order,
    positions_of,
    require_no_members,
    targets_of,
)
from consumer.kafka.clients import KafkaClients
from consumer.service.build import build_pipelines, build_repartition

_WHAT = {
    Direction.REWIND: "are decided again: a problem that is not open any more is told again",
    Direction.SKIP: "are skipped: nobody has decided them, and nobody will be told",
}

_NOTHING = {
    Direction.REWIND: "--to: every position is there already, or before it: nothing would be decided again",
    Direction.SKIP: "--to: every position is there already, or beyond it: nothing would be skipped",
}


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of ``clawdstrike-alerting``; its ``func`` is ``main``."""
    parser: argparse.ArgumentParser = subparsers.add_parser("offsets", help="decide records again, or skip some")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    rewind = actions.add_parser(
        "rewind",
        help="go back, and decide records again",
        description="Sets the group's offsets back: the service decides records from there again. It must be stopped.",
    )
    skip = actions.add_parser(
        "skip",
        help="go forward, past records that nobody has decided",
        description="Sets the group's offsets forward; the service ignores other tools that do. It must be stopped.",
    )
    for action in (rewind, skip):
        add_config(action)
        action.add_argument(
            "--to",
            metavar="WHERE",
            required=True,
            type=_where,
            help="earliest, latest, an offset, or a time: RFC 3339, or how long ago (90s, 15m, 2h, 7d)",
        )
        add_provider(action, help="only this one's group")
        action.add_argument(
            "--stage", action="store_true", help="the group of the repartition stage, which reads the events"
        )
        action.add_argument(
            "--partition",
            metavar="N",
            type=_partition,
            action="append",
            help="only this partition; can be given several times",
        )
        add_arguments(action)
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Exit code 0; 1 if it failed, there was nothing to do, or the answer was no; 2 for the arguments."""

    def topics(config: Config) -> Sequence[str]:
        require_somebody(args)
        return [topic for _, given, checkpoints in _groups(args, config) for topic in (given, checkpoints)]

    return run_with_kafka(args, topics, lambda *given: _act(args, *given))


def _where(text: str) -> Target:
    if text in (place.value for place in NamedOffset):
        return NamedOffset(text)
    if text.isdecimal():
        return int(text[:19])
    try:
        return moment_of(text, time.time())
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            "must be earliest, latest, an offset, or a time: RFC 3339, or how long ago (90s, 15m, 2h, 7d)"
        ) from None


def _partition(text: str) -> int:
    if not text.isdecimal() or int(text[:10]) >= 2**31:
        raise argparse.ArgumentTypeError("must be the number of a partition")
    return int(text[:10])


def _groups(args: argparse.Namespace, config: Config) -> list[tuple[str, str, str]]:
    """The groups to move, each with its input topic and the topic of its checkpoints."""
    if args.provider is not None and args.provider not in config.pipelines:
        raise not_configured(args.provider)
    found = []
    for pipeline in build_pipelines(config):
        name = pipeline.provider.name
        if args.provider not in (None, name):
            continue
        if not args.stage:
            found.append((pipeline.group_id, pipeline.input_topic, pipeline.state_topic))
        elif (stage := build_repartition(config, pipeline)) is not None:
            found.append((stage.group_id, stage.input_topic, stage.positions_topic))
        elif args.provider is not None:
            raise UsageError(f"--stage: {name} has no repartition stage")
    if not found:
        raise UsageError("--stage: no provider has a repartition stage")
    return found


async def _act(args: argparse.Namespace, config: Config, clients: KafkaClients, partitions: Partitions) -> int:
    direction = Direction(args.action)
    groups = [_group(args, partitions, *found) for found in _groups(args, config)]
    admin = clients.admin()
    await admin.start()
    try:
        planned: dict[str, tuple[Group, list[Move]]] = {}
        for group in groups:
            if not args.dry_run:
                await require_no_members(admin, group)
            positions = await positions_of(clients, admin, group)
            planned[group.name] = group, moves(direction, positions, await targets_of(clients, group, args.to))
    finally:
        await admin.close()
    if not any(ordered for _, ordered in planned.values()):
        complain([_NOTHING[direction]])
        return 1
    if not args.json:
        _show(direction, planned)
    if args.dry_run:
        return _done(args, planned, done=False)
    if not args.yes and not await agreed(direction.value):
        complain(["nothing was changed"])
        return 1
    for group, ordered in planned.values():
        if ordered:
            await order(clients, group, ordered)
    return _done(args, planned, done=True)


def _group(args: argparse.Namespace, partitions: Partitions, name: str, topic: str, checkpoints: str) -> Group:
    wanted = partitions[topic]
    if args.partition is not None:
        there = {partition.partition: partition for partition in wanted}
        if missing := [number for number in args.partition if number not in there]:
            raise UsageError(f"--partition {missing[0]}: topic {topic} has {len(there)} partitions")
        wanted = [there[number] for number in sorted(set(args.partition))]
    elif isinstance(args.to, int) and len(wanted) > 1:
        raise UsageError(f"--to {args.to}: an offset belongs to one partition: say which with --partition")
    return Group(name, wanted, _of_the_same_numbers(wanted, partitions[checkpoints]))


def _of_the_same_numbers(
    wanted: Sequence[TopicPartition], checkpoints: Sequence[TopicPartition]
) -> list[TopicPartition]:
    numbers = {partition.partition for partition in wanted}
    return [partition for partition in checkpoints if partition.partition in numbers]


Planned = Mapping[str, tuple[Group, Sequence[Move]]]


def _show(direction: Direction, planned: Planned) -> None:
    rows = [
        (name, move.partition.topic, move.partition.partition, move.position, move.target, move.records)
        for name, (_, ordered) in planned.items()
        for move in ordered
    ]
    show_table(("GROUP", "TOPIC", "PARTITION", "FROM", "TO", "RECORDS"), rows)
    total = sum(row[-1] for row in rows)
    print(plain(f"up to {total} record{'' if total == 1 else 's'} {_WHAT[direction]}"))


def _done(args: argparse.Namespace, planned: Planned, *, done: bool) -> int:
    if args.json:
        show_json(
            {
                "action": args.action,
                "done": done,
                "partitions": [
                    {
                        "group": name,
                        "topic": move.partition.topic,
                        "partition": move.partition.partition,
                        "from": move.position,
                        "to": move.target,
                        "records": move.records,
                    }
                    for name, (_, ordered) in planned.items()
                    for move in ordered
                ],
            }
        )
    elif done:
        print("done: the service goes on there when it starts")
    return 0
