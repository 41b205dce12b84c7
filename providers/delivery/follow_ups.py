"""Follow-ups at an API beside the integration's (`Request.is_beside`), by rules of their own (design section 9).

The notification that they follow was accepted without them, holds no place for them, and is not repeated for them. As
all go to one API, they wait in one queue: some are made at once while it works, one at a time, less and less often,
while it does not. They are kept in memory only.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from providers.answer import Accepted, Rejected, Unavailable
from providers.contained import ProviderFault
from providers.delivery.outbox import Dispatch, Outbox
from providers.notify import ask, failure_of, followers_of
from providers.provider import Provider, Request
from providers.retry import Backoff
from providers.sender import Sender

GIVE_UP_SECONDS: Final = 3600.0
"""How many seconds a follow-up is tried before it is given up."""

MOST: Final = 1000
"""How many alerts can have follow-ups that wait. Beyond that, those of the alert that has waited longest are given
up."""

AT_ONCE: Final = 8
"""Of how many alerts follow-ups are made at the same time. After a failure they are made one alert at a time."""

LONGEST_WAIT_SECONDS: Final = 60.0
"""The longest pause between two attempts, in seconds, unless the API asks for a longer one."""

_LOOK_SECONDS: Final = 1.0

Alert = tuple[Outbox, str]


@dataclass(slots=True, eq=False)
class _Waiting:
    dispatch: Dispatch
    requests: deque[Request]
    since: float


class FollowUps:
    """The follow-ups of one pipeline, the last ones of each alert.

    ``may_leave`` says of an alert whether anything about it may leave now; ``rejected`` is told of what was rejected,
    or is given up.
    """

    def __init__(
        self,
        sender: Sender,
        provider: Provider,
        timeout: float,
        backoff: Backoff,
        may_leave: Callable[[Alert], bool],
        rejected: Callable[[Dispatch, Rejected], None],
    ) -> None:
        self._sender = sender
        self._provider = provider
        self._timeout = timeout
        self._backoff = backoff
        self._may_leave = may_leave
        self._rejected = rejected
        self._waiting: OrderedDict[Alert, _Waiting] = OrderedDict()
        self._making: dict[Alert, asyncio.Task[None] | None] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._failures = 0  # in a row
        self._not_before = 0.0
        self._may_be_free = asyncio.Event()
        self._is_closed = False

    def __len__(self) -> int:
        """How many alerts have follow-ups that are not made yet."""
        return len(self._waiting)

    def take(self, alert: Alert, dispatch: Dispatch, requests: Sequence[Request]) -> None:
        """Make these requests, one after another, in place of earlier ones of the alert."""
        self._waiting.pop(alert, None)
        self._waiting[alert] = _Waiting(dispatch, deque(requests), self._now())
        if len(self._waiting) > MOST:
            self._give_up(next(iter(self._waiting)), Unavailable(None, "too many follow-ups wait"))
        self._begin()

    def look_again(self) -> None:
        """Alerts about which nothing could leave may be free now."""
        self._may_be_free.set()

    def drop(self, alert: Alert) -> None:
        """Drop the follow-ups of the alert, because it is over."""
        self._waiting.pop(alert, None)

    def forget(self, outbox: Outbox) -> None:
        """Give up the follow-ups of this task's alerts, because another task owns the partition."""
        for alert in [alert for alert in self._waiting if alert[0] is outbox]:
            self._give_up(alert, Unavailable(None, "its partition is another task's"))
        for worker in [worker for alert, worker in self._making.items() if alert[0] is outbox]:
            assert worker is not None
            worker.cancel()

    async def close(self) -> None:
        """Stop: no follow-up is made any more."""
        self._is_closed = True
        workers = [*self._workers]
        for worker in workers:
            worker.cancel()
        if workers:
            await asyncio.wait(workers)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _begin(self) -> None:
        """Have as many workers as there is work for."""
        wanted = min(len(self._waiting), 1 if self._failures else AT_ONCE)
        while len(self._workers) < wanted and not self._is_closed:
            worker = asyncio.get_running_loop().create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._worked)

    async def _work(self) -> None:
        while len(self._workers) <= (1 if self._failures else AT_ONCE):
            if (wait := self._not_before - self._now()) > 0:
                await asyncio.sleep(wait)
            if not await self._make_next():
                if self._making.keys() >= self._waiting.keys():
                    return
                self._may_be_free.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._may_be_free.wait()

    async def _make_next(self) -> bool:
        """Make the waiting follow-ups of one alert. Returns whether an alert had any that may leave."""
        left = (alert for alert in self._waiting if alert not in self._making)
        alert = next(filter(self._may_leave, left), None)
        if alert is None:
            return False
        one = self._waiting[alert]
        try:
            self._making[alert] = asyncio.current_task()
            try:
                failure = await self._make(alert, one)
            finally:
                del self._making[alert]
            self._made(alert, one, failure)
        except Exception as error:  # a fault of this program about these: the others go on, without them
            if self._waiting.get(alert) is one:
                del self._waiting[alert]
            _tell(error)
        return True

    def _made(self, alert: Alert, one: _Waiting, failure: Unavailable | None) -> None:
        now = self._now()
        if failure is None:
            self._failures = 0
            self._begin()
        else:
            self._failures += 1
            wait = self._backoff.wait(self._failures, LONGEST_WAIT_SECONDS)
            self._not_before = now + max(wait, failure.retry_after or 0.0)
        if self._waiting.get(alert) is not one:
            return  # others have taken its place, or it is void
        if failure is None:
            if not one.requests:
                del self._waiting[alert]
        elif now - one.since >= GIVE_UP_SECONDS:
            self._give_up(alert, failure)
        else:
            self._waiting.move_to_end(alert)  # it may be its own fault

    async def _make(self, alert: Alert, one: _Waiting) -> Unavailable | None:
        """Make the requests of the alert, for as long as no later ones have replaced them and they may leave. Returns
        the answer of a request that has failed, with which the next attempt begins; None if none has."""
        while one.requests and self._waiting.get(alert) is one and self._may_leave(alert):
            answer = await ask(self._sender, self._provider, one.requests[0], self._timeout)
            if (failure := failure_of(answer)) is not None:
                return failure
            request = one.requests.popleft()
            if isinstance(answer, Accepted):
                try:
                    one.requests.extendleft(reversed(followers_of(request, answer)))
                except ProviderFault as fault:
                    answer = Rejected(0, str(fault))
            if isinstance(answer, Rejected):
                self._rejected(one.dispatch, answer)
        return None

    def _give_up(self, alert: Alert, answer: Unavailable) -> None:
        one = self._waiting.pop(alert)
        self._rejected(one.dispatch, Rejected(answer.status or 0, f"given up: {answer.reason}"))

    def _worked(self, worker: "asyncio.Task[None]") -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            _tell(error)
        elif self._waiting:
            self._begin()


def _tell(fault: BaseException) -> None:
    context = {"message": "a fault of delivery about follow-ups", "exception": fault}
    asyncio.get_running_loop().call_exception_handler(context)
