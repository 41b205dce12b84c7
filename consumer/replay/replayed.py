"""Which dead letters have been replayed, when, and how that ended (design section 9).

A replay writes a *mark* to the partition of the dead-letter topic that its dead letters are in, in the transaction that
sends them. So the replay is known for as long as the dead letters exist, whatever becomes of the feedback topic and of
offsets. A mark is no dead letter: it lacks ``alerting.topic``, so an earlier release calls it "not readable" and skips
it. Replays of a release without marks are known from their records in the feedback topic.
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

REPLAYED_HEADER: Final = "alerting.replayed"
"""The one header of a mark; the header's value is the number of dead letters that the mark is about."""

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class SentReplay:
    """The replay of a dead letter, at ``at`` (seconds since the epoch). ``place`` is the partition and the offset of
    its record in the feedback topic, ``marked`` the offset of the mark, None without a mark."""

    at: float
    place: tuple[int, int]
    marked: int | None = None


class ReplayEnding(Enum):
    """How a replay ended."""

    WAITING = "waits"
    """No task has taken the replayed record yet."""
    DECIDED = "decided"
    """A task has decided it like an event that occurs now."""
    DEAD = "dead again"
    """It has become a dead letter again."""
    UNKNOWN = "replayed"
    """It was replayed; how far the tasks of its provider have come is not known."""


def encode_mark(places: Mapping[int, tuple[int, int]]) -> Encoded:
    """Key, value and headers of a mark. ``places`` has, by the dead letter's offset, partition and offset of its record
    in the feedback topic."""
    value = {"v": _VERSION, "replayed": {str(offset): list(place) for offset, place in places.items()}}
    return None, orjson.dumps(value), [(REPLAYED_HEADER, str(len(places)).encode())]


def decode_mark(value: bytes | None, headers: Headers) -> Mapping[int, tuple[int, int]] | None:
    """The offsets of the dead letters that a record marks, and where each is in the feedback topic; None if it is no
    mark.

    An event can have any headers, but a dead letter never has this header alone, since our headers follow the event's.
    """
    if len(headers) != 1 or headers[0][0] != REPLAYED_HEADER:
        return None
    try:
        facts = orjson.loads(value or b"")
        return {int(offset): (int(at[0]), int(at[1])) for offset, at in facts["replayed"].items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return {}  # a later release has written it: it is still a mark, and no dead letter


@dataclass(slots=True)
class Replays:
    """What is known of replays, by the dead letter's id. ``again`` has the id of the dead letter that it became when it
    failed again."""

    sent: dict[str, SentReplay] = field(default_factory=dict)
    again: dict[str, str] = field(default_factory=dict)

    def take(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        """Take in the next record of the dead-letter topic."""
        marked = decode_mark(record.value, record.headers)
        if marked is not None:
            for offset, place in marked.items():
                self.sent[f"{record.partition}/{offset}"] = SentReplay(record.timestamp / 1000, place, record.offset)
            return
        try:
            history = history_of(decode(record.key, record.value, record.headers))
        except ValueError:
            return
        if history:
            self.again[history[-1]] = f"{record.partition}/{record.offset}"

    def take_feedback(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        """Take in the next record of the feedback topic."""
        replay_id = replay_id_of(record.headers)
        if replay_id is not None:
            self.sent[replay_id] = SentReplay(record.timestamp / 1000, (record.partition, record.offset))

    def ending(self, dead_letter_id: str, dead_letter: DeadLetter, taken: "Taken") -> tuple[ReplayEnding, str | None]:
        """How the replay of a dead letter has ended; and the id of the new dead letter that came of it, if any."""
        sent, again = self.sent[dead_letter_id], self.again.get(dead_letter_id)
        if again is not None and _is_behind(again, dead_letter_id, sent):
            return ReplayEnding.DEAD, again
        if dead_letter.provider not in taken:
            return ReplayEnding.UNKNOWN, None
        number, offset = sent.place
        position = taken[dead_letter.provider].get(dead_letter.record.partition, {}).get(number, 0)
        return (ReplayEnding.DECIDED if position > offset else ReplayEnding.WAITING), None


def _is_behind(again: str, dead_letter_id: str, sent: SentReplay) -> bool:
    """Whether the dead letter ``again`` comes from this replay, not from an earlier one. Offsets can be compared, since
    records of one key stay in one partition."""
    (number, _), (other, offset) = dead_letter_id.split("/"), again.split("/")
    return sent.marked is None or number != other or int(offset) > sent.marked


Taken = Mapping[str, Mapping[int, Mapping[int, int]]]
"""How far tasks have read the feedback topic: by provider and by the task's partition, the position in each feedback
partition."""


async def find_replays(
    reader: AIOKafkaConsumer, dead_letters: Sequence[TopicPartition], feedback: Sequence[TopicPartition]
) -> Replays:
    """The replays that the two topics show. Where both show one, the dead-letter topic counts. Raises `KafkaError` if
    Kafka does not answer as it should."""
    found = Replays()
    for partitions, take in ((feedback, found.take_feedback), (dead_letters, found.take)):
        if partitions:
            begins, ends = await bounds(reader, partitions)
            async for records in read(reader, begins, ends):
                for record in records:
                    take(record)
    return found
