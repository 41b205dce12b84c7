"""Whose turn the heartbeat is, and when it is withheld: the whole group, and that of the stage before it (design
section 9)."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from consumer.group import heartbeat
from consumer.group.heartbeat import HeartbeatOwner, Standing
from consumer.input.progress import STANDSTILL_SECONDS, GroupPosition
from tests.support.waiting import wait_until


class Group:
    """A group with one partition; ``moves`` says whether its committed offset grows."""

    def __init__(self, *, moves: bool) -> None:
        self._moves = moves
        self._looks = 0

    def owns(self, partition: int) -> bool:
        return partition == 0

    async def group_progress(self) -> Mapping[int, GroupPosition]:
        self._looks += 1
        return {0: GroupPosition(self._looks if self._moves else 3, 1_000_000, 1_000_000)}


class Pings:
    """A heartbeat that only counts how often it was started."""

    period = 0.01

    def __init__(self) -> None:
        self.started = 0

    async def run(self) -> None:
        self.started += 1
        await asyncio.Event().wait()


class Log:
    def __getattr__(self, name: str) -> Any:
        return lambda *args, **fields: None


@pytest.mark.parametrize(
    ("group", "stage", "stuck"),
    [
        (Group(moves=True), None, ""),
        (Group(moves=True), Group(moves=True), ""),
        (Group(moves=False), Group(moves=True), "partition 0"),
        (Group(moves=True), Group(moves=False), "partition of the repartition stage 0"),
    ],
)
async def test_a_partition_of_either_group_that_stands_still_is_told(
    monkeypatch: pytest.MonkeyPatch, group: Group, stage: Group | None, stuck: str
) -> None:
    monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 0.01)
    pings, owner = Pings(), HeartbeatOwner(group, stage, Log())
    running = asyncio.create_task(owner.run(pings))  # type: ignore[arg-type]
    try:
        await wait_until(lambda: group._looks > 5, "it has looked")
        if stuck:
            await wait_until(lambda: owner.stuck, "it is noticed")
            (said,) = owner.stuck
            assert said == f"{stuck} has had a lag of 999997 without progress"
        else:
            assert owner.stuck == ()
        assert pings.started == 1
    finally:
        running.cancel()


# --- since when a partition stands


def seen(standing: Standing, now: float, committed: int, *, stable: int, end: int) -> list[str]:
    return list(standing.observe({0: GroupPosition(committed, stable, end)}, now))


def test_a_lag_that_could_be_read_is_told_at_the_second_look() -> None:
    standing = Standing("partition")
    assert seen(standing, 0.0, 3, stable=5, end=5) == []
    assert seen(standing, 1.0, 3, stable=6, end=6) == ["partition 0 has had a lag of 3 without progress"]
    assert seen(standing, 2.0, 4, stable=6, end=6) == []
    assert seen(standing, 3.0, 6, stable=6, end=6) == []
    assert seen(standing, 4.0, 6, stable=7, end=7) == []


def test_what_an_open_transaction_hides_is_told_when_nothing_has_moved_for_a_minute() -> None:
    standing = Standing("partition")
    for second in range(int(STANDSTILL_SECONDS)):
        assert seen(standing, 100.0 + second, 5, stable=5, end=6 + second) == []
    now = 100.0 + STANDSTILL_SECONDS
    assert seen(standing, now, 5, stable=5, end=70) == ["partition 0 has had a lag of 65 without progress"]
    assert seen(standing, now + 1, 9, stable=9, end=70) == []


def test_transactions_one_after_the_other_are_ordinary() -> None:
    standing = Standing("partition")
    for second in range(600):
        begun = second // 30 * 30
        assert seen(standing, float(second), begun, stable=begun, end=second + 1) == []
