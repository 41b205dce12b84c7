"""The soak would notice: growth of each thing that a member has, and a state that outgrows its alerts."""

from dataclasses import replace

import pytest

from tests.chaos.process_stats import ProcessStats
from tests.chaos.soak import Sample, Soak

USUAL = ProcessStats(resident_mib=70.0, files=27, kafka=20, provider=0, tasks=79)
BUSY = ProcessStats(resident_mib=70.0, files=120, kafka=18, provider=93, tasks=82)


def samples(last: ProcessStats = BUSY, state_mib: float = 9.0) -> list[Sample]:
    return [
        Sample(30.0 * number, (BUSY, BUSY if number < 12 else last), alerts=300, state_mib=state_mib)
        for number in range(18)
    ]


def test_nothing_has_grown_where_nothing_has() -> None:
    assert Soak(samples(), rest=((USUAL, USUAL), (USUAL, USUAL)), segments=12).failures == []


def test_memory_that_has_grown_under_the_load_is_told() -> None:
    soak = Soak(samples(replace(BUSY, resident_mib=82.0)), rest=((USUAL, USUAL), (USUAL, USUAL)), segments=12)
    assert soak.failures == ["member 2: memory has grown from 70.0 to 82.0 MiB"]


@pytest.mark.parametrize(("what", "more"), [("files", 1), ("kafka", 1), ("provider", 1), ("tasks", 5)])
def test_what_is_left_at_rest_is_told(what: str, more: int) -> None:
    before = getattr(USUAL, what)
    soak = Soak(samples(), rest=((USUAL, USUAL), (replace(USUAL, **{what: before + more}), USUAL)), segments=12)
    assert soak.failures == [f"member 1 at rest: {what} has grown from {before} to {before + more}"]


def test_a_state_that_is_not_compacted_is_told() -> None:
    soak = Soak(samples(state_mib=25.0)[:1], rest=((USUAL, USUAL), (USUAL, USUAL)), segments=12)
    assert soak.failures == ["25.0 MiB of state for 300 alerts after 0 s"]
