"""An end below what is known to be there is asked for again, and in the end believed."""

import asyncio
from collections.abc import Sequence

import pytest

from consumer.kafka.watermarks import STALE_END_SECONDS, STALE_END_TRIES, end_at_least
from tests.support.loop import VirtualLoop


@pytest.mark.parametrize(
    ("answers", "end", "asked"),
    [
        ([5], 5, 1),
        ([7], 7, 1),
        ([4, 4, 5], 5, 3),
        ([4, 3, 9], 9, 3),
        ([4] * (STALE_END_TRIES - 1) + [6], 6, STALE_END_TRIES),
        ([4] * (STALE_END_TRIES - 1) + [3], 3, STALE_END_TRIES),  # the log is another one
    ],
)
def test_it_is_waited_for_between_two_tries_only(answers: Sequence[int], end: int, asked: int) -> None:
    times: list[float] = []

    async def scenario() -> float:
        async def ask() -> int:
            times.append(asyncio.get_running_loop().time())
            return answers[len(times) - 1]

        begun = asyncio.get_running_loop().time()
        assert await end_at_least(5, ask) == end
        return asyncio.get_running_loop().time() - begun

    lasted = VirtualLoop().complete(scenario(), 60)
    assert len(times) == asked
    assert lasted == pytest.approx((asked - 1) * STALE_END_SECONDS)


def test_what_the_broker_raises_is_not_held_back() -> None:
    async def ask() -> int:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        VirtualLoop().complete(end_at_least(0, ask), 60)
