"""A task's queue at an integration: lanes, severity, age; what waits for its moment; what is owed."""

import weakref
from collections.abc import Sized
from itertools import count
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.delivery.outbox import Lane, Pending
from providers.delivery.queue import Entry, Queue
from state.violation import Severity

NOW = 1000.0
IN_TURN = (Lane.ACKNOWLEDGE, Lane.RESOLVE)


class Outbox:
    """Nobody asks it anything."""


def pending(
    severity: Severity = Severity.HIGH,
    *,
    lane: Lane = Lane.NEW,
    since: float = 0.0,
    not_before: float = 0.0,
    failures: int = 0,
    size: int = 0,
) -> Pending:
    return Pending("default", lane, severity, since, failures, not_before, size)


def queue(**owed: Pending) -> Queue:
    made = Queue(Outbox(), count())  # type: ignore[arg-type]
    for key, each in owed.items():
        put(made, key, each)
    return made


def put(made: Queue, key: str, each: Pending, now: float = NOW) -> Entry:
    return made.put(key, each, is_behind=each.failures > 0, now=now)


def left(made: Queue, lane: Lane = Lane.NEW, now: float = NOW) -> list[str]:
    """All of a lane, in the order in which they leave."""
    made.unpark(now)
    keys = []
    while (entry := made.head(lane)) is not None:
        made.remove(entry.dedup_key)
        keys.append(entry.dedup_key)
    return keys


def test_an_empty_queue_gives_nothing() -> None:
    made = queue()
    assert [made.head(lane) for lane in Lane] == [made.tail(lane) for lane in Lane] == [None] * 4
    assert (made.behind(), made.next_unparked, len(made), made.has_fresh) == (None, None, 0, False)


def test_the_highest_severity_leaves_first_then_the_oldest() -> None:
    made = queue(
        high_new=pending(since=9.0),
        high_old=pending(since=1.0),
        critical_new=pending(Severity.CRITICAL, since=9.0),
        critical_old=pending(Severity.CRITICAL, since=2.0),
        medium=pending(Severity.MEDIUM),
    )
    tail = made.tail(Lane.NEW)
    assert tail is not None
    assert tail.dedup_key == "medium"
    assert left(made) == ["critical_old", "critical_new", "high_old", "high_new", "medium"]


def test_what_ends_or_is_taken_leaves_in_the_order_in_which_it_came_whatever_its_severity() -> None:
    made = queue()
    for lane in IN_TURN:
        for key, severity in {"low": Severity.LOW, "critical": Severity.CRITICAL, "high": Severity.HIGH}.items():
            put(made, f"{lane}{key}", pending(severity, lane=lane))
        assert left(made, lane) == [f"{lane}low", f"{lane}critical", f"{lane}high"]


def test_equal_ranks_leave_in_the_order_in_which_they_came() -> None:
    assert left(queue(**{key: pending() for key in "dacb"})) == list("dacb")


def test_an_alert_is_queued_once_at_what_was_said_last() -> None:
    made = queue(a=pending(), b=pending(since=1.0))
    put(made, "b", pending(Severity.CRITICAL))
    assert len(made) == 2
    assert left(made) == ["b", "a"]
    assert len(made) == 0


def test_the_same_said_again_changes_nothing() -> None:
    made = queue(a=pending(lane=Lane.RESOLVE), b=pending(lane=Lane.RESOLVE))
    put(made, "a", pending(lane=Lane.RESOLVE))
    assert left(made, Lane.RESOLVE) == ["a", "b"]


def test_what_is_taken_can_be_queued_again() -> None:
    made = queue(a=pending())
    assert left(made) == ["a"]
    put(made, "a", pending())
    assert left(made) == ["a"]


def test_what_waits_for_its_moment_holds_nobody_up_and_is_then_ordered_by_its_rank() -> None:
    made = queue(low=pending(Severity.LOW, not_before=NOW + 1), critical=pending(Severity.CRITICAL, not_before=NOW + 2))
    put(made, "high", pending())
    assert made.next_unparked == NOW + 1
    assert left(made, now=NOW + 0.9) == ["high"]
    assert left(made, now=NOW + 2) == ["critical", "low"]
    assert made.next_unparked is None


def test_said_again_it_leaves_at_its_new_moment_only() -> None:
    made = queue(a=pending(not_before=NOW + 5))
    put(made, "a", pending())
    assert made.next_unparked is None
    assert left(made) == ["a"]
    assert left(made, now=NOW + 9) == []
    put(made, "b", pending())
    put(made, "b", pending(not_before=NOW + 5))
    assert left(made) == []
    assert left(made, now=NOW + 5) == ["b"]


def test_what_has_failed_is_in_no_lane_and_the_one_that_has_failed_least_is_first() -> None:
    made = queue(
        thrice=pending(Severity.CRITICAL, failures=3),
        resolve=pending(Severity.CRITICAL, lane=Lane.RESOLVE, failures=1),
        high=pending(failures=1),
        critical=pending(Severity.CRITICAL, failures=1, since=5.0),
    )
    assert not made.has_fresh
    order = []
    while (entry := made.behind()) is not None:
        made.remove(entry.dedup_key)
        order.append(entry.dedup_key)
    assert order == ["critical", "high", "resolve", "thrice"]


def test_what_is_owed_is_counted_also_while_it_is_on_the_wire() -> None:
    made = queue()
    made.owe("a", pending(size=100))
    made.owe("b", pending(size=10))
    made.owe("a", pending(Severity.CRITICAL, size=200))
    assert (made.count, made.bytes) == (2, 210)
    made.owe("b", pending(lane=Lane.ACKNOWLEDGE, size=10))
    made.owe("c", None)
    assert (made.count, made.bytes) == (1, 200)


def test_the_outbox_is_let_go_with_its_queue() -> None:
    made = queue(a=pending(), b=pending(not_before=NOW + 60), c=pending(failures=1))
    gone = weakref.ref(made.outbox)
    assert len(list(made.emptied())) > 3
    del made
    assert gone() is None


STEPS = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),
        st.sampled_from(Lane),
        st.sampled_from(Severity),
        st.integers(0, 5),
        st.integers(0, 2),
        st.integers(0, 10),
        st.integers(0, 3),
    ),
    max_size=40,
)


@given(STEPS, st.integers(0, 12))
def test_whatever_was_said_what_leaves_is_the_last_word_of_each_alert_in_order(
    said: list[tuple[str, Lane, Severity, int, int, int, int]], later: int
) -> None:
    made, last = queue(), dict[str, Pending]()
    for key, lane, severity, since, failures, delay, what in said:
        if what == 3:
            made.remove(key)
            made.owe(key, None)
            last.pop(key, None)
            continue
        last[key] = pending(
            severity, lane=lane, since=float(since), not_before=NOW + delay, failures=failures, size=since
        )
        put(made, key, last[key])
        made.owe(key, last[key])
    assert len(made) == len(last)
    owed = {key: each for key, each in last.items() if each.is_trigger}
    assert (made.count, made.bytes) == (len(owed), sum(each.size for each in owed.values()))
    least = [(severity, since, key) for severity, since, _, _, key in made.least_owed()]
    assert sorted(key for _, _, key in least) == sorted(owed)
    assert [(severity, since) for severity, since, _ in least] == sorted(
        (each.severity, each.since) for each in owed.values()
    )
    due = {key: each for key, each in last.items() if each.not_before <= NOW + later}
    for lane in Lane:
        mine = {key: each for key, each in due.items() if each.lane is lane and not each.failures}
        keys = left(made, lane, NOW + later)
        assert sorted(keys) == sorted(mine)
        if lane not in IN_TURN:
            ranks = [(-mine[key].severity, mine[key].since) for key in keys]
            assert ranks == sorted(ranks)
    behind = []
    while (entry := made.behind()) is not None:
        made.remove(entry.dedup_key)
        behind.append(entry.dedup_key)
    assert sorted(behind) == sorted(key for key, each in due.items() if each.failures)
    assert [due[key].failures for key in behind] == sorted(due[key].failures for key in behind)


def test_nothing_of_what_was_said_before_is_kept() -> None:
    made = queue()
    for number in range(20_000):
        each = pending(Severity(number % 5), since=float(number), not_before=NOW + number % 2, failures=number % 3)
        put(made, f"{number % 10}", each)
        made.owe(f"{number % 10}", each)
    indexes: list[Sized] = [*made._owed.values(), *made._fresh.values(), made._behind, made._parked]
    assert sum(len(index) for index in indexes) == 20, "one for its turn, one for what it owes"


@pytest.mark.slow
def test_who_is_next_is_found_at_once_however_many_have_gone() -> None:
    seconds = []
    for gone in (100, 50_000):
        made = queue()
        for number in range(gone):
            due = pending(since=float(number), failures=number % 2, not_before=NOW + 1 if number % 3 else 0.0)
            put(made, f"{number}", due)
        put(made, "last", pending(since=1e9))
        for number in range(gone):
            made.remove(f"{number}")
        started = thread_time()
        head = made.head(Lane.NEW)
        assert (made.tail(Lane.NEW), made.behind(), made.next_unparked) == (head, None, None)
        seconds.append(thread_time() - started)
    assert seconds[1] < 20 * seconds[0] + 0.002
