"""The inputs that a pipeline has had, and who goes on in one of them: a stage comes or goes (design section 17). Pure.

Where the key template needs a repartition stage, that reads the events, and the pipeline reads what the stage forwards;
where it needs none, the pipeline reads the events itself. So from one start to the next the events can change hands.
Whoever takes them goes on where the other was. How often they have changed hands stands beside each position: of two
positions in one partition the one that was taken later is the one to go on from.
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


def inputs_of_task(partition: TopicPartition, own: Position | None, stage: Position | None) -> Inputs:
    """Those of a pipeline's task. ``stage`` is the checkpoint of the stage that may have read its input before."""
    return _inputs(partition, own, stage, was_last=own is not None and own.topic == partition.topic)


def inputs_of_stage(partition: TopicPartition, own: Position | None, pipeline: Position | None) -> Inputs:
    """Those of a stage. ``pipeline`` is the checkpoint of the task behind it, which may have read the events itself."""
    return _inputs(partition, own, pipeline, was_last=pipeline is None or pipeline.topic != partition.topic)


def _inputs(partition: TopicPartition, own: Position | None, other: Position | None, *, was_last: bool) -> Inputs:
    """``was_last``: of two that have had it equally often, the one that ``own`` is of has had it last."""
    topic, number = partition
    mine, theirs = place_of(topic, own), place_of(topic, other)
    others = dict(own.inputs) if own is not None else {}
    others.pop(topic, None)
    if own is not None and own.topic != topic:
        others[own.topic] = InputPlace(own.offset, own.anchors, own.hands)
    if theirs is not None and (
        mine is None or theirs.hands > mine.hands or (theirs.hands == mine.hands and not was_last)
    ):
        here = Position(topic, number, theirs.offset, anchors=theirs.anchors)
        return Inputs(here, theirs.hands + 1, others)
    if own is not None and own.topic == topic:
        return Inputs(own, own.hands, others)
    if mine is not None:
        return Inputs(Position(topic, number, mine.offset, anchors=mine.anchors), mine.hands, others)
    return Inputs(None, 0, others)
