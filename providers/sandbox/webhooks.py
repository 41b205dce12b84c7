"""The webhooks that PagerDuty and OpsGenie send when something happens to an incident, as documented.

Each subscription gets its own in order, one at a time, again after 5xx, 429 and silence, with what came later queued
behind; any other 4xx drops one, and three drops in a row disable the subscription. On demand they are lost, doubled,
late and so out of order (`Mischief`), or held back until somebody lets them go.
"""

import asyncio
import hashlib
import hmac
import random
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heappop, heappush
from typing import Any, Final, Literal

import aiohttp
import orjson

from providers.sandbox.incidents import Happening, Incident, IncidentEntry

ProviderName = Literal["pagerduty", "opsgenie", "jsm"]

TIMEOUT_SECONDS = 5.0
"""For an answer, as PagerDuty waits for one."""

RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Between attempts, the last of them for ever: nobody here has 48 hours."""

DROPS = 3
"""In a row, after which a subscription is disabled."""

PAGERDUTY: Final[Mapping[Happening, str]] = {
    "opened": "incident.triggered",
    "acknowledged": "incident.acknowledged",
    "unacknowledged": "incident.unacknowledged",
    "resolved": "incident.resolved",
    "note": "incident.annotated",
}
OPSGENIE: Final[Mapping[Happening, str]] = {
    "opened": "Create",
    "acknowledged": "Acknowledge",
    "unacknowledged": "UnAcknowledge",
    "resolved": "Close",
    "note": "AddNote",
    "severity": "UpdatePriority",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSubscription:
    """Who wants to know. ``secret`` signs (PagerDuty), ``token`` is sent as bearer token.

    ``names_keys``: the incident's key is in the webhook, as it is not in all of PagerDuty's."""

    provider: ProviderName
    url: str
    secret: str | None = None
    token: str | None = None
    names_keys: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Mischief:
    """What befalls webhooks: the share that is lost, the share that is sent twice, and by how many seconds at most each
    is late, which lets them overtake each other."""

    lost: float = 0.0
    doubled: float = 0.0
    late: float = 0.0


@dataclass(slots=True, kw_only=True)
class Webhook:
    """One webhook: what it says, whether it is never sent, and how each attempt was answered (None: not at all)."""

    id: str
    provider: str
    what: str
    dedup_key: str
    body: bytes
    is_lost: bool = False
    answers: list[int | None] = field(default_factory=list)


class _Queue:
    """What a subscription is still to get, by when it is due."""

    def __init__(self, subscription: SandboxSubscription, id: str) -> None:
        self.subscription = subscription
        self.id = id
        self.is_off = False
        self.drops = 0
        self.is_sending = False
        self.worker: asyncio.Task[None] | None = None
        self.waiting: list[tuple[float, int, Webhook]] = []
        self.has_news = asyncio.Event()

    @property
    def is_disabled(self) -> bool:
        return self.drops >= DROPS


class Webhooks:
    """All subscriptions. ``seed`` is that of its mischief."""

    def __init__(self, seed: int = 0) -> None:
        self.mischief = Mischief()
        self.sent: list[Webhook] = []
        """Every webhook, in the order of what has happened."""
        self._chance = random.Random(seed)
        self._queues: list[_Queue] = []
        self._session: aiohttp.ClientSession | None = None
        self._held: list[tuple[_Queue, Webhook]] | None = None
        self._number = 0
        self._subscribed = 0

    def subscribe(self, subscription: SandboxSubscription) -> None:
        """Send it everything from now on."""
        self._subscribed += 1
        queue = _Queue(subscription, f"PWHS{self._subscribed:03}")
        self._queues.append(queue)
        if self._session is not None:
            queue.worker = asyncio.create_task(self._work(queue, self._session))

    def unsubscribe(self, subscription: SandboxSubscription) -> None:
        """Send it nothing more."""
        for queue in [queue for queue in self._queues if queue.subscription is subscription]:
            self._queues.remove(queue)
            if queue.worker is not None:
                queue.worker.cancel()

    @property
    def waiting(self) -> int:
        """How many are still to be sent, or are on their way."""
        return sum(len(queue.waiting) + queue.is_sending for queue in self._queues)

    def is_disabled(self, provider: str) -> bool:
        """Whether a subscription of this provider's webhooks is disabled."""
        return any(queue.is_disabled for queue in self._queues if queue.subscription.provider == provider)

    def enable(self, provider: str) -> None:
        """Enable this provider's subscriptions again; what was dropped is lost."""
        for queue in self._queues:
            if queue.subscription.provider == provider:
                queue.drops = 0

    def subscriptions(self, provider: str) -> Sequence[tuple[str, str, bool, bool]]:
        """Of each of this provider's: its id, where it goes, whether it is disabled, and whether it is switched off."""
        ours = [queue for queue in self._queues if queue.subscription.provider == provider]
        return [(queue.id, queue.subscription.url, queue.is_disabled, queue.is_off) for queue in ours]

    def enable_one(self, id: str) -> bool:
        """Enable a subscription again; whether there is one."""
        found = [queue for queue in self._queues if queue.id == id]
        for queue in found:
            queue.drops = 0
        return bool(found)

    def switch(self, provider: str, *, on: bool) -> None:
        """A person switches this provider's subscriptions on or off."""
        for queue in self._queues:
            if queue.subscription.provider == provider:
                queue.is_off = not on

    def hold(self) -> None:
        """Send nothing more, until `release`."""
        self._held = []

    def release(self, *, reverse: bool = False, times: int = 1) -> None:
        """Send what was held, each so many times, the last one first if so wanted."""
        held, self._held = self._held or [], None
        for queue, webhook in reversed(held) if reverse else held:
            for _ in range(times):
                self._enqueue(queue, webhook, 0.0)

    def clear(self) -> None:
        """Forget what has happened, and what is still to be sent."""
        self.sent.clear()
        self.mischief = Mischief()
        for queue in self._queues:
            queue.waiting.clear()

    def watch(self, incident: Incident, step: IncidentEntry) -> None:
        """Something has happened to an incident."""
        for queue in self._queues:
            subscription = queue.subscription
            names = PAGERDUTY if subscription.provider == "pagerduty" else OPSGENIE
            if subscription.provider != incident.provider or step.what not in names:
                continue
            if queue.is_disabled or queue.is_off:
                continue
            make = _pagerduty if subscription.provider == "pagerduty" else _opsgenie
            body = orjson.dumps(make(incident, step, names[step.what], names_key=subscription.names_keys))
            id = str(uuid.uuid4())
            webhook = Webhook(
                id=id, provider=incident.provider, what=step.what, dedup_key=incident.dedup_key, body=body
            )
            self.sent.append(webhook)
            if self._held is not None:
                self._held.append((queue, webhook))
            else:
                self._befall(queue, webhook)

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send for the length of the block."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_SECONDS)) as session:
            self._session = session
            for queue in self._queues:
                queue.worker = asyncio.create_task(self._work(queue, session))
            try:
                yield
            finally:
                self._session = None
                workers = [queue.worker for queue in self._queues if queue.worker is not None]
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    def _befall(self, queue: _Queue, webhook: Webhook) -> None:
        mischief, chance = self.mischief, self._chance
        if chance.random() < mischief.lost:
            webhook.is_lost = True
            return
        for _ in range(2 if chance.random() < mischief.doubled else 1):
            self._enqueue(queue, webhook, chance.uniform(0.0, mischief.late))

    def _enqueue(self, queue: _Queue, webhook: Webhook, late: float) -> None:
        self._number += 1
        heappush(queue.waiting, (asyncio.get_running_loop().time() + late, self._number, webhook))
        queue.has_news.set()

    async def _work(self, queue: _Queue, session: aiohttp.ClientSession) -> None:
        while True:
            webhook = await self._next(queue)
            await self._send(queue, webhook, session)
            queue.is_sending = False

    async def _next(self, queue: _Queue) -> Webhook:
        loop = asyncio.get_running_loop()
        while True:
            queue.has_news.clear()
            due = queue.waiting[0][0] if queue.waiting else None
            if due is not None and due <= loop.time():
                queue.is_sending = True
                return heappop(queue.waiting)[2]
            try:
                async with asyncio.timeout_at(due):
                    await queue.has_news.wait()
            except TimeoutError:
                pass  # it is due

    async def _send(self, queue: _Queue, webhook: Webhook, session: aiohttp.ClientSession) -> None:
        for attempt in range(2**31):
            status = await self._attempt(queue.subscription, webhook, session)
            webhook.answers.append(status)
            if status is not None and status < 300:
                queue.drops = 0
                return
            if status is not None and 400 <= status < 500 and status != 429:
                queue.drops += 1
                if queue.is_disabled:
                    queue.waiting.clear()
                return
            await asyncio.sleep(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)])

    @staticmethod
    async def _attempt(
        subscription: SandboxSubscription, webhook: Webhook, session: aiohttp.ClientSession
    ) -> int | None:
        headers = {"Content-Type": "application/json"}
        if subscription.provider == "pagerduty":
            headers["X-Webhook-Id"] = webhook.id
        if subscription.secret is not None:
            digest = hmac.new(subscription.secret.encode(), webhook.body, hashlib.sha256).hexdigest()
            headers["X-PagerDuty-Signature"] = f"v1={digest}"
        if subscription.token is not None:
            headers["Authorization"] = f"Bearer {subscription.token}"
        try:
            async with session.post(subscription.url, data=webhook.body, headers=headers) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None


def _pagerduty(incident: Incident, step: IncidentEntry, name: str, *, names_key: bool) -> dict[str, Any]:
    is_person = step.by == "person"
    whole = {
        "id": incident.id,
        "type": "incident",
        "number": incident.number,
        "status": {"open": "triggered", "ended": "resolved"}.get(incident.status, incident.status),
        "incident_key": incident.dedup_key if names_key else None,
        "created_at": _iso(incident.opened_at),
        "title": incident.title,
        "assignees": [],
        "priority": None,
        "urgency": "high",
    }
    note = {
        "id": f"N{incident.id}",
        "type": "incident_note",
        "content": step.detail,
        "incident": {"id": incident.id, "type": "incident_reference", "summary": incident.title},
    }
    return {
        "event": {
            "id": str(uuid.uuid4()),
            "event_type": name,
            "resource_type": "incident",
            "occurred_at": _iso(step.at),
            "agent": {
                "id": "PSANDBOX",
                "type": "user_reference" if is_person else "inbound_integration_reference",
                "summary": "A person at the sandbox" if is_person else "Events API v2",
            },
            "client": None,
            "data": note if step.what == "note" else whole,
        }
    }


def _opsgenie(incident: Incident, step: IncidentEntry, name: str, *, names_key: bool) -> dict[str, Any]:
    is_person = step.by == "person"
    return {
        "action": name,
        "alert": {
            "alertId": incident.id,
            "message": incident.title,
            "tags": incident.tags,
            "tinyId": str(incident.number),
            "alias": incident.dedup_key if names_key else None,
            "createdAt": int(incident.opened_at * 1000),
            "updatedAt": int(step.at * 1e9),
            "username": "person@sandbox" if is_person else "Alert API",
            "priority": incident.severity,
        },
        "source": {"name": "", "type": "web" if is_person else "API"},
        "integrationId": "sandbox",
        "integrationName": "Sandbox",
    }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
