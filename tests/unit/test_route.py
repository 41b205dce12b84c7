"""A route's queue: severity, then age, triggers before resolves; what waits for its moment; pauses."""

import weakref
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from providers.route import Debt, Route

from state.violation import Severity

OUTBOX = object()
OTHER = object()
NOW = 1000.0


def debt(
    key: str = "a",
    severity: Severity = Severity.HIGH,
    *,
    since: float = 0.0,
    is_resolve: bool = False,
    not_before: float = 0.0,
    outbox: Any = OUTBOX,
) -> Debt:
    return Debt((outbox, key), severity, since, is_resolve, not_before)


def queue(*debts: Debt, now: float = NOW) -> Route:
    route = Route("default")
    for each in debts:
        route.add(each, now)
    return route


def taken(route: Route, now: float = NOW) -> list[str]:
    keys = []
    while (each := route.take(now)) is not None:
        keys.append(each.key[1])
    return keys


def test_an_empty_queue_gives_nothing() -> None:
    route = queue()
    assert (route.take(NOW), len(route), route.next_due(NOW)) == (None, 0, None)


def test_the_highest_severity_leaves_first_then_the_oldest() -> None:
    route = queue(
        debt("high, new", since=9.0),
        debt("high, old", since=1.0),
        debt("critical, new", Severity.CRITICAL, since=9.0),
        debt("critical, old", Severity.CRITICAL, since=2.0),
        debt("medium", Severity.MEDIUM),
    )
    assert taken(route) == ["critical, old", "critical, new", "high, old", "high, new", "medium"]


def test_a_trigger_leaves_before_a_resolve_of_the_same_severity_however_old() -> None:
    route = queue(debt("resolve", is_resolve=True, since=1.0), debt("trigger", since=9.0))
    route.add(debt("critical resolve", Severity.CRITICAL, is_resolve=True), NOW)
    assert taken(route) == ["critical resolve", "trigger", "resolve"]


def test_equal_ranks_leave_in_the_order_in_which_they_came() -> None:
    assert taken(queue(*[debt(key) for key in "dacb"])) == list("dacb")


def test_an_alert_is_queued_once_at_what_was_said_last() -> None:
    route = queue(debt("a"), debt("b", since=1.0), debt("a", Severity.CRITICAL))
    assert len(route) == 2
    assert taken(route) == ["a", "b"]
    assert len(route) == 0


def test_the_same_said_again_changes_nothing() -> None:
    assert taken(queue(debt("a"), debt("b"), debt("a"))) == ["a", "b"]


def test_the_same_key_of_another_outbox_is_another_alert() -> None:
    route = queue(debt("a"), debt("a", outbox=OTHER))
    assert len(route) == 2
    assert taken(route) == ["a", "a"]


def test_what_is_taken_can_be_queued_again() -> None:
    route = queue(debt("a"))
    assert taken(route) == ["a"]
    route.add(debt("a"), NOW)
    assert taken(route) == ["a"]


def test_a_delayed_debt_waits_for_its_moment_and_holds_nobody_up() -> None:
    route = queue(debt("later", Severity.CRITICAL, not_before=NOW + 5), debt("now"))
    assert taken(route) == ["now"]
    assert route.next_due(NOW) == NOW + 5
    assert route.take(NOW + 4.999) is None
    assert taken(route, NOW + 5) == ["later"]


def test_what_has_become_due_is_ordered_by_its_rank() -> None:
    route = queue(
        debt("low", Severity.LOW, not_before=NOW + 1), debt("critical", Severity.CRITICAL, not_before=NOW + 2)
    )
    route.add(debt("high"), NOW)
    assert taken(route, NOW + 3) == ["critical", "high", "low"]


def test_said_again_a_delayed_debt_leaves_at_its_new_moment_only() -> None:
    route = queue(debt("a", not_before=NOW + 5))
    route.add(debt("a"), NOW)
    assert taken(route) == ["a"]
    assert taken(route, NOW + 9) == []
    route = queue(debt("b"))
    route.add(debt("b", not_before=NOW + 5), NOW)
    assert taken(route) == []
    assert taken(route, NOW + 5) == ["b"]


def test_nothing_of_an_outbox_that_was_forgotten_leaves() -> None:
    route = queue(debt("a"), debt("b", outbox=OTHER), debt("c", not_before=NOW + 1))
    route.forget(OUTBOX)
    assert len(route) == 1
    assert taken(route, NOW + 2) == ["b"]
    assert route.next_due(NOW) is None


def test_a_retry_after_pauses_the_route() -> None:
    route = queue(debt("a"))
    route.unavailable(NOW, 10.0)
    assert route.take(NOW + 9.9) is None
    assert route.next_due(NOW) == NOW + 10
    assert taken(route, NOW + 10) == ["a"]


def test_a_shorter_retry_after_does_not_shorten_a_pause() -> None:
    route = queue(debt("a"))
    route.unavailable(NOW, 10.0)
    route.unavailable(NOW + 1, 2.0)
    route.answered()
    assert route.take(NOW + 9.9) is None


def test_an_outage_without_a_retry_after_does_not_pause_it() -> None:
    route = queue(debt("a"))
    route.unavailable(NOW, None)
    assert taken(route) == ["a"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from("abcde"), st.sampled_from(Severity), st.integers(0, 5), st.booleans(), st.integers(0, 10)
    ),
    max_size=30,
)


@given(STEPS, st.integers(0, 12))
def test_whatever_was_said_what_leaves_is_the_last_word_of_each_alert_in_order(
    said: list[tuple[str, Severity, int, bool, int]], later: int
) -> None:
    route, last = Route("default"), dict[str, Debt]()
    for key, severity, since, is_resolve, delay in said:
        last[key] = debt(key, severity, since=float(since), is_resolve=is_resolve, not_before=NOW + delay)
        route.add(last[key], NOW)
    assert len(route) == len(last)
    due = {key: each for key, each in last.items() if each.not_before <= NOW + later}
    left = taken(route, NOW + later)
    assert sorted(left) == sorted(due)
    assert [due[key].rank for key in left] == sorted(each.rank for each in due.values())
    assert sorted(taken(route, NOW + 100)) == sorted(last.keys() - due.keys())


def test_what_was_forgotten_is_let_go_while_the_route_takes_nothing() -> None:
    class Outbox:
        pass

    outbox = Outbox()
    gone = weakref.ref(outbox)
    route = queue(debt("ready", outbox=outbox), debt("later", not_before=NOW + 60, outbox=outbox), debt("other"))
    route.forget(outbox)
    del outbox
    assert gone() is None
    assert taken(route) == ["other"]
