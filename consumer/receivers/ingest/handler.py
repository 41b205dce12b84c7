"""The way of a post, from its head to its answer: check the token, read and split the body, write it to Kafka.

No body is received that could not be written: while Kafka accepts nothing, or too much waits for it, a post is answered
after its head. Invalid events are as safe as valid ones: they are in the dead-letter topic before the post is answered.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from consumer.receivers.ingest.judge import Judge, Judgement, Unfit, dead_letter_of
from consumer.receivers.ingest.metrics import IngestMetrics
from consumer.receivers.ingest.split import Unsplittable, Whole, split
from consumer.receivers.posts.answering import Answering
from consumer.receivers.posts.bearer import Bearer
from consumer.receivers.posts.body import is_compressed, read_body
from consumer.receivers.posts.connections import Connections
from consumer.receivers.posts.log_limit import LogLimit
from consumer.receivers.posts.refusal import RequestRefused, busy, line, unauthorized
from consumer.receivers.posts.room import Lease, NoRoom, Room
from consumer.receivers.posts.writer import WriteOutcome, Writer
from consumer.receivers.posts.written import digest_of
from consumer.timing.turns import Turns

MOST_SHOWN = 10
"""How many invalid events an answer explains; the others are counted only."""

_FEW = 20
"""How many events are checked in one step: if they have at most `_FEW_BYTES` in all, that takes at most a
millisecond."""

_FEW_BYTES = 32 * 1024
"""How many bytes are worked on before the event loop runs other callbacks."""

_EVENT, _LETTER = b"event", b"letter"

Judged = Judgement | Unfit


class PostHandler:
    """Takes posts. ``limit`` is the most bytes of a body; ``answer_within`` is in seconds after a post was read."""

    def __init__(
        self,
        *,
        bearer: Bearer,
        connections: Connections,
        room: Room,
        judge: Judge,
        writer: Writer,
        events_topic: str,
        dead_letter_topic: str,
        limit: int,
        answer_within: float,
        turns: Turns,
        metrics: IngestMetrics,
        log: FilteringBoundLogger,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.judge = judge
        self.dead_letter_limit: int | None = None
        """The largest batch that the dead-letter topic accepts, in bytes; None if that is not known."""
        self._bearer = bearer
        self._connections = connections
        self._room = room
        self._writer = writer
        self._events_topic = events_topic
        self._dead_letter_topic = dead_letter_topic
        self._limit = limit
        self._answer_within = answer_within
        self._turns = turns
        self._metrics = metrics
        self._log = log
        self._now = now
        self._refused, self._invalid = LogLimit(), LogLimit()
        self.answering = Answering()

    async def post(self, request: web.Request) -> web.Response:
        """Answer one post. Raises `RequestRefused` for every answer but 200."""
        return await self.answering.outcome_of(lambda: self._post(request))

    async def _post(self, request: web.Request) -> web.Response:
        if not self._bearer.allows(request.headers.get("Authorization")):
            self._tell_refused(request)
            raise unauthorized()
        self._connections.proved(self._connections.of(request))
        if self._writer.trouble() is not None:
            raise busy("Kafka takes no events now")
        if self._room.is_full:
            raise busy("too much is waiting for Kafka (ingest.max_waiting_bytes)")
        compressed = is_compressed(request.headers)
        if compressed is None:
            raise RequestRefused(415, "the Content-Encoding must be gzip, deflate, or none", closes=True)
        with self._room.lease() as lease:
            try:
                body = await read_body(request, lease, self._limit, compressed=compressed)
            except NoRoom:
                raise busy("too much is waiting for Kafka (ingest.max_waiting_bytes)") from None
            found = split(body, request.headers.get("Content-Type", ""))
            if len(body) > _FEW_BYTES:
                await asyncio.sleep(0)  # to split it, and to check it, each may take as long as one step
            if isinstance(found, Unsplittable):
                raise RequestRefused(found.status, found.reason)
            del body  # free it: the parts are copies
            return await self._answer(found, lease)

    async def _answer(self, found: Whole, lease: Lease) -> web.Response:
        try:
            async with asyncio.timeout(self._answer_within):
                judged = await self._judged(found)
                handed_over = await self._hand_over(judged)
                lease.end()  # the writer counts these bytes now
                await _all(handed_over)
        except TimeoutError:
            self._metrics.events("unknown", len(found.parts))
            raise busy(f"Kafka has not taken this within {self._answer_within:g} s") from None
        if any(done is not None and done.result() is WriteOutcome.UNKNOWN for done in handed_over):
            self._metrics.events("unknown", len(found.parts))
            raise busy("Kafka has not taken all of this")
        return line(200, self._counts(judged, handed_over))

    async def _judged(self, found: Whole) -> Sequence[Judged]:
        def each() -> Iterator[Judged]:
            for value, poison in found:
                yield self.judge.judge(value) if poison is None else Unfit(poison, value)

        items = each()
        if len(found.parts) <= _FEW and sum(map(len, found.parts)) <= _FEW_BYTES:
            return list(items)
        judged: list[Judged] = []
        while taken := await self._turns.take(items):
            judged += taken
        return judged

    async def _hand_over(self, judged: Sequence[Judged]) -> "Sequence[asyncio.Future[WriteOutcome] | None]":
        handed_over, size = [], 0
        for number, one in enumerate(judged, 1):
            size += len(one.value)
            handed_over.append(await self._event(one) if isinstance(one, Judgement) else await self._letter(one))
            if number % 50 == 0 or size > _FEW_BYTES:
                size = 0
                await asyncio.sleep(0)  # handing over does not wait by itself, unless Kafka is slow
        return handed_over

    async def _event(self, fit: Judgement) -> "asyncio.Future[WriteOutcome] | None":
        # A sender's retry is the same byte for byte. The id alone could be that of many events: privacy settings may
        # redact it.
        digest = None if fit.event_id is None else digest_of(_EVENT, fit.value)
        return await self._writer.write(self._events_topic, fit.value, fit.key, (), digest)

    async def _letter(self, unfit: Unfit) -> "asyncio.Future[WriteOutcome] | None":
        poison = unfit.poison
        if (others := self._invalid.now()) is not None:
            self._log.warning(
                "ingest_invalid", path=poison.path, error=poison.reason, event_id=poison.event_id, before=others
            )
        dead_letter = dead_letter_of(unfit, self._events_topic, self._now())
        key, value, headers = dead_letter.encode(self.dead_letter_limit)
        return await self._writer.write(
            self._dead_letter_topic, value or b"", key, headers, digest_of(_LETTER, unfit.value)
        )

    def _counts(
        self, judged: Sequence[Judged], handed_over: "Sequence[asyncio.Future[WriteOutcome] | None]"
    ) -> dict[str, Any]:
        counts, first = Counter[str](), set[int]()
        for one, done in zip(judged, handed_over, strict=True):
            is_repeated = done is None or id(done) in first
            counts["invalid" if isinstance(one, Unfit) else "repeated" if is_repeated else "written"] += 1
            first.add(id(done))
        for outcome, count in counts.items():
            self._metrics.events(outcome, count)
        wrong = [(number, one.poison) for number, one in enumerate(judged) if isinstance(one, Unfit)]
        errors = [
            {"event": number, "path": poison.path, "error": poison.reason} for number, poison in wrong[:MOST_SHOWN]
        ]
        numbers = {name: counts[name] for name in ("written", "repeated", "invalid")}
        return {**numbers, "errors": errors} if errors else numbers

    def _tell_refused(self, request: web.Request) -> None:
        if (others := self._refused.now()) is not None:
            self._log.warning("ingest_refused", remote=request.remote, error="no token of ours", before=others)


async def _all(handed_over: "Sequence[asyncio.Future[WriteOutcome] | None]") -> None:
    for done in handed_over:
        if done is not None and not done.done():
            await asyncio.shield(done)  # others may wait for it, too
