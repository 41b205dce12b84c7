"""The inputs that a pipeline has had, and who goes on in one of them: a stage comes or goes (design section 17). Pure.

Where the key template needs a repartition stage, that reads the events, and the pipeline reads what the stage forwards;
where it needs none, the pipeline reads the events itself. So from one start to the next the events can change hands.
Whoever takes them goes on where the other was. How often they have changed hands stands beside each position: of two
positions in one partition the one that was taken later is the one to go on from. Where that was not counted, by an
earlier release in between, it is the further one: who takes over is never behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from state.records import InputPlace, Position


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a task knows of its inputs: ``here`` is where it goes on in the one that it has now, None if it has never
    had it; ``hands`` is how often that has changed hands; ``others`` are the places in inputs that it has had before.
    """

    here: Position | None = None
    hands: int = 0
    others: Mapping[str, InputPlace] = field(default_factory=dict)


def place_of(topic: str, position: Position | None) -> InputPlace | None:
    """Where in this topic a task was that has written this checkpoint; None if it has never had it."""
    if position is None:
        return None
    if position.topic == topic:
        return InputPlace(position.offset, position.anchors, position.hands)
    return position.inputs.get(topic)


def inputs_of(
    partition: TopicPartition, own: Position | None, other: Position | None = None, *, proved: int | None = None
) -> Inputs:
    """Those of a task with this input.

    ``own`` is its last checkpoint, ``other`` that of who may have read the input before: of the stage, for a pipeline's
    task, and of the task behind it, for a stage's. ``proved`` is the offset that the task's group has, if the service
    has set it behind a checkpoint. Where that checkpoint is gone, what the other knows counts only beyond it.
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
    """As often as either knows of; where one has not counted, once more than the other: its place may be later."""
    known = [place.hands for place in (mine, theirs) if place is not None and place.hands is not None]
    is_unknown = mine is not None and theirs is not None and len(known) == 1
    return max(known, default=0) + is_unknown
