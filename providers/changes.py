"""Change events: what was allowed and may explain an incident, shown beside it (design section 9, "Change events").

They are information. What is told of them is best effort, from a small queue of its own, and costs no alert anything.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Protocol, runtime_checkable

from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.contained import FAULTS, fault_of, uncontained
from providers.logger import Logger
from providers.notify import Sender, ask
from providers.provider import Provider, Request
from state.violation import Violation

MOST_WAITING: Final = 500
"""How many change events of a provider may wait, over all its integrations. Beyond that, the oldest ones of the
integration whose event comes are dropped."""

MOST_BYTES: Final = 4 * 1024 * 1024
"""How many bytes all events may have together from which the waiting change events are made."""

LONGEST_WAIT: Final = 900.0
"""A change event that has waited for so many seconds is dropped, because it explains nothing that happens now."""

PAUSE: Final = 60.0
"""For so many seconds no change event leaves after an answer that says to come back later, unless the answer named
another number."""

LOOK: Final = 1.0
"""Seconds between two looks whether there is room beside the alerts."""

RESULTS: Final = ("accepted", "rejected", "failed", "dropped")
"""What becomes of a change event. ``failed``: nobody knows whether it has arrived; ``dropped``: it was not sent."""


@runtime_checkable
class TellsChanges(Protocol):
    """What a provider has in addition if it shows change events."""

    changes: Collection[str]
    """The categories of allowed events that the provider is told of; none if change events are not configured."""

    def change(self, violation: Violation) -> Request | None:
        """The change event about an action that was allowed; None where its route takes none."""
        ...


@dataclass(slots=True)
class _Waiting:
    violation: Violation
    size: int
    since: float


@dataclass(slots=True)
class _Lane:
    """What waits for one integration. ``route`` is one of its routes."""

    route: str
    waiting: deque[_Waiting] = field(default_factory=deque)
    has_some: asyncio.Event = field(default_factory=asyncio.Event)
    fails: bool = False


class Changes:
    """Tells the change events of one provider, one at a time through each integration.

    ``provider`` tells changes (`TellsChanges`). ``has_room`` says of a route whether a request may leave beside its
    alerts now, and takes the token for it. ``counted`` is told what becomes of each, one of `RESULTS`; ``timeout`` is
    in seconds.
    """

    def __init__(
        self,
        provider: Provider,
        tells: TellsChanges,
        *,
        sender: Sender,
        timeout: float,
        has_room: Callable[[str], bool],
        counted: Callable[[str], None],
        log: Logger,
        clock: Callable[[], float] = monotonic,
        look: float = LOOK,
    ) -> None:
        self._provider = provider
        self._tells = tells
        self._sender = sender
        self._timeout = timeout
        self._has_room = has_room
        self._counted = counted
        self._log = log
        self._clock = clock
        self._look = look
        lanes = {provider.integration_of(route): route for route in reversed(provider.routes)}
        self._lanes = {integration: _Lane(route) for integration, route in lanes.items()}
        self._number = 0
        self._bytes = 0

    @property
    def waiting(self) -> int:
        """How many change events wait."""
        return self._number

    def offer(self, violation: Violation, size: int) -> None:
        """Tell it when there is room, if there ever is. ``size`` is that of its record, in bytes. Never waits."""
        lane = self._lanes[self._provider.integration_of(self._provider.route_of(violation))]
        lane.waiting.append(_Waiting(violation, size, self._clock()))
        self._number += 1
        self._bytes += size
        while self._number > MOST_WAITING or self._bytes > MOST_BYTES:
            # The oldest of its own: a newer one says more about what happens now. In the end that is itself.
            self._take(lane)
            self._counted("dropped")
        if lane.waiting:
            lane.has_some.set()

    async def run(self) -> None:
        """Tell what is offered, until cancelled; what waits then is dropped."""
        try:
            async with asyncio.TaskGroup() as group:
                for lane in self._lanes.values():
                    group.create_task(self._drain(lane))
        finally:
            for lane in self._lanes.values():
                while lane.waiting:
                    self._take(lane)
                    self._counted("dropped")

    def _take(self, lane: _Lane) -> _Waiting:
        taken = lane.waiting.popleft()
        self._number -= 1
        self._bytes -= taken.size
        return taken

    async def _drain(self, lane: _Lane) -> None:
        while True:
            await lane.has_some.wait()
            self._drop_stale(lane)
            if not lane.waiting:
                lane.has_some.clear()
            elif self._has_room(lane.route):
                await self._tell(lane, self._take(lane))
            else:
                await asyncio.sleep(self._look)

    def _drop_stale(self, lane: _Lane) -> None:
        least = self._clock() - LONGEST_WAIT
        while lane.waiting and lane.waiting[0].since < least:
            self._take(lane)
            self._counted("dropped")

    async def _tell(self, lane: _Lane, one: _Waiting) -> None:
        try:
            request = self._tells.change(one.violation)
        except FAULTS as error:  # a fault of this one only
            self._counted("dropped")
            fault = str(fault_of("it cannot be made", error))
            self._log.warning("change_event_rejected", route=lane.route, status=None, error=fault)
            return
        if request is None:
            self._counted("dropped")
            return
        answer = await ask(self._sender, self._provider, request, self._timeout)
        if isinstance(answer, Accepted):
            self._counted("accepted")
            if lane.fails:
                lane.fails = False
                self._log.info("change_events_work", route=lane.route)
            return
        self._log.debug("change_event_failed", route=lane.route, error=answer.reason)
        if not lane.fails and not isinstance(answer, Rejected):
            lane.fails = True
            self._log.warning("change_events_fail", route=lane.route, error=answer.reason)
        await self._not_taken(lane, one, answer)

    async def _not_taken(self, lane: _Lane, one: _Waiting, answer: Answer) -> None:
        match answer:
            case Rejected(reason=reason):
                self._log.warning("change_event_rejected", route=lane.route, status=answer.status, error=reason)
                self._counted("rejected")
            case RouteRefused():
                self._counted("rejected")
                await asyncio.sleep(PAUSE)
            case Unavailable(unknown=True):
                self._counted("failed")
                await asyncio.sleep(PAUSE)
            case Throttled(retry_after=after) | Unavailable(retry_after=after):
                lane.waiting.appendleft(one)  # it was not taken
                self._number += 1
                self._bytes += one.size
                await asyncio.sleep(PAUSE if after is None else after)


def changes_of(provider: Provider) -> Sequence[str]:
    """The categories of allowed events that a provider is told of; none where it has no such thing, or it is off."""
    tells = uncontained(provider)
    return tuple(tells.changes) if isinstance(tells, TellsChanges) else ()
