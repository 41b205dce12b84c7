"""Ends that came before what they end (design section 17, rule 7)."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from state.remembered_ends import End, RememberedEnds, session

NOW = 1_800_000_000.0
TOLD = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9).map(lambda seconds: NOW + seconds)))


def remembering(told: list[tuple[str, float]], at_most: int = 100) -> RememberedEnds:
    ends = RememberedEnds(at_most)
    for subject, ended_at in told:
        ends.remember(End(subject, ended_at, subject.encode()))
    return ends


@given(TOLD, st.sampled_from("abcdef"))
def test_the_latest_end_counts_in_whatever_order_they_come(told: list[tuple[str, float]], subject: str) -> None:
    expected = max((ended_at for each, ended_at in told if each == subject), default=None)

    assert remembering(told).latest(subject) == expected
    assert remembering(told[::-1]).latest(subject) == expected


def test_an_alert_is_over_by_the_end_of_its_key_or_of_its_session() -> None:
    ends = remembering([("g:s-1", NOW), (session("s-1"), NOW + 1)])

    assert ends.latest("g:s-1", session("s-1")) == NOW + 1
    assert ends.latest("g:s-2", None) is None


def test_a_session_that_is_called_like_a_key_ends_nothing_of_that_key() -> None:
    assert remembering([(session("forbidden_path"), NOW)]).latest("forbidden_path") is None


@given(TOLD, st.integers(1, 4))
def test_no_more_are_remembered_than_there_is_room_for(told: list[tuple[str, float]], at_most: int) -> None:
    ends = remembering(told, at_most)

    assert len(ends) <= at_most
    if told:
        assert ends.latest(told[-1][0]) is not None


@given(TOLD)
def test_old_ones_are_forgotten(told: list[tuple[str, float]]) -> None:
    ends = remembering(told)

    for _ in ends.forget_before(NOW + 5):
        pass

    assert all(end.at >= NOW + 5 for end in ends.all())
    for subject, ended_at in told:
        if ended_at >= NOW + 5:
            assert ends.latest(subject) is not None


def test_one_that_is_told_of_again_while_they_are_forgotten_stays() -> None:
    ends = remembering([("a", NOW), ("b", NOW)])

    forgetting = ends.forget_before(NOW + 5)
    next(forgetting)
    ends.remember(End("b", NOW + 9))
    for _ in forgetting:
        pass

    assert ends.all() == [End("b", NOW + 9)]


@given(TOLD)
def test_a_checkpoint_holds_them(told: list[tuple[str, float]]) -> None:
    ends, again = remembering(told), RememberedEnds()

    again.restore(orjson.loads(orjson.dumps(ends.to_json())))

    assert again.all() == ends.all()


def test_what_is_handed_over_is_forgotten_here() -> None:
    ends = remembering([("a", NOW), ("b", NOW)])

    ends.forget("a")
    ends.forget("c")

    assert ends.all() == [End("b", NOW, b"b")]
