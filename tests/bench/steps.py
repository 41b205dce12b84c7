"""How long the event loop of this process does one thing at a time; what takes long is looked at while it does."""

import asyncio
import contextlib
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter, thread_time
from types import FrameType
from typing import Any

LONG_SECONDS = 0.05
"""What no step may take (design section 16)."""

_LOOK_SECONDS = 0.005
_FRAMES = 8


@dataclass(frozen=True, slots=True)
class Step:
    """Something that the loop did without a turn for others: ``cpu`` is what it worked, ``seconds`` what it took."""

    cpu: float
    seconds: float
    what: str
    where: str


class Steps:
    """The steps of this process's event loop, between two calls of `taken`."""

    def __init__(self) -> None:
        self._longest = Step(0.0, 0.0, "", "")
        self._long: list[Step] = []
        self._began: float | None = None
        self._seen: Counter[str] = Counter()

    def taken(self) -> tuple[Step, list[Step]]:
        """The longest step by its CPU, and those that were too long, since the last call."""
        longest, long = self._longest, sorted(self._long, key=lambda step: -step.cpu)
        self._longest, self._long = Step(0.0, 0.0, "", ""), []
        return longest, long

    def measure(self, run: Any, handle: Any) -> None:
        """Run a handle of the loop."""
        self._seen.clear()
        self._began, cpu = perf_counter(), thread_time()
        run(handle)
        cpu, seconds = thread_time() - cpu, perf_counter() - self._began
        self._began = None
        # On a machine that does other things as well, the time that passed says little.
        if cpu > self._longest.cpu or cpu > LONG_SECONDS:
            where = max(self._seen, key=self._seen.__getitem__, default="")
            step = Step(cpu, seconds, _name(handle), where)
            if cpu > self._longest.cpu:
                self._longest = step
            if cpu > LONG_SECONDS:
                self._long.append(step)

    def look(self, main: int, stopping: threading.Event) -> None:
        """Look now and then where a long step is; in a thread of its own."""
        while not stopping.wait(_LOOK_SECONDS):
            began = self._began
            if began is not None and perf_counter() - began > LONG_SECONDS / 2:
                frame = sys._current_frames().get(main)
                if frame is not None:
                    self._seen[_stack(frame)] += 1


@contextlib.contextmanager
def measured_steps() -> Iterator[Steps]:
    """Measure the steps of every loop of this process for the length of the block."""
    steps, stopping = Steps(), threading.Event()
    handles: Any = asyncio.Handle  # of which one method is another for a while
    original = handles._run

    def run(handle: Any) -> None:
        steps.measure(original, handle)

    watcher = threading.Thread(target=steps.look, args=(threading.get_ident(), stopping), daemon=True)
    handles._run = run
    watcher.start()
    try:
        yield steps
    finally:
        handles._run = original
        stopping.set()
        watcher.join()


def _name(handle: Any) -> str:
    callback = handle._callback
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return getattr(owner.get_coro(), "__qualname__", repr(owner.get_coro()))
    return getattr(callback, "__qualname__", repr(callback))


def _stack(frame: FrameType | None) -> str:
    lines: list[str] = []
    while frame is not None and len(lines) < _FRAMES:
        code = frame.f_code
        if "asyncio" not in code.co_filename and code.co_filename != __file__:
            lines.append(f"{code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {code.co_qualname}")
        frame = frame.f_back
    return " < ".join(lines)
