"""Waiting for work no longer than until an event, and work beside a block."""

import asyncio

import pytest

from consumer.timing.waiting import meanwhile, unless_set


async def test_the_result_of_the_work_where_it_is_done_before() -> None:
    async def work() -> str:
        return "done"

    assert await unless_set(asyncio.Event(), work()) == "done"


async def test_once_the_event_is_set_the_work_has_come_to_its_end() -> None:
    event, said = asyncio.Event(), list[str]()

    async def work() -> str:
        event.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            said.append("its clients are closed")
        raise AssertionError

    assert await unless_set(event, work()) is None
    assert said == ["its clients are closed"]


async def test_what_the_work_raises() -> None:
    async def work() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await unless_set(asyncio.Event(), work())


async def test_what_is_done_beside_a_block_has_come_to_its_end_with_it() -> None:
    said = list[str]()

    async def work() -> None:
        said.append("it has begun")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            said.append("it is closed")

    async def block() -> None:
        async with meanwhile(work()):
            await asyncio.sleep(0)
            raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await block()
    assert said == ["it has begun", "it is closed"]
