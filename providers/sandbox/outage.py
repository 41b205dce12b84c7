"""Outages that a person starts on the sandbox's page, to see what the service makes of them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from providers.sandbox import opsgenie, pagerduty
from providers.sandbox.call import Reply
from providers.sandbox.faults import ArmedFault, Fault, FaultyAnswer
from providers.sandbox.sandbox import Sandbox

How = Literal["unavailable", "throttled", "revoked"]
ProviderName = Literal["pagerduty", "opsgenie", "jsm"]

SECONDS = 60.0
"""How long an outage lasts, unless it is ended before."""

_UNAVAILABLE = Reply.json(503, {"message": "Service Unavailable"})

_OPSGENIE: Mapping[How, Reply] = {
    "unavailable": _UNAVAILABLE,
    "throttled": opsgenie.throttled(),
    "revoked": opsgenie.unknown_key(),
}

ANSWERS: Mapping[ProviderName, Mapping[How, Reply]] = {
    "pagerduty": {
        "unavailable": _UNAVAILABLE,
        "throttled": pagerduty.THROTTLED,
        "revoked": pagerduty.UNKNOWN_KEY,
    },
    "opsgenie": _OPSGENIE,
    "jsm": _OPSGENIE,
}
"""The answer of a broken provider to every request, as documented for each kind of outage."""


@dataclass(frozen=True, slots=True)
class SandboxOutage:
    """How a provider is broken, and until when, by the event loop's clock in seconds."""

    how: How
    status: int
    ends_at: float


class SandboxOutages:
    """At most one outage for each provider. An outage ends by itself, by `end`, or when all faults are cleared."""

    def __init__(self, sandbox: Sandbox, *, seconds: float = SECONDS) -> None:
        self._sandbox = sandbox
        self._seconds = seconds
        self._armed: dict[ProviderName, tuple[SandboxOutage, ArmedFault, asyncio.TimerHandle]] = {}

    def begin(self, provider: ProviderName, how: How) -> None:
        """Break a provider from now on. This replaces an outage that it has."""
        self.end(provider)
        loop = asyncio.get_running_loop()
        reply = ANSWERS[provider][how]
        headers = {**reply.headers, "Content-Type": reply.content_type}
        answer = FaultyAnswer(status=reply.status, headers=headers, body=reply.body.decode())
        armed = self._sandbox.faults.add(Fault(answer, provider=provider), first=True)
        outage = SandboxOutage(how, reply.status, loop.time() + self._seconds)
        self._armed[provider] = (outage, armed, loop.call_at(outage.ends_at, self.end, provider))
        self._sandbox.changed()

    def end(self, provider: ProviderName) -> bool:
        """End a provider's outage. Returns whether there was one."""
        found = self._armed.pop(provider, None)
        if found is None:
            return False
        _, armed, timer = found
        timer.cancel()
        armed.remove()
        self._sandbox.changed()
        return True

    def of(self, provider: ProviderName) -> SandboxOutage | None:
        """A provider's outage; None if there is none."""
        found = self._armed.get(provider)
        if found is None or self._sandbox.faults.get(found[1].id) is None:
            return None
        return found[0]

    def others(self) -> int:
        """How many faults are in force that were not begun here."""
        ours = sum(self.of(provider) is not None for provider in self._armed)
        return len(self._sandbox.faults.armed()) - ours

    def close(self) -> None:
        """End all outages."""
        for provider in list(self._armed):
            self.end(provider)
