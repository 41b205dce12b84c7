"""The alerts of a task: its indexes always say what its alerts say, and its cuts what has changed."""

from collections.abc import Iterable
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from state.alert import Alert, Former, Owed, Status
from state.occurrences import Occurrence
from state.silenced import owes_after_silence, silenced
from state.store import Store
from state.violation import Record, Severity


def owed(offset: int = 0, *, since: float = 0.0, size: int = 10) -> Owed:
    record = Record("events", 0, offset, 0, None, b"x" * size)
    return Owed(record, Severity.HIGH, since, offset, offset, pins_offset=offset)


def alert(
    key: str = "a",
    *,
    status: Status = Status.OPEN,
    session: str | None = "s",
    decided: float = 0.0,
    owes: Owed | None = None,
) -> Alert:
    return Alert(key, status, session, 1, 0.0, 0.0, decided, Severity.HIGH, owed=owes)


def restore(store: Store, alerts: Iterable[Alert], now: float = 0.0) -> None:
    for _ in store.restore(alerts, now):
        pass


def test_put_get_drop() -> None:
    store = Store()
    assert store.get("a") is None
    first = alert()
    store.put(first)
    assert store.get("a") is first
    assert (len(store), list(store.keys())) == (1, ["a"])
    second = replace(first, occurrences=2)
    store.put(second)
    assert store.get("a") is second
    assert len(store) == 1
    store.drop("a")
    assert store.get("a") is None
    assert len(store) == 0


def test_what_is_owed_longest_owed_first() -> None:
    store = Store()
    store.put(alert("late", owes=owed(9, since=1.0, size=5)))
    store.put(alert("early", owes=owed(3, since=2.0, size=7)))
    store.put(alert("quiet"))
    assert list(store.owing()) == ["late", "early"]
    assert (store.owed_count, store.owed_bytes) == (2, 12)
    assert (store.oldest_owed_offset(), store.oldest_owed_since()) == (3, 1.0)
    store.put(alert("early"))
    store.drop("late")
    assert (list(store.owing()), store.owed_count, store.owed_bytes) == ([], 0, 0)
    assert (store.oldest_owed_offset(), store.oldest_owed_since()) == (None, None)


def test_the_alerts_of_a_session() -> None:
    store = Store()
    store.put(alert("a", session="s"))
    store.put(alert("b", session="t"))
    store.put(alert("c", session="s"))
    store.put(alert("d", session=None))
    assert store.keys_of_session("s") == ["a", "c"]
    store.drop("a")
    assert store.keys_of_session("s") == ["c"]
    store.drop("c")
    assert store.keys_of_session("s") == []
    assert store.keys_of_session("unknown") == []


def test_an_alert_of_which_nothing_was_heard_for_longest_comes_first() -> None:
    store = Store()
    for moment, key in enumerate("abc"):
        store.hear(alert(key), float(moment))
    store.hear(alert("a"), 5.0)
    store.put(replace(alert("b"), occurrences=7))  # nothing was heard: it keeps its place
    assert [found.dedup_key for found in store.longest_quiet(10.0)] == ["b", "c", "a"]
    assert [found.dedup_key for found in store.longest_quiet(2.0)] == ["b", "c"]
    assert (store.heard("a"), store.heard("b")) == (5.0, 1.0)


def test_quiet_begins_anew_for_what_is_restored_whatever_a_wall_clock_says() -> None:
    store = Store()
    restore(store, [alert("long ago", decided=1.0), alert("in the future", decided=1e12)], now=100.0)
    assert list(store.longest_quiet(99.9)) == []
    assert (store.is_any_quiet(99.9), store.is_any_quiet(100.0)) == (False, True)
    assert [found.dedup_key for found in store.longest_quiet(100.0)] == ["long ago", "in the future"]
    store.hear(alert("long ago"), 101.0)
    assert [found.dedup_key for found in store.longest_quiet(200.0)] == ["in the future", "long ago"]


def test_a_cut_takes_what_has_changed_since_the_last_one() -> None:
    store = Store()
    assert not store.has_changes
    first = alert("a")
    store.put(first)
    store.put(alert("b"))
    assert store.has_changes
    assert set(store.cut()) == {"a", "b"}
    assert not store.has_changes
    store.committed()
    assert dict(store.cut().items()) == {}
    store.committed()
    store.drop("b")
    assert dict(store.cut().items()) == {"b": None}


def test_a_cut_is_of_its_moment() -> None:
    store = Store()
    before = alert("a")
    store.put(before)
    cut = store.cut()
    store.put(replace(before, occurrences=2))
    store.committed()
    assert dict(cut.items()) == {"a": before}
    assert store.has_changes


def test_one_cut_at_a_time() -> None:
    store = Store()
    store.put(alert("a"))
    store.cut()
    with pytest.raises(AssertionError):
        store.cut()


def test_held_only_once_the_cut_with_the_alert_as_it_is_now_is_committed() -> None:
    store = Store()
    store.put(alert("a"))
    assert not store.is_held("a"), "not cut"
    store.cut()
    assert not store.is_held("a"), "not committed"
    store.committed()
    assert store.is_held("a")
    store.put(alert("a", status=Status.RESOLVING))
    assert not store.is_held("a"), "changed"
    store.cut()
    store.put(alert("a"))
    store.committed()
    assert not store.is_held("a"), "changed while the cut was being committed"


def test_what_is_restored_is_held_and_unchanged() -> None:
    store = Store()
    restore(store, [alert("b", owes=owed(4)), alert("a", status=Status.RESOLVING)])
    assert not store.has_changes
    assert store.is_held("a")
    assert store.is_held("b")
    assert (list(store.owing()), store.oldest_owed_offset()) == (["b"], 4)
    assert store.counts() == {Status.OPEN: 1, Status.ACKNOWLEDGED: 0, Status.RESOLVING: 1}


@pytest.mark.slow
def test_many_alerts_of_one_session_cost_no_more_than_of_many() -> None:
    store = Store()
    began = perf_counter()
    for number in range(40_000):
        store.put(alert(f"{number}", session="one"))
    for dedup_key in store.keys_of_session("one"):
        store.drop(dedup_key)
    assert perf_counter() - began < 5, "24 s when each of them went through all others"
    assert len(store) == 0


def test_counts_by_status() -> None:
    store = Store()
    store.put(alert("a"))
    store.put(alert("b"))
    store.put(alert("c", status=Status.RESOLVING))
    assert store.counts() == {Status.OPEN: 2, Status.ACKNOWLEDGED: 0, Status.RESOLVING: 1}


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, Alert | None]:
    key = draw(st.sampled_from("abcd"))
    if draw(st.integers(0, 3)) == 0:
        return key, None
    owes = draw(st.none() | st.builds(owed, st.integers(0, 50), since=st.floats(0, 9), size=st.integers(0, 20)))
    status = draw(st.sampled_from(Status))
    session = {"a": "s", "b": "s", "c": "t", "d": None}[key]
    return key, alert(key, status=status, session=session, decided=draw(st.floats(0, 9)), owes=owes)


@given(st.lists(changes() | st.sampled_from(["cut", "committed"]), max_size=40))
def test_the_indexes_say_what_the_alerts_say(steps: list[tuple[str, Alert | None] | str]) -> None:
    store, alerts, committed, cutting = Store(), dict[str, Alert](), dict[str, Alert | None](), None
    for step in steps:
        match step:
            case "cut" if cutting is None:
                cutting = store.cut()
            case "committed" if cutting is not None:
                store.committed()
                committed.update(cutting.items())
                cutting = None
            case (key, None) if key in alerts:
                store.drop(key)
                del alerts[key]
            case (key, Alert() as new):
                store.put(new)
                alerts[key] = new
    owing = {key: value.owed for key, value in alerts.items() if value.owed is not None}
    assert set(store.keys()) == alerts.keys()
    assert len(store) == len(alerts)
    assert all(store.get(key) is value for key, value in alerts.items())
    assert [owing[key].since for key in store.owing()] == sorted(debt.since for debt in owing.values())
    assert store.owed_count == len(owing)
    assert store.owed_bytes == sum(debt.record.size for debt in owing.values())
    assert store.oldest_owed_offset() == min((debt.first_offset for debt in owing.values()), default=None)
    assert store.oldest_owed_since() == min((debt.since for debt in owing.values()), default=None)
    assert store.counts() == {status: sum(value.status is status for value in alerts.values()) for status in Status}
    for session in "st":
        assert set(store.keys_of_session(session)) == {
            key for key, value in alerts.items() if value.session_id == session
        }
    for key, value in alerts.items():
        if store.is_held(key):
            assert committed.get(key) is value
    # What is committed and what is in the cuts since then is everything.
    if cutting is not None:
        store.committed()
        committed.update(cutting.items())
    committed.update(store.cut().items())
    assert {key: value for key, value in committed.items() if value is not None} == alerts


# what a next owner would go on with


def test_the_state_holds_another_life_until_a_checkpoint_knows_of_its_end() -> None:
    store = Store()
    store.put(alert("a"))
    assert not store.state_holds_another("a"), "it is the first"
    store.drop("a")
    store.put(alert("a"))
    assert store.state_holds_another("a")
    store.cut()
    assert store.state_holds_another("a"), "it is not committed yet"
    assert set(store.committed()) == {"a"}
    assert not store.state_holds_another("a")


def test_an_end_behind_the_cut_waits_for_the_next_one() -> None:
    store = Store()
    store.put(alert("a"))
    store.cut()
    store.drop("a")
    store.put(alert("a"))
    assert set(store.committed()) == set()
    assert store.state_holds_another("a")
    store.cut()
    store.committed()
    assert not store.state_holds_another("a")


def test_an_alert_that_goes_to_another_integration_is_another_to_the_state() -> None:
    store = Store()
    restore(store, [replace(alert("a"), integration="old"), replace(alert("b"), integration="old")])
    store.put(replace(alert("a"), integration="new"))
    store.write_first("b")
    assert store.state_holds_another("a")
    assert store.state_holds_another("b")
    assert set(store.cut()) == {"a", "b"}


def test_orphans_are_counted() -> None:
    store = Store()
    restore(store, [replace(alert("a"), orphans=(Former("gone", "default"),)), alert("b")])
    assert store.orphaned_count == 1
    store.drop("a")
    assert store.orphaned_count == 0


# silenced alerts


def test_what_is_silenced_comes_in_the_order_in_which_silences_end_and_leaves_with_them() -> None:
    def muted(key: str, until: float) -> Alert:
        occurrence = Occurrence(Severity.HIGH, 1.0, Record("events", 0, 1, 1, None, b"{}"))
        return silenced(None, key, None, occurrence, {"s": until}, 1.0)

    store = Store()
    for key, until in (("a", 30.0), ("b", 10.0), ("c", 20.0)):
        store.hear(muted(key, until), 0.0)
    assert list(store.silenced()) == ["b", "c", "a"]

    store.put(muted("b", 40.0))
    store.drop("c")
    assert list(store.silenced()) == ["a", "b"]

    alert = store.get("a")
    assert alert is not None
    store.put(owes_after_silence(alert, Record("events", 0, 1, 1, None, b"{}"), 30.0))
    assert (list(store.silenced()), store.silenced_count, list(store.owing())) == (["b"], 1, ["a"])

    restored = Store()
    for _ in restored.restore([muted("a", 30.0), muted("b", 10.0)], 0.0):
        pass
    assert list(restored.silenced()) == ["b", "a"]


def test_a_steady_silenced_stream_keeps_no_resolve_from_being_held() -> None:
    def committed(store: Store) -> list[tuple[str, Alert | None]]:
        changes = list(store.cut().items())
        store.committed()
        return changes

    def muted(alert: Alert, offset: int) -> Alert:
        occurrence = Occurrence(Severity.HIGH, 2.0, Record("events", 0, offset, 2, None, b"{}"))
        return silenced(alert, "a", None, occurrence, {"s": 30.0}, 2.0)

    store = Store()
    resolving = Alert("a", Status.RESOLVING, None, 1, 1.0, 1.0, 1.0, Severity.HIGH, route="default")
    store.put(resolving)
    assert not store.is_held("a")
    changes = store.cut()
    store.hear(muted(resolving, 1), 0.0)
    assert not store.is_held("a"), "not committed"
    store.committed()
    (written,) = (alert for _, alert in changes.items())
    assert written is not None
    assert store.is_as_written(written)
    assert store.is_held("a"), "what is silenced meanwhile is another matter"
    for offset in range(2, 5):
        alert = store.get("a")
        assert alert is not None
        store.hear(muted(alert, offset), 0.0)
        assert store.is_held("a")
    alert = store.get("a")
    assert alert is not None
    store.put(replace(alert, failed=1))
    assert not store.is_held("a"), "that is a change"
    committed(store)
    assert store.is_held("a")
    store.hear(muted(replace(alert, failed=1), 9), 0.0)
    store.put(replace(alert, status=Status.OPEN))
    assert not store.is_held("a")
