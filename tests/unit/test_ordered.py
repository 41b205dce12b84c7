"""Keys by value: whatever is set and taken away, the smallest is the smallest, and the order is that of the values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state import ordered, pieces
from state.ordered import Ordered

STEPS = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.none() | st.integers(0, 9)), max_size=60)


@given(STEPS)
def test_it_says_what_a_sort_would_say(steps: list[tuple[str, int | None]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered, "_BLOCK", 2)  # so that blocks are split and removed
        patch.setattr(pieces, "_LARGE", 3)
        values, found = dict[str, int](), Ordered[int]()
        for key, value in steps:
            found.set(key, value)
            if value is None:
                values.pop(key, None)
            else:
                values[key] = value
            assert len(found) == len(values)
            assert (bool(found), found.first()) == (bool(values), next(iter(found), None))
            assert found.smallest() == min(values.values(), default=None)
            assert list(found) == [key for value, key in sorted((value, key) for key, value in values.items())]


@given(st.lists(st.integers(0, 99), unique=True), STEPS)
def test_keys_in_pieces_are_those_that_stay_in_their_order(
    values: list[int], steps: list[tuple[str, int | None]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered, "_BLOCK", 2)
        found = Ordered[int]()
        for value in values:
            found.set(f"{value}", value)
        given, changes = list[str](), iter(steps)
        for keys in found.keys_in_pieces():
            assert len(keys) <= 4, "no more than one block has"
            given += [key for key in keys if key.isdecimal()]
            for key, changed in changes:
                found.set(key, changed)
                break
        assert given == [f"{value}" for value in sorted(values)]


def test_it_is_freed_step_by_step() -> None:
    found = Ordered[int]()
    for number in range(5000):
        found.set(f"{number}", number)
    steps = sum(1 for _ in found.emptied())
    assert steps > 5000
    assert (len(found), list(found)) == (0, [])
