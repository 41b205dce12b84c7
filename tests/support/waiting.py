"""Waiting for a condition, never for a while."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")


@overload
async def wait_until(
    condition: Callable[[], Awaitable[T]], message: str, *, timeout: float = ..., poll: float = ...
) -> T: ...


@overload
async def wait_until(condition: Callable[[], T], message: str, *, timeout: float = ..., poll: float = ...) -> T: ...


async def wait_until(
    condition: Callable[[], object], message: str, *, timeout: float = 15.0, poll: float = 0.02
) -> object:
    """The condition's first truthy answer (it may be async); `AssertionError` with the message when time is up."""
    end = time.monotonic() + timeout
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout:g} s: {message} (last answer: {answer!r})")
        await asyncio.sleep(poll)
