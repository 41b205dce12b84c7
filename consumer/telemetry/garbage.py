"""Python's search for cyclic garbage, which must not stop the event loop for as long as a million alerts take.

Alerts are many, live long and are in no cycles, so their classes take no part in the search (``gc=False``: a million
take 20 ms of it instead of a second). What waits to be sent does, and can be as many. So Python is told to search young
objects only. What becomes garbage later, such as the clients of a partition that was given back, is searched for now
and then, at moments when there is little to look at.
"""

import asyncio
import gc
import sys
from collections.abc import Callable

THRESHOLDS = (20_000, 2, 1_000_000_000)
"""Objects before the youngest are searched, searches of these before those that survived one, and never all by itself.
A search looks at some 60,000 objects at most, and at what is on the wire (25 ms with 256 requests). Smaller ones look
at the latter more often: with 2,500 objects they took a tenth of all time while notifications were sent."""

INTERVAL_SECONDS = 600.0
SHORT_BLOCKS = 1_000_000
"""Pieces of memory taken since the start. With so many a search of everything takes 5 ms where they are alerts (250,000
of them; a million take 25), and 20 ms where all of these owe something (100,000; 200,000 take 70)."""

_LOOK_SECONDS = 1.0
"""Between two looks whether it would be short: it is for a moment when partitions have just been given back."""


def search_young_only() -> None:
    """Set up this process, once all of its modules are loaded: these are not looked at any more."""
    gc.set_threshold(*THRESHOLDS)
    gc.freeze()


async def search_everything_when_short(
    allocated: Callable[[], int] = sys.getallocatedblocks, search: Callable[[], object] = gc.collect
) -> None:
    """Every `INTERVAL_SECONDS`, search everything as soon as that is short."""
    at_start = allocated()
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        while allocated() - at_start > SHORT_BLOCKS:  # noqa: ASYNC110 (nothing tells when it is short)
            await asyncio.sleep(_LOOK_SECONDS)
        search()
