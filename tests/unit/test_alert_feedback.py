"""What operators and replays make of an alert: the feedback rows of design section 8, and how they are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.acknowledging import acknowledge, acknowledge_answered
from state.alert import Alert, Status
from state.answers import trigger_accepted, trigger_refused
from state.due import Due, due
from state.occurrences import Occurrence, Outcome, occurred
from state.over import over
from state.policy import Policy
from state.records import Position, decode_alert, decode_position, encode_alert, encode_key, encode_position
from state.store import Store
from state.violation import Record, Severity

T0 = 1_800_000_000.0
POLICY = Policy(window_seconds=300, renotify_seconds=3600, quiet_seconds=1800, forget_seconds=604_800)


def occurs(
    alert: Alert | None,
    offset: int = 0,
    *,
    severity: Severity = Severity.HIGH,
    at: float = T0,
    replay: bool = False,
) -> Alert:
    record = Record("events", 0, offset, int(at * 1000), b"sess-1", b"{}")
    return occurred(alert, "key", "sess-1", Occurrence(severity, at, record, replay), at, POLICY)[0]


def accepted(alert: Alert, at: float = T0) -> Alert:
    assert alert.owed is not None
    return trigger_accepted(alert, alert.owed, "default", None, at)


def told() -> Alert:
    """An open alert that the provider has."""
    return accepted(occurs(None))


# an operator acknowledges


def test_an_open_alert_owes_an_acknowledge_and_then_is_acknowledged() -> None:
    alert = acknowledge(told())
    assert (alert.status, due(alert)) == (Status.OPEN, Due.ACKNOWLEDGE)
    alert = acknowledge_answered(alert, accepted=True)
    assert (alert.status, due(alert)) == (Status.ACKNOWLEDGED, None)


def test_an_owed_trigger_goes_first() -> None:
    alert = acknowledge(occurs(None))
    assert due(alert) is Due.TRIGGER
    assert due(accepted(alert)) is Due.ACKNOWLEDGE


def test_a_new_occurrence_does_not_cancel_it() -> None:
    alert = occurs(acknowledge(told()), 1, severity=Severity.CRITICAL)
    assert due(alert) is Due.TRIGGER
    assert due(accepted(alert)) is Due.ACKNOWLEDGE


@pytest.mark.parametrize("alert", [over(told()), acknowledge_answered(acknowledge(told()), accepted=True)])
def test_what_is_being_resolved_or_acknowledged_already_stays_as_it_is(alert: Alert) -> None:
    assert acknowledge(alert) is alert


def test_twice_is_once() -> None:
    alert = acknowledge(told())
    assert acknowledge(alert) is alert


def test_a_rejected_acknowledge_is_dropped() -> None:
    alert = acknowledge_answered(acknowledge(told()), accepted=False)
    assert (alert.status, due(alert)) == (Status.OPEN, None)


def test_what_is_over_owes_no_acknowledge_and_is_not_acknowledged_by_a_late_answer() -> None:
    alert = over(acknowledge(told()))
    assert alert is not None
    assert due(alert) is Due.RESOLVE
    reopened = occurs(alert, 1)
    after = acknowledge_answered(reopened, accepted=True)
    assert (after.status, due(after)) == (Status.OPEN, Due.TRIGGER)


def test_a_trigger_that_is_rejected_takes_the_acknowledge_with_it() -> None:
    alert = acknowledge(occurs(None))
    assert alert.owed is not None
    assert trigger_refused(alert, alert.owed, T0)[0] is None


def test_an_acknowledged_alert_is_suppressed_and_can_be_resolved() -> None:
    alert = acknowledge_answered(acknowledge(told()), accepted=True)
    again = occurs(alert, 1, at=T0 + 10_000)
    assert (again.status, due(again)) == (Status.ACKNOWLEDGED, None)
    ended = over(again)
    assert ended is not None
    assert due(ended) is Due.RESOLVE


# replays


def holds(alert: Alert) -> int | None:
    assert alert.owed is not None
    return alert.owed.pins_offset


def test_a_replay_holds_nothing_of_the_input_back() -> None:
    alert = occurs(None, 5, replay=True)
    assert holds(alert) is None
    store = Store()
    store.put(alert)
    assert (list(store.owing()), store.oldest_owed_offset()) == (["key"], None)
    store.put(occurs(alert, 90))
    assert store.oldest_owed_offset() == 90
    store.put(accepted(occurs(alert, 90)))
    assert (list(store.owing()), store.oldest_owed_offset()) == ([], None)


def test_a_replay_counted_into_an_event_leaves_what_it_holds() -> None:
    alert = occurs(occurs(None, 90), 5, replay=True)
    assert holds(alert) == 90
    assert alert.owed is not None
    assert (alert.owed.first_offset, alert.owed.last_offset, alert.owed.occurrences) == (5, 90, 2)


@pytest.mark.parametrize(
    ("first", "then", "left"),
    [
        ((90, False), (91, False), 91),
        ((90, False), (5, True), 91),
        ((5, True), (90, False), 90),
        ((5, True), (6, True), None),
    ],
)
def test_what_was_not_sent_holds_what_it_has_of_the_input(
    first: tuple[int, bool], then: tuple[int, bool], left: int | None
) -> None:
    alert = occurs(None, first[0], replay=first[1])
    sent = alert.owed
    assert sent is not None
    alert = occurs(alert, then[0], severity=Severity.CRITICAL, replay=then[1])
    assert holds(trigger_accepted(alert, sent, "default", None, T0)) == left


def test_a_record_without_a_time_is_of_the_events_time() -> None:
    record = Record("events", 0, 1, -1, None, b"{}")
    alert, outcome = occurred(None, "key", None, Occurrence(Severity.HIGH, T0, record), T0 + 5, POLICY)
    assert (alert.first_seen, outcome) == (T0, Outcome.TRIGGERED)


# records


@given(st.dictionaries(st.integers(0, 1000), st.integers(0, 2**63 - 1), max_size=4))
def test_feedback_positions_come_back_as_they_were(feedback: dict[int, int]) -> None:
    position = Position("events", 1, 2, feedback)
    assert decode_position(encode_position(position)) == position


def test_an_old_checkpoint_has_none() -> None:
    assert decode_position(b'{"v":1,"topic":"t","partition":0,"position":7}') == Position("t", 0, 7, {})


@pytest.mark.parametrize("replay", [False, True])
def test_what_is_new_comes_back_as_it_was(replay: bool) -> None:
    alert = acknowledge(occurs(None, 4, replay=replay))
    assert decode_alert(encode_key("key"), encode_alert(alert)) == alert


def test_what_an_old_version_wrote_is_read() -> None:
    alert = occurs(None, 4)
    old = encode_alert(alert).replace(b'"holds":4,', b"")
    assert b"holds" not in old
    assert b"acknowledging" not in old
    assert decode_alert(encode_key("key"), old) == alert


# the store
