"""Partitions whose fetches are not answered."""

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.unanswered_fetches import SILENT_SECONDS, UnansweredFetches

A, B = TopicPartition("events", 0), TopicPartition("events", 1)


def test_a_partition_that_answers_is_not_silent_however_little_comes() -> None:
    silence = UnansweredFetches()
    for second in range(1000):
        silence.observe({A: second, B: 7}, second)
    assert silence.silent(1000) == {B: 1000}


def test_one_that_has_never_answered_is() -> None:
    silence = UnansweredFetches()
    for second in range(61):
        silence.observe({A: None}, second)
    assert silence.silent(59) == {}
    assert silence.silent(60) == {A: SILENT_SECONDS}


def test_one_that_is_not_fetched_is_not_and_begins_anew() -> None:
    silence = UnansweredFetches()
    silence.observe({A: 7}, 0)
    silence.observe({}, 30)  # paused, or another member's
    assert silence.silent(1000) == {}
    silence.observe({A: 7}, 1000)
    assert silence.silent(1000 + SILENT_SECONDS - 1) == {}


@given(st.lists(st.tuples(st.floats(0.1, 50.0), st.none() | st.sampled_from([None, 1, 2])), max_size=40))
def test_it_is_silent_for_as_long_as_nothing_has_changed(steps: list[tuple[float, int | None]]) -> None:
    silence, now, heard_at, before = UnansweredFetches(), 0.0, 0.0, object()
    for after, answer in steps:
        now += after
        silence.observe({A: answer}, now)
        if answer != before:
            heard_at, before = now, answer
        expected = {A: now - heard_at} if now - heard_at >= SILENT_SECONDS else {}
        assert silence.silent(now) == expected
