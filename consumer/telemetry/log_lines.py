"""Writes the lines of the log so that nobody waits for their reader.

A pipe holds 64 KiB. If its reader stops reading (a log collector that hangs, a terminal that was stopped), a write
blocks, and so does the code that logs. So a separate thread writes the lines, and lines are dropped when too many wait.
"""

import os
import select
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol

Level = Literal["debug", "info", "warning", "error"]
LEVELS: Final[tuple[Level, ...]] = ("debug", "info", "warning", "error")

ROOM: Final = 10_000
"""How many lines may wait to be written; further lines are dropped."""

ROOM_FOR_TROUBLE: Final = 1_000
"""How many more warnings and errors may wait; other lines never take this room."""

CHARACTERS: Final = 16 << 20
"""How many characters may wait; of warnings and errors a tenth more."""

_BATCH_BYTES = 1 << 16
_ATOMIC_BYTES = 4096  # PIPE_BUF: a pipe that is writable takes this many bytes without blocking
_DIRECT_SECONDS = 1.0


class Lines(Protocol):
    """Takes the lines of a log, whole and without their line break, from any thread."""

    def __call__(self, level: Level, line: str) -> None:
        """Take one line."""
        ...


class ThreadedLines:
    """Lets a thread write the lines to a file descriptor, so that the code that logs never waits.

    A line that finds no room is dropped and counted. Once half of the room is free again, that thread calls ``tell``
    with the number of lines of each level that were dropped since the last call; ``tell`` may log.
    """

    def __init__(self, descriptor: int, *, encoding: str = "utf-8", room: int = ROOM) -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._room = room
        # Reentrant: an object that is garbage-collected may warn, and so log, at any moment, also while this lock is
        # held.
        self._changed = threading.Condition(threading.RLock())
        self._waiting: deque[tuple[Level, str]] = deque()
        self._characters = 0
        self._dropped: Counter[Level] = Counter()
        self._untold: Counter[Level] = Counter()
        self._state: Literal["open", "closing", "ended", "abandoned"] = "open"
        self._tell: Callable[[Mapping[Level, int]], None] = lambda dropped: None
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self, tell: Callable[[Mapping[Level, int]], None]) -> None:
        """Begin to write; lines that were logged before have waited."""
        self._tell = tell
        self._thread.start()

    def __call__(self, level: Level, line: str) -> None:
        """Queue one line to be written, or drop it."""
        with self._changed:
            if self._state != "ended":
                if self._state == "abandoned" or not self._has_room(level, line):
                    self._dropped[level] += 1
                    self._untold[level] += 1
                    return
                self._waiting.append((level, line))
                self._characters += len(line)
                self._changed.notify()
                return
        write_within(self._descriptor, self._encoded(line), _DIRECT_SECONDS)

    def dropped(self) -> Mapping[Level, int]:
        """How many lines of each level were not written, since the start."""
        with self._changed:
            return {level: self._dropped[level] for level in LEVELS}

    def close(self, seconds: float) -> bool:
        """Write the lines that wait, within ``seconds``. Returns False if that was not enough: then the rest is lost.

        Later lines are written at once if it was enough, and are lost if not.
        """
        with self._changed:
            self._state = "closing"
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            self._state = "abandoned" if self._thread.is_alive() else "ended"
            return self._state == "ended"

    def _has_room(self, level: Level, line: str) -> bool:
        lines, characters = self._room, CHARACTERS
        if level in ("warning", "error"):
            lines, characters = lines + ROOM_FOR_TROUBLE, characters + characters // 10
        return len(self._waiting) < lines and self._characters + len(line) <= characters

    # in the thread

    def _run(self) -> None:
        while batch := self._next():
            try:
                _write(self._descriptor, b"".join(self._encoded(line) for _, line in batch))
            except OSError:  # the other end is gone; there is nowhere to say so
                with self._changed:
                    self._dropped.update(level for level, _ in batch)
            if untold := self._to_be_told():
                self._tell(untold)

    def _next(self) -> list[tuple[Level, str]]:
        """The lines to write next; none when the thread shall end."""
        batch: list[tuple[Level, str]] = []
        size = 0
        with self._changed:
            while not self._waiting and self._state == "open":
                self._changed.wait()
            while self._waiting and self._state != "abandoned" and size < _BATCH_BYTES:
                batch.append(self._waiting.popleft())
                size += len(batch[-1][1])
            self._characters -= size
        return batch

    def _to_be_told(self) -> Mapping[Level, int]:
        with self._changed:
            if not self._untold or len(self._waiting) > self._room // 2 or self._state == "abandoned":
                return {}
            untold, self._untold = self._untold, Counter()
            return untold

    def _encoded(self, line: str) -> bytes:
        return f"{line}\n".encode(self._encoding, "backslashreplace")


def write_within(descriptor: int, data: bytes, seconds: float) -> bool:
    """Write to a descriptor that perhaps nobody reads, within ``seconds``. Returns whether everything was written."""
    end = time.monotonic() + seconds
    try:
        while data:
            if not _is_writable(descriptor, end - time.monotonic()):
                return False
            data = data[os.write(descriptor, data[:_ATOMIC_BYTES]) :]
    except OSError:
        return False
    return True


def _is_writable(descriptor: int, seconds: float) -> bool:
    if sys.platform == "win32":
        return True  # Windows cannot poll a pipe
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(max(0, seconds) * 1000))


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
