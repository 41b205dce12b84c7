"""Puts the records of a transaction into batches without an ``await``, so that the work can be done in slices.

When records are sent one by one, the Kafka client makes a future for each record: the answer to a batch of ten thousand
records then wakes ten thousand waiters at once.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from aiokafka.producer.message_accumulator import BatchBuilder
from msgspec import Struct


class Outgoing(Struct, frozen=True, gc=False):
    """A record that is to be written to a partition. ``timestamp`` is in milliseconds since the epoch (None: now)."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one partition that are handed to the producer together."""

    topic: str
    partition: int
    records: BatchBuilder


def batched(records: Iterable[Outgoing], create: Callable[[], BatchBuilder]) -> Iterator[Batch | None]:
    """The records in batches, those of one partition in their order; ``create`` makes an empty batch.

    Yields None after a record that has filled no batch, so that the work can be interrupted there.
    """
    open_batches: dict[tuple[str, int], BatchBuilder] = {}
    for record in records:
        place = record.topic, record.partition
        builder = open_batches.get(place)
        if builder is None:
            builder = open_batches[place] = create()
        full = None
        if not _append(builder, record):
            full = Batch(*place, builder)
            builder = open_batches[place] = create()
            taken = _append(builder, record)
            assert taken  # an empty batch takes a record of any size
        yield full
    for (topic, partition), builder in open_batches.items():
        yield Batch(topic, partition, builder)


def _append(builder: BatchBuilder, record: Outgoing) -> bool:
    taken = builder.append(timestamp=record.timestamp, key=record.key, value=record.value, headers=list(record.headers))
    return taken is not None
