"""Scripted faults: which requests meet one, how often, and what happens to them."""

import itertools
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import orjson
from pydantic import ConfigDict, Field, TypeAdapter

from providers.sandbox.call import Call, Reply

STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultyAnswer:
    """Send this answer, after ``delay`` seconds, instead of the documented one. The request takes effect only if
    ``applied``."""

    __pydantic_config__ = STRICT
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    applied: bool = False
    delay: float = 0.0
    kind: Literal["answer"] = "answer"

    def reply(self) -> Reply:
        """The answer."""
        headers = {name: value for name, value in self.headers.items() if name.lower() != "content-type"}
        given = (value for name, value in self.headers.items() if name.lower() == "content-type")
        return Reply(self.status, self.body.encode(), next(given, "application/json"), headers)


@dataclass(frozen=True, slots=True)
class Delay:
    """The request takes effect at once; its documented answer is sent after ``seconds``."""

    __pydantic_config__ = STRICT
    seconds: float
    kind: Literal["delay"] = "delay"


@dataclass(frozen=True, slots=True)
class LandLate:
    """The request takes effect, and is answered, after ``seconds``: even if the client has given up by then."""

    __pydantic_config__ = STRICT
    seconds: float
    kind: Literal["land_late"] = "land_late"


@dataclass(frozen=True, slots=True)
class Hang:
    """The request has no effect and no answer, until the client or the sandbox closes the connection."""

    __pydantic_config__ = STRICT
    kind: Literal["hang"] = "hang"


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection is closed before the request takes effect."""

    __pydantic_config__ = STRICT
    kind: Literal["drop"] = "drop"


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """The request takes effect, then the connection is closed without an answer."""

    __pydantic_config__ = STRICT
    kind: Literal["lose_answer"] = "lose_answer"


@dataclass(frozen=True, slots=True)
class AddHeaders:
    """The request takes effect, and these headers are added to its documented answer, as proxies on the way do.

    A name may come twice, and may be one that the answer has already (two ``Content-Length``).
    """

    __pydantic_config__ = STRICT
    headers: tuple[tuple[str, str], ...]
    kind: Literal["add_headers"] = "add_headers"


@dataclass(frozen=True, slots=True)
class FailLater:
    """The request is accepted, and then fails without an effect: its status says so, in these words.

    Of a provider that accepts first and acts later: OpsGenie, Jira Service Management.
    """

    __pydantic_config__ = STRICT
    status: str
    kind: Literal["fail_later"] = "fail_later"


Effect = FaultyAnswer | Delay | LandLate | Hang | Drop | LoseAnswer | AddHeaders | FailLater


@dataclass(frozen=True, slots=True)
class Fault:
    """An effect on the requests that fit every given criterion.

    ``dedup_key_pattern`` is searched for in the dedup key or alias, ``text`` in the body as JSON (like a gateway that
    reads the traffic): so one alert can be refused for ever. ``target_type`` is the type of the name in the path
    (``alias``: an action on an alias). Of the requests that fit, the first ``skip`` pass, then ``times`` are struck
    (None: all, until the fault is removed). With ``chance``, each is struck with that probability, by a random
    generator with ``seed``, so the same ones every time. ``untold``: requests whose event a trigger has told before
    are not struck.
    """

    __pydantic_config__ = STRICT
    effect: Annotated[Effect, Field(discriminator="kind")]
    provider: str | None = field(default=None, kw_only=True)
    key: str | None = field(default=None, kw_only=True)
    action: str | None = field(default=None, kw_only=True)
    dedup_key: str | None = field(default=None, kw_only=True)
    dedup_key_pattern: re.Pattern[str] | None = field(default=None, kw_only=True)
    text: re.Pattern[str] | None = field(default=None, kw_only=True)
    target_type: str | None = field(default=None, kw_only=True)
    times: int | None = field(default=None, kw_only=True)
    skip: int = field(default=0, kw_only=True)
    chance: float | None = field(default=None, kw_only=True)
    seed: int = field(default=0, kw_only=True)
    untold: bool = field(default=False, kw_only=True)

    def fits(self, call: Call) -> bool:
        """Whether the call fits all criteria."""
        return (
            self.provider in (None, call.provider)
            and self.key in (None, call.key)
            and self.action in (None, call.action)
            and self.dedup_key in (None, call.dedup_key)
            and self.target_type in (None, call.target_type)
            and (self.dedup_key_pattern is None or self.dedup_key_pattern.search(call.dedup_key or "") is not None)
            and (self.text is None or self.text.search(orjson.dumps(call.body).decode()) is not None)
        )


FAULT_JSON: TypeAdapter[Fault] = TypeAdapter(Fault)
"""A fault as JSON: its fields, with the effect's ``kind`` inside ``effect``."""


class ArmedFault:
    """A fault that is in force, until it has struck ``times`` times or is removed."""

    def __init__(self, id: int, fault: Fault, remove: Callable[[int], object]) -> None:
        self.id = id
        self.fault = fault
        self.hits = 0
        self._passed = 0
        self._random = random.Random(fault.seed)
        self._remove = remove

    def remove(self) -> None:
        """End the fault. Requests that it holds back stay held."""
        self._remove(self.id)

    def strikes(self, call: Call) -> bool:
        """Whether this call is struck; counts it if so."""
        if not self.fault.fits(call):
            return False
        if self._passed < self.fault.skip:
            self._passed += 1
            return False
        if self.fault.chance is not None and self._random.random() >= self.fault.chance:
            return False
        self.hits += 1
        if self.fault.times is not None and self.hits >= self.fault.times:
            self.remove()
        return True

    def as_json(self) -> dict[str, Any]:
        """The fault as the control interface shows it."""
        return {"id": self.id, "hits": self.hits, "fault": FAULT_JSON.dump_python(self.fault, mode="json")}


class Faults:
    """The faults in force. A request meets at most one: the first in their order that strikes it.

    ``was_told`` returns whether a trigger with the call's event was accepted before.
    """

    def __init__(self, was_told: Callable[[Call], bool] = lambda call: False) -> None:
        self._was_told = was_told
        self._ids = itertools.count(1)
        self._armed: dict[int, ArmedFault] = {}

    def add(self, fault: Fault, *, first: bool = False) -> ArmedFault:
        """Put a fault in force, as the last one, or as the ``first``."""
        armed = ArmedFault(next(self._ids), fault, lambda id: self._armed.pop(id, None))
        if fault.times != 0:
            self._armed = {armed.id: armed, **self._armed} if first else {**self._armed, armed.id: armed}
        return armed

    def clear(self) -> None:
        """Remove all faults."""
        self._armed.clear()

    def armed(self) -> list[ArmedFault]:
        """The faults in force, in the order in which they are tried."""
        return list(self._armed.values())

    def get(self, id: int) -> ArmedFault | None:
        """The fault with this id; None if it is not in force."""
        return self._armed.get(id)

    def strike(self, call: Call) -> Effect | None:
        """The effect of the fault that this call meets; None if it meets none."""
        if not self._armed:
            return None
        for armed in self.armed():
            if not (armed.fault.untold and self._was_told(call)) and armed.strikes(call):
                return armed.fault.effect
        return None
