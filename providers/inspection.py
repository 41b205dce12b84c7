"""Whether somebody is paged (design section 13, "Accepted is not paged"): what was accepted is looked up.

A provider that can be asked has an `Inspector`. `RouteInspection` asks it while the service runs, ``send-test
--verify`` once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Final, Protocol, runtime_checkable

from providers.contained import uncontained
from providers.logger import Logger
from providers.notify import Sender
from providers.provider import Provider

PATIENCE: Final = 20.0
"""After so many seconds an accepted alert that cannot be found counts as missing. The provider still works on an alert
after its answer."""

LOOK: Final = 2.0
"""Seconds between two looks for an accepted alert."""

SLACK: Final = 120.0
"""Seconds by which the provider's clock and this one may differ."""

RESULTS: Final = ("paged", "obstructed", "missing", "unknown")
"""What an inspection finds. ``paged``: the alert is there, or nothing stands in the way; ``obstructed``: something
stands in the way; ``missing``: an alert that was accepted is not there; ``unknown``: that could not be found out."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a page through a route reaches nobody. One that is not ``certain`` stops some pages, or may do so."""

    text: str
    certain: bool = True


class InspectionError(Exception):
    """It could not be looked up; the text says why, without secrets."""


class Inspector(Protocol):
    """Asks a provider what has become of what it accepted."""

    async def find(self, sender: Sender, route: str, dedup_key: str, since: float, timeout: float) -> str | None:
        """What people see of the alert of this key behind a route: one that is open, or has changed after ``since``
        (seconds since the epoch). None if there is none.

        Raises `InspectionError` if it could not be looked up.
        """
        ...

    async def obstacles(self, sender: Sender, route: str, timeout: float) -> Sequence[Obstacle]:
        """What stands in the way of pages through a route, as far as can be seen.

        Raises `InspectionError` if it could not be looked up.
        """
        ...


@runtime_checkable
class Inspected(Protocol):
    """What a provider has besides that can be asked. None: what that needs (a token) is not configured."""

    inspector: Inspector | None


def inspector_of(provider: Provider) -> Inspector | None:
    """Whom to ask about a provider; None where nobody can be, or what that needs is not configured."""
    inspected = uncontained(provider)
    return inspected.inspector if isinstance(inspected, Inspected) else None


@dataclass(frozen=True, slots=True)
class There:
    """The alert is there; ``what`` is what people see of it."""

    what: str


@dataclass(frozen=True, slots=True)
class NotThere:
    """It is not; what stands in the way, as far as that can be seen."""

    obstacles: Sequence[Obstacle]


async def look_for(
    inspector: Inspector,
    sender: Sender,
    route: str,
    dedup_key: str,
    since: float,
    timeout: float,
    *,
    patience: float = PATIENCE,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = monotonic,
) -> There | NotThere:
    """Look for an alert whose trigger was accepted after ``since``, for as long as ``patience`` (seconds).

    Raises `InspectionError` if it could not be looked up.
    """
    until = clock() + patience
    while True:
        found = await inspector.find(sender, route, dedup_key, since - SLACK, timeout)
        if found is not None:
            return There(found)
        if clock() >= until:
            return NotThere(tuple(await inspector.obstacles(sender, route, timeout)))
        await sleep(LOOK)


@dataclass(slots=True)
class _Watched:
    """One integration. ``told`` is an alert that was accepted and is to be looked for, with when that was."""

    route: str
    interval: float
    told: tuple[str, float] | None = None
    next_look: float = float("-inf")
    has_told: asyncio.Event = field(default_factory=asyncio.Event)
    obstacles: tuple[str, ...] = ()
    is_unknown: bool = False


class RouteInspection:
    """Asks of each integration at start, and each of its ``intervals`` (seconds, by route; 0: never), whether anything
    stands in the way; and looks for the first alert that is accepted after each."""

    def __init__(
        self,
        provider: Provider,
        inspector: Inspector,
        *,
        intervals: Mapping[str, float],
        sender: Sender,
        timeout: float,
        counted: Callable[[str, str], None],
        log: Logger,
        patience: float = PATIENCE,
        wall: Callable[[], float] = time,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._provider = provider
        self._inspector = inspector
        self._sender = sender
        self._timeout = timeout
        self._counted = counted
        self._log = log
        self._patience = patience
        self._wall = wall
        self._clock = clock
        self._watched: dict[str, _Watched] = {}
        for route, interval in intervals.items():
            if interval and provider.knows(route):
                self._watched.setdefault(provider.integration_of(route), _Watched(route, interval))

    @property
    def notes(self) -> tuple[str, ...]:
        """What stands in the way now, a sentence for each route."""
        return tuple(
            f"nobody is paged through route {one.route}: {'; '.join(one.obstacles)}"
            for one in self._watched.values()
            if one.obstacles
        )

    def accepted(self, route: str, dedup_key: str) -> None:
        """Note that a trigger was accepted through this route. This never waits."""
        one = self._watched.get(self._provider.integration_of(route))
        if one is not None and one.told is None and self._clock() >= one.next_look:
            one.told = (dedup_key, self._wall())
            one.next_look = self._clock() + one.interval
            one.has_told.set()

    async def run(self) -> None:
        """Until cancelled. Raises nothing else: who inspects must not stop what is inspected."""
        async with asyncio.TaskGroup() as group:
            for one in self._watched.values():
                group.create_task(self._watch(one))

    async def _watch(self, one: _Watched) -> None:
        while True:
            await self._inspect(one)
            try:
                async with asyncio.timeout(one.interval):
                    await one.has_told.wait()
            except TimeoutError:
                continue
            one.has_told.clear()

    async def _inspect(self, one: _Watched) -> None:
        told, one.told = one.told, None
        try:
            if told is None:
                obstacles = await self._inspector.obstacles(self._sender, one.route, self._timeout)
                self._found(one, obstacles)
            else:
                await self._look(one, *told)
        except InspectionError as error:
            self._counted(one.route, "unknown")
            if not one.is_unknown:
                one.is_unknown = True
                self._log.warning("route_inspection_failed", route=one.route, error=str(error))

    async def _look(self, one: _Watched, dedup_key: str, since: float) -> None:
        found = await look_for(
            self._inspector, self._sender, one.route, dedup_key, since, self._timeout, patience=self._patience
        )
        if isinstance(found, There):
            self._found(one, ())
            return
        one.is_unknown = False
        self._counted(one.route, "missing")
        texts = [obstacle.text for obstacle in found.obstacles]
        self._log.warning("incident_missing", route=one.route, dedup_key=dedup_key, obstacles=texts)
        self._note(one, found.obstacles)

    def _found(self, one: _Watched, obstacles: Sequence[Obstacle]) -> None:
        one.is_unknown = False
        self._note(one, obstacles)
        self._counted(one.route, "obstructed" if one.obstacles else "paged")

    def _note(self, one: _Watched, obstacles: Sequence[Obstacle]) -> None:
        before, one.obstacles = one.obstacles, tuple(obstacle.text for obstacle in obstacles if obstacle.certain)
        if one.obstacles and one.obstacles != before:
            self._log.warning("route_pages_nobody", route=one.route, obstacles=list(one.obstacles))
        elif before and not one.obstacles:
            self._log.info("route_pages_again", route=one.route)
