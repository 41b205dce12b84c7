"""Delivery: from what tasks owe to what the provider has answered (design section 9).

A `Delivery` serves one pipeline. Each route has a queue ordered by severity, then age; what is ready is sent
concurrently, one request at a time per alert. What is owed lives with the task (an `Outbox`), and the queues hold
only what they need to order it: whatever is lost here is offered again from there.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Protocol

from providers.answer import Answer, Rejected, RouteRefused, Unavailable
from providers.breaker import Breaker, BreakerSettings
from providers.notification import Notification
from providers.notify import Sender, deliver
from providers.provider import Provider
from providers.rate import Rate
from providers.retry import Backoff
from providers.route import Debt, Route
from state.violation import Severity


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A notification that leaves now. ``token`` is the outbox's own: what the answer will be compared with."""

    dedup_key: str
    route: str
    notification: Notification
    token: Any


class Outbox(Protocol):
    """A task, as delivery sees it."""

    def dispatch(self, dedup_key: str, route: str) -> Dispatch | None:
        """What is to be sent for this alert through this route at this moment, or None where nothing may be."""
        ...

    def answered(self, dispatch: Dispatch, answer: Answer, failures: int) -> None:
        """The provider's answer; ``failures`` counts the outage answers in a row, this one included.

        The outbox offers the alert again if it still owes something.
        """
        ...

    def withheld(self, dedup_key: str) -> None:
        """What was to be sent was not, or not all of it: the proof has become too old. It is to be offered again."""
        ...


Key = tuple[Outbox, str]
"""An alert, as delivery knows it."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What an outbox says of an alert that owes something, so that it can be queued.

    ``since`` is wall-clock time (age); ``not_before`` is by the monotonic clock.
    """

    outbox: Outbox
    dedup_key: str
    route: str
    severity: Severity
    since: float
    is_resolve: bool = False
    not_before: float = 0.0


class Observer(Protocol):
    """What delivery tells about its work; metrics and logs listen."""

    def answered(self, dispatch: Dispatch, answer: Answer, seconds: float) -> None:
        """A notification was answered after ``seconds``."""
        ...

    def failed(self, dispatch: Dispatch, error: BaseException) -> None:
        """A notification could not be made into requests: a fault of this program."""
        ...


class Delivery:
    """Sends what is owed, as fast as routes, provider and ``max_in_flight`` allow.

    ``may_send`` is asked immediately before every request; while it says no, nothing leaves (design section 6.5), and
    `wake` is to be called when that may have changed.
    """

    def __init__(
        self,
        *,
        provider: Provider,
        sender: Sender,
        timeout: float,
        may_send: Callable[[], bool],
        backoff: Backoff,
        max_in_flight: int,
        observer: Observer,
        breaker: BreakerSettings | None = None,
        rate: Rate | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._provider = provider
        self._sender = sender
        self._timeout = timeout
        self._may_send = may_send
        self._backoff = backoff
        self._observer = observer
        self._clock = clock
        self._rate = rate
        breaker = breaker or BreakerSettings()
        self._routes = {name: Route(name, Breaker(breaker)) for name in provider.routes}
        self.set_share(1.0)
        self._max_in_flight = max_in_flight
        # Half of the places are shared out, so that a route that hangs cannot take them all from the others.
        self._reserve = max_in_flight // (2 * len(self._routes)) if len(self._routes) > 1 else 0
        self._on_the_wire: dict[Key, asyncio.Task[Answer | None]] = {}
        self._failures: dict[Key, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._turn = 0

    @property
    def routes(self) -> Sequence[Route]:
        """All routes, for health, metrics and the heartbeat."""
        return tuple(self._routes.values())

    @property
    def in_flight(self) -> int:
        """Notifications on the wire."""
        return len(self._on_the_wire)

    def offer(self, offer: Offer) -> None:
        """An alert owes something. Offered again, it is queued once, at its highest severity."""
        key = (offer.outbox, offer.dedup_key)
        if key in self._on_the_wire:
            return  # offered again by the answer
        debt = Debt(key, offer.severity, offer.since, offer.is_resolve, offer.not_before)
        self._route(offer.route).add(debt, self._clock())
        self._pump()

    def set_share(self, share: float) -> None:
        """This member has that part (0 to 1) of the pipeline's partitions, and may use that part of the rate."""
        if self._rate is not None and share > 0:
            for route in self._routes.values():
                route.limiter = self._rate.limiter(share)

    def wake(self) -> None:
        """Something has changed that may let requests leave."""
        self._pump()

    def is_on_the_wire(self, outbox: Outbox, dedup_key: str) -> bool:
        """Whether a notification about this alert is on the wire."""
        return (outbox, dedup_key) in self._on_the_wire

    async def withdraw(self, outbox: Outbox, grace: float) -> None:
        """Stop sending for this outbox: wait up to ``grace`` seconds for its requests, then cut them off."""
        self._forget(outbox)
        mine = [task for (owner, _), task in self._on_the_wire.items() if owner is outbox]
        if mine and grace > 0:
            await asyncio.wait(mine, timeout=grace)
        for task in mine:
            task.cancel()
        if mine:
            await asyncio.wait(mine)
            self._forget(outbox)  # an answer that came meanwhile has offered again
        for key in [key for key in self._failures if key[0] is outbox]:
            del self._failures[key]

    def _forget(self, outbox: Outbox) -> None:
        for route in self._routes.values():
            route.forget(outbox)

    async def close(self) -> None:
        """Cut off whatever is on the wire."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._on_the_wire.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _route(self, name: str) -> Route:
        # An alert may remember a route that the configuration no longer has: the provider falls back to its default.
        route = self._routes.get(name)
        return route if route is not None else next(iter(self._routes.values()))

    def _pump(self) -> None:
        """Let everything leave that is ready and has room."""
        if not self._may_send():
            return
        routes = list(self._routes.values())
        now = self._clock()
        # What is taken, and what is kept free for those routes that have not taken their part of the reserve.
        taken = sum(self._taken(route) for route in routes)
        progress = True
        while progress and len(self._on_the_wire) < self._max_in_flight:
            progress = False
            for index in range(len(routes)):
                route = routes[(self._turn + index) % len(routes)]
                others = taken - self._taken(route)
                if others + route.in_flight < self._max_in_flight and (debt := route.take(now)) is not None:
                    self._start(route, debt)
                    taken = others + self._taken(route)
                    progress = True
            self._turn += 1
        self._set_timer(now)

    def _taken(self, route: Route) -> int:
        return max(route.in_flight, self._reserve)

    def _start(self, route: Route, debt: Debt) -> None:
        outbox, dedup_key = debt.key
        dispatch = outbox.dispatch(dedup_key, route.name)
        if dispatch is None:
            return
        route.in_flight += 1
        route.unmetered += 1
        task = asyncio.create_task(self._deliver(route, dispatch))
        self._on_the_wire[debt.key] = task
        # A callback and not the coroutine's own end: a task that is cancelled before its first step never runs.
        task.add_done_callback(partial(self._delivered, route, debt.key, dispatch, self._clock()))

    async def _deliver(self, route: Route, dispatch: Dispatch) -> Answer | None:
        is_metered = False

        async def permit() -> bool:
            nonlocal is_metered
            if route.limiter is not None:
                await route.limiter.acquire()
            if not is_metered:
                is_metered = True
                route.unmetered -= 1
            return self._may_send()

        try:
            return await deliver(
                self._sender, self._provider, dispatch.route, dispatch.notification, self._timeout, permit
            )
        finally:
            if not is_metered:
                route.unmetered -= 1

    def _delivered(
        self, route: Route, key: Key, dispatch: Dispatch, started: float, task: "asyncio.Task[Answer | None]"
    ) -> None:
        route.in_flight -= 1
        del self._on_the_wire[key]
        if not task.cancelled():
            error = task.exception()
            if error is not None:  # a fault of ours, of this notification only: a dead letter, loudly, and on
                self._observer.failed(dispatch, error)
                self._settle(route, key, dispatch, Rejected(0, f"internal error: {type(error).__name__}"), started)
            elif (answer := task.result()) is not None:
                self._settle(route, key, dispatch, answer, started)
            else:
                key[0].withheld(key[1])
        self._pump()

    def _settle(self, route: Route, key: Key, dispatch: Dispatch, answer: Answer, started: float) -> None:
        now = self._clock()
        failures = 0
        match answer:
            case Unavailable(retry_after=retry_after):
                failures = self._failures[key] = self._failures.get(key, 0) + 1
                route.unavailable(now, retry_after)
            case RouteRefused(reason=reason):
                failures = self._failures[key] = self._failures.get(key, 0) + 1
                route.refuse(now, reason)
            case _:
                self._failures.pop(key, None)
                route.answered()
        self._observer.answered(dispatch, answer, now - started)
        key[0].answered(dispatch, answer, failures)

    def retry_at(self, failures: int) -> float:
        """By the monotonic clock, when something that has failed so many times in a row is to be tried again."""
        return self._clock() + self._backoff.wait(failures)

    def _set_timer(self, now: float) -> None:
        """Come back when the next delayed debt or paused route is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = min((at for route in self._routes.values() if (at := route.next_due(now)) is not None), default=None)
        if due is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - now), self._pump)
