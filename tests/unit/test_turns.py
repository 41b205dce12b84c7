"""Long work is done in slices, one of them for each turn of the loop, whoever works."""

import asyncio
from collections.abc import Iterator

from consumer.timing.turns import TURNS_BETWEEN, Turns
from tests.support.loop import VirtualLoop


class Work:
    """Items of which each takes so long, by a clock that only they move."""

    def __init__(self, each: float = 0.5) -> None:
        self.now = 0.0
        self._each = each

    def items(self, count: int) -> Iterator[int]:
        for number in range(count):
            self.now += self._each
            yield number


def test_a_slice_ends_when_its_time_is_up() -> None:
    async def take_all() -> list[list[int]]:
        items, found = work.items(5), []
        while taken := await turns.take(items):
            found.append(taken)
        return found

    loop, work = VirtualLoop(), Work()
    turns = Turns(lambda: work.now, seconds=1.0)
    assert loop.complete(take_all()) == [[0, 1], [2, 3], [4]]


def test_an_item_that_takes_longer_than_a_slice_is_a_slice() -> None:
    loop, work = VirtualLoop(), Work(each=7.0)
    turns = Turns(lambda: work.now, seconds=1.0)
    items = work.items(2)
    assert loop.complete(turns.take(items)) == [0]
    assert loop.complete(turns.take(items)) == [1]
    assert loop.complete(turns.take(items)) == []


def test_of_all_who_work_one_has_a_slice_in_each_turn_of_the_loop() -> None:
    """Ninety-six tasks that begin at once: nobody waits for longer than one of them takes."""
    loop, work = VirtualLoop(), Work()
    turns = Turns(lambda: work.now, seconds=1.0)
    steps: list[float] = []

    async def watch() -> None:
        while not all(task.done() for task in working):
            before = work.now
            await asyncio.sleep(0)
            steps.append(work.now - before)

    working = [loop.create_task(turns.through(work.items(6))) for _ in range(96)]
    loop.complete(watch())
    assert work.now == 96 * 6 * 0.5
    assert max(steps) <= 1.0
    assert all(task.exception() is None for task in working)


def test_between_two_slices_others_get_several_turns() -> None:
    """A request takes some twenty: it must not wait for a slice at each of them."""
    loop, work = VirtualLoop(), Work()
    turns = Turns(lambda: work.now, seconds=1.0)

    async def request() -> float:
        before = work.now
        for _ in range(20):
            await asyncio.sleep(0)
        return work.now - before

    working = loop.create_task(turns.through(work.items(100)))
    assert loop.complete(request()) <= 20 / TURNS_BETWEEN + 1
    assert working.exception() is None


def test_they_come_by_turns() -> None:
    loop, work = VirtualLoop(), Work()
    turns = Turns(lambda: work.now, seconds=1.0)
    done: list[str] = []

    def named(name: str) -> Iterator[None]:
        for _ in work.items(6):
            done.append(name)
            yield

    for name in "abc":
        loop.create_task(turns.through(named(name)))
    loop.settle()
    assert "".join(done) == "aaaabbccaabbccbbcc"


def test_an_error_ends_that_work_only() -> None:
    loop, work = VirtualLoop(), Work()
    turns = Turns(lambda: work.now, seconds=1.0)

    def failing() -> Iterator[None]:
        yield
        raise ValueError("no")

    failed, other = loop.create_task(turns.through(failing())), loop.create_task(turns.through(work.items(3)))
    loop.settle()
    assert isinstance(failed.exception(), ValueError)
    assert other.exception() is None
    assert work.now == 3 * 0.5


def test_who_is_cancelled_leaves_the_loop_to_the_others() -> None:
    loop, work = VirtualLoop(), Work()
    turns = Turns(lambda: work.now, seconds=1.0)
    tasks = [loop.create_task(turns.through(work.items(100))) for _ in range(3)]
    with loop.running():
        loop._ready.popleft()._run()
        for task in tasks[:2]:
            task.cancel()
    loop.settle()
    assert [task.cancelled() for task in tasks] == [True, True, False]
    assert tasks[2].exception() is None


def test_what_nobody_waits_for_is_done_later() -> None:
    loop, work = VirtualLoop(), Work()
    turns = Turns(lambda: work.now, seconds=1.0)
    turns.later(work.items(4))
    loop.settle()
    assert work.now == 0.0
    running = loop.create_task(turns.run())
    loop.settle()
    assert work.now == 2.0
    turns.later(work.items(2))
    loop.settle()
    assert work.now == 3.0
    running.cancel()
    loop.settle()
