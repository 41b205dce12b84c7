"""Runs the commands that last until a signal: sets up the log and the signals, and reports faults of this program."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from consumer.cli.terminal import complain
from consumer.config import Config, secrets_of, short_secrets, without_effect
from consumer.telemetry.garbage import search_young_only
from consumer.telemetry.log import configure_log
from consumer.telemetry.log_lines import ThreadedLines
from consumer.telemetry.log_metrics import DroppedLines
from providers.errors import UserError
from providers.masking import SHORTEST

Work = Callable[[Config, asyncio.Event, FilteringBoundLogger, DroppedLines], Awaitable[None]]
"""Works until the event is set, and then ends by itself. The last argument gives the number of dropped log lines."""

LAST_LINES_SECONDS = 2.0
"""How long the end of the process waits until the log is written: a log that nobody reads must not hold it up."""


def run_lasting(config: Config, work: Work) -> int:
    """Do this work until SIGTERM or SIGINT, with the log of the configuration. Returns the exit code: 0 after a clean
    end, 1 after a fault of this program, which is logged. Raises `UserError` if the work does."""
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
        asyncio.run(_until_signal(config, work, log, lines))
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
    """Handle an error in a task that nobody awaits any more. Kafka's errors are reported where they matter; others are
    faults of this program."""
    if isinstance(context.get("exception"), KafkaError):
        log.debug("kafka_error_unheeded", error=repr(context["exception"]))
    else:
        loop.default_exception_handler(context)


async def _until_signal(config: Config, work: Work, log: FilteringBoundLogger, lines: ThreadedLines) -> None:
    search_young_only()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(partial(_note_background_error, log))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    # SIGHUP means that a terminal was closed, or that somebody hopes to reload the configuration: no reason to stop
    # paging.
    loop.add_signal_handler(signal.SIGHUP, partial(log.warning, "signal_ignored", signal="SIGHUP"))
    await work(config, stopping, log, lines.dropped)
