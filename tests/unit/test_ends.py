"""Looking at how far partitions reach: what tasks and people are told of it, and that none is held up by another."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError

from consumer.group.ends import PartitionEnds
from consumer.input.progress import STANDSTILL_SECONDS, Progress
from consumer.kafka.watermarks import Watermarks
from consumer.timing.clock import Clock

A, B = TopicPartition("events", 0), TopicPartition("events", 1)


class Task:
    """A task that has decided what it was told."""

    def __init__(self, setting: "Setting") -> None:
        self._setting = setting
        self.progress = Progress(0.0, quiet_seconds=60.0)
        self.is_running = True
        self.position = 0

    def advance(self, position: int) -> None:
        self.position = position
        self.progress.decided(position, self._setting.now)


class Setting:
    """Two partitions; ``leaders`` is what each of their leaders answers, in this order, and then the look is over."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.tasks = {A: Task(self), B: Task(self)}
        self.positions = {A: 0, B: 0}
        self.in_hand: set[TopicPartition] = set()
        self.leaders: list[Mapping[TopicPartition, Watermarks]] = []
        self.log = Log()
        self.ends = PartitionEnds(
            self,
            running=lambda: {partition: task for partition, task in self.tasks.items() if task.is_running},
            in_hand=lambda partition: partition in self.in_hand,
            clock=Clock(lambda: 0.0, lambda: self.now),
            log=self.log,
            ask=self._ask,
        )

    async def _ask(
        self, consumer: Any, partitions: Sequence[TopicPartition]
    ) -> AsyncGenerator[Mapping[TopicPartition, Watermarks], None]:
        for answer in self.leaders:
            yield {partition: answer[partition] for partition in partitions if partition in answer}
        self.now += 2  # so long do the others keep silent

    async def position(self, partition: TopicPartition) -> int:
        if partition not in self.positions:
            raise IllegalStateError("not assigned")
        return self.positions[partition]


class Log:
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: self.said.append((event, fields))


async def test_a_leader_that_is_silent_keeps_nothing_of_the_others_from_being_known() -> None:
    setting = Setting()
    setting.leaders = [{A: Watermarks(3, 3)}]
    setting.positions[A] = 3
    for _ in range(3):
        await setting.ends.look()
        assert setting.tasks[A].progress.is_caught_up(setting.now)
        assert not setting.tasks[B].progress.is_caught_up(setting.now)
        setting.now += 1
    assert setting.ends.high == {A: 3}
    assert setting.log.said == [("end_unknown", {"partition": 1})]
    setting.leaders.append({B: Watermarks(0, 0)})
    await setting.ends.look()
    assert setting.log.said[1:] == [("end_known", {"partition": 1})]


async def test_the_position_passes_markers_but_nothing_that_is_in_hand() -> None:
    setting = Setting()
    setting.leaders, setting.positions = [{A: Watermarks(5, 5), B: Watermarks(5, 5)}], {A: 5, B: 5}
    setting.in_hand = {B}
    await setting.ends.look()
    assert (setting.tasks[A].position, setting.tasks[B].position) == (5, 0)


async def test_a_partition_that_was_taken_away_meanwhile_holds_up_no_other() -> None:
    setting = Setting()
    setting.leaders, setting.positions = [{A: Watermarks(5, 5), B: Watermarks(7, 7)}], {B: 7}
    await setting.ends.look()
    assert setting.tasks[B].position == 7
    setting.tasks[A].is_running = False
    await setting.ends.look()
    assert [event for event, _ in setting.log.said] == ["end_unknown", "end_known"]


async def test_a_stable_offset_that_stands_still_is_told_once_with_partition_and_offset() -> None:
    setting = Setting()
    setting.leaders, setting.positions = [{A: Watermarks(5, 31), B: Watermarks(7, 7)}], {A: 5, B: 7}
    while setting.now < 1000.0 + STANDSTILL_SECONDS - 2:
        await setting.ends.look()
        assert setting.ends.trouble(A) is None
    for _ in range(3):
        await setting.ends.look()
    assert setting.ends.trouble(B) is None
    assert setting.ends.trouble(A) == (
        f"another producer's transaction has been open at offset 5 for {setting.now - 1000:.0f} s; "
        "the 26 records from there on cannot be read"
    )
    ((event, fields),) = setting.log.said
    assert (event, fields) == ("transaction_left_open", {"partition": 0, "offset": 5, "end": 31, "seconds": 60})
    setting.leaders = [{A: Watermarks(32, 32), B: Watermarks(7, 7)}]
    await setting.ends.look()
    assert setting.ends.trouble(A) is None
    assert setting.log.said[1:] == [("transaction_ended", {"partition": 0})]
