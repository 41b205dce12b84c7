"""Which dead letters have been replayed, when, and how that ended (design section 9).

A replay leaves a *mark* in the partition of the dead-letter topic that its letters are in, in the transaction that
sends them: so it is known for as long as the letters are there, whatever becomes of the feedback topic and of offsets.
A mark is no dead letter: it lacks ``alerting.topic``, by which an earlier release finds it "not readable", and skips
it. A release that left no marks is known by what it has left in the feedback topic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from consumer.dlq.dead_letter import DeadLetter, Encoded, Headers, decode
from consumer.feedback.records import history_of, replay_id_of
from consumer.kafka.reading import bounds, read

MARK: Final = "alerting.replayed"
"""The header of a mark, and the only one; its value says how many letters it is about."""

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Sent:
    """A dead letter was replayed at ``at`` (seconds since the epoch); ``place`` is the partition and the offset of its
    record in the feedback topic, ``marked`` the offset of the mark, None without one."""

    at: float
    place: tuple[int, int]
    marked: int | None = None


class Ending(Enum):
    """How a replay ended."""

    WAITING = "waits"
    """No task has taken it yet."""
    DECIDED = "decided"
    """It was decided like an event of now."""
    DEAD = "dead again"
    """It is a dead letter again."""
    UNKNOWN = "replayed"
    """How far the tasks of its provider have come is not known."""


def encode_mark(places: Mapping[int, tuple[int, int]]) -> Encoded:
    """Key, value and headers of a mark of these letters: their offsets, and where each is in the feedback topic."""
    value = {"v": _VERSION, "replayed": {str(offset): list(place) for offset, place in places.items()}}
    return None, orjson.dumps(value), [(MARK, str(len(places)).encode())]


def decode_mark(value: bytes | None, headers: Headers) -> Mapping[int, tuple[int, int]] | None:
    """The offsets of the letters that a record marks, and where each is in the feedback topic; None if it is no mark.

    An event can have any headers, but none that is dead-lettered has only this one: ours are behind its own.
    """
    if len(headers) != 1 or headers[0][0] != MARK:
        return None
    try:
        facts = orjson.loads(value or b"")
        return {int(offset): (int(at[0]), int(at[1])) for offset, at in facts["replayed"].items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return {}  # of a later release: a mark all the same, and no dead letter


@dataclass(slots=True)
class Replays:
    """What is known of replays. ``sent`` and ``again`` are by the letter's id; ``again`` is the letter that it became
    when it failed again."""

    sent: dict[str, Sent] = field(default_factory=dict)
    again: dict[str, str] = field(default_factory=dict)

    def take(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        """The next record of the dead-letter topic."""
        marked = decode_mark(record.value, record.headers)
        if marked is not None:
            for offset, place in marked.items():
                self.sent[f"{record.partition}/{offset}"] = Sent(record.timestamp / 1000, place, record.offset)
            return
        try:
            history = history_of(decode(record.key, record.value, record.headers))
        except ValueError:
            return
        if history:
            self.again[history[-1]] = f"{record.partition}/{record.offset}"

    def take_feedback(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        """The next record of the feedback topic."""
        replay_id = replay_id_of(record.headers)
        if replay_id is not None:
            self.sent[replay_id] = Sent(record.timestamp / 1000, (record.partition, record.offset))

    def ending(self, letter_id: str, letter: DeadLetter, taken: "Taken") -> tuple[Ending, str | None]:
        """How the replay of a letter has ended, and which letter it is now if it is one again."""
        sent, again = self.sent[letter_id], self.again.get(letter_id)
        if again is not None and _is_behind(again, letter_id, sent):
            return Ending.DEAD, again
        if letter.provider not in taken:
            return Ending.UNKNOWN, None
        number, offset = sent.place
        position = taken[letter.provider].get(letter.record.partition, {}).get(number, 0)
        return (Ending.DECIDED if position > offset else Ending.WAITING), None


def _is_behind(again: str, letter_id: str, sent: Sent) -> bool:
    """Whether a letter is of this replay, and not of one before it: records of one key keep their partition."""
    (number, _), (other, offset) = letter_id.split("/"), again.split("/")
    return sent.marked is None or number != other or int(offset) > sent.marked


Taken = Mapping[str, Mapping[int, Mapping[int, int]]]
"""How far the tasks of each provider have taken each partition of the feedback topic: by the task's own partition."""


async def find_replays(
    reader: AIOKafkaConsumer, dead_letters: Sequence[TopicPartition], feedback: Sequence[TopicPartition]
) -> Replays:
    """What the two topics say of replays. What is in both is as the dead-letter topic has it. Raises KafkaError."""
    found = Replays()
    for partitions, take in ((feedback, found.take_feedback), (dead_letters, found.take)):
        if partitions:
            begins, ends = await bounds(reader, partitions)
            async for records in read(reader, begins, ends):
                for record in records:
                    take(record)
    return found
