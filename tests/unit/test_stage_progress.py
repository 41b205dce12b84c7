"""A task behind a repartition stage is caught up only if the whole stage is (design section 6)."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from consumer.input.progress import GroupPosition, Progress
from consumer.tasks.repartition import stage_progress as module
from consumer.tasks.repartition.stage_progress import StageProgress
from consumer.timing.clock import Clock
from tests.support.waiting import wait_until

FRESH = 2 * (5 + 5 + 2)
QUIESCENT_SECONDS = 30.0


class Log:
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def warning(self, name: str, **fields: Any) -> None:
        self.said.append((name, fields))

    error = warning


async def _unasked() -> Mapping[int, GroupPosition]:
    raise AssertionError


def stage_progress(quiet: float | None = 60.0) -> StageProgress:
    return StageProgress(
        _unasked,
        proof_interval=5.0,
        quiescent_seconds=QUIESCENT_SECONDS,
        quiet_seconds=quiet,
        clock=Clock.system(),
        log=Log(),  # type: ignore[arg-type]
    )


def at(committed: int, end: int, *, stable: int | None = None) -> GroupPosition:
    return GroupPosition(committed, end if stable is None else stable, end)


def test_of_a_stage_of_which_nothing_is_known_nothing_is_believed() -> None:
    stage = stage_progress()
    assert not stage.is_caught_up(0.0)
    stage.observe(0.0, {}, 0.1)
    assert not stage.is_caught_up(0.1)
    assert not stage.is_quiescent(1e9)


def test_it_is_caught_up_when_every_partition_is_whoever_owns_it() -> None:
    stage = stage_progress()
    stage.observe(0.0, {0: at(5, 5), 1: at(2, 3)}, 0.1)
    assert not stage.is_caught_up(0.1)
    stage.observe(2.0, {0: at(5, 8), 1: at(3, 4)}, 2.1)  # all that was there at 0
    assert stage.is_caught_up(2.1)


def test_it_is_not_any_more_when_one_partition_stands_still_for_too_long() -> None:
    stage = stage_progress()
    stage.observe(0.0, {0: at(5, 5), 1: at(3, 3)}, 0.1)
    for second in range(2, FRESH + 2, 2):
        assert stage.is_caught_up(float(second - 1))
        stage.observe(float(second), {0: at(5 + second, 5 + second), 1: at(3, 4)}, second + 0.1)
    assert not stage.is_caught_up(FRESH + 0.5)


def test_quiescence_needs_it_caught_up_all_the_time() -> None:
    stage = stage_progress()
    for second in range(0, 40, 2):
        stage.observe(float(second), {0: at(second, second)}, second + 0.1)
        assert stage.is_quiescent(second + 0.1) is (second >= QUIESCENT_SECONDS)


def test_what_is_hidden_from_the_stage_by_an_open_transaction_has_not_been_forwarded() -> None:
    stage = stage_progress()
    stage.observe(0.0, {0: at(5, 5)}, 0.1)
    for second in range(2, FRESH + 4, 2):
        stage.observe(float(second), {0: at(5, 6, stable=5)}, second + 0.1)
    assert not stage.is_caught_up(FRESH + 2.2)


def test_transactions_that_end_in_time_are_waited_for() -> None:
    """Beside a quiet of half an hour, those of a minute and a half."""
    stage = stage_progress(quiet=1800.0)
    for second in range(0, 300, 2):
        begun = second // 50 * 50
        stage.observe(float(second), {0: at(begun, second + 1, stable=begun)}, second + 0.1)
        assert second < 52 or stage.is_caught_up(second + 0.1)


def test_a_task_is_caught_up_only_if_the_stage_before_it_is() -> None:
    stage = stage_progress()
    progress = Progress(0.0, before=stage)
    progress.observe_end(1.0, 0, 1.0)
    assert not progress.is_caught_up(1.0)
    assert not progress.is_quiescent(1.0)
    stage.observe(0.5, {0: at(7, 7)}, 1.0)
    assert progress.is_caught_up(1.0)
    assert not progress.is_quiescent(1.0)
    for second in range(2, 34, 2):
        stage.observe(float(second), {0: at(7, 7)}, second + 0.1)
        progress.observe_end(float(second), 0, second + 0.1)
    assert progress.is_quiescent(32.2)
    assert not progress.is_caught_up(32.2 + FRESH)


@pytest.mark.parametrize("error", [KafkaError("no coordinator"), TimeoutError(), ZeroDivisionError()])
async def test_it_goes_on_looking_whatever_happens(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    looks, log = 0, Log()

    async def commits() -> Mapping[int, GroupPosition]:
        nonlocal looks
        looks += 1
        if looks < 3:
            raise error
        return {0: at(0, 0)}

    clock = Clock.system()
    stage = StageProgress(
        commits,
        proof_interval=5.0,
        quiescent_seconds=0.0,
        quiet_seconds=None,
        clock=clock,
        log=log,  # type: ignore[arg-type]
    )
    watching = asyncio.create_task(stage.run())
    try:
        await wait_until(lambda: stage.is_caught_up(clock.monotonic()), "it is caught up")
    finally:
        watching.cancel()
    assert [name for name, _ in log.said] == ["stage_progress_unknown"] * 2
