"""The standard output of a command: its reader may close it, and its disk may be full.

Both raise an OSError, as files and Kafka do. So that nobody mistakes one for the other, an error of the output is
turned into `OutputFailed` here, where it happens.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast


class OutputFailed(Exception):
    """The output could not be written: nobody reads it any more, or there is no room for it."""


class _Output:
    """A stream whose errors are `OutputFailed`; the stream is None if it was closed before the command began."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text. Returns the number of its characters."""
        try:
            return self._open().write(text)
        except OSError as error:
            raise OutputFailed(os.strerror(error.errno or 0)) from None

    def flush(self) -> None:
        """Write the text that waits in the stream's buffer."""
        try:
            if self._stream is not None:
                self._stream.flush()
        except OSError as error:
            raise OutputFailed(os.strerror(error.errno or 0)) from None

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def _open(self) -> TextIO:
        if self._stream is None:
            raise OutputFailed("standard output is closed")
        return self._stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._open(), name)


@contextmanager
def output() -> Iterator[None]:
    """Let a standard output that fails raise `OutputFailed` within the block; at the end of the block all is
    written."""
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
    """Discard the stream's buffer, so that Python does not try to write it again when it exits."""
    try:
        descriptor = stream.fileno() if stream is not None else None
    except (OSError, ValueError):
        return  # the stream is no file
    if descriptor is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
