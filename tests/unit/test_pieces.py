"""A mapping of many dicts: it says what one dict would say, and no step of it takes long."""

from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state import pieces
from state.pieces import Pieces

STEPS = st.lists(st.tuples(st.integers(0, 20), st.none() | st.integers(0, 9)), max_size=60)


@given(STEPS)
def test_it_says_what_a_dict_would_say(steps: list[tuple[int, int | None]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_LARGE", 5)
        values, found = dict[int, int](), Pieces[int, int]()
        for key, value in steps:
            if value is None:
                assert found.pop(key) == values.pop(key, None)
            else:
                found[key] = values[key] = value
            assert (len(found), set(found)) == (len(values), set(values))
            assert (found.get(key), key in found, key in found.of(key)) == (value, key in values, key in values)
            assert sorted(found.values()) == sorted(values.values())
        assert dict(found.taken()) == values
        assert len(found) == 0


@pytest.mark.slow
def test_no_step_takes_long() -> None:
    found, longest = Pieces[str, int](), 0.0
    keys = [f"k{number}" for number in range(200_000)]
    for key in keys:
        began = thread_time()
        found[key] = 0
        longest = max(longest, thread_time() - began)
    assert longest < 0.02  # a dict takes 0.06
