"""How long all faults are together, and the sum of a run."""

import pytest

from tests.chaos.__main__ import SETTLED_SECONDS, TOGETHER_SECONDS, _together_seconds
from tests.chaos.account import Account
from tests.chaos.faults import CATALOG
from tests.chaos.finding import Finding
from tests.chaos.lateness import Lateness
from tests.chaos.table import Row, table, total

LEAST, MOST = TOGETHER_SECONDS


@pytest.mark.parametrize(
    ("left", "is_first", "seconds"),
    [
        (3600.0, False, MOST),
        (SETTLED_SECONDS + 100.0, False, 100.0),
        (SETTLED_SECONDS + LEAST - 1, False, None),
        (-10.0, False, None),
        (-10.0, True, LEAST),
    ],
)
def test_a_phase_of_all_together_ends_in_time_and_there_is_always_one(
    left: float, is_first: bool, seconds: float | None
) -> None:
    assert _together_seconds(left, is_first=is_first) == seconds


def test_the_last_line_counts_all_faults_and_all_failures() -> None:
    lost, late = Finding("lost", "pagerduty", "k", "gone"), Finding("late", "pagerduty", "k", "told late")
    rows = [
        Row("503", 2, Account(10, 3, findings=[lost]), 1.0),
        Row("together 1", 40, Account(200, 50), 7.0, 9.0, Lateness(5, 6.0, [late]), 0.1, ["a member ended by itself"]),
    ]
    every = total(rows)
    assert (every.times, every.account.alertable, every.account.incidents, every.recovery) == (42, 210, 53, 7.0)
    assert every.failures == [failure for row in rows for failure in row.failures]
    assert table(rows).splitlines()[-1].split()[:4] == ["all", "42", "210", "53"]


def test_each_lane_has_kinds_to_strike_with() -> None:
    lanes = {kind.lane: [one.name for one in CATALOG.values() if one.lane == kind.lane] for kind in CATALOG.values()}
    assert len(lanes) == 5
    assert all(len(names) > 3 for names in lanes.values())
