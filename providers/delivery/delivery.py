"""Delivery: choose the next notification that may leave, send it, and report the outcome (design section 13).

A `Delivery` serves one pipeline for as long as the process runs. The tasks keep what is owed (`Outbox`). Delivery keeps
order, retries, probes and rates, and finds out whether the alert or the key is at fault for a rejection. Whatever
delivery forgets, the tasks offer again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from math import inf
from random import random
from time import monotonic
from typing import Final
from weakref import WeakSet

from providers.answer import Accepted, Answer, Rejected, Throttled, Unavailable
from providers.delivery.breaker import Breaker, BreakerSettings
from providers.delivery.follow_ups import FollowUps
from providers.delivery.integration import Alert, Integration, Owed
from providers.delivery.limiter import KeyLimiter
from providers.delivery.outage import Condition, RouteTrouble
from providers.delivery.outbox import Dispatch, Observer, Outbox, Outcome, Pending
from providers.delivery.places import Place, Places
from providers.delivery.queue import Entry
from providers.delivery.route_reports import RouteReports
from providers.delivery.settling import OWN_BACKOFF_SECONDS, Settling, attempt
from providers.delivery.tokens import Tokens
from providers.delivery.verifying import MORE_TO_SAY, Verifying
from providers.notification import Resolve
from providers.notify import Sender, check, deliver
from providers.provider import Provider
from providers.rate import Rate
from providers.retry import Backoff
from state.pieces import Pieces

MAX_OWED_BYTES: Final = 256 * 1024 * 1024
"""How many bytes of records may be kept because their triggers are owed, for all tasks of a member."""

_AT_A_TIME: Final = 16
"""How many integrations are pumped before the event loop runs other callbacks."""

_STARTED_AT_A_TIME: Final = 16
"""How many notifications leave through one integration before others have their turn."""

_FREED_AT_A_TIME: Final = 5000
"""How many steps of freeing a closed task's entries are done before the event loop runs other callbacks."""


@dataclass(frozen=True, slots=True)
class RouteLimits:
    """What the configuration says of one route.

    ``rate`` None means no limit. ``check_interval`` is in seconds; 0 means no checks. ``may_owe`` is how many triggers
    may be owed (None: any number). Without ``checks_idle`` the key is checked only when there is a doubt about it.
    """

    rate: Rate | None = None
    check_interval: float = 0.0
    may_owe: int | None = None
    checks_idle: bool = True


class Delivery:
    """Sends what is owed, as fast as integrations, provider and ``max_in_flight`` allow.

    ``may_send`` is called immediately before every request. While it returns False, nothing leaves (design section
    6.5); call `wake` when that may have changed. ``limits`` are by route; of routes that share a key, the first route's
    count.
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
        limits: Mapping[str, RouteLimits] | None = None,
        max_owed_bytes: int = MAX_OWED_BYTES,
        clock: Callable[[], float] = monotonic,
        chance: Callable[[], float] = random,
    ) -> None:
        self._provider = provider
        self._sender = sender
        self._timeout = timeout
        self._may_send = may_send
        self._observer = observer
        self._clock = clock
        self._max_owed_bytes = max_owed_bytes
        settings, given, now = breaker or BreakerSettings(), limits or {}, clock()
        routes: dict[str, list[str]] = {}
        for route in provider.routes:
            routes.setdefault(provider.integration_of(route), []).append(route)
        self._owed = Owed()
        self._integrations: list[Integration] = []
        self._by_route: dict[str, Integration] = {}
        for names in routes.values():
            limit = given.get(names[0], RouteLimits())
            limiter = KeyLimiter(limit.rate, random=chance, now=now)
            limiter.set_share(1.0, now)
            integration = Integration(
                tuple(names),
                limiter,
                Breaker(settings),
                settings.recovery_seconds,
                limit.check_interval,
                limit.may_owe,
                self._owed,
                limit.checks_idle,
            )
            self._integrations.append(integration)
            self._by_route.update(dict.fromkeys(names, integration))
        self._default = self._integrations[0]
        self._where: dict[Outbox, Pieces[str, Integration]] = {}
        self._on_the_wire: dict[Alert, asyncio.Task[Answer | None]] = {}
        self._verifying: dict[Alert, tuple[Verifying, Pending]] = {}  # what is asked about, and what it has said
        self._follow_ups = FollowUps(
            sender, provider, timeout, backoff, self._may_follow_up, observer.follow_up_rejected
        )
        self._tokens = Tokens(clock, self._is_free_again)
        self._reports = RouteReports(observer, clock)
        self._settling = Settling(self, observer, self._reports, backoff, clock)
        self._places = Places(max_in_flight, len(self._integrations), self._place_is_free)
        self._checks: set[asyncio.Task[None]] = set()
        self._timers: dict[Integration, asyncio.TimerHandle] = {}
        self._crowded: OrderedDict[Integration, None] = OrderedDict()
        self._to_pump: OrderedDict[Integration, None] = OrderedDict()
        self._is_pumping = False
        self._looks = 0  # how many of the crowded have yet to be offered a place that became free
        self._withdrawn: WeakSet[Outbox] = WeakSet()
        self._unpaid_bytes = 0
        self._is_closed = False

    # queries

    @property
    def in_flight(self) -> int:
        """How many notifications are on the wire, or are being asked about."""
        return len(self._on_the_wire)

    @property
    def refused_routes(self) -> Sequence[str]:
        """The routes whose key the provider refuses, in the order of the configuration."""
        return [route for one in self._integrations if one.refusal is not None for route in one.routes]

    def waiting(self) -> Mapping[str, int]:
        """How many alerts wait for each integration, by the name of its first route."""
        return {integration.route: len(integration) for integration in self._integrations}

    def open_breakers(self) -> Sequence[str]:
        """The routes whose breaker is open: only probes leave through them."""
        return [route for one in self._integrations if one.breaker.is_open for route in one.routes]

    def troubles(self, wall: float) -> Iterator[RouteTrouble]:
        """The routes with a trouble, in the order of the configuration. ``wall`` is the time now by the wall clock."""
        now = self._clock()
        epoch = wall - now
        for one in self._integrations:
            outage = one.outages.current
            if outage is not None and (one.refusal is not None or one.breaker.is_open or one.outages.lasts(now)):
                condition, last = Condition.REFUSED if one.refusal is not None else Condition.FAILING, outage.last
                for route in one.routes:
                    yield RouteTrouble(route, condition, epoch + outage.since, last.reason, last.status)
            elif one.throttled_since is not None and one.limiter.is_throttled(now):
                since = epoch + one.throttled_since
                condition = Condition.FAILING if one.takes_nothing(now) else Condition.THROTTLED
                for route in one.routes:
                    yield RouteTrouble(route, condition, since, "too many requests", 429)

    def is_busy(self, outbox: Outbox, dedup_key: str) -> bool:
        """Whether a notification about this alert is on the wire."""
        return (outbox, dedup_key) in self._on_the_wire

    def doubted(self, outbox: Outbox, dedup_key: str) -> str | None:
        """Why this alert was rejected, while a check has yet to show whether the key is at fault; else None."""
        alert = (outbox, dedup_key)
        suspect = self._integration_of(alert).suspects.get(alert)
        return None if suspect is None else suspect.answer.reason

    def is_down(self, route: str) -> bool:
        """Whether only probes and checks leave through the route: its key is refused, or its breaker open."""
        integration = self._route(route)
        return integration.refusal is not None or integration.breaker.is_open

    def has_room(self, route: str, size: int) -> bool:
        """Whether one more trigger of that many bytes may be owed through this route."""
        return self._route(route).has_room() and self._owed.bytes + size <= self._max_owed_bytes

    def take_spare(self, route: str) -> bool:
        """Take a token of a route's key for what is about no alert and can wait: only where no alert has to wait for
        it, and the route works. Whether there was one."""
        integration = self._route(route)
        is_free = self._may_send() and not self.is_down(route) and not (integration.is_held_up or integration.awaiting)
        return is_free and integration.limiter.take_spare(self._clock())

    # calls from tasks and their member

    def start(self) -> None:
        """Check the keys of all routes, now and whenever they have been idle for long."""
        self._pump_soon(self._integrations)

    def changed(self, outbox: Outbox, dedup_key: str, *, is_new: bool = False) -> None:
        """The pending notification of the alert may have changed; ``is_new``: a trigger has come to be owed."""
        alert = (outbox, dedup_key)
        if alert in self._on_the_wire:  # the outbox is asked when the answer has come
            if (asked := self._verifying.get(alert)) is not None and _has_more_to_say(alert, asked[1]):
                asked[0].enough(MORE_TO_SAY)
            return
        triggers, size = self._owed.triggers, self._owed.bytes
        integration = self._ask(alert)
        if integration is None:
            return
        if is_new:
            self._keep_to_budget(integration, self._owed.triggers > triggers, self._owed.bytes - size)
        # Else a timer pumps the integration when there is a token, or a finished request gives it a place.
        if not (integration.is_held_up and integration in self._timers) and integration not in self._crowded:
            self._pump_one(integration)

    def may_resolve_again(self, outbox: Outbox) -> None:
        """Let the task's resolves leave, which had to wait."""
        self._pump_soon([one for one in self._integrations if one.may_resolve_again(outbox)])

    def set_share(self, share: float) -> None:
        """This member has the part ``share`` (0 to 1) of the pipeline's partitions, and may use that part of each
        rate."""
        now = self._clock()
        for integration in self._integrations:
            integration.limiter.set_share(share, now)
        self._pump_soon(self._integrations)

    def wake(self) -> None:
        """Requests may be able to leave that could not before; also call this when the clock may have gone on while
        timers stood still (after a suspension)."""
        self._pump_soon([one for one in self._integrations if one.has_waiting or one.outages.current is not None])

    async def withdraw(self, outbox: Outbox, grace: float) -> None:
        """Send nothing more for this outbox, ever: wait up to ``grace`` seconds for its requests, then cancel them.

        It is not served again, whatever its task may still report: by then another task owns the partition.
        """
        self._withdrawn.add(outbox)
        where = self._where.pop(outbox, None)
        queues = [queue for integration in self._integrations if (queue := integration.forget(outbox)) is not None]
        self._free(chain(where.taken() if where is not None else (), *(queue.emptied() for queue in queues)))
        self._follow_ups.forget(outbox)
        mine = [task for (owner, _), task in self._on_the_wire.items() if owner is outbox]
        if mine and grace > 0:
            await asyncio.wait(mine, timeout=grace)
        for task in mine:
            task.cancel()
        if mine:
            await asyncio.wait(mine)
        for integration in self._integrations:
            if integration.refusal is None:
                self._reports.gives_up_if_idle(integration)

    def _free(self, steps: Iterator[object]) -> None:
        """Free what is not used any more. If there is much of it, the event loop runs other callbacks in between."""
        if sum(1 for _ in islice(steps, _FREED_AT_A_TIME)) == _FREED_AT_A_TIME:
            asyncio.get_running_loop().call_soon(self._free, steps)

    async def close(self) -> None:
        """Cancel all requests on the wire; nothing leaves any more."""
        self._is_closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        tasks = [*self._on_the_wire.values(), *self._checks]
        for task in tasks:
            task.cancel()
        await self._follow_ups.close()
        if tasks:
            await asyncio.wait(tasks)

    # queueing

    def _route(self, name: str) -> Integration:
        # An alert may remember a route that the configuration no longer has: the provider falls back to its default.
        return self._by_route.get(name, self._default)

    def _integration_of(self, alert: Alert) -> Integration:
        where = self._where.get(alert[0])
        integration = where.get(alert[1]) if where is not None else None
        return integration if integration is not None else self._default

    def _ask(self, alert: Alert) -> Integration | None:
        """Ask for the pending notification of the alert, and let that wait for its turn. Returns the integration where
        it waits, None if it waits nowhere."""
        outbox, dedup_key = alert
        if alert in self._on_the_wire:
            return None
        where = self._where.get(outbox)
        if where is None:
            if outbox in self._withdrawn:  # a task that is withdrawn is nowhere
                return None
            where = self._where[outbox] = Pieces()
        pending, now = outbox.pending(dedup_key), self._clock()
        before = where.get(dedup_key)
        integration = self._route(pending.route) if pending is not None else None
        if before is not integration:
            not_before = -inf
            if before is not None:
                not_before = before.left(outbox, dedup_key)
                where.pop(dedup_key)
                if before.outages.current is not None:
                    self._pump_one(before)  # if no alert waits there any more, its key may have to be checked
            if integration is not None:
                where[dedup_key] = integration
                integration.came(outbox, dedup_key, not_before)
        if integration is None or pending is None:
            return None
        integration.put(outbox, dedup_key, pending, now)
        return integration

    def ask_again(self, alert: Alert, here: Integration) -> None:
        """Ask again after an answer through the integration ``here``: the next notification can have another route."""
        there = self._ask(alert)
        if there is not None and there is not here:
            self._pump_one(there)

    def _keep_to_budget(self, integration: Integration, has_come: bool, size: int) -> None:
        """Let owed triggers go where more are owed than the budget allows. For each trigger that comes to an
        integration which owes too many, one goes; for the bytes that come to a member which keeps too many, as many
        go. What cannot go now goes when a later trigger comes."""
        must_go = has_come and integration.has_come()
        while must_go and self._make_room(integration):
            must_go = integration.has_gone()
        self._unpaid_bytes += size
        while (owed := self._owed.bytes) > self._max_owed_bytes and self._unpaid_bytes > 0:
            if not self._make_room(max(self._integrations, key=lambda one: one.owed_bytes)):
                return
            self._unpaid_bytes -= owed - self._owed.bytes
        self._unpaid_bytes = 0

    def _make_room(self, integration: Integration) -> bool:
        for alert in integration.least_owed():
            outbox, dedup_key = alert
            if alert not in self._on_the_wire and outbox.make_room(dedup_key):
                self._ask(alert)
                return True
        return False

    # sending

    def _pump(self, integration: Integration) -> None:
        """Send everything through this integration that may leave now and has a place."""
        if self._is_closed:
            return
        now = self._clock()
        self._check_if_due(integration, now)
        self._reports.unthrottles(integration, now)
        more_is_due = integration.unpark(now)
        for _ in range(_STARTED_AT_A_TIME):
            if not self._may_send():
                integration.withhold(now)
                break
            if not self._places.has_one_for(integration):
                self._crowded[integration] = None
                return  # the next free place is offered to it
            entry = integration.take(now)
            if entry is None:
                break
            self._start(integration, entry)
        else:
            more_is_due = True
        self._set_timer(integration, now, at_once=more_is_due)

    def _pump_soon(self, integrations: Iterable[Integration]) -> None:
        """Pump these integrations soon, each once for all that happens in this turn of the event loop."""
        self._to_pump.update(dict.fromkeys(integrations))
        self._pump_in_turn()

    def _pump_one(self, integration: Integration) -> None:
        """Pump this integration soon."""
        self._to_pump[integration] = None
        self._pump_in_turn()

    def _place_is_free(self, integration: Integration) -> None:
        """A request of this integration has ended. Its place is offered first to integrations that wait for one."""
        if self._crowded:
            self._crowded[integration] = None
            self._looks = len(self._crowded)
        else:
            self._to_pump[integration] = None
        self._pump_in_turn()

    def _pump_in_turn(self) -> None:
        if not self._is_pumping and not self._is_closed:
            self._is_pumping = True
            asyncio.get_running_loop().call_soon(self._pump_some)

    def _pump_some(self) -> None:
        """Pump some integrations, those first that had to wait for a place. If there are more, the event loop runs
        other callbacks in between."""
        self._is_pumping = False
        for _ in range(_AT_A_TIME):
            if self._looks and self._crowded and self._places.is_any_free:
                self._looks -= 1
                integration, _ = self._crowded.popitem(last=False)
            elif self._to_pump:
                integration, _ = self._to_pump.popitem(last=False)
            else:
                return
            try:
                self._pump(integration)
            except Exception:  # a bug with one integration must not stop the others
                self._pump_in_turn()
                raise
        self._pump_in_turn()

    def _start(self, integration: Integration, entry: Entry) -> None:
        alert = (entry.outbox, entry.dedup_key)
        try:
            dispatch = entry.outbox.take(entry.dedup_key, entry.pending.route)
        except Exception as error:
            self.meets_a_bug(alert, error)
            return
        if dispatch is None:
            return
        if isinstance(dispatch.notification, Resolve):
            self._follow_ups.drop(alert)
        integration.started(entry, self._clock())
        place = self._places.take(integration, entry)
        task = asyncio.create_task(self._deliver(integration, entry.outbox, entry.pending, dispatch, place))
        self._on_the_wire[alert] = task
        # A callback instead of a ``finally``: a task that is cancelled before its first step never runs its coroutine.
        task.add_done_callback(partial(self._delivered, integration, entry, dispatch, place, self._clock()))

    async def _deliver(
        self, integration: Integration, outbox: Outbox, said: Pending, dispatch: Dispatch, place: Place
    ) -> Answer | None:
        is_first = True

        async def permit() -> bool:
            nonlocal is_first
            if not is_first:
                await place.take_again()
                if not await self._tokens.take(integration, partial(self._may_leave, outbox), self._timeout):
                    return False
            is_first = False  # the first request took its token when it was chosen
            return self._may_send()

        return await deliver(
            self._sender,
            self._provider,
            dispatch.route,
            dispatch.notification,
            self._timeout,
            permit,
            partial(self._heard, integration),
            partial(self._observer.follow_up_rejected, dispatch),
            partial(self._verifier, integration, (outbox, dispatch.dedup_key), said, place),
            partial(self._follow_ups.take, (outbox, dispatch.dedup_key), dispatch),
        )

    def _may_leave(self, outbox: Outbox) -> bool:
        return self._may_send() and outbox not in self._withdrawn

    def _verifier(self, integration: Integration, alert: Alert, said: Pending, place: Place) -> Verifying:
        """What verifies the statement ``said``. It is made where a statement is to be verified: most are not."""
        may_leave = partial(self._may_leave, alert[0])

        async def take_token(seconds: float, goes_first: bool) -> bool:
            until = self._clock() + seconds

            def may_ask() -> bool:
                return may_leave() and self._clock() < until

            if goes_first:
                return await self._tokens.take(integration, may_ask, seconds)
            return await self._tokens.take_spare(integration, may_ask)

        def begin_to_ask(verifying: Verifying) -> bool:
            if not self._places.ask():
                return False
            self._verifying[alert] = verifying, said
            place.leave()
            return True

        def end_to_ask() -> None:
            del self._verifying[alert]
            self._places.asked()

        heard = partial(self._heard_of_status, integration)
        return Verifying(integration.questions, begin_to_ask, end_to_ask, take_token, heard)

    def _may_follow_up(self, alert: Alert) -> bool:
        """Whether follow-ups of the alert at an API beside may be made now."""
        return self._may_send() and alert not in self._on_the_wire

    def _heard(self, integration: Integration, answer: Answer) -> None:
        """Tell the limiter of an answer other than 429; a request without an answer does not count."""
        if not isinstance(answer, Throttled) and not (isinstance(answer, Unavailable) and answer.status is None):
            integration.limiter.answered(self._clock())

    def _heard_of_status(self, integration: Integration, answer: Answer) -> None:
        """Tell the limiter of the answer to a question what has become of a request, also of one of 429. Such an answer
        takes no alert's turn."""
        self._heard(integration, answer)
        if isinstance(answer, Throttled):
            now = self._clock()
            integration.limiter.throttled(now, answer.retry_after)
            self._reports.throttled(integration, answer, now)

    def _delivered(
        self,
        integration: Integration,
        entry: Entry,
        dispatch: Dispatch,
        place: Place,
        sent_at: float,
        task: "asyncio.Task[Answer | None]",
    ) -> None:
        alert = (entry.outbox, entry.dedup_key)
        del self._on_the_wire[alert]
        place.leave()
        self._follow_ups.look_again()
        if not task.cancelled():
            try:
                self._conclude(integration, entry, dispatch, sent_at, task)
            except Exception as error:
                self.meets_a_bug(alert, error)
        self._pump_one(integration)

    def is_withdrawn(self, outbox: Outbox) -> bool:
        """Whether nothing may leave for this task any more."""
        return outbox in self._withdrawn

    def meets_a_bug(self, alert: Alert, error: Exception) -> None:
        """Report loudly a bug that one alert has met, and try this alert again after `OWN_BACKOFF_SECONDS`. No other
        alert notices."""
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": "a fault of delivery about one alert", "exception": error})
        loop.call_later(OWN_BACKOFF_SECONDS, self.changed, *alert)

    def _conclude(
        self,
        integration: Integration,
        entry: Entry,
        dispatch: Dispatch,
        sent_at: float,
        task: "asyncio.Task[Answer | None]",
    ) -> None:
        error = task.exception()
        if error is not None:  # a bug with this notification only: report it, dead-letter it, go on
            self._observer.failed(dispatch, error)
            self.tell(entry, dispatch, Rejected(0, f"internal error: {type(error).__name__}"))
        elif (answer := task.result()) is not None:
            self._observer.answered(dispatch, answer, self._clock() - sent_at, attempt(entry))
            self._settling.settle(integration, entry, dispatch, answer, sent_at)
        else:
            self.ask_again((entry.outbox, entry.dedup_key), integration)  # withheld: it goes back to its place

    def tell(self, entry: Entry, dispatch: Dispatch, outcome: Outcome) -> None:
        """Tell the task the outcome of a notification, and ask what its alert has to say next."""
        alert = (entry.outbox, entry.dedup_key)
        here = self._integration_of(alert)
        if isinstance(outcome, Accepted | Rejected):
            here.settled(*alert)
        entry.outbox.told(dispatch, outcome)
        self.ask_again(alert, here)

    # the check of a key

    def _check_if_due(self, integration: Integration, now: float) -> None:
        due = integration.check_due()
        if due is None:
            self._reports.gives_up_if_idle(integration)
            return
        if due > now or integration.is_checking:
            return
        integration.is_checking = True
        checking = asyncio.create_task(self._check(integration))
        self._checks.add(checking)
        checking.add_done_callback(self._checks.discard)

    async def _check(self, integration: Integration) -> None:
        """Check the key. The check takes a token, but waits for no proof of ownership, as it is about no alert."""
        try:
            await self._tokens.take(integration)
            sent_at = integration.checked_at = self._clock()
            answer = await check(self._sender, self._provider, integration.route, self._timeout)
            self._heard(integration, answer)
        finally:
            integration.is_checking = False
        self._observer.checked(integration.route, answer)
        self._settling.checked(integration, answer, sent_at)
        self._pump_one(integration)

    # time

    def _set_timer(self, integration: Integration, now: float, *, at_once: bool = False) -> None:
        """Pump the integration again when something may leave or the key is to be checked. An earlier timer stays: it
        sets the next one."""
        if self._is_closed:
            return
        due = now if at_once else integration.next_due(now, is_held=not self._may_send())  # `wake` ends the hold
        if due is None:
            return
        loop = asyncio.get_running_loop()
        at, timer = loop.time() + max(0.0, due - now), self._timers.get(integration)
        if timer is not None:
            if timer.when() <= at:
                return
            timer.cancel()
        self._timers[integration] = loop.call_at(at, self._timer_ended, integration)

    def _is_free_again(self, integration: Integration) -> None:
        self._set_timer(integration, self._clock(), at_once=True)

    def _timer_ended(self, integration: Integration) -> None:
        del self._timers[integration]
        self._pump_one(integration)


def _has_more_to_say(alert: Alert, said: Pending) -> bool:
    """Whether the alert has more to say than what is on the wire. (What is only counted into that is no more.)"""
    outbox, dedup_key = alert
    pending = outbox.pending(dedup_key)
    return pending is None or not pending.continues(said) or pending.severity > said.severity
