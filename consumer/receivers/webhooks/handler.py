"""The way of a webhook, from its head to its answer: whose it is, what it says, whether that is in Kafka.

What is the provider's is answered 2xx as soon as nothing more is to be done about it, also if it cannot be read: after
three refusals in a row PagerDuty sends nothing more for a day. What is to be sent again is answered 503.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from consumer.feedback.records import FromProvider, encode_from_provider
from consumer.receivers.posts.answering import Answering
from consumer.receivers.posts.body import Growing, decompressed, is_compressed, read_body
from consumer.receivers.posts.connections import Connections
from consumer.receivers.posts.inflate import NotCompressed
from consumer.receivers.posts.log_limit import LogLimit
from consumer.receivers.posts.refusal import RequestRefused, busy, line
from consumer.receivers.posts.room import NoRoom, Room
from consumer.receivers.posts.writer import WriteOutcome, Writer
from consumer.receivers.posts.written import digest_of
from consumer.receivers.webhooks.access import Access
from consumer.receivers.webhooks.metrics import WebhookMetrics
from providers.contained import FAULTS, fault_of
from providers.pagerduty.webhook import WEBHOOK_ID
from providers.webhook import DedupKeys, LookupFailed, Malformed, Nothing, ReadWebhook, Said

LARGEST_BODY = 256 << 10
"""The largest body that is accepted, in bytes: PagerDuty sends no larger ones."""

ANSWER_SECONDS = 4.0
"""The longest time in seconds from the head of a webhook to its answer. PagerDuty waits for 5 s."""

LONGEST_KEY = 512
"""The most characters of a dedup key of ours, at any provider."""

_WEBHOOK = b"webhook"


@dataclass(frozen=True, slots=True)
class WebhookSender:
    """A provider that sends webhooks: who it is, how it is known, what it says, and who tells the dedup keys of an
    incident that it names by its id only (None: nobody does)."""

    provider: str
    access: Access
    read: ReadWebhook
    dedup_keys: DedupKeys | None = None


class WebhookHandler:
    """Takes webhooks. ``answer_within`` is in seconds, from the head of one."""

    def __init__(
        self,
        *,
        connections: Connections,
        room: Room,
        writer: Writer,
        topic: str,
        answer_within: float,
        metrics: WebhookMetrics,
        log: FilteringBoundLogger,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.answering = Answering()
        self._connections = connections
        self._room = room
        self._writer = writer
        self._topic = topic
        self._metrics = metrics
        self._log = log
        self._now = now
        self._answer_within = answer_within
        self._refused, self._unread, self._unmatched = LogLimit(), LogLimit(), LogLimit()

    async def post(self, request: web.Request, sender: WebhookSender) -> web.Response:
        """Answer one webhook. Raises `RequestRefused` for every answer but 200."""
        began, outcome = perf_counter(), "unknown"
        try:
            outcome = await self.answering.outcome_of(lambda: self._within(request, sender))
            return line(200, {"outcome": outcome})
        except RequestRefused as refused:
            outcome = "unknown" if refused.status >= 500 else "refused"
            raise
        finally:
            self._metrics.webhook(sender.provider, outcome, perf_counter() - began)

    async def _within(self, request: web.Request, sender: WebhookSender) -> str:
        try:
            async with asyncio.timeout(self._answer_within):
                return await self._post(request, sender)
        except NoRoom:
            raise busy("too much is being received, or waits for Kafka", closes=True) from None
        except TimeoutError:
            raise busy(f"Kafka has not taken this within {self._answer_within:g} s", closes=True) from None

    async def _post(self, request: web.Request, sender: WebhookSender) -> str:
        if not sender.access.admits(request.headers, request.query, self._now()):
            raise self._not_theirs(request, sender)
        if self._writer.trouble() is not None:
            raise busy("Kafka takes nothing now")
        if self._room.is_full:
            raise busy("too much is waiting for Kafka")
        connection = self._connections.of(request)
        with self._room.lease() as lease:
            if sender.access.proves_by_head:
                self._connections.proved(connection)
                body = await self._theirs(request, sender, lease)
            else:
                with self._connections.unproved_body(connection) as unproved:
                    body = await self._theirs(request, sender, unproved)
                self._connections.proved(connection)
                lease.grow(len(body))
            return await self._read(body, request, sender)

    async def _theirs(self, request: web.Request, sender: WebhookSender, lease: Growing) -> bytes:
        """The body, decompressed, if it is the provider's: as it came, or as it is then. Raises `RequestRefused` if it
        is not the provider's, or could not be read.

        A ``Content-Encoding`` that is not known, or not true, is no reason to refuse what the provider has sent: the
        body is taken as it came, and shows whether it can be read.
        """
        raw = body = await read_body(request, lease, LARGEST_BODY)
        if is_compressed(request.headers):
            try:
                body = await decompressed(raw, lease, LARGEST_BODY)
            except (NotCompressed, RequestRefused):
                body = raw
        if any(sender.access.allows(text, request.headers) for text in (raw, body)):
            return body
        raise self._not_theirs(request, sender)

    async def _read(self, body: bytes, request: web.Request, sender: WebhookSender) -> str:
        try:
            found: object = sender.read(body)
        except FAULTS as error:  # a fault of ours: sent again it would hold up all that comes behind it
            found = Malformed(str(fault_of("it cannot be read", error)))
        match found:
            case Nothing(kind):
                return kind
            case Said() as said:
                return await self._said(said, sender, request.headers)
            case _:
                reason = found.reason if isinstance(found, Malformed) else "nothing was found in it"
                if (others := self._unread.now()) is not None:
                    self._log.warning("webhook_malformed", provider=sender.provider, error=reason, before=others)
                return "malformed"

    async def _said(self, said: Said, sender: WebhookSender, headers: Mapping[str, str]) -> str:
        keys = [key for key in await self._keys(said, sender) if 0 < len(key) <= LONGEST_KEY]
        if not keys:
            if (others := self._unmatched.now()) is not None:
                self._log.info("webhook_unmatched", provider=sender.provider, incident=said.it.incident, before=others)
            return "unmatched"
        done = [await self._write(FromProvider(sender.provider, key, said.it, said.by), headers) for key in keys]
        waiting = [one for one in done if one is not None]
        for one in waiting:
            await asyncio.shield(one)  # others may wait for it, too
        if any(one.result() is WriteOutcome.UNKNOWN for one in waiting):
            raise busy("Kafka has not taken this")
        return "written" if waiting else "repeated"

    async def _keys(self, said: Said, sender: WebhookSender) -> Sequence[str]:
        if said.dedup_key is not None:
            return [said.dedup_key]
        if sender.dedup_keys is None or said.it.incident is None:
            return []
        try:
            return await sender.dedup_keys.dedup_keys(said.it.incident)
        except LookupFailed as error:
            self._log.warning("webhook_lookup_failed", provider=sender.provider, error=str(error))
            raise busy("the incident's key could not be looked up") from None

    async def _write(self, found: FromProvider, headers: Mapping[str, str]) -> "asyncio.Future[WriteOutcome] | None":
        key, value, record_headers = encode_from_provider(found)
        # A repetition says the same, under the same id. (An id alone is not trusted to mean one thing only.)
        kind = found.it.what.value.encode()
        digest = digest_of(_WEBHOOK, b"\0".join((headers.get(WEBHOOK_ID, "").encode(), kind, key, value)))
        return await self._writer.write(self._topic, value, key, record_headers, digest)

    def _not_theirs(self, request: web.Request, sender: WebhookSender) -> RequestRefused:
        if (others := self._refused.now()) is not None:
            self._log.warning("webhook_refused", provider=sender.provider, remote=request.remote, before=others)
        challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        return RequestRefused(401, "this is none of the provider's webhooks", closes=True, headers=challenge)
