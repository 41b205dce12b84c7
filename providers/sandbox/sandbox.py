"""The sandbox without its sockets: the providers, what they received, what they would have woken people up for."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from providers.integration import CHECKED
from providers.sandbox.board import Board
from providers.sandbox.call import Api, Call, CallMoment, Received, Reply
from providers.sandbox.faults import Faults
from providers.sandbox.incidents import Incident, IncidentEntry, Incidents
from providers.sandbox.journal import Journal, JournalEntry
from providers.sandbox.jsm import Jsm, PingMethod
from providers.sandbox.keys import Keys
from providers.sandbox.opsgenie import OpsGenie
from providers.sandbox.pagerduty import PagerDuty
from providers.sandbox.webhooks import Webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """How a sandbox behaves.

    ``pagerduty_keys``, ``opsgenie_keys``, ``jsm_keys``: the keys that are known (None: all of the right form).
    ``jsm_users``: who may call the cloud API, as ``email:token`` (None: all).
    ``pagerduty_rest_tokens``: the tokens of PagerDuty's REST API that are known (None: all).
    ``pagerduty_rate``, ``opsgenie_rate``: calls per key in a rolling minute, above which the answer is 429 (None: no
    limit).
    ``count_refused``: calls that were answered 429 count in that minute, too.
    ``heartbeats``: the names of the heartbeats that exist.
    ``latency``: seconds between a request's effect and its answer.
    ``keep_requests``, ``keep_ended``: how many requests and ended incidents are remembered (None: all).
    ``keep_requests=0`` is the light mode for benchmarks: no journal and no bodies, only counts and incidents.
    ``jsm_full``: below Jira Service Management's base also what is not documented there.
    ``jsm_ping_by``: the method that a ping has there; any other is answered by 405.
    ``processing``: seconds after which the status of a request to OpsGenie or Jira Service Management can be asked for.
    ``integrations``: the names of PagerDuty's integrations by their keys, for people who look at it.
    """

    pagerduty_keys: frozenset[str] | None = None
    opsgenie_keys: frozenset[str] | None = None
    jsm_keys: frozenset[str] | None = None
    jsm_users: frozenset[str] | None = None
    pagerduty_rest_tokens: frozenset[str] | None = None
    pagerduty_rate: int | None = None
    opsgenie_rate: int | None = None
    count_refused: bool = False
    heartbeats: frozenset[str] = frozenset()
    latency: float = 0.0
    keep_requests: int | None = None
    keep_ended: int | None = None
    jsm_full: bool = False
    jsm_ping_by: PingMethod = "GET"
    processing: float = 0.0
    integrations: Mapping[str, str] = field(default_factory=dict)


class Sandbox:
    """The providers and everything that is known about their traffic.

    ``url`` is where the sandbox is served (empty before). Times are by the sandbox's clock, which is the providers'.
    """

    def __init__(self, settings: SandboxSettings | None = None) -> None:
        settings = settings or SandboxSettings()
        self.settings = settings
        self.url = ""
        self.faults = Faults(lambda call: self._incidents.was_told(call.provider, call.event_id))
        self.journal = Journal(settings.keep_requests)
        self.board = Board()
        self.webhooks = Webhooks()
        self._incidents = Incidents(
            keep_ended=settings.keep_ended, keep_bodies=settings.keep_requests != 0, watch=self._watch
        )
        counting = {"count_refused": settings.count_refused}
        self.pagerduty = PagerDuty(
            Keys(settings.pagerduty_keys, settings.pagerduty_rate, **counting),
            self._incidents,
            self.webhooks,
            settings.pagerduty_rest_tokens,
        )
        self.opsgenie = OpsGenie(
            Keys(settings.opsgenie_keys, settings.opsgenie_rate, **counting),
            self._incidents,
            heartbeats=settings.heartbeats,
            processing=settings.processing,
        )
        self.jsm = Jsm(
            Keys(settings.jsm_keys, settings.opsgenie_rate, **counting),
            Keys(settings.jsm_users),
            self._incidents,
            heartbeats=settings.heartbeats,
            full=settings.jsm_full,
            ping_by=settings.jsm_ping_by,
            processing=settings.processing,
        )
        apis: tuple[Api, ...] = (self.pagerduty, self.jsm, self.opsgenie)  # what is below a longer base comes first
        self._apis = {api.name: api for api in apis}
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._lookers: set[asyncio.Event] = set()

    # Queries, and acts of a person

    def requests(
        self,
        provider: str | None = None,
        *,
        key: str | None = None,
        dedup_key: str | None = None,
        action: str | None = None,
        status: int | None = None,
        after: int = 0,
        checks: bool = False,
    ) -> list[JournalEntry]:
        """The received requests that fit all given criteria, in order; ``after`` is the number of an entry.

        The service's checks of its keys, which are about no alert, are left out unless ``checks`` is True.
        """
        entries = self.journal.entries(
            provider, key=key, dedup_key=dedup_key, action=action, status=status, after=after
        )
        return [entry for entry in entries if checks or not (entry.dedup_key or "").startswith(CHECKED)]

    def busiest_minute(self, provider: str, key: str) -> int:
        """The most requests with a key in any rolling minute, including refused ones."""
        return self.journal.busiest_minute(provider, key)

    def incidents(self, provider: str | None = None, *, dedup_key: str | None = None) -> list[Incident]:
        """The incidents and alerts, in the order of their opening."""
        return [one for one in self._incidents.list(provider) if dedup_key in (None, one.dedup_key)]

    def open_incidents(self, provider: str | None = None) -> list[Incident]:
        """The incidents that have not ended."""
        return [one for one in self._incidents.list(provider) if one.open]

    def extra_incidents(self, provider: str | None = None) -> list[Incident]:
        """The incidents that should not have been opened (`Incident.extra` says why)."""
        return [one for one in self._incidents.list(provider) if one.extra is not None]

    def counts(self) -> dict[str, Any]:
        """How many requests and incidents there were, also those that the bounded lists no longer have."""
        return {"requests": self.journal.counts(), "incidents": self._incidents.counts()}

    def close(self, provider: str, dedup_key: str, *, key: str | None = None) -> int:
        """A person closes the incidents of a dedup key (under one secret key, or all). Returns how many were open."""
        closed = self._incidents.end_by_person(provider, dedup_key, key=key, now=CallMoment.now())
        self.changed()
        return closed

    def acknowledge(self, provider: str, dedup_key: str) -> int:
        """A person acknowledges what is open of a dedup key; returns how many that were."""
        found = [one for one in self.open_incidents(provider) if one.dedup_key == dedup_key]
        for one in found:
            self._incidents.acknowledge(one, by="person", now=CallMoment.now())
        self.changed()
        return len(found)

    def acknowledged(self, provider: str) -> int:
        """How many open incidents are acknowledged."""
        return self._incidents.acknowledged(provider)

    def acknowledge_one(self, id: str) -> bool:
        """A person acknowledges an incident of the board. Returns whether it was open."""
        card = self.board.card(id)
        if card is None or not card.incident.open:
            return False
        self._incidents.acknowledge(card.incident, by="person", now=CallMoment.now())
        self.changed()
        return True

    def resolve_one(self, id: str) -> bool:
        """A person resolves an incident of the board. Returns whether it was open."""
        card = self.board.card(id)
        if card is None or not card.incident.open:
            return False
        one = card.incident
        return self.close(one.provider, one.dedup_key, key=one.key) > 0

    @contextmanager
    def looking(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever anything has changed, for as long as the block lasts."""
        changed = asyncio.Event()
        self._lookers.add(changed)
        try:
            yield changed
        finally:
            self._lookers.discard(changed)

    def keys(self, provider: str) -> Keys:
        """The keys of a provider, to revoke and restore."""
        return {"pagerduty": self.pagerduty.keys, "opsgenie": self.opsgenie.keys, "jsm": self.jsm.keys}[provider]

    def reset(self) -> None:
        """Forget all traffic, incidents, faults and revocations."""
        self.faults.clear()
        self.journal.clear()
        self._incidents.clear()
        self.board.clear()
        self.webhooks.clear()
        for api in self._apis.values():
            api.reset()
        self.changed()

    async def wait_for(self, predicate: Callable[[], bool], timeout: float = 10.0) -> None:
        """Return once the predicate holds. It is evaluated now and at every change: a request arrives, takes effect or
        is answered, or a person does something.

        Raises `TimeoutError`, with the counts, after ``timeout`` seconds, and whatever the predicate raises.
        """
        if predicate():
            return
        waiting = (predicate, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(timeout):
                await waiting[1]
        except TimeoutError:
            raise TimeoutError(f"not within {timeout} s; the sandbox has seen {self.counts()}") from None
        finally:
            self._waiting.remove(waiting)

    # The steps of a request

    def receive(self, received: Received) -> tuple[Call, JournalEntry]:
        """Take a request that has arrived: find out which provider it is for, and add it to the journal."""
        call = self._read(received)
        entry = self.journal.record(call, CallMoment.now())
        if self.settings.keep_requests != 0:
            self.board.received(entry)
        self.changed()
        return call, entry

    def apply(self, call: Call, entry: JournalEntry) -> Reply:
        """Let a request take effect."""
        if call.provider is None:
            return Reply.json(404, {"message": "no provider has this path"})
        reply = self._apis[call.provider].answer(call, CallMoment.now())
        entry.dedup_key = call.dedup_key
        entry.applied = reply.status < 300 and call.fails_with is None
        self.changed()
        return reply

    def answered(self, entry: JournalEntry, status: int) -> None:
        """Note the answer that is about to be sent."""
        self.journal.answered(entry, status, CallMoment.now())
        self.changed()

    def _watch(self, incident: Incident, step: IncidentEntry) -> None:
        self.board.watch(incident, step)
        self.webhooks.watch(incident, step)

    def _read(self, received: Received) -> Call:
        for api in self._apis.values():
            call = api.read(received)
            if call is not None:
                return call
        return Call(method=received.method, path=received.address, provider=None, action="unknown")

    def changed(self) -> None:
        """Wake all who wait for a change (`wait_for`, `looking`)."""
        for looker in self._lookers:
            looker.set()
        for predicate, future in self._waiting:
            if future.done():
                continue
            try:
                if predicate():
                    future.set_result(None)
            except Exception as error:
                future.set_exception(error)
