"""Logs of tests: one that keeps its lines, and that of the process as it was before a test that has configured one."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def log_as_before() -> Iterator[None]:
    """Whatever log is configured within the block is gone behind it."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    logging.captureWarnings(False)
    for handler in [handler for handler in root.handlers if type(handler).__module__ == "consumer.telemetry.log"]:
        root.removeHandler(handler)


class RecordedLog:
    """A logger that keeps its lines: the level, the event and the fields of each."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def debug(self, event: str, **fields: Any) -> None:
        self.lines.append(("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.lines.append(("error", event, fields))

    def events(self) -> list[str]:
        return [event for _, event, _ in self.lines]
