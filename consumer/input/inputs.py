"""The inputs that a pipeline has had, and where to go on when a repartition stage comes or goes (design section 17).
Pure.

If the key template needs a repartition stage, the stage reads the events, and the pipeline reads what the stage
forwards. If it needs none, the pipeline reads the events itself. So the events can change hands from one start to the
next, and their new reader goes on where the other one was. Beside each position stands how often the input had changed
hands: of two positions in one partition, the one that was taken later counts. If a release in between has not counted,
the further one counts, as a reader that takes over is never behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from state.records import InputPlace, Position


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a task knows of its inputs.

    ``here`` is where it goes on in its present input; None if that is not known. ``hands`` is how often that input has
    changed hands. ``others`` are its places in the inputs that it has had before, by topic.
    """

    here: Position | None = None
    hands: int = 0
    others: Mapping[str, InputPlace] = field(default_factory=dict)


def place_of(topic: str, position: Position | None) -> InputPlace | None:
    """The place in this topic of the task that wrote this checkpoint; None if it has never read the topic."""
    if position is None:
        return None
    if position.topic == topic:
        return InputPlace(position.offset, position.anchors, position.hands)
    return position.inputs.get(topic)


def inputs_of(
    partition: TopicPartition, own: Position | None, other: Position | None = None, *, proved: int | None = None
) -> Inputs:
    """The inputs of the task that reads this partition.

    ``own`` is the task's last checkpoint. ``other`` is that of the task that may have read the input before: for a
    pipeline's task that of the stage, for a stage's task that of the pipeline. ``proved`` is the group's offset, if the
    service has set it after a checkpoint. If that checkpoint is gone, the other's place counts only beyond ``proved``.
    """
    topic, number = partition
    mine, theirs = place_of(topic, own), place_of(topic, other)
    others = dict(own.inputs) if own is not None else {}
    others.pop(topic, None)
    if own is not None and own.topic != topic:
        others[own.topic] = InputPlace(own.offset, own.anchors, own.hands)
    hands = _hands(mine, theirs)
    if own is None and theirs is not None and proved is not None and theirs.offset <= proved:
        return Inputs(None, hands + 1, others)
    if theirs is not None and _is_later(theirs, mine):
        return Inputs(Position(topic, number, theirs.offset, anchors=theirs.anchors), hands + 1, others)
    if own is not None and own.topic == topic:
        return Inputs(own, hands, others)
    if mine is not None:
        return Inputs(Position(topic, number, mine.offset, anchors=mine.anchors), hands, others)
    return Inputs(None, hands, others)


def _is_later(theirs: InputPlace, mine: InputPlace | None) -> bool:
    if mine is None:
        return True
    if theirs.hands is None or mine.hands is None:
        return theirs.offset > mine.offset
    return theirs.hands > mine.hands


def _hands(mine: InputPlace | None, theirs: InputPlace | None) -> int:
    """How often the input has changed hands: the higher of both counts. If only one of two places has a count, one more
    than that, as the other place may be later."""
    known = [place.hands for place in (mine, theirs) if place is not None and place.hands is not None]
    is_unknown = mine is not None and theirs is not None and len(known) == 1
    return max(known, default=0) + is_unknown
