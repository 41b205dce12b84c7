"""The reader of the feedback topic: one small consumer per member, for all its tasks (design section 6, "Feedback").

It has no group and is assigned to all partitions by hand: every task sees every record, takes what is for it, and keeps
its own positions in its checkpoint. When a task arrives whose positions are older, the reader goes back, and the other
tasks skip what they have had. It is never co-assigned with the events, which a quiet topic would slow down, and none of
its troubles is a trouble of a task.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError, UnknownTopicOrPartitionError
from structlog.typing import FilteringBoundLogger

from consumer.feedback.moves import Move, decode_move, is_move
from consumer.feedback.records import Feedback, MalformedFeedback, decode_feedback
from consumer.input.look import STALE_END_SECONDS, STALE_END_TRIES
from consumer.kafka.clients import KafkaClients, started
from consumer.telemetry.metrics import PipelineMetrics
from providers.retry import Backoff, Restarts

FETCH_TIMEOUT_MS = 500
FETCH_RECORDS = 500

ROOM_SECONDS = 0.1
"""Between two looks whether tasks that have much to take have room again."""

QUESTION_SECONDS = 30.0
"""For the ends of the topic, which only a task without a checkpoint asks for."""


class Inbox(Protocol):
    """What a task has been handed of the feedback topic."""

    def next_offset(self, partition: int) -> int:
        """From which offset on it has not been handed everything of this partition."""
        ...

    def reset(self, partition: int, offset: int) -> None:
        """The partition is another one than it was: this is where it begins."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether it is to be handed nothing more for now."""
        ...

    @property
    def has_room_again(self) -> bool:
        """Whether one that was full may be handed more."""
        ...

    def hand(self, partition: int, feedback: Sequence[tuple[int, Feedback | Move | None]], position: int) -> None:
        """Records of a partition with their offsets, in order (None: not readable); the reader is at ``position`` now.
        Those that it has had already are skipped, and those that are not for it."""
        ...


class FeedbackReader:
    """Hands the records of the feedback topic to the member's tasks. ``admin`` is started by others."""

    def __init__(
        self,
        *,
        clients: KafkaClients,
        admin: AIOKafkaAdminClient,
        topic: str,
        backoff: Backoff,
        metrics: PipelineMetrics,
        log: FilteringBoundLogger,
    ) -> None:
        self._clients = clients
        self._admin = admin
        self._topic = topic
        self._backoff = backoff
        self._metrics = metrics
        self._log = log
        self._inboxes: list[Inbox] = []
        self._placed: list[Inbox] = []
        """Those that have had everything before what is read next; an inbox that has just arrived has not."""
        self._full: list[Inbox] = []
        """Those that take nothing for now. The others go on; once they have room, they arrive again."""
        self._has_arrival = asyncio.Event()
        self._reading: tuple[AIOKafkaConsumer, Sequence[TopicPartition]] | None = None

    def attach(self, inbox: Inbox) -> None:
        """Hand this task what it has not had yet, from now on."""
        self._inboxes.append(inbox)
        self._has_arrival.set()

    def detach(self, inbox: Inbox) -> None:
        """Hand this task nothing any more."""
        for inboxes in (self._inboxes, self._placed, self._full):
            if inbox in inboxes:
                inboxes.remove(inbox)

    async def ends(self) -> Mapping[int, int]:
        """Where the topic ends now: where a task begins that has never had a checkpoint, and so knows no alert.

        Raises what the clients raise, and TimeoutError.
        """
        async with asyncio.timeout(QUESTION_SECONDS):
            partitions = await self._partitions()
            async with started(self._clients.reader()) as reader:
                reader.assign(partitions)
                ends = await reader.end_offsets(partitions)
        return {tp.partition: end for tp, end in ends.items()}

    async def high_watermarks(self) -> Mapping[int, int]:
        """Where the topic ends now, with what is in transactions that are open. Raises KafkaError, and TimeoutError
        while nothing is read."""
        if self._reading is None:
            raise TimeoutError("the feedback topic is not being read")
        found = await self._clients.watermarks(*self._reading)
        return {tp.partition: watermarks.high for tp, watermarks in found.items()}

    async def run(self) -> None:
        """Read until cancelled; after trouble, begin again with a new consumer."""
        restarts = Restarts(self._backoff, asyncio.get_running_loop().time)
        while True:
            await self._has_arrival.wait()
            if not self._inboxes:  # it has left again
                self._has_arrival.clear()
                continue
            restarts.begins()
            try:
                await self._read()
            except Exception as error:  # operators wait, people are still told
                restarts.failed()
                self._log.error("feedback_trouble", error=repr(error), failures=restarts.failures)
                self._has_arrival.set()
                await asyncio.sleep(restarts.wait())

    async def _read(self) -> None:
        """Read for as long as there are tasks and the topic stays as it is."""
        partitions = await self._partitions()
        async with started(self._clients.reader()) as consumer:
            consumer.assign(partitions)
            for partition in partitions:
                # A position that is set is never looked up; nothing is fetched from this one.
                consumer.seek(partition, 0)
            consumer.pause(*partitions)
            self._reading = consumer, partitions
            try:
                await self._read_on(consumer, partitions)
            finally:
                self._reading = None

    async def _read_on(self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> None:
        while self._inboxes:
            if self._has_arrival.is_set():
                self._has_arrival.clear()
                await self._go_back(consumer, partitions)
            self._leave_full_ones_behind()
            if not self._placed:
                await asyncio.sleep(ROOM_SECONDS)
                continue
            await self._hand_over(consumer, partitions)
            known = consumer.partitions_for_topic(self._topic)
            if known is not None and len(known) != len(partitions):
                self._has_arrival.set()  # begin again with all of them
                return

    def _leave_full_ones_behind(self) -> None:
        for inbox in [inbox for inbox in self._placed if inbox.is_full]:
            self._placed.remove(inbox)
            self._full.append(inbox)
        for inbox in [inbox for inbox in self._full if inbox.has_room_again]:
            self._full.remove(inbox)
            self._has_arrival.set()

    async def _partitions(self) -> Sequence[TopicPartition]:
        (described,) = await self._admin.describe_topics([self._topic])
        if not described["partitions"]:
            raise UnknownTopicOrPartitionError(self._topic)
        return sorted(TopicPartition(self._topic, found["partition"]) for found in described["partitions"])

    async def _go_back(self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> None:
        """To what the task that has had least has not had yet."""
        consumer.pause(*partitions)
        # One that arrives meanwhile has its turn after this.
        inboxes = [inbox for inbox in self._inboxes if inbox not in self._full]
        for tp in partitions:
            beginning, end = await self._bounds(consumer, tp, inboxes)
            for inbox in inboxes:
                if (position := inbox.next_offset(tp.partition)) > end:
                    # Nobody has had what is not there yet: the topic has been created anew.
                    self._log.error("feedback_position_lost", feedback=tp.partition, position=position, end=end)
                    inbox.reset(tp.partition, beginning)
            position = min((inbox.next_offset(tp.partition) for inbox in inboxes), default=end)
            if 0 < position < beginning:
                self._log.error("feedback_position_lost", feedback=tp.partition, position=position, beginning=beginning)
            consumer.seek(tp, max(position, beginning))
        self._placed = [inbox for inbox in inboxes if inbox in self._inboxes]
        consumer.resume(*partitions)

    async def _bounds(
        self, consumer: AIOKafkaConsumer, tp: TopicPartition, inboxes: Sequence[Inbox]
    ) -> tuple[int, int]:
        """The bounds, once the end has caught up with what was read: after a transaction it can be the old one."""
        for _ in range(STALE_END_TRIES):
            beginning: int = (await consumer.beginning_offsets([tp]))[tp]
            end: int = (await consumer.end_offsets([tp]))[tp]
            if all(inbox.next_offset(tp.partition) <= end for inbox in inboxes):
                break
            await asyncio.sleep(STALE_END_SECONDS)
        return beginning, end

    async def _hand_over(self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> None:
        try:
            batches = await consumer.getmany(timeout_ms=FETCH_TIMEOUT_MS, max_records=FETCH_RECORDS)
        except (OffsetOutOfRangeError, NoOffsetForPartitionError):
            self._has_arrival.set()  # find the beginning again
            return
        for tp in partitions:
            feedback = [(record.offset, self._decoded(record)) for record in batches.get(tp, ())]
            position = await consumer.position(tp)  # passes over transaction markers, which are no records
            for inbox in list(self._placed):
                inbox.hand(tp.partition, feedback, position)

    def _decoded(self, record: "ConsumerRecord[bytes, bytes]") -> Feedback | Move | None:
        try:
            if is_move(record.headers):
                return decode_move(record.key, record.value, record.headers)
            return decode_feedback(record.key, record.value, record.headers, record.timestamp)
        except MalformedFeedback as error:
            self._metrics.feedback("malformed", "ignored")
            self._log.error(
                "feedback_malformed", feedback=record.partition, feedback_offset=record.offset, error=str(error)
            )
            return None
