"""Of what nothing was heard for longest: never earlier than it was, and at most a span later."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state import quiet
from state.quiet import SPAN_SECONDS, Quiet

KEYS = st.sampled_from("abcdef")
STEPS = st.lists(
    st.tuples(st.just("hear"), KEYS, st.floats(0, 2))
    | st.tuples(st.sampled_from(["join", "leave"]), KEYS, st.just(0.0)),
    max_size=40,
)


@given(STEPS)
def test_it_never_says_that_it_has_been_quiet_for_longer_than_it_has(steps: list[tuple[str, str, float]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quiet, "_SPAN_KEYS", 3)
        found, now = Quiet(100.0), 100.0
        heard: dict[str, float] = {}
        joined: dict[str, float] = {}
        for step, key, seconds in steps:
            now += seconds
            if step == "hear":
                found.hear(key, now)
                heard[key] = now
                joined.pop(key, None)
            elif step == "leave":
                found.leave(key)
                heard.pop(key, None)
                joined.pop(key, None)
            elif key not in heard and key not in joined:
                found.join(key)
                joined[key] = now
        for key, moment in heard.items():
            said = found.heard(key)
            assert said is not None
            assert moment <= said < moment + SPAN_SECONDS
        for key, moment in joined.items():
            said = found.heard(key)
            assert said is not None
            assert said < moment + SPAN_SECONDS
        assert set(found.since(1e9)) == heard.keys() | joined.keys()
        for moment in (100.0, 101.0, now - 1, now):
            quiet_since = list(found.since(moment))
            assert found.is_any_since(moment) is bool(quiet_since)
            assert {key for key, at in heard.items() if at <= moment - SPAN_SECONDS} <= set(quiet_since)
            assert not {key for key, at in heard.items() if at > moment} & set(quiet_since)
            said_of = [found.heard(key) for key in quiet_since]
            assert said_of == sorted(said_of, key=lambda at: at or 0.0), "longest first"
        for _ in found.emptied():
            pass
        assert list(found.since(1e9)) == []
        assert not found.is_any_since(1e9)


def test_what_is_heard_of_again_within_a_span_costs_nothing() -> None:
    found = Quiet(0.0)
    found.hear("a", 10.0)
    found.hear("b", 10.2)
    found.hear("a", 10.9)
    assert (found.heard("a"), found.heard("b")) == (10.9, 10.9)
    found.hear("a", 11.0)
    assert (found.heard("a"), found.heard("b")) == (11.0, 10.9)
    assert list(found.since(10.9)) == ["b"]
    assert list(found.since(20.0)) == ["b", "a"]


def test_what_nobody_has_heard_of_is_not_there() -> None:
    found = Quiet(0.0)
    assert found.heard("a") is None
    found.leave("a")
    assert list(found.since(1e9)) == []
