"""What a task knows of where keys have their homes, and whom it has to wait for (design section 17, "Homes move")."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from consumer.events.keys import home_key_of
from consumer.feedback.moves import Forwarded, HandOver, Move, Moved, MovingTask
from consumer.kafka.partitioning import Partitioner, Scheme
from consumer.tasks.homes.home import Homes, decode_homes, encode_homes
from state.alert import Alert, Status
from state.records import CorruptState
from state.violation import Record, Severity

TWO, FOUR, SIX = Scheme(2), Scheme(4), Scheme(6)
NOW = 1_800_000_000.0
KEYS = [f"session-{number}".encode() for number in range(200)]


def mark(partition: int, scheme: Scheme = FOUR, before: Scheme | None = TWO, feedback: int = 0) -> Moved:
    return Moved(MovingTask("pagerduty", partition, scheme, {0: feedback}), before)


def forwarded(sender: int, home: int, key: bytes, scheme: Scheme = FOUR) -> Forwarded:
    return Forwarded(MovingTask("pagerduty", sender, scheme), home, Record("events", sender, 1, 1, key, b"{}"), key)


def handed(sender: int, home: int, key: bytes | None, scheme: Scheme = FOUR) -> HandOver:
    alert = Alert("g:s-1", Status.OPEN, "s-1", 1, NOW, NOW, NOW, Severity.HIGH, key=key)
    return HandOver(MovingTask("pagerduty", sender, scheme), home, "g:s-1", alert, key=key)


def key_that_moves(old: int, new: int, before: Scheme = TWO, after: Scheme = FOUR) -> bytes:
    return next(key for key in KEYS if (before.home(key), after.home(key)) == (old, new))


def grown(partition: int = 2, *, earlier: tuple[Scheme, ...] | None = (TWO,)) -> Homes:
    return Homes(partition, FOUR, earlier=earlier)


# where a key is at home


@pytest.mark.parametrize("partitioner", Partitioner)
def test_the_home_is_where_the_producers_put_the_key_now(partitioner: Partitioner) -> None:
    homes = Homes(0, Scheme(6).believing(partitioner))

    for key in KEYS:
        assert homes.home_of(key) == partitioner.partition_of(key, 6)
        assert homes.is_elsewhere(key) == (partitioner.partition_of(key, 6) != 0)


@pytest.mark.parametrize("key", [None, b""])
def test_what_has_no_key_stays_where_it_is(key: bytes | None) -> None:
    assert Homes(3, SIX, earlier=(TWO,)).home_of(key) == 3
    assert Homes(3, SIX, earlier=(TWO,)).awaited(key) == frozenset()


def test_an_alert_has_its_home_by_the_key_of_its_last_record_or_by_its_session() -> None:
    alert = Alert("g:s-1", Status.OPEN, "s-1", 1, NOW, NOW, NOW, Severity.HIGH)

    assert home_key_of(alert) == b"s-1"
    assert home_key_of(replace(alert, key=b"tenant")) == b"tenant"
    assert home_key_of(replace(alert, key=b"")) == b""
    assert home_key_of(replace(alert, session_id=None)) is None


# the highest that was ever seen


def test_a_higher_count_moves_the_homes_and_a_lower_one_does_not_move_them_back() -> None:
    homes = Homes(0, TWO, moved=TWO, earlier=())

    after = homes.with_seen(SIX)

    assert (after.scheme, after.earlier, after.has_moved) == (SIX, (TWO,), False)
    assert after.moves().has_moved
    assert after.moves().with_seen(FOUR) == after.moves()


def test_a_mark_of_a_higher_count_is_believed() -> None:
    assert Homes(0, TWO, moved=TWO, earlier=()).took(mark(3, SIX), (0, 1)).scheme == SIX


# whom a trigger waits for


def test_a_trigger_waits_for_its_old_home_and_no_other() -> None:
    homes, key = grown(), key_that_moves(0, 2)
    assert homes.awaited(key) == {0}

    assert homes.took(mark(1), (0, 1)).awaited(key) == {0}
    assert homes.took(mark(0), (0, 1)).awaited(key) == frozenset()


def test_a_key_that_was_here_before_waits_for_nobody() -> None:
    key = next(key for key in KEYS if (TWO.home(key), FOUR.home(key)) == (1, 1))

    assert grown(1).awaited(key) == frozenset()


def test_where_the_old_home_is_not_known_all_are_waited_for() -> None:
    homes = grown(earlier=None)
    assert homes.awaited(KEYS[0]) == {0, 1, 3}

    for partition in (0, 1, 3):
        homes = homes.took(mark(partition), (0, partition))
    assert homes.awaited(KEYS[0]) == frozenset()


def test_where_only_the_number_of_old_homes_is_known_no_new_partition_is_waited_for() -> None:
    homes = Homes(2, FOUR, earlier=None, old=2)
    assert homes.awaited(KEYS[0]) == {0, 1}
    assert homes.with_seen(SIX).awaited(KEYS[0]) == {0, 1, 3}


def test_a_mark_of_an_earlier_move_is_not_enough() -> None:
    homes, key = Homes(4, SIX, earlier=(TWO, FOUR)), key_that_moves(0, 4, TWO, SIX)
    homes = homes.took(mark(0, FOUR), (0, 1))

    assert 0 in homes.awaited(key)
    assert 0 not in homes.took(mark(0, SIX, FOUR), (0, 2)).awaited(key)


def test_an_earlier_scheme_that_only_a_mark_tells_of_is_an_old_home_too() -> None:
    """This partition never heard of four; the partition that says so may have been a key's home then."""
    key = next(key for key in KEYS if SIX.home(key) == 4 and FOUR.home(key) != TWO.home(key))
    homes = Homes(4, SIX, earlier=(TWO,))

    assert FOUR.home(key) not in homes.awaited(key)
    assert FOUR.home(key) in homes.took(mark(0, SIX, before=FOUR), (0, 1)).awaited(key)


# whom the end of an alert waits for


def test_an_end_waits_for_all_marks() -> None:
    homes = grown()
    assert homes.unheard == {0, 1, 3}
    for number, partition in enumerate((1, 3, 0)):
        homes = homes.took(mark(partition), (0, number))

    assert homes.unheard == frozenset()


def test_a_pipeline_that_has_never_moved_waits_for_nobody() -> None:
    homes = Homes(2, FOUR, moved=FOUR, earlier=())

    assert homes.unheard == frozenset()
    assert all(homes.awaited(key) == frozenset() for key in KEYS)


def test_an_end_waits_for_what_is_sent_to_a_home_of_between_two_growths() -> None:
    """Found by the model: 0 hands over to 2, for which the key's home is 4 by now, behind the mark of 2."""
    key = next(key for key in KEYS if (TWO.home(key), FOUR.home(key), SIX.home(key)) == (0, 2, 4))
    homes = Homes(4, SIX, earlier=(TWO, FOUR))
    for number, partition in enumerate((1, 2, 3, 5)):
        homes = homes.took(mark(partition, SIX, FOUR, feedback=number), (0, number))
    homes = homes.took(handed(0, 2, key), (0, 10)).took(mark(0, SIX, FOUR, feedback=10), (0, 11))
    assert homes.unheard == {2}

    assert homes.took(mark(2, SIX, FOUR, feedback=10), (0, 12)).unheard == {2}
    assert homes.took(mark(2, SIX, FOUR, feedback=11), (0, 13)).unheard == frozenset()


def test_what_is_sent_to_others_for_their_own_keys_is_not_waited_for() -> None:
    elsewhere = next(key for key in KEYS if FOUR.home(key) == 3)
    here = next(key for key in KEYS if FOUR.home(key) == 2)

    assert grown().took(forwarded(0, 3, elsewhere, TWO), (0, 1)).on_the_way == {}
    assert grown().took(forwarded(0, 2, here, TWO), (0, 1)).on_the_way == {}
    assert grown().took(forwarded(0, 3, here, TWO), (0, 1)).on_the_way == {3: (0, 1)}


def test_what_was_passed_on_behind_a_mark_that_is_taken_first_is_not_waited_for() -> None:
    """The mark stands in another partition of the feedback topic, which is read sooner."""
    here = next(key for key in KEYS if FOUR.home(key) == 2)

    homes = grown().took(mark(3, FOUR, feedback=6), (1, 0)).took(forwarded(0, 3, here, TWO), (0, 5))
    assert homes.on_the_way == {}
    assert homes.took(forwarded(0, 3, here, TWO), (0, 6)).on_the_way == {3: (0, 6)}


def test_who_thought_that_homes_have_never_moved_learns_it_from_anybody() -> None:
    never = Homes(2, FOUR, moved=FOUR, earlier=())
    assert not never.are_ever_moved

    after = never.took(mark(1), (0, 1))
    assert after.are_ever_moved
    assert not after.has_moved
    assert never.took(mark(2), (0, 1)).are_ever_moved  # an earlier owner of this partition, whose state is gone


# whatever the order

SCHEMES = st.builds(Scheme, st.integers(1, 8), st.integers(0, 2))
MOVES: st.SearchStrategy[Move] = (
    st.builds(mark, st.integers(0, 7), SCHEMES, st.none() | SCHEMES, st.integers(0, 9))
    | st.builds(forwarded, st.integers(0, 7), st.integers(0, 7), st.sampled_from(KEYS), SCHEMES)
    | st.builds(handed, st.integers(0, 7), st.integers(0, 7), st.none() | st.sampled_from(KEYS), SCHEMES)
)
EARLIER = st.none() | st.tuples() | st.tuples(SCHEMES)
HOMES = st.builds(
    Homes, st.integers(0, 7), SCHEMES, st.none() | SCHEMES, EARLIER, old=st.none() | st.integers(1, 8)
)  # fmt: skip


@given(HOMES, st.lists(MOVES, max_size=8))
def test_a_scheme_never_goes_back_and_nobody_is_waited_for_who_has_moved(homes: Homes, moves: list[Move]) -> None:
    for offset, move in enumerate(moves):
        after = homes.took(move, (0, offset))
        assert after.scheme == after.scheme.with_seen(homes.scheme).with_seen(move.sender.scheme)
        homes = after

    said = {p for p, scheme in homes.marks.items() if scheme.with_seen(homes.scheme) == scheme}
    for key in KEYS[:20]:
        assert not homes.awaited(key) & said
        assert homes.partition not in homes.awaited(key)
    assert not homes.unheard & (said - homes.on_the_way.keys())


@given(HOMES, st.lists(MOVES, max_size=8))
def test_the_checkpoint_holds_it(homes: Homes, moves: list[Move]) -> None:
    for offset, move in enumerate(moves):
        homes = homes.took(move, (0, offset))

    assert decode_homes(orjson.loads(orjson.dumps(encode_homes(homes))), homes.partition) == homes


@pytest.mark.parametrize(
    "json",
    [{}, {"scheme": 4}, {"scheme": [4, 0], "marks": [1]}, {"scheme": [4, 0], "marks": {"x": [4, 0]}}, []],
)
def test_a_checkpoint_that_is_none_is_corrupt(json: Any) -> None:
    with pytest.raises(CorruptState, match="homes"):
        decode_homes(json, 0)
