"""What the benchmarks read: events as the engine writes them, written to a topic in large batches."""

import time
import uuid
from collections.abc import Iterable, Iterator

from aiokafka import AIOKafkaProducer

from tests.support.events import encode, event
from tests.support.kafka import create_topic, running

EVENT_BYTES = 878
"""What an event of the engine takes on average; every event here has exactly so many bytes."""

KEYS = 1000
"""Problems that the denials of `mixed` and `denials` are about."""

ALERTABLE = 100
"""One in so many events of `mixed` is alertable."""

_BATCH_BYTES = 512 * 1024

Keyed = tuple[bytes, bytes]
"""A record's key and value."""


def session_id(number: int) -> str:
    """The session of a problem, as long as a real one."""
    return str(uuid.UUID(int=0x019A_0B3C_0000_7000_8000_0000_0000_0000 + number))


def dedup_key(number: int) -> str:
    """What the default template of PagerDuty makes of `denial`."""
    return f"forbidden_path:{session_id(number)}"


def denial(number: int) -> Keyed:
    """A critical denial that happens now, in the session of that number."""
    return _padded(session_id(number), event(session=session_id(number)))


def mixed(count: int) -> Iterator[Keyed]:
    """Everyday traffic: 99 allowed actions, then a denial of one of the `KEYS`."""
    for number in range(count):
        if number % ALERTABLE == ALERTABLE - 1:
            yield denial(number // ALERTABLE % KEYS)
        else:
            session = session_id(number % KEYS)
            yield _padded(session, event(session=session, allowed=True, severity="info"))


def denials(count: int) -> Iterator[Keyed]:
    """A storm: nothing but denials of the `KEYS`, by turns."""
    for number in range(count):
        yield denial(number % KEYS)


def distinct(count: int) -> Iterator[Keyed]:
    """Each a problem of its own."""
    for number in range(count):
        yield denial(number)


async def filled_topic(servers: str, records: Iterable[Keyed]) -> str:
    """A new topic of one partition with these records."""
    topic = await create_topic(servers)
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", max_batch_size=_BATCH_BYTES)
    async with running(producer):
        batch = producer.create_batch()
        for key, value in records:
            now = int(time.time() * 1000)
            while batch.append(key=key, value=value, timestamp=now) is None:
                await (await producer.send_batch(batch, topic, partition=0))
                batch = producer.create_batch()
        if batch.record_count():
            await (await producer.send_batch(batch, topic, partition=0))
    return topic


def _padded(session: str, fields: dict[str, object]) -> Keyed:
    fields["metadata"] = {"step": 3, "trace": ""}
    fields["metadata"] = {"step": 3, "trace": "x" * (EVENT_BYTES - len(encode(fields)))}
    return session.encode(), encode(fields)
