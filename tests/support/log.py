"""Logs of tests: one that keeps its lines, one that writes them to a stream at once, and that of the process as it was
before a test that has configured one."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any, TextIO

from consumer.telemetry.log_lines import Level


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


class StreamLines:
    """Writes each line to a stream at once, and waits until that is done. A line that cannot be written is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, level: Level, line: str) -> None:
        """Write one line."""
        try:
            with self._lock:
                try:
                    self._stream.write(line + "\n")
                except UnicodeEncodeError:
                    self._stream.write(line.encode("ascii", "backslashreplace").decode() + "\n")
                self._stream.flush()
        except (OSError, ValueError):
            pass  # the other end is gone, or the stream is closed; there is nowhere to say so
