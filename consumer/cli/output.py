"""The standard output of a command, which whoever reads it may close, and which may be full.

Both are an `OSError` like those of files and of Kafka. So that nobody takes them for one of those they are told apart
here, where they happen.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast


class OutputFailed(Exception):
    """What was to be shown could not be written: nobody reads it (any more), or there is no room for it."""


class _Output:
    """A stream whose failures are `OutputFailed`; None is one that was closed before the command began."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; how many characters it has."""
        try:
            return self._open().write(text)
        except OSError as error:
            raise OutputFailed(os.strerror(error.errno or 0)) from None

    def flush(self) -> None:
        """Write what waits in the stream."""
        try:
            if self._stream is not None:
                self._stream.flush()
        except OSError as error:
            raise OutputFailed(os.strerror(error.errno or 0)) from None

    def isatty(self) -> bool:
        """Whether somebody sits before it."""
        return self._stream is not None and self._stream.isatty()

    def _open(self) -> TextIO:
        if self._stream is None:
            raise OutputFailed("standard output is closed")
        return self._stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._open(), name)


@contextmanager
def output() -> Iterator[None]:
    """Within the block a standard output that fails is `OutputFailed`; at its end all has been written."""
    stream = sys.stdout
    sys.stdout = cast(TextIO, _Output(stream))
    try:
        yield
        sys.stdout.flush()
    except OutputFailed:
        _forget(stream)
        raise
    finally:
        sys.stdout = stream


def _forget(stream: TextIO | None) -> None:
    """Let nobody, Python itself at its end, try to write once more what waits in the stream."""
    try:
        descriptor = stream.fileno() if stream is not None else None
    except (OSError, ValueError):
        return  # it is no file
    if descriptor is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
