"""What a task knows of the homes of keys (design section 17, "Homes move").

The home of a key is the one partition whose task notifies the provider about that key. A new home may not know yet what
the old home has sent, and the old home may not know yet that it is no longer the home. `tests/model` shows why each
rule is needed. No I/O and no clock: a task keeps one `Homes`, gives it each record about homes that it takes from the
feedback topic, and stores it in its next checkpoint (`encode_homes`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from consumer.feedback.moves import Forwarded, HandOver, Move, Moved, MovingTask
from consumer.kafka.partitioning import Scheme
from state.records import CorruptState

Place = tuple[int, int]
"""Partition and offset of a record of the feedback topic."""


@dataclass(frozen=True, slots=True)
class Homes:
    """One task's knowledge of homes; an immutable value.

    A scheme (number of partitions and partitioner) says where homes are. ``scheme`` is the highest that the task has
    seen. ``moved`` is the one that the task has moved to, as its checkpoint and its mark say (None: to none yet).
    ``earlier`` are the schemes before, under which a key may have had another home. They are None if they are not
    known, and empty if there was never another: then a key is at home where its records come, whatever the partitioner
    is taken for.

    ``marks`` are, by partition, the highest schemes that other tasks' marks say they have moved to; ``passed`` is how
    far these tasks had taken the feedback topic then. ``on_the_way`` has, by partition, the place of the last record
    that was sent there under an earlier scheme although its key has its home here, and that was not passed on to here
    yet. ``old`` is how many partitions there were before, where the earlier schemes are not known (None: not known
    either).
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
        """The partition that is the home of a record key. Without a key it is this partition: it could be any."""
        home = self.scheme.home(key)
        return self.partition if home is None else home

    def is_elsewhere(self, key: bytes | None) -> bool:
        """Whether another partition is the home of this key: then this task sends nothing for the key."""
        return self.home_of(key) != self.partition

    @property
    def are_ever_moved(self) -> bool:
        """Whether homes have ever moved, as far as the task knows."""
        return self.earlier != ()

    @property
    def has_moved(self) -> bool:
        """Whether the task has handed over all that has its home elsewhere, and forwards what still comes for it."""
        return self.moved == self.scheme

    # waiting for other tasks

    def awaited(self, key: bytes | None) -> frozenset[int]:
        """The earlier homes of a key that may still send for it. The key's first trigger waits for their marks."""
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
        """The partitions whose tasks may still have something for this home. Resolves, quiet and forgetting wait for
        them."""
        if self.earlier == ():
            return frozenset()
        partitions = range(self.scheme.partitions)
        return frozenset(each for each in partitions if self._is_missing(each) or each in self.on_the_way)

    def _is_missing(self, partition: int) -> bool:
        if partition == self.partition:
            return False
        mark = self.marks.get(partition)
        return mark is None or mark.with_seen(self.scheme) != mark

    # changes

    def with_seen(self, scheme: Scheme) -> "Homes":
        """The homes after a scheme was seen: at a broker, in a record of the feedback topic, or by the task's own
        evidence. The highest scheme ever seen counts.

        If this one is higher, the scheme until now becomes an earlier one, and the task has to move.
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
        """The homes after the task has taken a record about homes from the feedback topic, whichever task wrote it and
        whichever it is for."""
        sender = move.sender
        after = self.with_seen(sender.scheme)
        if not after.are_ever_moved:
            after = replace(after, moved=None, earlier=None)  # another task knows of a move that this one has not seen
        match move:
            case Moved():
                return after._heard(sender, move.before)
            case HandOver(home=to, key=key) | Forwarded(home=to, key=key):
                # A record that was sent under the same scheme went to the home.
                return after if sender.scheme == after.scheme else after._sent(to, key, place)

    def moves(self) -> "Homes":
        """The homes after this task has moved, as its next checkpoint and its mark say."""
        return replace(self, moved=self.scheme)

    def _heard(self, sender: MovingTask, before: Scheme | None) -> "Homes":
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
            return self  # the mark of ``to``, taken before from another partition of the topic, says it was passed on
        return replace(self, on_the_way={**self.on_the_way, to: place})


def encode_homes(homes: Homes) -> dict[str, Any]:
    """The homes as a checkpoint holds them: an object for JSON."""
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
    """The homes that a checkpoint of this partition holds. Raises `CorruptState` if they are malformed."""
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
