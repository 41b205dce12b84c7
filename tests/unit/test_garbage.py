"""Cyclic garbage is searched for without a stop, however many alerts there are."""

import gc
import subprocess
import sys

import pytest

from consumer.telemetry import garbage
from consumer.telemetry.garbage import INTERVAL_SECONDS, SHORT_BLOCKS
from tests.support.loop import VirtualLoop

pytestmark = pytest.mark.slow

MANY = """
import gc, time
from consumer.telemetry.garbage import search_young_only
from state.alert import Alert, Status, Notified
from state.violation import Severity

search_young_only()
searched = []
gc.callbacks.append(lambda phase, info: searched.append(info["generation"]) if phase == "stop" else None)
kept = []
for number in range(300_000):
    told = Notified(Severity.HIGH, 0.0)
    alert = Alert(str(number), Status.OPEN, None, 1, 0.0, 0.0, 0.0, Severity.HIGH, last_notified=told)
    kept.append([alert])
    assert not gc.is_tracked(alert)
assert 0 in searched and 1 in searched, "young objects are searched"
assert 2 not in searched, "all objects never"
"""


def test_no_search_looks_at_all_alerts() -> None:
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_everything_is_searched_now_and_then_when_that_is_short() -> None:
    loop = VirtualLoop()
    searches: list[float] = []
    blocks = [1_000_000]
    task = loop.create_task(
        garbage.search_everything_when_short(lambda: blocks[0], lambda: searches.append(loop.time()))
    )
    began = loop.time()
    loop.advance(INTERVAL_SECONDS * 0.9)
    assert searches == []
    loop.advance(INTERVAL_SECONDS * 0.2)
    assert len(searches) == 1
    blocks[0] += SHORT_BLOCKS + 1
    loop.advance(INTERVAL_SECONDS * 20)
    assert len(searches) == 1, "there is too much to look at"
    blocks[0] = 1_000_000
    loop.advance(2)
    assert len(searches) == 2, "at the first moment when it is short"
    loop.advance(INTERVAL_SECONDS * 0.9)
    assert len(searches) == 2
    assert loop.time() > began
    task.cancel()
    loop.settle()


def test_what_is_garbage_later_is_found() -> None:
    class Node:
        def __init__(self) -> None:
            self.itself = self

    thresholds = gc.get_threshold()
    try:
        gc.set_threshold(*garbage.THRESHOLDS)
        found: list[int] = []
        Node()
        loop = VirtualLoop()
        task = loop.create_task(garbage.search_everything_when_short(lambda: 0, lambda: found.append(gc.collect())))
        loop.advance(INTERVAL_SECONDS + 1)
        assert found
        assert found[0] >= 1
        task.cancel()
        loop.settle()
    finally:
        gc.set_threshold(*thresholds)
