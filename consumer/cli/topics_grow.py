"""``topics grow --partitions N``: adds partitions to the events topic, and first to the topics that must have as
many."""

import argparse
from collections.abc import Sequence
from typing import Any

from consumer.cli.confirmation import add_arguments, agreed, require_somebody
from consumer.cli.terminal import complain, show_json, show_table
from consumer.cli.with_configuration import UsageError
from consumer.cli.with_kafka import Partitions, run_with_kafka
from consumer.config import Config
from consumer.kafka.clients import KafkaClients, start_client, to_the_end
from consumer.kafka.rights import grant
from consumer.kafka.topic_growth import FewerThanNow, Growth, GrowthRefused, grow, growing, growths, try_growths
from consumer.kafka.topic_specs import topics_of
from providers.errors import UserError


def add_grow(actions: Any, partitions: Any) -> argparse.ArgumentParser:
    """Add the action to those of ``topics``; ``partitions`` is the argparse type for a number of partitions."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "grow",
        help="give the events topic more partitions, and those that need as many",
        description="Gives the topics of state and the keyed topics more partitions, then the events topic. The "
        "service goes on meanwhile. If the command is interrupted, run it again: it does the rest. Kafka cannot remove "
        "a partition again.",
    )
    parser.add_argument(
        "--partitions",
        metavar="N",
        type=partitions,
        required=True,
        help="the number of partitions that the events topic gets",
    )
    add_arguments(parser)
    parser.set_defaults(func=main)
    return parser


def main(args: argparse.Namespace) -> int:
    """Exit code 0, also if there is nothing to do; 1 if it failed or the answer was no; 2 for the arguments."""

    def topics(config: Config) -> Sequence[str]:
        require_somebody(args)
        return growing(topics_of(config))

    return run_with_kafka(args, topics, lambda *given: _act(args, *given))


async def _act(args: argparse.Namespace, config: Config, clients: KafkaClients, partitions: Partitions) -> int:
    counts = {topic: len(found) for topic, found in partitions.items()}
    try:
        planned = growths(topics_of(config), counts, args.partitions)
    except FewerThanNow as error:
        raise UsageError(f"--partitions {args.partitions}: {error}") from error
    if not planned:
        return _done(args, planned, done=not args.dry_run)
    admin = clients.admin()
    try:
        await start_client(admin.start())
        await try_growths(admin, planned)
        if not args.json:
            _show(planned)
        if args.dry_run:
            return _done(args, planned, done=False)
        if not args.yes and not await agreed("grow"):
            complain(["nothing was changed"])
            return 1
        await grow(admin, planned, lambda growth: None if args.json else _tell(growth))
    except GrowthRefused as refusal:
        raise UserError(_sentence(refusal, config)) from refusal
    finally:
        await to_the_end(admin.close())
    return _done(args, planned, done=True)


def _sentence(refusal: GrowthRefused, config: Config) -> str:
    if refusal.not_allowed is None:
        return str(refusal)
    return f"{refusal}: {grant(config.kafka, f'--topic {refusal.not_allowed}', 'Alter')}"


def _show(planned: Sequence[Growth]) -> None:
    show_table(("TOPIC", "FROM", "TO"), [(growth.topic, growth.now, growth.then) for growth in planned])
    print("in this order; partitions cannot be removed again")


def _tell(growth: Growth) -> None:
    print(f"{growth.topic}: {growth.then} partitions", flush=True)


def _done(args: argparse.Namespace, planned: Sequence[Growth], *, done: bool) -> int:
    if args.json:
        topics = [{"topic": growth.topic, "from": growth.now, "to": growth.then} for growth in planned]
        show_json({"action": "grow", "partitions": args.partitions, "done": done, "topics": topics})
    elif not planned:
        print(f"nothing is left to do: the events topic has {args.partitions} partitions, and all others enough")
    elif done:
        print("done: the service notices within a minute")
    return 0
