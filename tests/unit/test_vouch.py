"""Whom the heartbeat vouches for: the whole group, and that of the stage before it (design section 9)."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from consumer import vouch
from consumer.vouch import Vouching
from tests.support.waiting import wait_until


class Group:
    """A group with one partition; ``moves`` says whether its committed offset grows."""

    def __init__(self, *, moves: bool) -> None:
        self._moves = moves
        self._looks = 0

    def owns(self, partition: int) -> bool:
        return partition == 0

    async def group_progress(self) -> Mapping[int, tuple[int, int]]:
        self._looks += 1
        return {0: (self._looks if self._moves else 3, 1_000_000)}


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
    monkeypatch.setattr(vouch, "LOOK_SECONDS", 0.01)
    pings, vouching = Pings(), Vouching(group, stage, Log())  # type: ignore[arg-type]
    running = asyncio.create_task(vouching.run(pings))  # type: ignore[arg-type]
    try:
        await wait_until(lambda: group._looks > 5, "it has looked")
        if stuck:
            await wait_until(lambda: vouching.stuck, "it is noticed")
            (said,) = vouching.stuck
            assert said == f"{stuck} has had a lag of 999997 without progress"
        else:
            assert vouching.stuck == ()
        assert pings.started == 1
    finally:
        running.cancel()
