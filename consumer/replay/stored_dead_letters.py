"""The dead letters in their topic, and the filters that select some of them."""

import hashlib
import json
import re
from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass
from typing import Final, get_args

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from consumer.dlq.dead_letter import DeadLetter, decode
from consumer.events.schema import ErrorClass
from consumer.feedback.records import history_of
from consumer.kafka.reading import Offsets, read
from consumer.replay.replayed import decode_mark

CLASSES: Final = ("given_up", "internal_error", "overflow", "stale", "undecodable", *get_args(ErrorClass))
"""The error classes that a dead letter can have, except those of a provider's rejections (`is_class`)."""

_REJECTED = re.compile(r"rejected_[0-9]{3}")


def is_class(name: str) -> bool:
    """Whether dead letters can have this error class: one of `CLASSES`, or ``rejected_`` and an HTTP status."""
    return name in CLASSES or _REJECTED.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A record of the dead-letter topic; ``dead_letter`` is None if it is no dead letter that can be read."""

    record: "ConsumerRecord[bytes, bytes]"
    dead_letter: DeadLetter | None

    @property
    def id(self) -> str:
        """Its place: partition and offset in the dead-letter topic."""
        return f"{self.record.partition}/{self.record.offset}"

    @property
    def at(self) -> float:
        """When it was written, in seconds since the epoch."""
        return float(self.record.timestamp) / 1000

    @property
    def history(self) -> list[str]:
        """The ids of the earlier dead letters whose replays have led to this one."""
        return list(history_of(self.dead_letter)) if self.dead_letter is not None else []


Tasks = Mapping[str, Collection[TopicPartition]]
"""The partitions of each provider's input: each of them has a task."""


def has_task(dead_letter: DeadLetter, tasks: Tasks) -> bool:
    """Whether there is a task that would decide this dead letter again."""
    return TopicPartition(dead_letter.record.topic, dead_letter.record.partition) in tasks.get(dead_letter.provider, ())


@dataclass(frozen=True, slots=True)
class Selection:
    """Selects dead letters; a filter that is None selects all. ``since`` (included) and ``until`` (not included) are
    limits for when a dead letter was written, in seconds since the epoch.

    ``retryable``: only dead letters that a replay can help, and that one of ``tasks`` would decide (None: not checked).
    """

    provider: str | None = None
    error_class: str | None = None
    since: float | None = None
    until: float | None = None
    retryable: bool = False
    tasks: Tasks | None = None

    def has(self, stored: StoredDeadLetter) -> bool:
        """Whether this dead letter is selected. A record that is no readable dead letter is selected if there is no
        filter."""
        dead_letter = stored.dead_letter
        if dead_letter is None:
            return self == Selection()
        return (
            self.provider in (None, dead_letter.provider)
            and self.error_class in (None, dead_letter.error_class)
            and (self.since is None or stored.at >= self.since)
            and (self.until is None or stored.at < self.until)
            and (not self.retryable or self._can_be_helped(dead_letter))
        )

    def _can_be_helped(self, dead_letter: DeadLetter) -> bool:
        return (
            dead_letter.retryable
            and dead_letter.cut is None
            and (self.tasks is None or has_task(dead_letter, self.tasks))
        )


def replay_groups(group_id: str) -> str:
    """The beginning of the names of all consumer groups of replays, except those that a user has chosen."""
    return f"{group_id}-dlq-replay"


def replay_group(group_id: str, filters: dict[str, object]) -> str:
    """The consumer group of a replay with these filters (as the user wrote them).

    Each set of filters has its own group: a dead letter that one set leaves out, another may select.
    """
    asked = {name: value for name, value in sorted(filters.items()) if value}
    if not asked:
        return replay_groups(group_id)
    return f"{replay_groups(group_id)}-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]}"


async def stored_dead_letters(
    reader: AIOKafkaConsumer, begins: Offsets, ends: Offsets
) -> AsyncGenerator[StoredDeadLetter, None]:
    """The dead letters between these offsets, in order within each partition, without the marks of replays."""
    async for records in read(reader, begins, ends):
        for record in records:
            if decode_mark(record.value, record.headers) is None:
                yield stored_dead_letter(record)


def stored_dead_letter(record: "ConsumerRecord[bytes, bytes]") -> StoredDeadLetter:
    """A record of the dead-letter topic as a `StoredDeadLetter`, whatever it holds."""
    try:
        return StoredDeadLetter(record, decode(record.key, record.value, record.headers))
    except ValueError:
        return StoredDeadLetter(record, None)
