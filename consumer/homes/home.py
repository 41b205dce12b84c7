"""What a task knows of where keys have their homes, and what it may do about a key (design section 17, "Homes move").

Only the home of a key speaks for it. A home that is new may not know yet what the old one has said, and the old one may
not know yet that it is none any more. What each rule is for, `tests/model` shows. No I/O and no clock: a task keeps one
of these, asks it, and tells it what it takes of the feedback topic; its next checkpoint holds it (`encode_homes`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from consumer.feedback.moves import Forwarded, HandOver, Move, Moved, Sender
from consumer.kafka.partitioning import Scheme
from state.records import CorruptState

Place = tuple[int, int]
"""Partition and offset of a record of the feedback topic."""


@dataclass(frozen=True, slots=True)
class Homes:
    """A value, which one task keeps.

    ``scheme`` is where homes are by all that the task has seen; ``moved`` the one that it has moved to, which its
    checkpoint and its mark say (None: none yet). ``earlier`` are those before it, under which a key may have had
    another home; None if that is not known, empty if there was never another: then a key is at home where its records
    come, whatever is believed of the partitioner. ``marks`` are the highest schemes to which other partitions have said
    to have moved, ``passed`` how far they had taken the feedback topic then. ``on_the_way`` has, by partition, the last
    record that was sent there for a key of this home, under an earlier scheme, and that has not been passed on yet.
    ``old`` says, where the earlier schemes are not known, how many partitions there were before (None: nor is that).
    """

    partition: int
    scheme: Scheme
    moved: Scheme | None = None
    earlier: tuple[Scheme, ...] | None = None
    marks: Mapping[int, Scheme] = field(default_factory=dict)
    on_the_way: Mapping[int, Place] = field(default_factory=dict)
    passed: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    old: int | None = None

    # where a key is at home

    def home_of(self, key: bytes | None) -> int:
        """The partition whose task speaks for a record key. What has none stays where it is: it could be anywhere."""
        home = self.scheme.home(key)
        return self.partition if home is None else home

    def is_elsewhere(self, key: bytes | None) -> bool:
        """Whether another task speaks for this key: then nothing is sent for it."""
        return self.home_of(key) != self.partition

    @property
    def are_ever_moved(self) -> bool:
        """Whether homes have ever been others, as far as is known."""
        return self.earlier != ()

    @property
    def has_moved(self) -> bool:
        """Whether what has its home elsewhere was handed over, and is forwarded from now on."""
        return self.moved == self.scheme

    # what has to be waited for

    def awaited(self, key: bytes | None) -> frozenset[int]:
        """The old homes of a key that may still speak for it. Its first trigger waits for their marks."""
        if not key:
            return frozenset()
        if self.earlier is None:
            partitions = self.scheme.partitions
            old: Iterable[int] = range(partitions if self.old is None else min(self.old, partitions))
        else:
            old = (scheme.partitioner.partition_of(key, scheme.partitions) for scheme in self.earlier)
        return frozenset(each for each in old if self._is_missing(each))

    @property
    def unheard(self) -> frozenset[int]:
        """The partitions that may have something left for this home. Resolves, quiet and forgetting wait for them."""
        if self.earlier == ():
            return frozenset()
        partitions = range(self.scheme.partitions)
        return frozenset(each for each in partitions if self._is_missing(each) or each in self.on_the_way)

    def _is_missing(self, partition: int) -> bool:
        if partition == self.partition:
            return False
        mark = self.marks.get(partition)
        return mark is None or mark.with_seen(self.scheme) != mark

    # what changes it

    def with_seen(self, scheme: Scheme) -> "Homes":
        """A scheme was seen: at a broker, in a record, in the task's own records. The highest ever seen counts.

        The homes are others then, what there was is an earlier scheme, and the task has to move.
        """
        highest = self.scheme.with_seen(scheme)
        if highest == self.scheme:
            return self
        earlier, old = self.earlier, self.old
        if earlier is not None and self.scheme not in earlier:
            earlier = (*earlier, self.scheme)
        if old is not None:
            old = max(old, self.scheme.partitions)
        return replace(self, scheme=highest, earlier=earlier, old=old)

    def took(self, move: Move, place: Place) -> "Homes":
        """A record of the feedback topic about homes was taken, whomever it is for; those of this task's own too."""
        sender = move.sender
        after = self.with_seen(sender.scheme)
        if not after.are_ever_moved:
            after = replace(after, moved=None, earlier=None)  # somebody knows of a move that this task has not seen
        match move:
            case Moved():
                return after._heard(sender, move.before)
            case HandOver(home=to, key=key) | Forwarded(home=to, key=key):
                # Under the same scheme it was sent to the home.
                return after if sender.scheme == after.scheme else after._sent(to, key, place)

    def moves(self) -> "Homes":
        """The task has moved: its next checkpoint says so, and its mark."""
        return replace(self, moved=self.scheme)

    def _heard(self, sender: Sender, before: Scheme | None) -> "Homes":
        known = self.marks.get(sender.partition)
        mark = sender.scheme if known is None else known.with_seen(sender.scheme)
        passed = dict(self.passed.get(sender.partition, {}))
        for feedback, offset in sender.feedback.items():
            passed[feedback] = max(offset, passed.get(feedback, 0))
        on_the_way = {
            partition: (feedback, offset)
            for partition, (feedback, offset) in self.on_the_way.items()
            if partition != sender.partition or passed.get(feedback, 0) <= offset
        }
        earlier = self.earlier
        if earlier is not None and before is not None and before != self.scheme and before not in earlier:
            earlier = (*earlier, before)
        return replace(
            self,
            marks={**self.marks, sender.partition: mark},
            on_the_way=on_the_way,
            earlier=earlier,
            passed={**self.passed, sender.partition: passed},
        )

    def _sent(self, to: int, key: bytes | None, place: Place) -> "Homes":
        if to == self.partition or self.is_elsewhere(key):
            return self
        feedback, offset = place
        if self.passed.get(to, {}).get(feedback, 0) > offset:
            return self  # its mark, in another partition of the topic, was taken before this
        return replace(self, on_the_way={**self.on_the_way, to: place})


def encode_homes(homes: Homes) -> dict[str, Any]:
    """What a checkpoint holds of it, as JSON. ``scheme`` is the one that the task has moved to."""
    json: dict[str, Any] = {"scheme": _to_json(homes.scheme)}
    if homes.moved is not None:
        json["moved"] = _to_json(homes.moved)
    if homes.earlier is not None:
        json["earlier"] = [_to_json(scheme) for scheme in homes.earlier]
    if homes.old is not None:
        json["old"] = homes.old
    if homes.marks:
        json["marks"] = {str(partition): _to_json(scheme) for partition, scheme in homes.marks.items()}
    if homes.on_the_way:
        json["on_the_way"] = {str(partition): place for partition, place in homes.on_the_way.items()}
    if homes.passed:
        json["passed"] = {
            str(partition): {str(feedback): offset for feedback, offset in passed.items()}
            for partition, passed in homes.passed.items()
        }
    return json


def decode_homes(json: dict[str, Any], partition: int) -> Homes:
    """What a checkpoint of this partition holds. Raises `CorruptState`."""
    try:
        moved, earlier = json.get("moved"), json.get("earlier")
        return Homes(
            partition,
            Scheme(*json["scheme"]),
            None if moved is None else Scheme(*moved),
            None if earlier is None else tuple(Scheme(*each) for each in earlier),
            {int(each): Scheme(*scheme) for each, scheme in json.get("marks", {}).items()},
            {int(each): (place[0], place[1]) for each, place in json.get("on_the_way", {}).items()},
            {
                int(each): {int(feedback): offset for feedback, offset in passed.items()}
                for each, passed in json.get("passed", {}).items()
            },
            None if (old := json.get("old")) is None else int(old),
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CorruptState(f"checkpoint record: homes: {error!r}") from error


def _to_json(scheme: Scheme) -> tuple[int, int]:
    return scheme.partitions, scheme.turn
