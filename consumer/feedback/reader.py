"""The reader of the feedback topic: one small consumer per member, for all its tasks (design section 6, "Feedback").

The reader has no group and is assigned to all partitions by hand. Every task sees every record, takes those that are
for it, and keeps its own positions in its checkpoint. When a task is attached whose positions are older, the reader
goes back, and the other tasks skip the records that they have had. The events have a consumer of their own, as a quiet
topic would slow their fetches down. Trouble of the reader does not stop any task.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError, UnknownTopicOrPartitionError
from structlog.typing import FilteringBoundLogger

from consumer.feedback.moves import Move, decode_move, is_move
from consumer.feedback.records import Feedback, MalformedFeedback, decode_feedback
from consumer.kafka.clients import KafkaClients, started
from consumer.kafka.watermarks import end_at_least
from consumer.telemetry.metrics import PipelineMetrics
from providers.retry import Backoff, Restarts

FETCH_TIMEOUT_MS = 500
FETCH_RECORDS = 500

ROOM_SECONDS = 0.1
"""Seconds between two looks whether a task that was full has room again."""

QUESTION_SECONDS = 30.0
"""The longest time to find the ends of the topic, in seconds; only a task without a checkpoint needs them."""


class Inbox(Protocol):
    """Takes the records of the feedback topic for one task."""

    def next_offset(self, partition: int) -> int:
        """The offset from which on the task still needs records of this partition."""
        ...

    def reset(self, partition: int, offset: int) -> None:
        """Begin again at ``offset``, because the topic was created anew."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether the task must be handed nothing more for now."""
        ...

    @property
    def has_room_again(self) -> bool:
        """Whether a task that was full may be handed more."""
        ...

    def hand(self, partition: int, feedback: Sequence[tuple[int, Feedback | Move | None]], position: int) -> None:
        """Hand over records of a partition with their offsets, in order (None: not readable); the reader is at
        ``position`` now. The inbox skips records that it was handed before, and those that are not for its task."""
        ...


class FeedbackReader:
    """Hands the records of the feedback topic to the member's tasks. The caller starts and closes ``admin``.

    ``saw`` is told the timestamp (milliseconds) of each record that a member has written about homes: where an alert
    comes to that has read nothing of the input, these alone say what time it is.
    """

    def __init__(
        self,
        *,
        clients: KafkaClients,
        admin: AIOKafkaAdminClient,
        topic: str,
        backoff: Backoff,
        metrics: PipelineMetrics,
        saw: Callable[[int], None],
        log: FilteringBoundLogger,
    ) -> None:
        self._clients = clients
        self._admin = admin
        self._topic = topic
        self._backoff = backoff
        self._metrics = metrics
        self._saw = saw
        self._log = log
        self._inboxes: list[Inbox] = []
        self._placed: list[Inbox] = []
        """Inboxes that need nothing before the reader's position. A newly attached one may need earlier records."""
        self._full: list[Inbox] = []
        """Inboxes that take nothing for now, while the others go on. Once one has room, the reader goes back for it."""
        self._has_arrival = asyncio.Event()
        self._reading: tuple[AIOKafkaConsumer, Sequence[TopicPartition]] | None = None

    def attach(self, inbox: Inbox) -> None:
        """From now on hand this task the records that it still needs."""
        self._inboxes.append(inbox)
        self._has_arrival.set()

    def detach(self, inbox: Inbox) -> None:
        """Hand this task nothing more."""
        for inboxes in (self._inboxes, self._placed, self._full):
            if inbox in inboxes:
                inboxes.remove(inbox)

    async def ends(self) -> Mapping[int, int]:
        """The ends of the topic's partitions. A task that has never had a checkpoint, and so knows no alert, begins
        there.

        Raises `KafkaError`, `OSError` or `TimeoutError` if Kafka does not answer as it should.
        """
        async with asyncio.timeout(QUESTION_SECONDS):
            partitions = await self._partitions()
            async with started(self._clients.reader()) as reader:
                reader.assign(partitions)
                ends = await reader.end_offsets(partitions)
        return {tp.partition: end for tp, end in ends.items()}

    async def high_watermarks(self) -> Mapping[int, int]:
        """The high watermarks of the topic's partitions: the ends with the records of open transactions.

        Raises `KafkaError` if Kafka does not answer as it should, and `TimeoutError` while the topic is not being read.
        """
        if self._reading is None:
            raise TimeoutError("the feedback topic is not being read")
        found = await self._clients.watermarks(*self._reading)
        return {tp.partition: watermarks.high for tp, watermarks in found.items()}

    async def run(self) -> None:
        """Read until cancelled; after trouble, begin again with a new consumer."""
        restarts = Restarts(self._backoff, asyncio.get_running_loop().time)
        while True:
            await self._has_arrival.wait()
            if not self._inboxes:  # the task has left again
                self._has_arrival.clear()
                continue
            restarts.begins()
            try:
                await self._read()
            except Exception as error:  # operators' commands wait, but notifications still leave
                restarts.failed()
                self._log.error("feedback_trouble", error=repr(error), failures=restarts.failures)
                self._has_arrival.set()
                await asyncio.sleep(restarts.wait())

    async def _read(self) -> None:
        """Read while there are tasks, and until the number of partitions changes."""
        partitions = await self._partitions()
        async with started(self._clients.reader()) as consumer:
            consumer.assign(partitions)
            for partition in partitions:
                # With a position set the client does not look one up; it is paused, so nothing is fetched from 0.
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
                self._has_arrival.set()  # begin again with all partitions
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
        """Seek to the lowest offset that any attached task still needs."""
        consumer.pause(*partitions)
        # A task that is attached meanwhile has its turn after this.
        inboxes = [inbox for inbox in self._inboxes if inbox not in self._full]
        for tp in partitions:
            beginning, end = await self._bounds(consumer, tp, inboxes)
            for inbox in inboxes:
                if (position := inbox.next_offset(tp.partition)) > end:
                    # No task can have had records beyond the end: the topic was created anew.
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
        """The beginning and the end of a partition. Right after a transaction a broker can return an old end, so it is
        asked for again a few times while it is below what a task has had."""

        async def stable_end() -> int:
            found: int = (await consumer.end_offsets([tp]))[tp]
            return found

        end = await end_at_least(max((inbox.next_offset(tp.partition) for inbox in inboxes), default=0), stable_end)
        beginning: int = (await consumer.beginning_offsets([tp]))[tp]
        return beginning, end

    async def _hand_over(self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> None:
        try:
            batches = await consumer.getmany(timeout_ms=FETCH_TIMEOUT_MS, max_records=FETCH_RECORDS)
        except (OffsetOutOfRangeError, NoOffsetForPartitionError):
            self._has_arrival.set()  # find the beginning again
            return
        for tp in partitions:
            feedback = [(record.offset, self._decoded(record)) for record in batches.get(tp, ())]
            position = await consumer.position(tp)  # beyond transaction markers, which are no records
            for inbox in list(self._placed):
                inbox.hand(tp.partition, feedback, position)

    def _decoded(self, record: "ConsumerRecord[bytes, bytes]") -> Feedback | Move | None:
        try:
            if is_move(record.headers):
                self._saw(record.timestamp)
                return decode_move(record.key, record.value, record.headers)
            return decode_feedback(record.key, record.value, record.headers, record.timestamp)
        except MalformedFeedback as error:
            self._metrics.feedback("malformed", "ignored")
            self._log.error(
                "feedback_malformed", feedback=record.partition, feedback_offset=record.offset, error=str(error)
            )
            return None
