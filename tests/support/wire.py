"""Requests that are on the wire of a simulation."""

import asyncio
from dataclasses import dataclass

from providers.answer import Answer
from providers.delivery.outbox import Dispatch
from providers.notification import Trigger
from tests.support.simulated_provider import Keys


class Dispatched:
    """What is known of a request by what was dispatched with it."""

    __slots__ = ()
    dispatch: Dispatch

    @property
    def key(self) -> str:
        return self.dispatch.dedup_key

    @property
    def is_trigger(self) -> bool:
        return isinstance(self.dispatch.notification, Trigger)

    @property
    def what(self) -> str:
        """What it does to the incident."""
        return "trigger" if self.is_trigger else "resolve"


@dataclass(eq=False, slots=True)
class OnTheWire(Dispatched):
    """A request that has left; ``covers`` are the events a trigger tells. ``place`` is where it lands."""

    dispatch: Dispatch
    place: str
    keys: Keys
    covers: frozenset[int]
    answer: "asyncio.Future[Answer]"
    landed: bool = False
    deadline: float | None = None

    def __str__(self) -> str:
        return f"{self.what} {self.key} at {self.place} {sorted(self.covers) or ''}".rstrip()
