"""Replays dead letters: each goes to the feedback topic once, however often replays are begun, interrupted or killed.

One transaction holds the records that are sent, the marks of their dead letters (`consumer.replay.replayed`), and,
where that is kept, how far the dead letters have been read; the last transaction also says that all were read. The
client's transactional offset commit carries no generation, which is right here: there is one replayer at a time, and
the initialisation of its producer ends whatever the replayer before had left open. What other replays have sent is
known from their marks; what a release without marks has sent, from the records that the feedback topic still has. A
replay stops at the end that the topic has when it starts, so it does not replay a dead letter again that fails again.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from enum import Enum

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from consumer.dlq.dead_letter import DeadLetterStage
from consumer.feedback.records import replay_headers
from consumer.kafka.clients import KafkaClients, close_producer, start_producer
from consumer.kafka.group_offsets import coordinated, group_offsets
from consumer.kafka.group_removal import delete_groups
from consumer.kafka.reading import Offsets, bounds, hidden_ends
from consumer.replay.replayed import encode_mark, find_replays
from consumer.replay.stored_dead_letters import Selection, StoredDeadLetter, Tasks, has_task, stored_dead_letters
from providers.errors import UserError

BATCH = 100
"""The most dead letters in one transaction; with a lower rate (per second), a transaction has that many."""

LOOKED_THROUGH = 10_000
"""After this many dead letters that are not replayed, the progress is committed."""

START_SECONDS = 70.0
"""Time limit for the initialisation, which waits until a transaction that was left open has ended."""

ABORT_SECONDS = 5.0

DELETE_SECONDS = 5.0
"""Time limit for deleting a group that is not needed any more. A group that stays expires on the broker, by default
after a week."""


class ReplayFailed(UserError):
    """The replay cannot go on: one line for the user."""


class Skipped(Enum):
    """Why a dead letter is not replayed. Only `REPLAYED` dead letters have a mark; the others can still be replayed
    later."""

    FILTERED = "not selected"
    POISON = "poison"
    REPLAYED = "replayed before"
    NO_RECORD = "never in the events topic"
    NO_TASK = "not of an input of this configuration"
    CUT = "cut"
    UNREADABLE = "unreadable"


_LEFT = frozenset({Skipped.NO_TASK, Skipped.UNREADABLE})
"""Reasons that no user has chosen: with another configuration, or another release, such a dead letter can be
replayed."""


class Keeping(Enum):
    """Whether a replay keeps in its group how far it has come."""

    NOTHING = "nothing"
    """It uses only the marks, which say of each dead letter whether it was sent, and leaves no group behind."""
    UNTIL_DONE = "until it is done"
    """Dead letters with a mark are sent again, so only the group's offset says what this replay has sent. When it is
    done, it sets the offset back to the beginning, and deletes the group if that is possible."""
    FOR_EVER = "for ever"
    """The next replay goes on from the group's offset. Dead letters with a mark are left out anyway, so the offset does
    not pass a dead letter that was skipped for a reason in `_LEFT`."""


@dataclass(slots=True)
class Summary:
    """What a replay has done: the ids of the dead letters that were sent, and how many were skipped for each reason.

    ``passed_before`` is how many offsets its group had passed when it began. ``group_left`` is why a group that should
    have been deleted still exists; None if it is gone, or is kept. ``hidden`` has a sentence for each partition of
    which an open transaction hides a part.
    """

    sent: list[str] = field(default_factory=list)
    skipped: Counter[Skipped] = field(default_factory=Counter)
    passed_before: int = 0
    group_left: str | None = None
    hidden: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to replay; ``tasks`` are those that can decide it, and ``rate`` is dead letters per second.

    The replay begins at the committed offset of ``group``, if the group exists, even where `keeping` is nothing: an
    earlier release has kept an offset for each set of filters.
    """

    selection: Selection
    tasks: Tasks
    group: str
    transactional_id: str
    feedback: Sequence[TopicPartition]
    dead_letters: Sequence[TopicPartition]
    poison: bool = False
    again: bool = False
    limit: int | None = None
    rate: float | None = None
    keeping: Keeping = Keeping.NOTHING

    def why_not(self, stored: StoredDeadLetter, replayed: Collection[str]) -> Skipped | None:
        """Why this dead letter is not replayed; None if it is. ``replayed`` are the ids of dead letters that were
        replayed before."""
        dead_letter = stored.dead_letter
        if dead_letter is None:
            return Skipped.UNREADABLE
        if not self.selection.has(stored):
            return Skipped.FILTERED
        if dead_letter.cut is not None:
            return Skipped.CUT
        if dead_letter.record.offset < 0:
            return Skipped.NO_RECORD
        if dead_letter.stage == DeadLetterStage.DECODE and not self.poison:
            return Skipped.POISON
        if not has_task(dead_letter, self.tasks):
            return Skipped.NO_TASK
        if stored.id in replayed and not self.again:
            return Skipped.REPLAYED
        return None


OnPassed = Callable[[int, int], None]
"""Is called with the number of offsets that were passed, and with the number of all offsets to pass."""


async def dry_run(
    clients: KafkaClients, admin: AIOKafkaAdminClient, plan: Plan
) -> tuple[Sequence[StoredDeadLetter], Summary]:
    """What a replay would send now. Sends nothing, commits nothing, and stops no other replay."""
    summary = Summary()
    found: list[StoredDeadLetter] = []
    reader = clients.reader()
    await reader.start()
    try:
        summary.hidden = await _hidden(reader, plan)
        replayed = (await find_replays(reader, plan.dead_letters, plan.feedback)).sent
        span = await _span(reader, admin, plan)
        summary.passed_before = span.passed_before
        async with aclosing(stored_dead_letters(reader, span.begins, span.ends)) as dead_letters:
            async for stored in dead_letters:
                if plan.limit is not None and len(found) >= plan.limit:
                    break
                why = plan.why_not(stored, replayed)
                if why is None:
                    found.append(stored)
                    summary.sent.append(stored.id)
                else:
                    summary.skipped[why] += 1
    finally:
        await reader.stop()
    return found, summary


async def replay(
    clients: KafkaClients,
    admin: AIOKafkaAdminClient,
    plan: Plan,
    progress: OnPassed,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Summary:
    """Replay what is planned. After a cancellation or a kill, the next call goes on from there.

    Raises `ReplayFailed` if the replay cannot go on, and what the clients raise if Kafka does not answer as it should.
    """
    producer = clients.transactional(plan.transactional_id)
    reader = clients.reader()
    try:
        async with asyncio.timeout(START_SECONDS):
            await start_producer(producer)
        await reader.start()
        # Only after the initialisation, which has ended what an earlier replay left open: now all that has been
        # replayed can be read, unless another producer's transaction hides it.
        if hidden := await _hidden(reader, plan):
            more = f" (so it is in {len(hidden) - 1} more of the partitions)" if len(hidden) > 1 else ""
            raise ReplayFailed(f"{hidden[0]}{more}: what has been replayed is not known, and nothing was sent")
        replayed = (await find_replays(reader, plan.dead_letters, plan.feedback)).sent
        span = await _span(reader, admin, plan)
        work = _Work(producer, plan, span, progress, sleep)
        is_done = True
        async with aclosing(stored_dead_letters(reader, span.begins, span.ends)) as dead_letters:
            async for stored in dead_letters:
                if work.is_at_limit:
                    is_done = False
                    break
                await work.take(stored, plan.why_not(stored, replayed))
        await work.commit(is_done=is_done)
        if is_done and plan.keeping is Keeping.UNTIL_DONE:
            left = await delete_groups(admin, [plan.group], DELETE_SECONDS)
            work.summary.group_left = left.get(plan.group)
        return work.summary
    finally:
        await reader.stop()
        await close_producer(producer)


@dataclass(frozen=True, slots=True)
class _Span:
    """What a replay reads: from its group's offset, or from the ``first`` offset if the partition does not have that
    offset, to the end."""

    first: Offsets
    begins: Offsets
    ends: Offsets

    @property
    def passed_before(self) -> int:
        return sum(self.begins.values()) - sum(self.first.values())


class _Work:
    """The transactions of one replay."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        plan: Plan,
        span: _Span,
        progress: OnPassed,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.summary = Summary(passed_before=span.passed_before)
        self._producer = producer
        self._plan = plan
        self._span = span
        self._progress = progress
        self._sleep = sleep
        self._positions = dict(span.begins)
        self._moved: dict[TopicPartition, int] = {}
        self._kept: dict[TopicPartition, int] = {}
        self._waits: set[TopicPartition] = set()
        self._batch: list[StoredDeadLetter] = []
        self._passed = 0
        self._total = sum(max(0, span.ends[partition] - begin) for partition, begin in span.begins.items())
        self._batch_size = BATCH if plan.rate is None else max(1, min(BATCH, int(plan.rate)))
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()

    @property
    def is_at_limit(self) -> bool:
        limit = self._plan.limit
        return limit is not None and len(self.summary.sent) + len(self._batch) >= limit

    async def take(self, stored: StoredDeadLetter, why_not: Skipped | None) -> None:
        """Take the next dead letter. If the dead letters before it fill a transaction, commit these first.

        They are not committed as soon as the transaction is full, since the last transaction has to know that it is the
        last.
        """
        if len(self._batch) >= self._batch_size or self._passed >= LOOKED_THROUGH:
            await self.commit()
        if why_not is None:
            self._batch.append(stored)
        else:
            self.summary.skipped[why_not] += 1
            self._passed += 1
        partition = TopicPartition(stored.record.topic, stored.record.partition)
        self._moved[partition] = stored.record.offset + 1
        if why_not in _LEFT and not self._plan.again:
            self._waits.add(partition)
        if partition not in self._waits:
            self._kept[partition] = stored.record.offset + 1

    async def commit(self, *, is_done: bool = False) -> None:
        """Send the dead letters that were taken, and the progress, in one transaction; ``is_done``: it is the last
        one."""
        kept = self._to_keep(is_done=is_done)
        if self._batch or kept:
            await self._write(kept)
        self._positions.update(self._moved)
        self.summary.sent.extend(stored.id for stored in self._batch)
        self._batch, self._moved, self._kept, self._passed = [], {}, {}, 0
        self._progress(sum(self._positions[tp] - begin for tp, begin in self._span.begins.items()), self._total)
        if self._plan.rate is not None:
            ahead = self._started + len(self.summary.sent) / self._plan.rate - self._loop.time()
            if ahead > 0:
                await self._sleep(ahead)

    def _to_keep(self, *, is_done: bool) -> Offsets:
        """The offsets to commit for the group; empty if its offsets shall not change."""
        match self._plan.keeping:
            case Keeping.NOTHING:
                return {}
            case Keeping.UNTIL_DONE if is_done:
                # The group may outlive this: an offset at the end would say that nothing is left to be sent again.
                return self._span.first if self._moved or self._span.passed_before else {}
            case _:
                return self._kept

    async def _write(self, kept: Offsets) -> None:
        await self._producer.begin_transaction()
        try:
            await self._send()
            if kept:
                await self._producer.send_offsets_to_transaction(dict(kept), self._plan.group)
        except BaseException:
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(ABORT_SECONDS):
                    await self._producer.abort_transaction()
            raise
        await self._producer.commit_transaction()

    async def _send(self) -> None:
        topic = self._plan.feedback[0].topic
        # Each send is awaited: Kafka can commit a transaction without a record whose send has failed.
        results = await asyncio.gather(
            *(self._send_one(topic, stored) for stored in self._batch), return_exceptions=True
        )
        marks: dict[int, dict[int, tuple[int, int]]] = {}
        for stored, result in zip(self._batch, results, strict=True):
            if isinstance(result, BaseException):
                raise result
            marks.setdefault(stored.record.partition, {})[stored.record.offset] = result
        for partition, places in marks.items():
            key, value, headers = encode_mark(places)
            dead_letter_topic = self._plan.dead_letters[0].topic
            # A mark goes to the partition of its dead letters, so that it is kept at least as long as they are.
            await self._producer.send_and_wait(dead_letter_topic, value, key, partition=partition, headers=headers)

    async def _send_one(self, topic: str, stored: StoredDeadLetter) -> tuple[int, int]:
        """Send one dead letter. Returns its partition and offset in the feedback topic."""
        record = stored.record
        headers = replay_headers(record.headers, stored.id)
        try:
            sent = await self._producer.send_and_wait(topic, record.value, record.key, headers=headers)
        except MessageSizeTooLargeError as error:
            raise ReplayFailed(
                f"dead letter {stored.id} is larger than topic {topic} takes: "
                "give it the max.message.bytes of the dead-letter topic and 1024 more"
            ) from error
        return sent.partition, sent.offset


async def _hidden(reader: AIOKafkaConsumer, plan: Plan) -> list[str]:
    """A sentence for each partition of dead letters or feedback whose end another producer's transaction hides."""
    return await hidden_ends(reader, [*plan.dead_letters, *plan.feedback])


async def _span(reader: AIOKafkaConsumer, admin: AIOKafkaAdminClient, plan: Plan) -> _Span:
    # The offsets must be known: a replay with --again that began at the beginning would send dead letters a second
    # time.
    committed = await coordinated(lambda: group_offsets(admin, plan.group, plan.dead_letters))
    first, ends = await bounds(reader, plan.dead_letters)
    begins = {}
    for partition, begin in first.items():
        found = committed[partition]
        offset = -1 if found is None else found.offset
        # An offset beyond the end is from a topic that has been created anew since.
        begins[partition] = offset if begin <= offset <= ends[partition] else begin
    return _Span(first, begins, ends)
