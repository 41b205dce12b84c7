"""``clawdstrike-alerting run``: the service, until SIGTERM or SIGINT."""

import argparse
import asyncio
import os
import signal
import sys
from functools import partial
from typing import Any

from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from consumer.cli.arguments import add_config
from consumer.cli.ending import with_configuration
from consumer.cli.terminal import complain
from consumer.config import Config, secrets_of, short_secrets, without_effect
from consumer.service import run_service
from consumer.telemetry.garbage import search_young_only
from consumer.telemetry.log import configure_log
from consumer.telemetry.log_lines import ThreadedLines
from providers.errors import UserError
from providers.masking import SHORTEST


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser("run", help="run the service; SIGTERM and SIGINT drain and leave")
    add_config(parser)
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Exit code 0 after a clean end, 1 if the service could not start or go on, 2 for the configuration."""
    return with_configuration(args.config, _main)


LAST_LINES_SECONDS = 2.0
"""How long the end waits until the log is written; somebody who does not read it does not hold it up."""


def _main(config: Config) -> int:
    lines = ThreadedLines(_stderr(), encoding=sys.stderr.encoding if sys.stderr else "utf-8")
    log = configure_log(config.log.level, config.log.format, secrets_of(config), lines)
    lines.start(
        lambda dropped: log.warning("log_lines_dropped", count=sum(dropped.values()), levels=dict(dropped.items()))
    )
    if settings := short_secrets(config):
        log.warning("secrets_not_masked", settings=settings, error=f"shorter than {SHORTEST} characters")
    for sentence in without_effect(config):
        log.warning("setting_without_effect", error=sentence)
    failure = ""
    try:
        asyncio.run(_run(config, log, lines))
    except UserError:
        raise
    except Exception as error:  # a fault of ours
        log.error("service_failed", exc_info=error)
        failure = f"the service has failed ({type(error).__name__}): its log says where"
    finally:
        lines.close(LAST_LINES_SECONDS)
    if failure:
        complain([failure])
    return int(bool(failure))


def _stderr() -> int:
    return sys.stderr.fileno() if sys.stderr else os.open(os.devnull, os.O_WRONLY)


def _note_background_error(log: FilteringBoundLogger, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An error that nobody waited for any more. Kafka's are told where they matter; others are faults of ours."""
    if isinstance(context.get("exception"), KafkaError):
        log.debug("kafka_error_unheeded", error=repr(context["exception"]))
    else:
        loop.default_exception_handler(context)


async def _run(config: Config, log: FilteringBoundLogger, lines: ThreadedLines) -> None:
    search_young_only()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(partial(_note_background_error, log))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    # A terminal that is closed, or somebody who hopes that the configuration is read again: no reason to stop paging.
    loop.add_signal_handler(signal.SIGHUP, partial(log.warning, "signal_ignored", signal="SIGHUP"))
    await run_service(config, stopping, log, dropped_lines=lines.dropped)
