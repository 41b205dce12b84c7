"""``status --config FILE``: one look at the service: who runs, which events wait, and which alerts nobody was told
of."""

import argparse
import time
from typing import Any

from consumer.cli.arguments import add_config
from consumer.cli.status_shown import facts_of, sections
from consumer.cli.terminal import plain, show_facts, show_json
from consumer.cli.with_kafka import Partitions, run_with_kafka
from consumer.config import Config
from consumer.kafka.clients import KafkaClients
from consumer.status.judge import WAITS_SECONDS, problems
from consumer.status.look import look, topics_to_look_at


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of ``clawdstrike-alerting``; its ``func`` is ``main``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "status",
        help="show who runs, what waits, and what nobody was told",
        description="Looks once at Kafka, and asks /readyz of each member (at server.port, on the host that Kafka "
        "names); changes nothing.",
        epilog=f"Exit code 0: all is well. 1: a partition has no member; a page is owed, or an event is not decided, "
        f"for {WAITS_SECONDS / 60:g} minutes; a member's /readyz fails, as it does while a route is refused; some of "
        "the state cannot be read; or Kafka is out of reach. A member whose server does not answer is named, but is no "
        "reason, since a network may forbid the request. 2: the arguments or the configuration.",
    )
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Exit code 0 if all is well, 1 if not or if Kafka is out of reach, 2 for the configuration."""

    async def act(config: Config, clients: KafkaClients, partitions: Partitions) -> int:
        status, now = await look(config, clients, partitions), time.time()
        wrong = problems(status, now)
        if args.json:
            show_json(facts_of(status, wrong))
        else:
            for title, facts in sections(status, wrong, now):
                print(plain(title))
                show_facts(facts)
        return 1 if wrong else 0

    return run_with_kafka(args, topics_to_look_at, act)
