"""``clawdstrike-alerting run``: runs the service until SIGTERM or SIGINT."""

import argparse
import asyncio
from typing import Any

from structlog.typing import FilteringBoundLogger

from consumer.cli.arguments import add_config
from consumer.cli.until_signal import run_lasting
from consumer.cli.with_configuration import with_configuration
from consumer.config import Config
from consumer.service.service import run_service
from consumer.telemetry.log_metrics import DroppedLines


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "run",
        help="run the service until SIGTERM or SIGINT",
        description="Runs the service. SIGTERM and SIGINT end it in order: nothing new is sent, the last answers are "
        "waited for, the last checkpoint is written, and the group is left. SIGHUP does nothing.",
    )
    add_config(parser)
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Exit code 0 after a clean end, 1 if the service could not start or go on, 2 for the configuration."""
    return with_configuration(args.config, lambda config: run_lasting(config, _run))


async def _run(config: Config, stopping: asyncio.Event, log: FilteringBoundLogger, dropped: DroppedLines) -> None:
    await run_service(config, stopping, log, dropped_lines=dropped)
