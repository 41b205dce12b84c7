"""``topics create|check|grow --config FILE``: creates, checks and extends the topics of the service."""

import argparse
import asyncio
from dataclasses import replace
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient

from consumer.cli.arguments import add_config
from consumer.cli.terminal import complain, counted
from consumer.cli.topics_grow import add_grow
from consumer.cli.with_configuration import with_configuration
from consumer.config import Config
from consumer.kafka.clients import KafkaClients
from consumer.kafka.foreign import foreign_topics
from consumer.kafka.rights import try_dead_letters
from consumer.kafka.startup import when_kafka_answers
from consumer.kafka.topic_specs import topics_of
from consumer.kafka.topics import DEFAULT_PARTITIONS, REPLICAS, TooFewBrokers, TopicReport, check_topics, create_topics
from providers.errors import UserError


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of ``clawdstrike-alerting``; its ``func`` is ``main``."""
    parser: argparse.ArgumentParser = subparsers.add_parser("topics", help="create, check or grow the topics")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser(
        "create",
        help="create the topics that are missing",
        description="Creates the topics that are missing. Those that exist are left alone, and checked.",
    )
    check = actions.add_parser(
        "check", help="check the topics", description="Says what keeps `run` from starting; changes nothing."
    )
    for action in (create, check, add_grow(actions, _count)):
        add_config(action)
    create.add_argument(
        "--partitions",
        metavar="N",
        type=_count,
        help=f"partitions of the events topic, if it does not exist yet (default {DEFAULT_PARTITIONS}); "
        "the state topics get as many",
    )
    create.add_argument(
        "--replication-factor",
        metavar="N",
        type=_count,
        help=f"of the topics that are created (default {REPLICAS}, or the number of brokers if that is less)",
    )
    check.set_defaults(partitions=None, replication_factor=None)
    for action in (create, check):
        action.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Exit code 0 if all topics are as they must be, 1 if not or if Kafka is out of reach, 2 for the configuration."""
    return with_configuration(args.config, lambda config: asyncio.run(_run(args, config)))


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**15:
        raise argparse.ArgumentTypeError("must be a whole number of at least 1")
    return int(text)


async def _run(args: argparse.Namespace, config: Config) -> int:
    clients = KafkaClients(config.kafka)
    return await when_kafka_answers(clients, lambda admin: _act(args, config, clients, admin))


async def _act(args: argparse.Namespace, config: Config, clients: KafkaClients, admin: AIOKafkaAdminClient) -> int:
    if args.action == "check":
        report = await check_topics(admin, config)
        foreign, unknown = await foreign_topics(clients, config, report.found)
        code = _tell(config, replace(report, problems=(*report.problems, *foreign)))
        complain([unknown] if unknown is not None else [])
        if code == 0 and (untried := await try_dead_letters(clients)):
            complain([f"topic {config.kafka.topics.dlq}: whether it can be written to is not known: {untried}"])
        return code
    try:
        creation = await create_topics(admin, config, args.partitions, args.replication_factor)
    except TooFewBrokers as error:
        raise UserError(f"--replication-factor {args.replication_factor}: {error}") from error
    how = f"created, replication factor {creation.replication_factor}"
    code = _tell(config, creation.report, dict.fromkeys(creation.created, how))
    events = config.kafka.topics.events
    differs = other_than_asked(events, creation.report.found.get(events), args.partitions)
    complain([] if differs is None else [differs])
    return code if differs is None else 1


def other_than_asked(topic: str, partitions: int | None, asked: int | None) -> str | None:
    """A warning if the events topic has another number of partitions than was asked for; else None.

    ``partitions`` is None if the topic does not exist, ``asked`` if no number was asked for.
    """
    if asked is None or partitions is None or partitions == asked:
        return None
    what = f"warning: topic {topic} exists with {counted(partitions, 'partition')}, and {asked:,} were asked for"
    if partitions > asked:
        return f"{what}: Kafka cannot remove any"
    return f"{what}: `topics grow --partitions {asked}` adds them"


def _tell(config: Config, report: TopicReport, created: dict[str, str] | None = None) -> int:
    for spec in topics_of(config):
        if (partitions := report.found.get(spec.name)) is not None:
            what = "exists" if created is None else created.get(spec.name, "exists, left alone")
            print(f"{spec.name}: {what}, {partitions} partition{'' if partitions == 1 else 's'}")
    complain((*report.unknown, *report.problems, *report.outgrown, *report.notes))
    return 1 if report.problems or report.outgrown else 0
