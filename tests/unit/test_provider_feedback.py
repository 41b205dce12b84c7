"""The table of design section 20, row by row."""

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from state.acknowledging import acknowledge, acknowledge_answered
from state.alert import Alert, Ending, Former, Heard, Status
from state.answers import former_answered, former_attempted, trigger_accepted
from state.departures import departed
from state.due import Due, due
from state.occurrences import Occurrence, Outcome, occurred
from state.over import over
from state.policy import Policy
from state.provider_feedback import Applied, Happened, Ignored, TellAgain, What, Why, happened, told_again
from state.violation import Record, Severity

T0 = 1_800_000_000.0
TIMEOUT = 30.0
POLICY = Policy(window_seconds=300, renotify_seconds=3600, quiet_seconds=1800, forget_seconds=604_800)
RECORD = Record("events", 0, 0, int(T0 * 1000), b"sess-1", b"{}")

AHEAD = 1000.0
"""The provider's clock is ahead of ours by so much: only times of one clock may be compared."""


def occurs(alert: Alert | None, *, at: float, severity: Severity = Severity.HIGH) -> tuple[Alert, Outcome]:
    record = replace(RECORD, timestamp=int((T0 + at) * 1000))
    return occurred(alert, "key", "sess-1", Occurrence(severity, T0 + at, record, guard="g"), T0 + at, POLICY)


def told(*, at: float = 0.0, alert: Alert | None = None) -> Alert:
    """An open alert that the provider has accepted so many seconds after the beginning, with its ``Date``."""
    owing = occurs(alert, at=at)[0]
    assert owing.owed is not None
    return trigger_accepted(owing, owing.owed, "default", float(int(T0 + AHEAD + at)), T0 + at)


def then(
    what: What, at: float, *, incident: str | None = None, by_integration: bool = False, opened: float | None = None
) -> Happened:
    """Something that happens at the provider so many seconds after the beginning, to an incident that was ``opened`` so
    many seconds after it."""
    return Happened(what, T0 + AHEAD + at, incident, by_integration, None if opened is None else T0 + AHEAD + opened)


def noted(alert: Alert, at: float) -> Alert:
    """The alert with the note that its incident was resolved so many seconds after the beginning."""
    return replace(alert, heard=Heard(T0 + AHEAD + at))


def applied(alert: Alert, it: Happened) -> Alert:
    found = happened(alert, it, TIMEOUT)
    assert isinstance(found, Applied)
    assert found.alert is not None
    return found.alert


ACKNOWLEDGED = then(What.ACKNOWLEDGED, 10.0)


def test_acknowledged_is_acknowledged_and_nothing_is_sent() -> None:
    alert = applied(told(), ACKNOWLEDGED)
    assert (alert.status, due(alert)) == (Status.ACKNOWLEDGED, None)
    assert occurs(alert, at=20.0)[1] is Outcome.SUPPRESSED
    assert occurs(alert, at=7200.0)[1] is Outcome.SUPPRESSED
    assert occurs(alert, at=20.0, severity=Severity.CRITICAL)[1] is Outcome.TRIGGERED


def test_an_operator_who_has_acknowledged_it_here_owes_nothing_any_more() -> None:
    assert due(acknowledge(told())) is Due.ACKNOWLEDGE
    assert due(applied(acknowledge(told()), ACKNOWLEDGED)) is None


def test_what_is_owed_stays_owed_when_it_is_acknowledged() -> None:
    after = applied(occurs(told(), at=5.0, severity=Severity.CRITICAL)[0], ACKNOWLEDGED)
    assert (after.status, due(after)) == (Status.ACKNOWLEDGED, Due.TRIGGER)


@pytest.mark.parametrize("what", [What.UNACKNOWLEDGED, What.REOPENED])
def test_unacknowledged_is_open(what: What) -> None:
    alert = applied(applied(told(), ACKNOWLEDGED), then(what, 11.0))
    assert (alert.status, due(alert)) == (Status.OPEN, None)


def updated(alert: Alert, *, at: float) -> Alert:
    """The alert has got worse so many seconds after the beginning, and its provider has accepted that."""
    owing = occurs(alert, at=at, severity=Severity.CRITICAL)[0]
    assert owing.owed is not None
    return trigger_accepted(owing, owing.owed, "default", T0 + AHEAD + at, T0 + at, T0 + at)


def acknowledged_here(alert: Alert, *, at: float) -> Alert:
    """An operator's acknowledge was accepted so many seconds after the beginning."""
    return acknowledge_answered(acknowledge(alert), accepted=True, date=T0 + AHEAD + at)


@pytest.mark.parametrize("what", [What.UNACKNOWLEDGED, What.REOPENED])
@pytest.mark.parametrize("has_got_worse", [False, True])
def test_what_comes_twice_or_late_does_not_undo_a_later_acknowledge_of_our_own(what: What, has_got_worse: bool) -> None:
    alert = applied(applied(told(), then(What.ACKNOWLEDGED, 50.0)), then(What.UNACKNOWLEDGED, 100.0))
    alert = acknowledged_here(updated(alert, at=200.0) if has_got_worse else alert, at=210.0)
    for at in (100.0, 150.0, 209.9):
        assert happened(alert, then(what, at), TIMEOUT) == Ignored(Why.OLDER)
    assert applied(alert, then(what, 210.0)).status is Status.OPEN


def test_but_what_was_resolved_before_it_is_resolved() -> None:
    alert = acknowledged_here(occurs(told(), at=120.0)[0], at=210.0)
    assert happened(alert, then(What.RESOLVED, 100.0), TIMEOUT) == TellAgain(is_repeat=False)


def test_of_the_same_moment_as_the_last_that_was_heard_nothing_is_taken_back() -> None:
    alert = applied(applied(told(), then(What.ACKNOWLEDGED, 50.0)), then(What.UNACKNOWLEDGED, 100.0))
    taken = acknowledge_answered(acknowledge(updated(alert, at=200.0)), accepted=True)  # it was not said when
    assert happened(taken, then(What.UNACKNOWLEDGED, 100.0), TIMEOUT) == Ignored(Why.BEFORE)


def test_nobody_has_taken_what_an_update_has_opened_behind_a_resolve() -> None:
    alert = updated(applied(told(), then(What.ACKNOWLEDGED, 50.0)), at=200.0)
    after = applied(alert, then(What.RESOLVED, 100.0))
    assert (after.status, due(after), after.is_at_provider) == (Status.OPEN, None, True)
    assert happened(after, then(What.ACKNOWLEDGED, 50.0), TIMEOUT) == Ignored(Why.OLDER)
    assert applied(after, then(What.ACKNOWLEDGED, 201.0, incident="new")).status is Status.ACKNOWLEDGED
    assert happened(acknowledged_here(after, at=210.0), then(What.RESOLVED, 110.0), TIMEOUT) == Ignored(Why.BEFORE)


@pytest.mark.parametrize("what", [What.REASSIGNED, What.ANNOTATED, What.PRIORITY_CHANGED])
def test_the_rest_changes_nothing_and_makes_nothing_older(what: What) -> None:
    assert happened(told(), then(what, 50.0), TIMEOUT) == Ignored(Why.HISTORY)


def test_what_is_older_than_the_last_that_was_applied_is_ignored() -> None:
    alert = applied(told(), then(What.UNACKNOWLEDGED, 12.0))
    assert happened(alert, ACKNOWLEDGED, TIMEOUT) == Ignored(Why.OLDER)
    alert = applied(told(), then(What.ACKNOWLEDGED, 100.0))
    assert happened(alert, then(What.RESOLVED, 99.0), TIMEOUT) == Ignored(Why.OLDER)


def test_what_happened_at_the_same_moment_is_applied_in_the_order_in_which_it_comes() -> None:
    alert = applied(told(), then(What.ACKNOWLEDGED, 100.0))
    assert happened(alert, then(What.RESOLVED, 100.0), TIMEOUT) == Applied(None)


@pytest.mark.parametrize("what", [What.RESOLVED, What.ACKNOWLEDGED, What.UNACKNOWLEDGED, What.REOPENED])
def test_what_is_from_before_the_last_accepted_trigger_is_ignored(what: What) -> None:
    alert = told(at=500.0, alert=told())
    assert happened(alert, then(what, 498.9), TIMEOUT) == Ignored(Why.BEFORE)
    assert not isinstance(happened(alert, then(what, 500.0), TIMEOUT), Ignored)
    # The clocks of one provider may differ: a resolve is doubted, what somebody has taken is not believed.
    assert isinstance(happened(alert, then(what, 499.1), TIMEOUT), Ignored) is (what is not What.RESOLVED)


@pytest.mark.parametrize("at", [-0.9, 0.0, TIMEOUT + 1.0])
def test_a_resolve_of_about_the_time_of_the_trigger_has_that_repeated_once(at: float) -> None:
    alert, it = told(), then(What.RESOLVED, at)
    assert happened(alert, it, TIMEOUT) == TellAgain(is_repeat=True)
    again = told_again(alert, it, RECORD, is_repeat=True, now=T0 + 40)
    assert again.owed is not None
    assert (again.owed.repeat, again.owed.pins_offset) == (True, None)
    assert (again.status, due(again), again.begun) == (Status.OPEN, Due.TRIGGER, alert.begun)
    assert happened(again, it, TIMEOUT) == Ignored(Why.OLDER)
    accepted = trigger_accepted(again, again.owed, "default", T0 + AHEAD + 41, T0 + 41)
    assert due(accepted) is None
    assert happened(accepted, it, TIMEOUT) == Ignored(Why.OLDER)


def resolved_at_once(alert: Alert, at: float) -> Alert:
    """The alert was told ``at`` so many seconds, is resolved at the provider 5 s later, and told once more."""
    it = then(What.RESOLVED, at + 5.0, opened=at)
    assert happened(alert, it, TIMEOUT) == TellAgain(is_repeat=True)
    again = told_again(alert, it, RECORD, is_repeat=True, now=T0 + at + 6.0)
    assert again.owed is not None
    return trigger_accepted(again, again.owed, "default", T0 + AHEAD + at + 7.0, T0 + at + 7.0)


def test_a_program_that_resolves_each_incident_at_once_is_believed_after_one_repetition() -> None:
    alert = resolved_at_once(told(), 0.0)
    after = applied(alert, then(What.RESOLVED, 12.0, opened=7.0))
    assert (after.status, after.ended_by, after.is_at_provider, due(after)) == (
        Status.RESOLVING, Ending.PROVIDER, False, Due.RESOLVE,
    )  # fmt: skip
    assert occurs(after, at=13.0)[1] is Outcome.TRIGGERED


def test_but_what_occurs_meanwhile_is_not_over_by_that() -> None:
    alert = occurs(resolved_at_once(told(), 0.0), at=11.0)[0]
    assert happened(alert, then(What.RESOLVED, 12.0, opened=7.0), TIMEOUT) == TellAgain(is_repeat=True)


def test_a_new_life_has_a_repetition_of_its_own() -> None:
    alert, it = occurs(resolved_at_once(told(), 0.0), at=91.0)[0], then(What.RESOLVED, 90.0)
    assert happened(alert, it, TIMEOUT) == TellAgain(is_repeat=False)
    again = told_again(alert, it, RECORD, is_repeat=False, now=T0 + 92.0)
    assert again.owed is not None
    resolved_at_once(trigger_accepted(again, again.owed, "default", T0 + AHEAD + 93.0, T0 + 93.0), 93.0)


def test_a_resolve_where_the_provider_has_not_said_the_time_of_the_trigger_has_that_repeated() -> None:
    owing = occurs(None, at=0.0)[0]
    assert owing.owed is not None
    alert = trigger_accepted(owing, owing.owed, "default", None, T0)
    assert happened(alert, then(What.RESOLVED, 500.0), TIMEOUT) == TellAgain(is_repeat=True)


@pytest.mark.parametrize("by_integration", [False, True])
def test_a_later_resolve_ends_the_alert(by_integration: bool) -> None:
    it = then(What.RESOLVED, TIMEOUT + 1.1, by_integration=by_integration)
    assert happened(told(), it, TIMEOUT) == Applied(None)
    assert happened(applied(told(), ACKNOWLEDGED), it, TIMEOUT) == Applied(None)


def test_but_an_occurrence_before_it_is_of_the_incident_that_was_resolved() -> None:
    alert = occurs(told(), at=90.0)[0]
    assert happened(alert, then(What.RESOLVED, 91.1), TIMEOUT) == Applied(None)


def test_an_occurrence_is_after_it_if_our_clock_was_put_back_meanwhile() -> None:
    alert = replace(occurs(told(), at=90.0)[0], decided=T0 - 3600.0)
    assert happened(alert, then(What.RESOLVED, 100.0), TIMEOUT) == TellAgain(is_repeat=False)
    assert happened(replace(told(), decided=T0 - 3600.0), then(What.RESOLVED, 100.0), TIMEOUT) == Applied(None)


def test_an_occurrence_after_it_is_told_in_a_new_life() -> None:
    alert, it = occurs(applied(told(), ACKNOWLEDGED), at=101.0)[0], then(What.RESOLVED, 100.0)
    assert happened(alert, it, TIMEOUT) == TellAgain(is_repeat=False)
    again = told_again(alert, it, RECORD, is_repeat=False, now=T0 + 102)
    assert again.owed is not None
    assert (again.owed.record, again.owed.severity, again.owed.guard) == (RECORD, Severity.HIGH, "g")
    assert (again.status, due(again), again.is_at_provider, again.owed.repeat) == (
        Status.OPEN,
        Due.TRIGGER,
        False,
        False,
    )
    assert again.begun != alert.begun
    assert again.occurrences == 2
    later, outcome = occurs(again, at=103.0)
    assert outcome is Outcome.COUNTED
    assert later.owed is not None
    assert (again.owed.pins_offset, later.owed.pins_offset) == (
        None,
        0,
    )  # what was told is passed, what comes now is not


def test_what_is_owed_is_never_taken_away_and_nobody_has_taken_what_it_opens() -> None:
    alert = occurs(applied(told(), ACKNOWLEDGED), at=100.0, severity=Severity.CRITICAL)[0]
    after = applied(alert, then(What.RESOLVED, 90.0))
    assert after.owed is alert.owed
    assert (after.status, after.is_at_provider, due(after)) == (Status.OPEN, False, Due.TRIGGER)


def test_of_an_alert_that_was_never_accepted_it_says_nothing() -> None:
    alert = occurs(None, at=0.0)[0]
    assert happened(alert, then(What.ACKNOWLEDGED, 500.0), TIMEOUT) == Ignored(Why.UNTOLD)
    assert happened(alert, then(What.RESOLVED, 500.0), TIMEOUT) == Ignored(Why.UNTOLD, noted(alert, 500.0))


def test_nor_of_one_that_has_come_back_and_is_not_accepted_yet() -> None:
    ended = over(told(), Ending.QUIET)
    alert = occurs(ended, at=100.0)[0]
    assert happened(alert, then(What.ACKNOWLEDGED, 50.0), TIMEOUT) == Ignored(Why.UNTOLD)
    assert happened(alert, then(What.RESOLVED, 50.0), TIMEOUT) == Ignored(Why.UNTOLD, noted(alert, 50.0))


def test_an_alert_that_is_being_resolved_is_left_alone() -> None:
    alert = over(told(), Ending.QUIET)
    assert alert is not None
    for by_integration in (False, True):
        it = then(What.RESOLVED, 500.0, by_integration=by_integration)
        assert happened(alert, it, TIMEOUT) == Ignored(Why.RESOLVING, noted(alert, 500.0))


# incidents elsewhere, and others

FORMER = Former("digest", "old")


@pytest.mark.parametrize(
    "alert",
    [
        replace(told(), former=(FORMER,)),
        former_attempted(replace(told(), former=(FORMER,))),
        former_answered(replace(told(), former=(FORMER,)), "digest"),
    ],
)
def test_the_echo_of_a_resolve_about_an_incident_that_the_alert_has_left_ends_nothing(alert: Alert | None) -> None:
    assert alert is not None
    assert happened(alert, then(What.RESOLVED, 500.0, by_integration=True), TIMEOUT) == Ignored(Why.ECHO)
    # What came before the next trigger is older than that, and its echo too.
    afterwards = told(at=900.0, alert=replace(alert, former=(), last_seen=T0))
    assert happened(afterwards, then(What.RESOLVED, 500.0, by_integration=True), TIMEOUT) == Ignored(Why.BEFORE)
    assert happened(afterwards, then(What.RESOLVED, 990.0, by_integration=True), TIMEOUT) == Applied(None)


def test_a_person_is_no_echo_and_what_is_elsewhere_is_over_with_the_alert() -> None:
    alert = applied(replace(told(), former=(FORMER,)), then(What.RESOLVED, 500.0))
    assert (alert.status, due(alert), alert.ended_by) == (Status.RESOLVING, Due.RESOLVE_FORMER, Ending.PROVIDER)


def test_what_may_not_be_resolved_before_the_problem_is_over_has_sent_no_echo() -> None:
    alert = replace(told(), former=(replace(FORMER, until_over=True),))
    assert not isinstance(happened(alert, then(What.RESOLVED, 500.0, by_integration=True), TIMEOUT), Ignored)


def test_a_resolve_of_an_older_incident_ends_nothing_where_the_ids_say_so() -> None:
    alert = applied(told(), then(What.ACKNOWLEDGED, 40.0, incident="new"))
    assert happened(alert, then(What.RESOLVED, 50.0, incident="old"), TIMEOUT) == Ignored(Why.OTHER_INCIDENT)
    assert happened(alert, then(What.RESOLVED, 50.0, incident="new"), TIMEOUT) == Applied(None)
    assert happened(alert, then(What.RESOLVED, 50.0), TIMEOUT) == Applied(None)


def test_an_id_that_was_heard_before_the_last_trigger_may_be_the_older_one() -> None:
    alert = told(at=500.0, alert=applied(told(), then(What.UNACKNOWLEDGED, 40.0, incident="old")))
    assert happened(alert, then(What.RESOLVED, 600.0, incident="new"), TIMEOUT) == Applied(None)


MOVED = [{"former": (FORMER,)}, {"orphans": (FORMER,)}]
"""The alert has another integration than before: the key of the old one is retired, or gone."""


def moved(incidents: Mapping[str, tuple[Former, ...]]) -> Alert:
    """An alert that was told elsewhere before, and is told here after 100 s."""
    alert = told(at=100.0, alert=replace(departed(told(), None), **incidents))
    return former_answered(alert, "digest") if alert.former else alert  # type: ignore[return-value]


@pytest.mark.parametrize("incidents", MOVED)
@pytest.mark.parametrize("opened", [0.5, None])
def test_a_person_who_closes_an_incident_that_the_alert_has_left_does_not_end_it(
    incidents: Mapping[str, tuple[Former, ...]], opened: float | None
) -> None:
    alert, it = moved(incidents), then(What.RESOLVED, 500.0, incident="old", opened=opened)
    assert happened(alert, it, TIMEOUT) == TellAgain(is_repeat=True)
    again = told_again(alert, it, RECORD, is_repeat=True, now=T0 + 501.0)
    assert again.owed is not None
    alert = trigger_accepted(again, again.owed, "default", T0 + AHEAD + 502.0, T0 + 502.0)
    # There may be several of them.
    assert happened(alert, then(What.RESOLVED, 505.0, opened=opened), TIMEOUT) == TellAgain(is_repeat=True)
    assert happened(alert, then(What.RESOLVED, 900.0, opened=opened), TIMEOUT) == TellAgain(is_repeat=True)
    found = happened(alert, then(What.RESOLVED, 900.0, incident="new", opened=100.0), TIMEOUT)
    assert found == Applied(None)


@pytest.mark.parametrize("incidents", MOVED)
def test_whoever_has_taken_that_has_not_taken_what_is_told_here(incidents: Mapping[str, tuple[Former, ...]]) -> None:
    alert = moved(incidents)
    for opened in (0.5, None):
        it = then(What.ACKNOWLEDGED, 500.0, opened=opened)
        assert happened(alert, it, TIMEOUT) == Ignored(Why.OTHER_INCIDENT)
    taken = applied(alert, then(What.ACKNOWLEDGED, 500.0, opened=100.9))
    assert taken.status is Status.ACKNOWLEDGED
    assert applied(taken, then(What.UNACKNOWLEDGED, 501.0, opened=0.5)).status is Status.OPEN


def test_integrations_of_one_account_have_one_incident_whenever_it_was_opened() -> None:
    incidents = (replace(FORMER, until_over=True),)
    alert = told(at=100.0, alert=replace(departed(told(), None), former=incidents))
    found = happened(alert, then(What.RESOLVED, 500.0, opened=0.5), TIMEOUT)
    assert isinstance(found, Applied)
