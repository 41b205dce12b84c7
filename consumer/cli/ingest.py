"""``clawdstrike-alerting ingest``: writes events that arrive over HTTP to the events topic, until SIGTERM or SIGINT."""

import argparse
import asyncio
from typing import Any

from structlog.typing import FilteringBoundLogger

from consumer.cli.arguments import add_config
from consumer.cli.until_signal import run_lasting
from consumer.cli.with_configuration import UsageError, with_configuration
from consumer.config import Config
from consumer.receivers.ingest.service import run_ingest
from consumer.telemetry.log_metrics import DroppedLines


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "ingest",
        help="take events over HTTP and write them to Kafka",
        description="Takes events at POST /v1/events, as the engine's daemon posts them, and answers 200 when they are "
        "in the events topic. Senders need one of ingest.tokens. SIGTERM and SIGINT answer what was taken, and end.",
    )
    add_config(parser)
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Exit code 0 after a clean end, 1 if it could not start or go on, 2 for the configuration."""
    return with_configuration(args.config, _main, needs_provider=False)


def _main(config: Config) -> int:
    if not config.ingest.tokens:
        raise UsageError("ingest.tokens: is required: what senders have as bearer token, at least one")
    return run_lasting(config, _run)


async def _run(config: Config, stopping: asyncio.Event, log: FilteringBoundLogger, dropped: DroppedLines) -> None:
    await run_ingest(config, stopping, log, dropped_lines=dropped)
