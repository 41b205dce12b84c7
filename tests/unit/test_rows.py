"""Counts by name are bounded, and those of the names that count most are right."""

import tracemalloc
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from consumer.tuning.rows import Rows


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2), st.integers(0, 5))), st.integers(1, 12))
def test_nothing_gets_lost_and_no_more_names_are_kept_than_there_may_be(
    counted: list[tuple[int, int, int]], most: int
) -> None:
    rows, exact = Rows(3, 2, most), Counter[tuple[str, int]]()
    for number, place, count in counted:
        rows.add(f"n{number}", place, count)
        exact[f"n{number}", place] += count
        assert len(rows) <= most
    kept = dict(rows.items())
    for place in range(3):
        assert sum(row[place] for row in kept.values()) + rows.others[place] == sum(
            count for (_, at), count in exact.items() if at == place
        )
    for name, row in kept.items():
        lacks = exact[name, 0] + exact[name, 1] - row[0] - row[1]
        assert 0 <= lacks <= rows.lacking


def test_a_name_that_counts_much_is_kept_among_very_many_others() -> None:
    rows = Rows(4, 2, most=2_000)
    tracemalloc.start()
    try:
        for number in range(200_000):
            rows.add(f"forbidden_path:sess-{number}", 0)
            if number % 100 == 0:
                rows.add("loud", 1)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert dict(rows.items())["loud"][1] == 2_000
    assert len(rows) <= 2_000
    assert size < 1 << 20
