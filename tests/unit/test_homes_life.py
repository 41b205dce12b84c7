"""Homes move while everything goes on: whole tasks in a simulation, and weakened copies of what they go by."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

import consumer.moving
from consumer.home import Homes as Known
from consumer.moving import Moving
from consumer.outbox import TaskOutbox
from consumer.partitioning import Partitioner
from consumer.pipeline import Decision
from consumer.progress import Progress
from consumer.task import Task
from state.remembered_ends import RememberedEnds
from state.store import Store
from tests.support.homes_simulation import BrokenPromise, Homes, Step, random_walk, simulate  # noqa: F401

WALKS = 120
"""Some thousands have been walked once."""

# A mutant may leave coroutines behind that end in an error when they are collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def settings(number: int) -> dict[str, Any]:
    """One partition at first or two, and a partitioner that is known or found out."""
    return {"count": 1 + number % 2, "believed": None if number % 4 > 1 else Partitioner.MURMUR2}


@pytest.mark.parametrize("number", range(WALKS))
def test_whatever_happens_while_homes_move_every_problem_is_told_and_resolved_once(number: int) -> None:
    simulate(random_walk(number), **settings(number))


GROWTH: list[Step] = [
    ("event", 0), ("event", 1), ("event", 2), ("calm", 0), ("grow", 0), ("calm", 0), ("grow", 0), ("calm", 0),
    ("event", 0), ("event", 1), ("event", 2), ("late", 0), ("late", 1), ("late", 2), ("calm", 0),
]  # fmt: skip


@pytest.mark.parametrize("number", range(4))
def test_live_problems_move_and_stay_one_incident(number: int) -> None:
    homes = simulate(GROWTH, **settings(number))

    assert homes.opened == {f"forbidden_path:s{session}": 1 for session in (1, 2, 3)}


def test_where_nothing_moves_nothing_is_written_for_it_and_nothing_waits() -> None:
    homes = Homes(count=2)
    try:
        began = homes.loop.time()
        homes.step("event", 0)
        homes.step("event", 1)
        for number in (0, 1):
            homes.step("decide", number)
        assert sum("leaves" in line for line in homes.trace) == 2, "at once"
        assert homes.loop.time() - began < 0.1
        homes.step("quiet", 0)
        homes.rest()
        assert homes.feedback == []
    finally:
        homes.close()


# weakened copies


def always(value: object) -> Callable[..., object]:
    return lambda *args, **options: value


def _ending_whatever_its_time(self: Task, decision: Decision) -> Iterator[None]:
    if decision.end is not None:
        self._moving.ended(decision.end)
    yield from ENDING(self, replace(decision, end=None))


def _caught_up(self: TaskOutbox) -> bool:
    return self._progress.is_caught_up(self._clock.monotonic())


def _quiet_to_now(self: Moving, now: float) -> float:
    return now


def _not_counted(self: Moving, now: float) -> float | None:
    return now if not self._homes.are_ever_moved else QUIET_TO(self, now)


def _keep(self: RememberedEnds) -> list[Any]:
    return []


def _hear(self: Store, alert: Any, now: float) -> None:
    Store.put(self, alert)


ENDING = Task.ending
QUIET_TO = Moving.quiet_to

MUTANTS: dict[str, tuple[tuple[Any, str, object], ...]] = {
    "only the home speaks": ((Moving, "is_elsewhere", always(False)),),
    "it decides to the end first": ((Progress, "is_decided_to", always(True)),),
    "nothing is handed over while a request is on the wire": ((Task, "is_busy", always(False)),),
    "what comes late is forwarded": ((Moving, "forwards", always(False)),),
    "an end knows its time": ((Task, "ending", _ending_whatever_its_time),),
    "the first trigger waits for the mark": ((Moving, "awaits", always(False)),),
    "what is told early is repeated": ((TaskOutbox, "_warned", lambda self, alert: alert),),
    "resolves wait for all marks": ((TaskOutbox, "may_resolve", _caught_up),),
    "quiet waits for all marks": ((Moving, "quiet_to", _quiet_to_now),),
    "quiet waits until the partitions are counted": ((Moving, "quiet_to", _not_counted),),
    "quiet waits until all partitions are decided": ((Moving, "_wants_to_know_all", always(False)),),
    "ends are remembered": ((Moving, "ended_at", always(None)),),
    "ends are handed over": ((RememberedEnds, "all", _keep),),
    "what is passed on is waited for": ((Known, "_sent", lambda self, *args: self),),
    "what is passed on is said": ((Moving, "_pass_on", always(None)),),
    "a key in doubt waits": ((Moving, "_is_suspect", always(False)),),
    "an old request of the old home may land": ((TaskOutbox, "taken_over", TaskOutbox.owes),),
    "what was handed over has just been heard of": ((Store, "hear", _hear),),
    "all is handed over before the mark": ((consumer.moving, "MOVED_AT_A_TIME", 0),),
}
