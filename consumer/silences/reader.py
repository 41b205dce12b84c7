"""The reader of the silences topic: one small consumer for each member, for all of its tasks (design section 22).

It has no group and is assigned to all partitions by hand. It reads the topic from its beginning, as a compacted topic
is read, and then goes on with what is written. After trouble it begins again; what is known stays known meanwhile.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from structlog.typing import FilteringBoundLogger

from consumer.kafka.clients import KafkaClients, started
from consumer.kafka.reading import bounds, read
from consumer.kafka.topics_there import topics_there
from consumer.silences.known import KnownSilences
from consumer.silences.records import MalformedSilence, decode
from consumer.silences.silence import Silence, SilencedEvent
from providers.retry import Backoff, Restarts

Malformed = Callable[["ConsumerRecord[bytes, bytes]", MalformedSilence], None]
"""This is called with each record that is no silence."""

FETCH_TIMEOUT_MS = 500

LOOK_SECONDS = 60.0
"""Seconds between two looks whether the topic exists. Without the topic, nothing is silenced."""

UNREAD_SECONDS = 30.0
"""How many seconds a member that cannot read the topic waits at most. Then it decides events as if nothing were
silenced: a page too many is better than none."""


class SilenceReader:
    """Keeps what is known of silences. ``admin`` is started by others; ``changed`` is called after something was read.

    A record that is no silence is ignored, and logged as an error.
    """

    def __init__(
        self,
        *,
        clients: KafkaClients,
        admin: AIOKafkaAdminClient,
        topic: str,
        backoff: Backoff,
        changed: Callable[[], None],
        log: FilteringBoundLogger,
    ) -> None:
        self._clients = clients
        self._admin = admin
        self._topic = topic
        self._backoff = backoff
        self._changed = changed
        self._log = log
        self._is_read = asyncio.Event()
        self._missing = 0
        self.known = KnownSilences()
        """The silences as they were last read."""

    def get(self, silence_id: str) -> Silence | None:
        """The silence of this id; None if no record of it was read."""
        return self.known.get(silence_id)

    def end_of(self, silence_id: str, until: float, provider: str, decided: float) -> float:
        """When a silence ends for what it holds at this provider, and was to hold ``until`` then
        (`KnownSilences.end_of`)."""
        return self.known.end_of(silence_id, until, provider, decided)

    def of(self, event: SilencedEvent, provider: str, at: float) -> Sequence[Silence]:
        """The silences under which an event falls whose record was written then, in seconds since the epoch; the
        earliest end first."""
        return self.known.of(event, provider, at)

    async def read_once(self) -> None:
        """Wait until the topic was read to the end that it had then, or is known to be missing: no task decides before
        that. One that cannot be read is waited for `UNREAD_SECONDS` at most."""
        try:
            async with asyncio.timeout(UNREAD_SECONDS):
                await self._is_read.wait()
        except TimeoutError:
            self._log.error("silences_unread", topic=self._topic, seconds=UNREAD_SECONDS)
            self._is_read.set()  # the next task does not wait for it again

    async def run(self) -> None:
        """Read until cancelled; after trouble, begin again with a new consumer."""
        restarts = Restarts(self._backoff, asyncio.get_running_loop().time)
        while True:
            restarts.begins()
            try:
                await self._read()
            except Exception as error:  # silences are late, people are still told
                restarts.failed()
                self._log.error("silences_trouble", error=repr(error), failures=restarts.failures)
                await asyncio.sleep(restarts.wait())

    async def _read(self) -> None:
        """Read for as long as the topic stays as it is."""
        partitions = await self._partitions()
        if not partitions:
            # An answer can lack the topic, as that of a broker that has just started: once is not enough.
            self._missing += 1
            if self._missing == (2 if len(self.known) else 1):
                self._take(KnownSilences())
                self._log.warning("silences_topic_missing", topic=self._topic)
            await asyncio.sleep(LOOK_SECONDS)
            return
        self._missing = 0
        async with started(self._clients.reader()) as consumer:
            self._take(await _known(consumer, partitions, self._malformed))
            consumer.resume(*partitions)
            await self._follow(consumer, partitions)

    async def _follow(self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> None:
        """Read what is written, until the topic has another number of partitions, was made anew, or is missing: of
        that a consumer says nothing."""
        now = asyncio.get_running_loop().time
        look_at = now() + LOOK_SECONDS
        while True:
            try:
                batches = await consumer.getmany(timeout_ms=FETCH_TIMEOUT_MS)
            except (OffsetOutOfRangeError, NoOffsetForPartitionError):
                return
            for records in batches.values():
                _put(self.known, records, self._malformed)
            if batches:
                self._changed()
            there = consumer.partitions_for_topic(self._topic)
            if there is not None and len(there) != len(partitions):
                return
            if now() >= look_at:
                if len(await self._partitions()) != len(partitions):
                    return
                look_at = now() + LOOK_SECONDS

    async def _partitions(self) -> Sequence[TopicPartition]:
        there = (await topics_there(self._admin)).get(self._topic, ())
        return sorted(TopicPartition(self._topic, one["partition"]) for one in there)

    def _take(self, known: KnownSilences) -> None:
        self.known = known
        self._is_read.set()
        self._changed()

    def _malformed(self, record: "ConsumerRecord[bytes, bytes]", error: MalformedSilence) -> None:
        self._log.error("silence_malformed", partition=record.partition, offset=record.offset, error=str(error))


def put(known: KnownSilences, record: "ConsumerRecord[bytes, bytes]") -> None:
    """Take what a record of the topic says.

    Raises `MalformedSilence` if the record says nothing; what is known stays as it was.
    """
    silence, written = decode(record.key, record.value), record.timestamp / 1000
    if silence is not None:
        known.put(silence.as_written(written), written)
    elif record.key is not None:
        known.drop(record.key.decode(errors="replace"), written)


async def read_silences(
    clients: KafkaClients, partitions: Sequence[TopicPartition]
) -> tuple[KnownSilences, Sequence[str]]:
    """All silences of the topic as it is now, and a sentence for each record that is none. Raises what the clients
    raise if Kafka does not answer as it should."""
    wrong: list[str] = []

    def malformed(record: "ConsumerRecord[bytes, bytes]", error: MalformedSilence) -> None:
        wrong.append(f"topic {record.topic}, partition {record.partition}, offset {record.offset}: {error}")

    async with started(clients.reader()) as consumer:
        return await _known(consumer, partitions, malformed), wrong


async def _known(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], malformed: Malformed
) -> KnownSilences:
    """All silences up to where the topic ends now."""
    begins, ends = await bounds(consumer, partitions)
    known = KnownSilences()
    async for records in read(consumer, begins, ends):
        _put(known, records, malformed)
    return known


def _put(known: KnownSilences, records: Iterable["ConsumerRecord[bytes, bytes]"], malformed: Malformed) -> None:
    for record in records:
        try:
            put(known, record)
        except MalformedSilence as error:
            malformed(record, error)
