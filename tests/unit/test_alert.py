"""The table of design section 8, row by row."""

from dataclasses import replace

import pytest
from msgspec import structs

from state import over as rules
from state.acknowledging import acknowledge, acknowledge_answered
from state.alert import LONGEST_NAME, Alert, Ending, Former, Notified, Status, source
from state.answers import (
    attempted,
    former_answered,
    former_attempted,
    overflowed,
    resolve_answered,
    trigger_accepted,
    trigger_attempted,
    trigger_refused,
)
from state.departures import departed, returned
from state.due import Due, due, former_due, is_new_problem, needs_room, owes
from state.occurrences import Occurrence, Outcome, event_time, occurred
from state.policy import Policy
from state.provider_feedback import Applied, Happened, What, happened
from state.restored import restored
from state.violation import Record, Severity

T0 = 1_800_000_000.0
POLICY = Policy(window_seconds=300, renotify_seconds=3600, quiet_seconds=1800, forget_seconds=604_800)


def record(offset: int = 0, at: float = T0) -> Record:
    return Record("events", 0, offset, int(at * 1000), b"sess-1", b"{}")


def occurs(
    alert: Alert | None,
    *,
    severity: Severity = Severity.HIGH,
    at: float = T0,
    now: float | None = None,
    offset: int = 0,
    policy: Policy = POLICY,
) -> tuple[Alert, Outcome]:
    occurrence = Occurrence(severity, at, record(offset, at))
    return occurred(alert, "key", "sess-1", occurrence, at if now is None else now, policy)


def told(severity: Severity = Severity.HIGH, at: float = T0) -> Alert:
    """An open alert that the provider has."""
    alert, _ = occurs(None, severity=severity, at=at)
    assert alert.owed is not None
    return trigger_accepted(alert, alert.owed, "default", None, at)


def over(alert: Alert) -> Alert:
    """What is over, and not gone at once."""
    after = rules.over(alert)
    assert after is not None
    return after


def resolving(alert: Alert | None = None) -> Alert:
    return over(alert or told())


# none


def test_the_first_event_opens_the_alert_and_owes_a_trigger() -> None:
    alert, outcome = occurs(None)
    assert (outcome, alert.status, due(alert)) == (Outcome.TRIGGERED, Status.OPEN, Due.TRIGGER)
    assert alert.owed is not None
    assert (alert.owed.first_offset, alert.owed.last_offset, alert.owed.occurrences) == (0, 0, 1)
    assert not alert.is_at_provider


# open, its trigger still owed


def test_an_event_is_counted_into_what_is_owed_and_the_highest_severity_is_sent() -> None:
    alert, _ = occurs(None, severity=Severity.HIGH, offset=1)
    alert, outcome = occurs(alert, severity=Severity.CRITICAL, offset=2)
    alert, _ = occurs(alert, severity=Severity.CRITICAL, offset=3)
    alert, _ = occurs(alert, severity=Severity.MEDIUM, offset=4)
    assert outcome is Outcome.COUNTED
    assert alert.owed is not None
    assert alert.owed.severity is Severity.CRITICAL
    assert alert.owed.record.offset == 2, "of the highest severity, the first on a tie"
    assert (alert.owed.first_offset, alert.owed.last_offset, alert.owed.occurrences) == (1, 4, 4)


# open


def test_an_event_within_the_window_is_suppressed_and_the_window_slides() -> None:
    alert = told()
    for step in range(1, 11):
        alert, outcome = occurs(alert, at=T0 + 299 * step)
        assert outcome is Outcome.SUPPRESSED
    assert alert.occurrences == 11
    assert alert.last_seen == T0 + 2990
    assert due(alert) is None


def test_an_event_after_the_window_triggers_again_with_the_count_so_far() -> None:
    alert, outcome = occurs(told(), at=T0 + 301)
    assert outcome is Outcome.TRIGGERED
    assert alert.occurrences == 2
    assert due(alert) is Due.TRIGGER


def test_the_window_runs_on_event_time_which_never_moves_back() -> None:
    alert, outcome = occurs(told(at=T0), at=T0 - 5000, now=T0 + 10)
    assert outcome is Outcome.SUPPRESSED
    assert (alert.first_seen, alert.last_seen) == (T0 - 5000, T0)


@pytest.mark.parametrize("status", [Status.OPEN, Status.ACKNOWLEDGED])
def test_a_higher_severity_than_the_provider_was_told_triggers(status: Status) -> None:
    alert, outcome = occurs(structs.replace(told(Severity.HIGH), status=status), severity=Severity.CRITICAL, at=T0 + 1)
    assert outcome is Outcome.TRIGGERED
    assert alert.owed is not None
    assert alert.owed.severity is Severity.CRITICAL
    assert alert.status is status


def test_renotify_bounds_suppression() -> None:
    alert = told()
    alert, outcome = occurs(alert, at=T0 + 250)
    assert outcome is Outcome.SUPPRESSED
    alert = structs.replace(alert, last_seen=T0 + 3599)
    assert occurs(alert, at=T0 + 3599)[1] is Outcome.SUPPRESSED
    assert occurs(alert, at=T0 + 3600)[1] is Outcome.TRIGGERED


@pytest.mark.parametrize("later", [1, 301, 4000])
def test_an_acknowledged_alert_suppresses_whatever_is_not_of_higher_severity(later: float) -> None:
    alert = structs.replace(told(), status=Status.ACKNOWLEDGED)
    assert occurs(alert, at=T0 + later)[1] is Outcome.SUPPRESSED


# the end


@pytest.mark.parametrize("status", [Status.OPEN, Status.ACKNOWLEDGED])
def test_when_the_threat_is_over_the_alert_is_resolving_through_its_own_route(status: Status) -> None:
    alert = over(structs.replace(told(), status=status, route="by_guard:secret_leak"))
    assert (alert.status, due(alert), alert.route) == (Status.RESOLVING, Due.RESOLVE, "by_guard:secret_leak")
    assert not alert.is_at_provider
    assert over(alert) is alert


def test_a_trigger_that_was_never_accepted_is_delivered_before_its_resolve() -> None:
    alert = over(occurs(None)[0])
    assert (alert.status, due(alert)) == (Status.RESOLVING, Due.TRIGGER)
    assert alert.owed is not None
    alert = trigger_accepted(alert, alert.owed, "default", None, T0)
    assert (alert.status, due(alert), alert.is_at_provider) == (Status.RESOLVING, Due.RESOLVE, False)


def test_an_event_on_a_resolving_alert_opens_it_and_triggers() -> None:
    alert, outcome = occurs(resolving(), at=T0 + 1)
    assert (outcome, alert.status, due(alert)) == (Outcome.TRIGGERED, Status.OPEN, Due.TRIGGER)
    assert alert.unsettled, "the resolve may be on the wire"


def test_the_answer_to_a_resolve_ends_the_alert_only_if_it_has_not_changed() -> None:
    sent = resolving()
    assert resolve_answered(sent, sent) is None
    changed, _ = occurs(sent, at=T0 + 1)
    after = resolve_answered(changed, sent)
    assert after is not None
    assert (after.status, due(after), after.unsettled) == (Status.OPEN, Due.TRIGGER, False)
    again = over(after)
    assert resolve_answered(again, sent) is not None, "resolving again is not the same"


def test_a_trigger_after_a_resolve_of_unknown_outcome_is_repeated_once() -> None:
    alert, _ = occurs(resolving(), at=T0 + 1, offset=7)
    assert alert.owed is not None
    alert = trigger_accepted(alert, alert.owed, "default", None, T0 + 1)
    assert alert.owed is not None
    assert alert.owed.repeat
    assert due(alert) is Due.TRIGGER
    alert = trigger_accepted(alert, alert.owed, "default", None, T0 + 31)
    assert due(alert) is None
    assert not alert.unsettled


def test_a_repeat_gives_way_to_a_trigger_of_higher_severity_which_is_repeated_in_turn() -> None:
    alert, _ = occurs(resolving(), at=T0 + 1)
    assert alert.owed is not None
    alert = trigger_accepted(alert, alert.owed, "default", None, T0 + 1)
    assert occurs(alert, at=T0 + 2)[1] is Outcome.SUPPRESSED
    alert, outcome = occurs(alert, severity=Severity.CRITICAL, at=T0 + 2)
    assert outcome is Outcome.TRIGGERED
    assert alert.owed is not None
    assert not alert.owed.repeat
    alert = trigger_accepted(alert, alert.owed, "default", None, T0 + 2)
    assert alert.owed is not None
    assert alert.owed.repeat


def test_what_takes_the_place_of_a_repeat_on_the_wire_has_none_of_its_occurrences() -> None:
    alert, _ = occurs(resolving(), at=T0 + 1, offset=8)
    assert alert.owed is not None
    alert = trigger_accepted(alert, alert.owed, "default", None, T0 + 1)
    repeat = alert.owed
    assert repeat is not None
    alert, outcome = occurs(alert, at=T0 + 2, offset=9)
    assert outcome is Outcome.SUPPRESSED
    alert, _ = occurs(alert, severity=Severity.CRITICAL, at=T0 + 3, offset=12)
    alert, _ = occurs(alert, severity=Severity.CRITICAL, at=T0 + 4, offset=13)
    left = trigger_accepted(alert, repeat, "default", None, T0 + 5).owed
    assert left is not None
    assert (left.first_offset, left.last_offset, left.occurrences, left.pins_offset) == (12, 13, 2, 12)


def test_a_repeat_that_is_on_the_wire_when_the_threat_ends_is_not_owed_any_more() -> None:
    alert, _ = occurs(resolving(), at=T0 + 1)
    assert alert.owed is not None
    alert = trigger_accepted(alert, alert.owed, "default", None, T0 + 1)
    repeat = alert.owed
    assert repeat is not None
    alert = over(alert)
    assert due(alert) is Due.RESOLVE
    after = trigger_accepted(alert, repeat, "default", None, T0 + 31)
    assert due(after) is Due.RESOLVE
    assert not owes(alert, repeat), "its rejection is no loss: it was accepted once"


def test_a_trigger_that_takes_the_place_of_a_repeat_on_the_wire_is_not_what_was_sent() -> None:
    alert, _ = occurs(resolving(), at=T0 + 1)
    assert alert.owed is not None
    alert = trigger_accepted(alert, alert.owed, "default", None, T0 + 1)
    repeat = alert.owed
    assert repeat is not None
    assert owes(alert, repeat)
    alert, _ = occurs(alert, severity=Severity.CRITICAL, at=T0 + 3, offset=12)
    assert not owes(alert, repeat)
    counted, _ = occurs(alert, severity=Severity.CRITICAL, at=T0 + 4, offset=13)
    assert alert.owed is not None
    assert owes(counted, alert.owed)


# answers to a trigger


def test_an_accepted_trigger_fixes_the_route_and_remembers_what_was_told() -> None:
    alert, _ = occurs(None, severity=Severity.CRITICAL)
    assert alert.owed is not None
    alert = trigger_accepted(alert, alert.owed, "by_tenant:acme", 123.0, T0 + 2)
    assert (alert.route, alert.is_at_provider, alert.owed) == ("by_tenant:acme", True, None)
    assert alert.last_notified is not None
    assert (alert.last_notified.severity, alert.last_notified.at, alert.last_notified.date) == (
        Severity.CRITICAL,
        T0 + 2,
        123.0,
    )


def test_what_was_counted_while_the_request_was_on_the_wire_is_suppressed() -> None:
    alert, _ = occurs(None, offset=1)
    sent = alert.owed
    assert sent is not None
    alert, _ = occurs(alert, offset=2)
    assert trigger_accepted(alert, sent, "default", None, T0).owed is None


def test_a_higher_severity_that_came_while_the_request_was_on_the_wire_is_owed() -> None:
    alert, _ = occurs(None, offset=1)
    sent = alert.owed
    assert sent is not None
    alert, _ = occurs(alert, offset=2)
    alert, _ = occurs(alert, severity=Severity.CRITICAL, offset=3)
    left = trigger_accepted(alert, sent, "default", None, T0).owed
    assert left is not None
    assert (left.record.offset, left.first_offset, left.last_offset, left.severity) == (3, 2, 3, Severity.CRITICAL)
    assert left.occurrences == 2, "all that came after what was sent"


def test_a_rejected_trigger_of_an_alert_the_provider_has_leaves_it_open() -> None:
    alert, _ = occurs(told(), at=T0 + 301, offset=9)
    assert alert.owed is not None
    after, dead = trigger_refused(alert, alert.owed, T0)
    assert after is not None
    assert (after.status, after.owed) == (Status.OPEN, None)
    assert dead.record.offset == 9


def test_a_rejected_trigger_that_cannot_have_arrived_ends_the_alert() -> None:
    alert = occurs(None)[0]
    assert alert.owed is not None
    assert trigger_refused(alert, alert.owed, T0) == (None, alert.owed)
    attempted = trigger_attempted(alert, "default", unknown=False, now=T0 + 1)
    assert attempted.owed is not None
    assert trigger_refused(attempted, attempted.owed, T0) == (None, attempted.owed)


def test_what_may_be_open_at_the_provider_is_resolved_although_its_last_trigger_was_rejected() -> None:
    renotified = over(occurs(told(), at=T0 + 10_000)[0])
    assert renotified.owed is not None
    after, _ = trigger_refused(renotified, renotified.owed, T0)
    assert after is not None
    assert due(after) is Due.RESOLVE


@pytest.mark.parametrize("how", ["reopened", "an unknown answer"])
def test_what_may_be_open_at_the_provider_is_told_anew_by_the_next_event_and_resolved_at_its_end(how: str) -> None:
    if how == "reopened":
        alert = occurs(resolving(), at=T0 + 1)[0]
    else:
        alert = trigger_attempted(occurs(None)[0], "default", unknown=True, now=T0 + 1)
    assert alert.owed is not None
    after, dead = trigger_refused(alert, alert.owed, T0)
    assert dead == alert.owed
    assert after is not None
    assert (after.status, due(after), after.last_notified) == (Status.OPEN, None, None)
    assert occurs(after, at=T0 + 2)[1] is Outcome.TRIGGERED
    assert due(over(after)) is Due.RESOLVE


def test_a_dead_letter_takes_what_was_counted_meanwhile_but_not_a_higher_severity() -> None:
    alert, _ = occurs(None, offset=1)
    sent = alert.owed
    assert sent is not None
    counted, _ = occurs(alert, offset=2)
    after, dead = trigger_refused(counted, sent, T0)
    assert after is None
    assert (dead.record.offset, dead.first_offset, dead.last_offset, dead.occurrences) == (1, 1, 2, 2)
    raised, _ = occurs(alert, severity=Severity.CRITICAL, offset=3)
    after, dead = trigger_refused(raised, sent, T0)
    assert after is not None
    assert after.owed is not None
    assert (after.owed.record.offset, dead.record.offset) == (3, 1)


def test_an_attempt_is_counted_and_fixes_the_route_only_where_it_may_still_land() -> None:
    alert, _ = occurs(None)
    once = trigger_attempted(alert, "default", False, T0 + 1)
    twice = trigger_attempted(once, "by_guard:x", True, T0 + 5)
    assert once.route is None
    assert twice.route == "by_guard:x"
    assert twice.owed is not None
    assert (twice.owed.attempts, twice.owed.first_attempt, twice.owed.last_attempt) == (2, T0 + 1, T0 + 5)


def test_what_the_last_attempt_met_is_kept_and_goes_with_the_attempts() -> None:
    alert, _ = occurs(None)
    tried = trigger_attempted(alert, "default", False, T0 + 1, 503, "down")
    assert tried.owed is not None
    assert (tried.owed.last_status, tried.owed.last_error) == (503, "down")
    counted, _ = occurs(tried, severity=Severity.CRITICAL, at=T0 + 2)
    assert counted.owed is not None
    assert (counted.owed.last_status, counted.owed.last_error) == (503, "down")
    worse = trigger_accepted(counted, tried.owed, "default", None, T0 + 3)
    assert worse.owed is not None
    assert (worse.owed.attempts, worse.owed.last_status, worse.owed.last_error) == (0, None, None)
    unanswered = trigger_attempted(counted, "default", True, T0 + 4, None, "no answer in time")
    assert unanswered.owed is not None
    assert (unanswered.owed.last_status, unanswered.owed.last_error) == (None, "no answer in time")


# which event it was


def of(guard: str, tenant: str | None = None, *, offset: int = 0, severity: Severity = Severity.HIGH) -> Occurrence:
    return Occurrence(severity, T0, record(offset), guard=guard, tenant=tenant)


def occurs_of(alert: Alert | None, occurrence: Occurrence) -> Alert:
    return occurred(alert, "key", "sess-1", occurrence, T0, POLICY)[0]


def accepted(alert: Alert) -> Alert:
    assert alert.owed is not None
    return trigger_accepted(alert, alert.owed, "default", None, T0)


def test_an_alert_keeps_which_event_was_told_until_another_one_is() -> None:
    alert = accepted(occurs_of(None, of("a", "acme", offset=3)))
    assert (alert.source, alert.last_notified and alert.last_notified.offset) == (source("a", "acme", "events", 0), 3)
    suppressed = occurs_of(alert, of("b", offset=4))
    assert (suppressed.source, suppressed.last_notified) == (alert.source, alert.last_notified)
    owing = occurs_of(alert, of("b", offset=5, severity=Severity.CRITICAL))
    assert (owing.source, owing.last_notified) == (alert.source, alert.last_notified), "it was not told yet"
    assert owing.owed is not None
    assert (owing.owed.guard, owing.owed.tenant) == ("b", None)
    after = accepted(owing)
    assert (after.source, after.last_notified and after.last_notified.offset) == (source("b", None, "events", 0), 5)


def test_what_is_counted_in_is_the_event_that_is_owed_only_if_it_is_worse() -> None:
    alert = occurs_of(None, of("a", "acme"))
    same, worse = occurs_of(alert, of("b")), occurs_of(alert, of("b", severity=Severity.CRITICAL))
    assert [(one.owed.guard, one.owed.tenant) for one in (same, worse) if one.owed is not None] == [
        ("a", "acme"), ("b", None),
    ]  # fmt: skip


def test_what_was_never_told_leaves_its_guard_and_tenant_behind() -> None:
    unsent = occurs_of(None, of("a", "acme"))
    dropped = overflowed(unsent)
    assert dropped is not None
    assert dropped.source == source("a", "acme", "events", 0)
    sent = trigger_attempted(unsent, "default", True, T0)
    assert sent.owed is not None
    refused, _ = trigger_refused(sent, sent.owed, T0)
    assert refused is not None
    assert (refused.last_notified, refused.source) == (None, dropped.source)
    raised = occurs_of(accepted(unsent), of("b", offset=9, severity=Severity.CRITICAL))
    assert raised.owed is not None
    update, _ = trigger_refused(raised, raised.owed, T0)
    assert update is not None
    assert (update.source, update.last_notified and update.last_notified.offset) == (dropped.source, 0), (
        "of what was told"
    )


def test_names_are_shared_and_bounded() -> None:
    one, other = (accepted(occurs_of(None, of("".join(["long", "guard"]), "x" * 9999))) for _ in range(2))
    assert one.source is other.source
    assert one.source is not None
    assert one.source.tenant == "x" * (LONGEST_NAME - 1) + "…"


# a rejected update


@pytest.mark.parametrize("severity", [Severity.HIGH, Severity.CRITICAL])
def test_a_rejected_update_counts_as_told_at_its_severity_until_it_is_due_again(severity: Severity) -> None:
    alert, _ = occurs(told(), severity=severity, at=T0 + 301, offset=9)
    assert alert.owed is not None
    after, _ = trigger_refused(alert, alert.owed, T0 + 302)
    assert after is not None
    assert after.last_notified is not None
    assert (after.last_notified.severity, after.last_notified.at) == (severity, T0 + 302)
    for later in range(10):
        after, outcome = occurs(after, severity=severity, at=T0 + 303 + later)
        assert outcome is Outcome.SUPPRESSED, "one dead letter, not ten"
    assert occurs(structs.replace(after, last_seen=T0 + 3902), severity=severity, at=T0 + 3902)[1] is Outcome.TRIGGERED


# too much is owed


def test_what_leaves_to_make_room_stays_marked_and_counts_on() -> None:
    alert = overflowed(occurs(None)[0])
    assert alert is not None
    assert (alert.status, alert.owed, alert.overflow, due(alert)) == (Status.OPEN, None, Severity.HIGH, None)
    again, outcome = occurs(alert, at=T0 + 1, offset=5)
    assert (outcome, again.occurrences, needs_room(again)) == (Outcome.TRIGGERED, 2, True)
    worse, _ = occurs(alert, severity=Severity.CRITICAL, at=T0 + 1)
    assert not needs_room(worse), "a worse one is not kept back"
    without_room = overflowed(again)
    assert without_room is not None
    assert (without_room.occurrences, without_room.owed, without_room.overflow) == (2, None, Severity.HIGH)
    assert again.owed is not None
    assert trigger_accepted(again, again.owed, "default", None, T0 + 2).overflow is None


@pytest.mark.parametrize("is_acknowledged", [False, True])
def test_what_leaves_to_make_room_when_its_resolve_was_taken_is_told_by_the_next_event(is_acknowledged: bool) -> None:
    before = structs.replace(told(), status=Status.ACKNOWLEDGED) if is_acknowledged else told()
    resolving = over(before)
    back = resolve_answered(occurs(resolving, at=T0 + 5, offset=1)[0], resolving)
    assert back is not None
    alert = overflowed(back)
    assert alert is not None
    assert (alert.status, alert.is_at_provider, alert.owed) == (Status.OPEN, False, None)
    again, outcome = occurs(alert, at=T0 + 10, offset=2)
    assert (outcome, due(again), needs_room(again)) == (Outcome.TRIGGERED, Due.TRIGGER, True)


def test_nor_does_what_was_resolved_at_the_provider_stay_silent_once_there_is_room() -> None:
    worse = occurs(structs.replace(told(), last_notified=Notified(Severity.HIGH, T0, T0)), severity=Severity.CRITICAL)[
        0
    ]
    found = happened(worse, Happened(What.RESOLVED, T0 + 60), 30.0)
    assert isinstance(found, Applied)
    assert found.alert is not None
    alert = overflowed(found.alert)
    assert alert is not None
    assert occurs(alert, at=T0 + 100, offset=1)[1] is Outcome.TRIGGERED


def test_the_end_of_an_alert_that_cannot_have_reached_anybody_is_told_to_nobody() -> None:
    unsent = overflowed(occurs(None)[0])
    assert unsent is not None
    assert rules.over(unsent) is None
    assert overflowed(over(occurs(None)[0])) is None
    sent = overflowed(trigger_attempted(occurs(None)[0], "default", unknown=True, now=T0))
    assert sent is not None
    assert due(over(sent)) is Due.RESOLVE


# what is new


def test_what_ranks_as_a_new_problem() -> None:
    new = occurs(None)[0]
    again = occurs(told(), at=T0 + 301)[0]
    raised = occurs(told(), severity=Severity.CRITICAL, at=T0 + 1)[0]
    back = occurs(resolving(), at=T0 + 1)[0]
    assert back.owed is not None
    repeat = trigger_accepted(back, back.owed, "default", None, T0 + 2)
    assert [is_new_problem(alert) for alert in (new, again, raised, back, repeat)] == [True, False, True, True, True]


# attempts of what has no record


def test_attempts_of_an_acknowledge_or_resolve_are_counted_until_it_is_answered() -> None:
    acknowledging = attempted(attempted(acknowledge(told())))
    assert acknowledging.failed == 2
    assert acknowledge_answered(acknowledging, accepted=True).failed == 0
    assert over(acknowledging).failed == 0
    failing = attempted(resolving())
    assert failing.failed == 1
    assert occurs(failing, at=T0 + 1)[0].failed == 0


# time


DAY, YEAR = 86_400.0, 31_536_000.0


@pytest.mark.parametrize(
    ("timestamp", "time", "expected"),
    [
        (int(T0 * 1000), T0, T0),
        (int(T0 * 1000), T0 + 0.0004, T0 + 0.0004),  # of the same millisecond
        (int(T0 * 1000), T0 + 0.001, T0),
        (int((T0 - 5) * 1000), T0, T0 - 5),
        (0, T0 - 1, T0 - 1),
        (-1, T0 - 1, T0 - 1),
        (int(T0), T0 - 1, T0 - 1),  # seconds
        (int((T0 + YEAR) * 1000), T0 - 1, T0 - 1),
        (int(T0 * 1000), 0.0, T0),
        (int(T0 * 1000), T0 / 1000, T0),
        (int((T0 + YEAR) * 1000), T0 + YEAR, T0 + 10),
        (0, 0.0, T0 + 10),
        (1_420_070_399_999, T0, T0),
        (1_420_070_400_000, T0, 1_420_070_400.0),
    ],
)
def test_a_time_that_cannot_be_one_counts_as_absent(timestamp: int, time: float, expected: float) -> None:
    assert event_time(time, timestamp, T0 + 10) == expected


@pytest.mark.parametrize("timestamp", [0, -1, 1, int(T0), 2**62])
def test_two_events_apart_are_told_twice_whatever_the_records_say(timestamp: int) -> None:
    alert: Alert | None = None
    outcomes = []
    for moment in (T0, T0 + 6):
        occurrence = Occurrence(Severity.HIGH, moment, structs.replace(record(), timestamp=timestamp))
        alert, outcome = occurred(alert, "key", None, occurrence, moment, replace(POLICY, window_seconds=3))
        outcomes.append(outcome)
        if alert.owed is not None:
            alert = trigger_accepted(alert, alert.owed, "default", None, moment)
    assert outcomes == [Outcome.TRIGGERED, Outcome.TRIGGERED]


def test_a_clock_that_was_ahead_keeps_nothing_from_being_told_again() -> None:
    ahead = told(at=T0 + YEAR)
    alert, outcome = occurs(ahead, at=T0)
    assert outcome is Outcome.SUPPRESSED
    assert alert.last_notified is not None
    assert (alert.last_notified.at, alert.last_seen, alert.decided) == (T0, T0, T0)
    assert occurs(alert, at=T0 + 301)[1] is Outcome.TRIGGERED
    assert occurs(structs.replace(alert, last_seen=T0 + 3599), at=T0 + 3600)[1] is Outcome.TRIGGERED


def test_restored_times_in_the_future_are_now() -> None:
    ahead = occurs(told(at=T0 + YEAR), at=T0 + YEAR + 301)[0]
    now = restored(ahead, T0)
    assert now.last_notified is not None
    assert now.owed is not None
    assert (now.first_seen, now.last_seen, now.decided, now.last_notified.at, now.owed.since) == (T0, T0, T0, T0, T0)
    past = occurs(told(), at=T0 + 301)[0]
    assert restored(past, T0 + 400) is past, "what needs no change stays the alert that the checkpoint holds"


# integrations that an alert has left (design section 18)

OLD, OLDER = Former("1f2e", "by_guard:x"), Former("3d4c", "default")


def moved(alert: Alert | None = None, *former: Former) -> Alert:
    """An alert that was told through another integration before, and is told through this one now."""
    return structs.replace(told() if alert is None else alert, integration="5b6a", former=former or (OLD,))


def test_the_first_event_decides_the_integration_and_no_other_does() -> None:
    occurrence = Occurrence(Severity.HIGH, T0, record())
    alert, _ = occurred(None, "key", "sess-1", occurrence, T0, POLICY, "high")
    worse = Occurrence(Severity.CRITICAL, T0, record(1))
    again, outcome = occurred(alert, "key", "sess-1", worse, T0, POLICY, "critical")
    assert (again.integration, outcome) == ("high", Outcome.COUNTED)


def test_what_an_alert_has_left_is_resolved_when_it_is_told_elsewhere() -> None:
    left = departed(told(), OLD)
    assert (due(left), left.route, left.last_notified, left.is_at_provider) == (None, None, None, False)
    owing, outcome = occurs(left, at=T0 + 1)
    assert (outcome, due(owing)) == (Outcome.TRIGGERED, Due.TRIGGER)
    assert owing.owed is not None
    assert due(trigger_accepted(owing, owing.owed, "default", None, T0 + 2)) is Due.RESOLVE_FORMER


def test_who_had_taken_the_incident_that_was_left_is_told_of_the_new_one() -> None:
    owing, _ = occurs(departed(structs.replace(told(), status=Status.ACKNOWLEDGED), OLD), at=T0 + 1)
    assert owing.status is Status.OPEN


def test_an_event_after_a_resolve_at_an_integration_that_was_left_is_told_once() -> None:
    ending = over(departed(told(), OLD))
    assert due(ending) is Due.RESOLVE_FORMER
    owing, _ = occurs(ending, at=T0 + 1)
    assert owing.owed is not None
    assert trigger_accepted(owing, owing.owed, "default", None, T0 + 2).owed is None, "it need not be repeated"


def test_an_alert_is_gone_when_it_is_resolved_wherever_it_was() -> None:
    ending = over(moved(None, OLD, OLDER))
    assert due(ending) is Due.RESOLVE
    rest = resolve_answered(ending, ending)
    assert rest is not None
    assert (due(rest), rest.route, rest.integration) == (Due.RESOLVE_FORMER, None, None)
    last = former_answered(rest, OLD.integration)
    assert last is not None
    assert (due(last), last.former) == (Due.RESOLVE_FORMER, (OLDER,))
    assert former_answered(last, OLDER.integration) is None


def test_an_alert_that_goes_on_stays_when_what_it_has_left_is_resolved() -> None:
    after = former_answered(moved(), OLD.integration)
    assert after is not None
    assert (after.former, after.is_at_provider, due(after)) == ((), True, None)


def test_where_it_cannot_be_resolved_others_have_their_turn() -> None:
    once = former_attempted(moved(None, OLD, OLDER))
    assert (once.former, once.failed) == ((OLDER, OLD), 1)


def test_a_trigger_that_is_rejected_elsewhere_leaves_the_alert_where_it_was() -> None:
    owing, _ = occurs(departed(told(), OLD), at=T0 + 1)
    assert owing.owed is not None
    after, _ = trigger_refused(structs.replace(owing, integration="5b6a"), owing.owed, T0 + 2)
    assert after is not None
    assert (after.former, after.integration, after.owed, due(over(after))) == ((OLD,), None, None, Due.RESOLVE_FORMER)


def test_nobody_is_told_of_the_end_of_an_alert_that_has_orphans_only() -> None:
    orphan = structs.replace(departed(told(), OLD), former=(), orphans=(OLD,))
    assert rules.over(orphan) is None


def test_an_alert_that_comes_back_does_not_know_whether_it_was_resolved_there_meanwhile() -> None:
    back = returned(departed(moved(), OLDER), OLD)
    assert (back.integration, back.route, back.former, back.unsettled) == ("1f2e", "by_guard:x", (OLDER,), True)
    owing, outcome = occurs(back, at=T0 + 1)
    assert outcome is Outcome.TRIGGERED
    assert owing.owed is not None
    repeat = trigger_accepted(owing, owing.owed, "by_guard:x", None, T0 + 2).owed
    assert repeat is not None
    assert repeat.repeat


# the record key


@pytest.mark.parametrize(("key", "kept"), [(b"sess-1", None), (b"tenant", b"tenant"), (b"", b""), (None, b"")], ids=str)
def test_an_alert_keeps_the_key_of_its_last_record_unless_it_is_the_session(
    key: bytes | None, kept: bytes | None
) -> None:
    occurrence = Occurrence(Severity.HIGH, T0, structs.replace(record(), key=key))
    first, _ = occurred(None, "key", "sess-1", occurrence, T0, POLICY)
    later, _ = occurred(told(), "key", "sess-1", occurrence, T0, POLICY)
    without_session, _ = occurred(None, "key", None, occurrence, T0, POLICY)

    assert (first.key, later.key, without_session.key) == (kept, kept, key or b"")


@pytest.mark.parametrize("ending", Ending)
def test_what_has_ended_an_alert_is_known_until_it_comes_back(ending: Ending) -> None:
    after = rules.over(told(), ending)
    assert after is not None
    assert after.ended_by is ending
    assert rules.over(after, Ending.QUIET) is after, "the first that has ended it"
    back, _ = occurs(after, at=T0 + 1)
    assert back.ended_by is None


def test_an_incident_that_may_be_resolved_now_does_not_wait_behind_one_that_may_not() -> None:
    alert, _ = occurs(None)
    assert alert.owed is not None
    alert = trigger_accepted(alert, alert.owed, "default", None, T0 + 1)
    waits, first, second = Former("a", "old", until_over=True), Former("b", "old"), Former("c", "old")
    alert = structs.replace(alert, former=(waits, first, second))
    assert due(alert) is Due.RESOLVE_FORMER
    assert former_due(alert) is first
    alert = former_attempted(alert)
    assert former_due(alert) is second
    one_left = former_answered(alert, "c")
    assert one_left is not None
    none_left = former_answered(one_left, "b")
    assert none_left is not None
    assert due(none_left) is None
    ended = over(none_left)
    assert ended is not None
    assert former_due(ended) is waits
