"""The metrics that every process of ours has: its release, its log, its event loop, and the system's figures of it."""

import asyncio
from importlib.metadata import version
from platform import python_version

from prometheus_client import CollectorRegistry, Gauge, Info, ProcessCollector, disable_created_metrics

from consumer.telemetry.lag import LoopLag
from consumer.telemetry.log_metrics import DroppedLines, LogCollector
from consumer.telemetry.metrics import PREFIX


def process_metrics(lag: LoopLag, dropped_lines: DroppedLines) -> CollectorRegistry:
    """A registry with these metrics; ``dropped_lines`` gives the number of log lines that were dropped."""
    disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each, which nobody asks for
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    build = Info(f"{PREFIX}_build", "Which release this is", registry=registry)
    build.info({"version": version("clawdstrike-alerting"), "python_version": python_version()})
    tasks = Gauge(f"{PREFIX}_asyncio_tasks", "Coroutines that run or wait in the event loop", registry=registry)
    tasks.set_function(lambda: len(asyncio.all_tasks()))
    registry.register(LogCollector(dropped_lines))
    longest = Gauge(
        f"{PREFIX}_event_loop_lag_seconds",
        "The longest that the event loop was held up at a time, of the last minute",
        registry=registry,
    )
    longest.set_function(lambda: lag.longest)
    return registry
