"""The log of the process that runs the tests: as it was before a test that has configured one."""

import contextlib
import logging
from collections.abc import Iterator


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
