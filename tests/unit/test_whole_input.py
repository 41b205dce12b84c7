"""What is known of all partitions, and up to which moment that says that nothing is under way."""

from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from aiokafka.errors import UnknownTopicOrPartitionError

from consumer.input.progress import GroupPosition
from consumer.tasks.homes.whole_input import LOOK_SECONDS, TRIES, TRY_SECONDS, WholeInput
from consumer.timing.clock import Clock
from tests.support.loop import VirtualLoop


class World:
    """A topic, a group and a feedback topic, as they answer."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.counts = [2]
        self.positions: dict[int, GroupPosition] = {0: GroupPosition(5, 5, 5), 1: GroupPosition(3, 3, 3)}
        self.decided: dict[int, int] = {}
        self.feedback = {0: 0}
        self.is_needed = True
        self.asked = 0
        self.whole = WholeInput(
            "events",
            admin=self,
            progress=self.progress,
            decided=self.checkpoints,
            feedback_ends=self.feedback_ends,
            is_needed=lambda: self.is_needed,
            clock=Clock(wall=lambda: 0.0, monotonic=self.loop.time),
            log=structlog.get_logger(),
        )

    async def describe_topics(self, topics: list[str]) -> list[dict[str, Any]]:
        self.asked += 1
        count = self.counts.pop(0) if len(self.counts) > 1 else self.counts[0]
        return [{"topic": "events", "partitions": list(range(count))}]

    async def progress(self) -> Mapping[int, GroupPosition]:
        return dict(self.positions)

    async def checkpoints(self, partitions: Collection[int]) -> Mapping[int, int]:
        return {partition: self.decided[partition] for partition in partitions if partition in self.decided}

    async def feedback_ends(self) -> Mapping[int, int]:
        return dict(self.feedback)

    def look(self) -> float:
        moment = self.loop.time()
        self.loop.complete(self.whole.look())
        self.loop.advance(2.0)
        return moment


def test_what_all_have_decided_is_decided_to_the_moment_at_which_it_was_asked() -> None:
    world = World()

    moment = world.look()

    assert (world.whole.partitions, world.whole.counted_at) == (2, moment)
    assert world.whole.decided_to({}) == moment


def test_one_partition_that_is_behind_holds_all_up() -> None:
    world = World()
    first = world.look()
    world.positions[1] = GroupPosition(3, 4, 4)
    second = world.look()
    assert world.whole.decided_to({}) == first

    world.positions[1] = GroupPosition(4, 9, 9)
    world.look()
    assert world.whole.decided_to({}) == second, "the end of then is decided, that of now is not"


def test_what_is_owed_for_ever_is_decided_all_the_same() -> None:
    world = World()
    first = world.look()
    world.positions[1] = GroupPosition(3, 9, 9)  # the event at 3 is owed, and what came since is decided
    second = world.look()
    world.decided = {1: 8}
    world.look()
    assert world.whole.decided_to({}) == first
    world.decided = {1: 9}
    world.look()
    assert world.whole.decided_to({}) is not None
    assert world.whole.decided_to({}) >= second  # type: ignore[operator]


def test_what_was_forwarded_has_to_be_taken() -> None:
    world = World()
    first = world.look()
    world.feedback = {0: 7}
    second = world.look()

    assert world.whole.decided_to({0: 6}) == first
    assert world.whole.decided_to({0: 7}) == second


def test_a_partition_that_the_group_does_not_know_yet_says_nothing() -> None:
    world = World()
    world.counts = [3]

    world.look()

    assert world.whole.decided_to({}) is None
    assert world.whole.partitions == 3


def test_nobody_is_asked_for_more_than_the_count_where_nobody_wants_to_know() -> None:
    world = World()
    world.look()
    world.is_needed = False
    moment = world.look()

    assert world.whole.decided_to({}) is None
    assert world.whole.counted_at == moment


@pytest.mark.parametrize(("counts", "asked"), [([6, 6], 1), ([2, 2, 6], 3), ([2], TRIES)])
def test_a_broker_that_has_not_heard_of_a_growth_is_asked_again_before_it_is_believed(
    counts: list[int], asked: int
) -> None:
    world = World()
    world.counts = counts

    found = world.loop.complete(world.whole.count(at_least=6), TRIES * TRY_SECONDS)

    assert (found, world.asked) == (world.counts[0], asked)


def test_an_outage_is_told_once_and_so_is_its_end() -> None:
    world, said = World(), []
    world.whole._log = SimpleNamespace(
        warning=lambda name, **fields: said.append(name), info=lambda name, **fields: said.append(name)
    )
    world.counts = [0, 0, 0, 2]

    with world.loop.running():
        looking = world.loop.create_task(world.whole.run())
    world.loop.advance(10 * LOOK_SECONDS)
    looking.cancel()
    world.loop.settle()

    assert said == ["whole_input_unknown", "whole_input_known"]


def test_a_topic_that_is_not_there_is_an_error() -> None:
    world = World()
    world.counts = [0]

    with pytest.raises(UnknownTopicOrPartitionError):
        world.loop.complete(world.whole.count())
