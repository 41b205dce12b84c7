"""Keeps Python's search for cyclic garbage from stopping the event loop for the time that a million alerts take.

Alerts are many, live long and are in no cycles, so their classes take no part in the search (``gc=False``: a million
alerts then take 20 ms instead of a second). Notifications that wait to be sent take part, and can be as many. So Python
is told to search young objects only. Older garbage, such as the clients of a partition that was given back, is searched
for now and then, at moments when there are few objects.
"""

import asyncio
import gc
import sys
from collections.abc import Callable

THRESHOLDS = (20_000, 2, 1_000_000_000)
"""After 20,000 new objects Python searches the youngest generation, after two such searches the next one, and never by
itself the oldest. One search looks at some 60,000 objects at most, and at the objects of requests on the wire (25 ms
with 256 requests). A lower first number looks at those requests more often: with 2,500, searches took a tenth of all
time while notifications were sent."""

INTERVAL_SECONDS = 600.0
SHORT_BLOCKS = 1_000_000
"""Everything is searched only with fewer memory blocks than this, allocated since the start. With this many, the search
takes 5 ms if they are alerts (250,000 alerts; a million take 25 ms), and 20 ms if all these alerts owe something
(100,000 alerts; 200,000 take 70 ms)."""

_LOOK_SECONDS = 1.0
"""Time between two looks whether the search would be short: it is for a moment after partitions were given back."""


def search_young_only() -> None:
    """Set up this process. Call this once all modules are loaded: later searches leave their objects out."""
    gc.set_threshold(*THRESHOLDS)
    gc.freeze()


async def search_everything_when_short(
    allocated: Callable[[], int] = sys.getallocatedblocks, search: Callable[[], object] = gc.collect
) -> None:
    """After each `INTERVAL_SECONDS`, search everything as soon as this takes little time (`SHORT_BLOCKS`)."""
    at_start = allocated()
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        while allocated() - at_start > SHORT_BLOCKS:  # noqa: ASYNC110 (nothing tells when it is short)
            await asyncio.sleep(_LOOK_SECONDS)
        search()
