"""Writes records to Kafka, each once, and reports of each whether Kafka has it.

There is one producer at a time. After an error it is replaced. The records that it had in hand may be in Kafka or not,
so their senders are told to send again. While Kafka cannot be reached, a producer goes on trying without an end; a
sender that sends the same event again meanwhile waits for the same write.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from time import monotonic
from typing import Any

from aiokafka.errors import KafkaError, KafkaTimeoutError
from structlog.typing import FilteringBoundLogger

from consumer.receivers.posts.producer import Headers, Producer
from consumer.receivers.posts.room import Room
from consumer.receivers.posts.written import RecentlyWritten
from providers.errors import text_of

STALLED_SECONDS = 5.0
"""If a record has waited for Kafka for so many seconds, nothing more is received."""

OVERHEAD_BYTES = 512
"""How many bytes a waiting record takes up besides its key and value."""

CLOSE_SECONDS = 5.0
RETRY_SECONDS = 1.0
_LOOK_SECONDS = 0.5


class WriteOutcome(Enum):
    """What has become of a write."""

    WRITTEN = "written"
    """The record is in Kafka."""
    UNKNOWN = "unknown"
    """The record is not in Kafka, or nobody knows: the sender should send it again."""


@dataclass(eq=False, slots=True)
class _Write:
    digest: bytes | None
    size: int
    since: float
    producer: Producer
    done: "asyncio.Future[WriteOutcome]"


class Writer:
    """Writes through one producer at a time. ``make`` makes a producer, not started. Records that wait take up
    ``room``. ``clock`` is monotonic, in seconds."""

    def __init__(
        self,
        make: Callable[[], Awaitable[Producer]],
        room: Room,
        log: FilteringBoundLogger,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._make = make
        self._room = room
        self._log = log
        self._clock = clock
        self._producer: Producer | None = None
        self._failed: Producer | None = None
        self._error = "it has not been asked yet"
        self._is_wanted = asyncio.Event()
        self._is_wanted.set()
        self._written = RecentlyWritten()
        self._pending: dict[_Write, None] = {}  # the oldest first
        self._in_flight: dict[bytes, _Write] = {}

    async def write(
        self, topic: str, value: bytes, key: bytes | None, headers: Headers, digest: bytes | None
    ) -> "asyncio.Future[WriteOutcome] | None":
        """Hand a record over, in the order of the calls. Returns None if a record with this ``digest`` was written
        lately; a ``digest`` of None is not compared.

        Several callers can wait for the returned future, so it must not be cancelled. While Kafka accepts nothing, this
        call waits; if it is cancelled then, nothing is written.
        """
        now = self._clock()
        if digest is not None:
            if self._written.has(digest, now):
                return None
            if (same := self._in_flight.get(digest)) is not None:
                return same.done
        done: asyncio.Future[WriteOutcome] = asyncio.get_running_loop().create_future()
        producer = self._producer
        if producer is None:
            done.set_result(WriteOutcome.UNKNOWN)
            return done
        write = _Write(digest, len(value) + len(key or b"") + OVERHEAD_BYTES, now, producer, done)
        self._pending[write] = None
        if digest is not None:
            self._in_flight[digest] = write
        self._room.take(write.size)
        try:
            sent = await producer.send(topic, value, key, headers)
        except KafkaError as error:
            self._end(write, WriteOutcome.UNKNOWN)
            self._note(producer, error)
        except BaseException:
            self._end(write, WriteOutcome.UNKNOWN)
            raise
        else:
            sent.add_done_callback(partial(self._sent, write))
        return done

    @property
    def oldest(self) -> float:
        """For how many seconds the oldest record has been waiting for Kafka; 0 if none waits."""
        write = next(iter(self._pending), None)
        return 0.0 if write is None else self._clock() - write.since

    def trouble(self) -> str | None:
        """Why nothing more is received, as a text for people; None if events are taken."""
        if self._producer is None:
            return f"Kafka cannot be written to: {self._error}"
        if (oldest := self.oldest) > STALLED_SECONDS:
            return f"Kafka has taken nothing for {oldest:.0f} s of what waits"
        return None

    async def run(self) -> None:
        """Make the first producer, and another one after each failure, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell())
            while True:
                await self._is_wanted.wait()
                self._is_wanted.clear()
                await self._replace()

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Wait up to ``seconds`` for records that were handed over. Their senders no longer wait: they were told to
        send again."""
        producer, self._producer, self._error = self._producer, None, "it is being stopped"
        there = [one for one in (producer, self._failed) if one is not None]
        await asyncio.gather(*(one.close(seconds) for one in there))
        for one in there:
            self._drop(one)

    async def _replace(self) -> None:
        if (failed := self._failed) is not None:
            await failed.close(CLOSE_SECONDS)
            self._failed = None
            self._drop(failed)
        while self._producer is None:
            producer: Producer | None = None
            try:
                producer = await self._make()
                await producer.start()
                self._producer, producer = producer, None
            except (KafkaError, OSError, TimeoutError) as error:
                self._error = text_of(error)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:  # a bug, which must not stop ingest for good
                self._error = f"internal error: {type(error).__name__}"
                self._log.error("receiver_failed", exc_info=error)
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                if producer is not None:
                    await producer.close(CLOSE_SECONDS)

    async def _tell(self) -> None:
        """Log when events are not taken any more, and when they are again."""
        trouble: str | None = None
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = self.trouble()
            if now is not None and trouble is None:
                self._log.warning("receiver_stopped_taking", error=now)
            elif now is None and trouble is not None:
                self._log.info("receiver_takes_again")
            trouble = now

    def _sent(self, write: _Write, sent: "asyncio.Future[Any]") -> None:
        if sent.cancelled():
            self._end(write, WriteOutcome.UNKNOWN)
        elif (error := sent.exception()) is not None:
            self._end(write, WriteOutcome.UNKNOWN)
            self._note(write.producer, error)
        else:
            self._end(write, WriteOutcome.WRITTEN)

    def _end(self, write: _Write, outcome: WriteOutcome) -> None:
        if write.done.done():
            return
        write.done.set_result(outcome)
        del self._pending[write]
        self._room.give(write.size)
        if write.digest is not None:
            del self._in_flight[write.digest]
            if outcome is WriteOutcome.WRITTEN:
                self._written.add(write.digest, self._clock())

    def _note(self, producer: Producer, error: BaseException) -> None:
        """A producer has failed and has to be replaced, unless only its batches were full (KafkaTimeoutError)."""
        if isinstance(error, KafkaTimeoutError) or producer is not self._producer:
            return
        self._error = text_of(error)
        self._log.warning("receiver_producer_failed", error=self._error)
        self._producer, self._failed = None, producer
        self._is_wanted.set()

    def _drop(self, producer: Producer) -> None:
        """End the writes of a closed producer: nobody will report any more what has become of them."""
        for write in [write for write in self._pending if write.producer is producer]:
            self._end(write, WriteOutcome.UNKNOWN)
