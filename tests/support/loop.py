"""An event loop whose time is a number: everything that is ready runs, and time passes only when a test says so.

No sockets, no threads, no waiting. What runs on it is as deterministic as a function call, and hours cost nothing.
"""

import asyncio
import contextvars
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

if TYPE_CHECKING:
    # To its stubs every method of an abstract loop is one that has to be there. To asyncio what is missing raises
    # NotImplementedError when it is called, and that is what is meant.
    _Loop = asyncio.BaseEventLoop
else:
    _Loop = asyncio.AbstractEventLoop


class VirtualLoop(_Loop):
    """As much of an event loop as futures, tasks, time-outs and locks need."""

    def __init__(self, time: float = 1000.0) -> None:
        self._time = time
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._serial = 0
        self.errors: list[dict[str, Any]] = []
        """What nobody has handled."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within, this is the running loop, for code that is not a task on it."""
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            yield
        finally:
            events._set_running_loop(before)

    def settle(self, limit: int = 100_000) -> None:
        """Run until nothing is ready any more; no time passes."""
        with self.running():
            while self._ready:
                limit -= 1
                if limit < 0:
                    raise AssertionError("the loop does not come to rest")
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()

    def advance(self, seconds: float) -> None:
        """Let that much time pass: every timer runs at its moment."""
        end = self._time + seconds
        self.settle()
        while self._timers and self._timers[0][0] <= end:
            self._time = max(self._time, self._timers[0][0])
            while self._timers and self._timers[0][0] <= self._time:
                self._ready.append(heapq.heappop(self._timers)[2])
            self.settle()
        self._time = end

    def complete(self, coro: Coroutine[Any, Any, T], seconds: float = 0.0) -> T:
        """Run a coroutine to its end, for which this much time may pass."""
        task = self.create_task(coro)
        self.advance(seconds)
        if not task.done():
            raise AssertionError(f"not done after {seconds} s")
        return task.result()

    # the interface of asyncio

    def time(self) -> float:
        return self._time

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._time + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._serial += 1
        heapq.heappush(self._timers, (when, self._serial, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # it is passed over when its moment comes

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Generator[Any, None, T] | Coroutine[Any, Any, T], **options: Any) -> "asyncio.Task[T]":
        return asyncio.Task(coro, loop=self, **options)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return events._get_running_loop() is self

    def is_closed(self) -> bool:
        return False
