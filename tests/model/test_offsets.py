"""Group offsets of others, in every order of steps, commits and crashes (design section 17).

One task decides one partition; it is killed between any two steps, and meanwhile somebody else may set the group's
offset. What nobody has decided is never skipped, except by an operator's order; an operator's rewind is obeyed, once;
and a crash alone moves nothing.
"""

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import product
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

import consumer.input.whereabouts
from consumer.input.beginning import Fit, IgnoredOffset, Judgement, Look, Obeyed, StateGone, StateWentBack, judge
from consumer.input.commit_metadata import BEGINNING_METADATA, COMMIT_METADATA, ORDER_METADATA, START_METADATA
from consumer.input.whereabouts import Whereabouts
from state.anchors import Anchor, Anchors, anchor_of
from state.records import Position, decode_position, encode_position
from state.violation import Record

T = TypeVar("T")
END = 6
"""So many records there are."""


class _Log:
    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


class _Source:
    """A log of `END` records that stays as it is."""

    partition = TopicPartition("events", 0)
    suspect = None

    async def start(self, clients: object) -> OffsetAndMetadata:
        return OffsetAndMetadata(0, START_METADATA)

    async def look(self, clients: object, position: int, anchors: Anchors) -> Look:
        return Look(0, END, [Fit.FITS] * len(anchors))

    async def anchor_before(self, clients: object, offset: int) -> Anchor | None:
        return anchor_of(_record(offset - 1)) if offset else None


def _record(offset: int) -> Record:
    return Record("events", 0, offset, 0, None, b"%d" % offset)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("it waits")


@dataclass
class World:
    """The group's offset, the last checkpoint, and the task."""

    group: OffsetAndMetadata = field(default_factory=lambda: OffsetAndMetadata(0, START_METADATA))
    checkpoint: Position | None = None
    position: int = 0
    decided: set[int] = field(default_factory=set)
    """By tasks whose checkpoints hold it."""
    proved: int = 0
    """The last group offset of ours that a checkpoint knows of."""
    wanted: int | None = None
    """An operator's offset that has to be obeyed."""

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A task, as `consumer.tasks.partition.task` begins it."""
        nothing: Any = _Log()
        clock: Any = SimpleNamespace(monotonic=lambda: 0.0)
        partition_input: Any = _Source()
        self.whereabouts = Whereabouts(partition_input, nothing, nothing, clock, nothing)
        has_state = self.checkpoint is not None
        finding = self.whereabouts.find(self.group, self.checkpoint, has_state=has_state, has_had_owners=True)
        found = at_once(finding)
        self.position = found.offset
        self.committed = self.whereabouts.pinned_commit or OffsetAndMetadata(self.position, COMMIT_METADATA)

    # steps

    def decide(self) -> None:
        if self.position < END:
            self.whereabouts.in_hand([_record(self.position)])
            self.position += 1
            self.whereabouts.through(self.position)

    def commit(self) -> None:
        place = self.whereabouts.place(self.position)
        self.checkpoint = decode_position(encode_position(place))
        self.decided |= set(range(self.position))
        self.committed = OffsetAndMetadata(self.position, COMMIT_METADATA)
        self.proved = self.checkpoint.proof or 0
        self.wanted = None if self.wanted is None or self.position >= self.wanted else self.wanted

    def prove(self) -> None:
        self.group = self.committed
        self.whereabouts.proved(self.committed)

    def crash(self) -> None:
        before = self.checkpoint
        pending = self.group.metadata in (ORDER_METADATA, "") and (before is None or before.obeyed != self.group.offset)
        self.begin()
        if not pending:
            expected = before.offset if before is not None else 0
            assert self.position == expected, "a crash alone moves nothing"

    def reader(self, length: int) -> None:
        """Somebody reads on from the group's offset, so far, and commits that."""
        self.group = OffsetAndMetadata(min(END, self.group.offset + length), "")
        self.begin()
        durable = self.checkpoint.offset if self.checkpoint is not None else 0
        assert self.position <= durable, "what nobody has decided is skipped"

    def rewind(self, offset: int) -> None:
        """An operator sets an earlier offset, with Kafka's tools."""
        is_known = self.checkpoint is not None and offset < min(self.proved, self.checkpoint.offset)
        was_obeyed = self.checkpoint is not None and self.checkpoint.obeyed == offset
        self.group = OffsetAndMetadata(offset, "")
        self.begin()
        if is_known and not was_obeyed:
            assert self.position == offset, "the operator is not obeyed"

    def order(self, offset: int) -> None:
        """An operator sets any offset, with our command."""
        was_obeyed = self.checkpoint is not None and self.checkpoint.obeyed == offset
        self.group = OffsetAndMetadata(offset, ORDER_METADATA)
        self.begin()
        assert self.position == offset or was_obeyed, "the order is not obeyed"


STEPS: dict[str, Any] = {
    "decide": World.decide,
    "checkpoint": World.commit,
    "prove": World.prove,
    "crash": World.crash,
    "a reader, a little": lambda world: world.reader(1),
    "a reader, to the end": lambda world: world.reader(END),
    "rewind to 0": lambda world: world.rewind(0),
    "rewind to 1": lambda world: world.rewind(1),
    "order to 1": lambda world: world.order(1),
    "order to the end": lambda world: world.order(END),
}
QUIET = ("decide", "checkpoint", "prove", "crash")


def play(steps: Sequence[str]) -> None:
    """Raises AssertionError with the steps."""
    world = World()
    for number, step in enumerate(steps):
        try:
            STEPS[step](world)
        except AssertionError as error:
            raise AssertionError(f"{error}, after {', '.join(steps[: number + 1])}") from None


BEGUN = ("decide", "decide", "decide", "checkpoint", "prove", "checkpoint", "decide")
"""A task in the middle of its life: behind a proof that a checkpoint knows of."""


@pytest.mark.parametrize("before", [(), BEGUN], ids=["from the start", "in the middle"])
def test_every_order_of_steps(before: Sequence[str]) -> None:
    for steps in product(STEPS, repeat=4):
        play([*before, *steps, "crash"])


@pytest.mark.parametrize("act", ["a reader, to the end", "rewind to 1", "order to 1", "order to the end"])
def test_after_one_act_of_others_every_order_of_ours(act: str) -> None:
    for steps in product(QUIET, repeat=5):
        play([*BEGUN, act, *steps, "crash"])


def test_the_same_rewind_is_obeyed_again_once_ours_has_come_back() -> None:
    again = ("decide", "checkpoint", "prove", "checkpoint")
    world = World()
    for step in (*BEGUN, "rewind to 1", *again):
        STEPS[step](world)
    assert world.checkpoint is not None
    assert world.checkpoint.obeyed is None
    STEPS["rewind to 0"](world)
    for step in again:
        STEPS[step](world)
    STEPS["rewind to 0"](world)
    assert world.position == 0


# weakened rules are found out


def _obeys_everybody(committed: OffsetAndMetadata, checkpoint: Position | None, offset: int, *, has_state: bool) -> Any:
    """As before: any offset without our mark wins."""
    return Obeyed(committed.offset) if committed.metadata == "" else None


def _forgets(committed: OffsetAndMetadata, checkpoint: Position | None, offset: int, *, has_state: bool) -> Any:
    """Without what was obeyed."""
    if checkpoint is not None:
        checkpoint = Position(checkpoint.topic, checkpoint.partition, checkpoint.offset, proof=checkpoint.proof)
    return judge(committed, checkpoint, offset, has_state=has_state)


def _obeys_nobody(committed: OffsetAndMetadata, checkpoint: Position | None, offset: int, *, has_state: bool) -> Any:
    return None


@pytest.mark.parametrize(
    ("rule", "steps", "wrong"),
    [
        (_obeys_everybody, (*BEGUN, "a reader, to the end"), "skipped"),
        (_forgets, (*BEGUN, "order to 1", "decide", "checkpoint", "crash"), "moves nothing"),
        (_obeys_nobody, (*BEGUN, "rewind to 0"), "not obeyed"),
    ],
)
def test_a_weaker_rule_is_found_out(
    rule: Any, steps: Sequence[str], wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(steps)
    monkeypatch.setattr(consumer.input.whereabouts, "judge", rule)
    with pytest.raises(AssertionError, match=wrong):
        play(steps)


# the table


AT_10 = Position("events", 0, 10, proof=7)


@pytest.mark.parametrize(
    ("offset", "mark", "checkpoint", "expected"),
    [
        (10, COMMIT_METADATA, AT_10, None),
        (7, COMMIT_METADATA, AT_10, None),
        (12, COMMIT_METADATA, AT_10, StateWentBack(2)),
        (5, COMMIT_METADATA, None, StateGone()),
        (5, START_METADATA, None, None),
        (5, BEGINNING_METADATA, None, None),
        (12, START_METADATA, AT_10, None),
        (6, "", AT_10, Obeyed(6)),
        (6, "another program", AT_10, Obeyed(6)),
        (7, "", AT_10, IgnoredOffset(7, repeats=3, skips=0)),
        (9, "", AT_10, IgnoredOffset(9, repeats=1, skips=0)),
        (10, "", AT_10, None),
        (14, "", AT_10, IgnoredOffset(14, repeats=0, skips=4)),
        (6, "", Position("events", 0, 10, proof=7, obeyed=6), None),
        (5, "", Position("events", 0, 10, proof=7, obeyed=6), Obeyed(5)),
        (14, ORDER_METADATA, AT_10, Obeyed(14)),
        (9, ORDER_METADATA, AT_10, Obeyed(9)),
        (14, ORDER_METADATA, Position("events", 0, 10, proof=7, obeyed=14), None),
        (6, "", Position("events", 0, 10), Obeyed(6)),  # of an earlier release: no proof is known
        (12, "", Position("events", 0, 10), IgnoredOffset(12, repeats=0, skips=2)),
        (12, "", None, IgnoredOffset(12, repeats=0, skips=2)),
        (6, "", None, Obeyed(6)),
    ],
)
def test_what_an_offset_says(offset: int, mark: str, checkpoint: Position | None, expected: Judgement) -> None:
    committed = OffsetAndMetadata(offset, mark)
    assert judge(committed, checkpoint, 10, has_state=checkpoint is not None) == expected


def test_a_checkpoint_of_another_topic_is_no_state_that_is_gone() -> None:
    assert judge(OffsetAndMetadata(5, COMMIT_METADATA), None, 5, has_state=True) is None
