"""Who goes on in the events, and where, in every order in which a repartition stage comes, goes, and dies (design
section 17).

The model has one partition of the events. In each life of the service either a stage reads it or the pipeline itself,
each from where `consumer.input.inputs` says, and commits what it has read, or dies before. Whatever the order, a life
begins where the reading that was committed last has ended, so nothing is skipped and nothing committed is read again.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from consumer.input.inputs import Inputs, inputs_of, place_of
from state.anchors import Anchor
from state.records import InputPlace, Position

EVENTS, KEYED = TopicPartition("events", 0), TopicPartition("keyed", 0)

Life = tuple[bool, int, int, bool]

LIVES = st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=8)
"""Whether there is a stage; how many events are read, and by a pipeline behind a stage how many of what that has
forwarded; whether the pipeline commits at all while the stage does (or the other way round, where there is none)."""


def position(partition: TopicPartition, offset: int, inputs: Inputs, **others: InputPlace) -> Position:
    places = {**inputs.others, **others}
    return Position(partition.topic, 0, offset, anchors=anchors(offset), hands=inputs.hands, inputs=places)


def anchors(offset: int) -> tuple[Anchor, ...]:
    return (Anchor(offset - 1, 0, bytes(8)),) if offset else ()


class Service:
    """What is committed: the stage's checkpoint and that of the pipeline's task, and how far all was truly read."""

    def __init__(self) -> None:
        self.stage: Position | None = None
        self.task: Position | None = None
        self.read = 0
        self.forwarded = 0  # records in the keyed topic
        self.decided = 0  # of these

    def live_with_stage(self, events: int, forwarded: int, *, pipeline_commits: bool) -> None:
        of_stage = inputs_of(EVENTS, self.stage, self.task)
        assert begins(of_stage) == self.read
        if events:
            self.read += events
            self.forwarded += events
            self.stage = position(EVENTS, self.read, of_stage)
        of_task = inputs_of(KEYED, self.task)
        assert begins(of_task) == self.decided
        if pipeline_commits:
            self.decided = min(self.forwarded, self.decided + forwarded)
            self.task = position(KEYED, self.decided, of_task)

    def live_without(self, events: int, *, commits: bool) -> None:
        inputs = inputs_of(EVENTS, self.task, self.stage)
        assert begins(inputs) == self.read
        former = inputs.others.get("keyed")
        assert (former.offset if former is not None else 0) == self.decided
        if commits:  # it has decided what was forwarded, and then so many events
            self.decided = self.forwarded
            self.read += events
            self.task = position(EVENTS, self.read, inputs, keyed=InputPlace(self.decided, anchors(self.decided)))


def begins(inputs: Inputs) -> int:
    if inputs.here is None:
        return 0
    assert inputs.here.anchors == anchors(inputs.here.offset)
    return inputs.here.offset


def lives_through(lives: Iterable[Life]) -> None:
    service = Service()
    for has_stage, events, forwarded, commits in lives:
        if has_stage:
            service.live_with_stage(events, forwarded, pipeline_commits=commits)
        else:
            service.live_without(events, commits=commits)


@given(LIVES)
def test_whoever_takes_the_events_goes_on_where_they_were_read_to(lives: list[Life]) -> None:
    lives_through(lives)


def without_hands(found: Inputs) -> Inputs:
    return replace(found, hands=0)


def without_what_it_had(found: Inputs) -> Inputs:
    return replace(found, others={})


def of_its_own_checkpoint(found: Inputs) -> Inputs:
    return found if found.hands == 0 else Inputs()


@pytest.mark.parametrize("weakened", [without_hands, without_what_it_had, of_its_own_checkpoint])
def test_the_model_notices_what_is_missing(
    weakened: Callable[[Inputs], Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = inputs_of
    monkeypatch.setitem(globals(), "inputs_of", lambda *args, **named: weakened(whole(*args, **named)))
    with pytest.raises(AssertionError):
        lives_through(
            [(False, 2, 0, True), (True, 2, 1, False), (True, 1, 1, True), (False, 1, 0, True), (True, 1, 1, True)]
        )


def test_of_a_release_that_did_not_count_hands_the_further_place_counts() -> None:
    stage, before, behind = Position("events", 0, 7), Position("events", 0, 9), Position("keyed", 0, 4)
    assert inputs_of(EVENTS, before, stage) == Inputs(before)
    assert inputs_of(EVENTS, behind, stage) == Inputs(stage, 1, {"keyed": InputPlace(4)})
    assert inputs_of(EVENTS, stage, behind) == Inputs(stage)
    assert inputs_of(EVENTS, stage, before) == Inputs(before, 1)
    assert inputs_of(EVENTS, None) == Inputs()


def test_a_release_in_between_that_does_not_count_does_not_give_an_old_place_back() -> None:
    """It has gone on from 100, where the stage of this release was, and has forgotten that."""
    stage = Position("events", 0, 100, hands=1)
    back = inputs_of(EVENTS, Position("events", 0, 9000), stage)
    assert (begins_at(back), back.hands) == (9000, 2)
    assert begins_at(inputs_of(EVENTS, position(EVENTS, 9500, back), stage)) == 9500
    assert begins_at(inputs_of(EVENTS, stage, position(EVENTS, 9500, back))) == 9500


@pytest.mark.parametrize("hands", [None, 3])
def test_where_a_checkpoint_is_gone_what_the_other_knows_counts_only_beyond_what_was_proved(hands: int | None) -> None:
    other = Position("events", 0, 100, hands=hands)
    gone = inputs_of(EVENTS, None, other, proved=9000)
    assert gone.here is None, "it goes on at the group's offset"
    assert begins_at(inputs_of(EVENTS, position(EVENTS, 9500, gone), other)) == 9500
    assert begins_at(inputs_of(EVENTS, None, other, proved=99)) == 100
    assert begins_at(inputs_of(EVENTS, None, other)) == 100


def test_a_stage_that_an_operator_has_sent_back_stays_there() -> None:
    """The place that the pipeline had in the events is further, and older."""
    behind = Position("keyed", 0, 4, inputs={"events": InputPlace(500, hands=0)})
    sent_back = Position("events", 0, 200, hands=1)
    assert inputs_of(EVENTS, sent_back, behind).here == sent_back
    assert place_of("events", behind) == InputPlace(500, hands=0)
    assert place_of("other", behind) is place_of("events", None) is None


def begins_at(inputs: Inputs) -> int | None:
    return None if inputs.here is None else inputs.here.offset
