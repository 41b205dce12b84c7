"""The life of a silenced alert (design section 22), row by row, and in every order that Hypothesis finds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from consumer.feedback.records import FeedbackKind as CommandKind
from consumer.feedback.records import unmeant
from state.acknowledging import acknowledge, acknowledge_answered
from state.alert import Alert, Ending, Former, Heard, Status
from state.answers import overflowed, resolve_answered, trigger_accepted, trigger_attempted, trigger_refused
from state.departures import departed
from state.due import Due, due
from state.held import ends_at, is_live, is_silenced
from state.occurrences import ELSEWHERE, Occurrence, Outcome, occurred
from state.over import is_over_by, over
from state.policy import Policy
from state.provider_feedback import Applied, Happened, Ignored, TellAgain, What, Why, happened, told_again
from state.restored import restored
from state.seen import News, news, seen_of
from state.silenced import over_after_silence, owes_after_silence, possibly_told, silenced
from state.violation import Record, Severity

NO_OTHERS: dict[str, float] = {}
"""No silence is known to end at another time."""

T0 = 1_800_000_000.0
POLICY = Policy(window_seconds=300, renotify_seconds=3600, quiet_seconds=1800, forget_seconds=604_800)
HOUR = {"s": T0 + 3600}
RECORD = Record("events", 0, 7, int(T0 * 1000), b"sess-1", b"{}")
HIGH, CRITICAL, MEDIUM = Severity.HIGH, Severity.CRITICAL, Severity.MEDIUM


def occurrence(severity: Severity, at: float, offset: int, **facts: Any) -> Occurrence:
    record = Record("events", 0, offset, int(at * 1000), b"sess-1", b"{}")
    return Occurrence(severity, at, record, **{"guard": "forbidden_path", "tenant": "acme", **facts})


def mutes(
    alert: Alert | None = None,
    severity: Severity = HIGH,
    at: float = T0,
    offset: int = 0,
    silences: dict[str, float] = HOUR,
    **facts: Any,
) -> Alert:
    """The alert after a silenced event."""
    return silenced(alert, "key", "sess-1", occurrence(severity, at, offset, **facts), silences, at, "int")


def occurs(alert: Alert | None, severity: Severity = HIGH, at: float = T0, offset: int = 0) -> tuple[Alert, Outcome]:
    return occurred(alert, "key", "sess-1", occurrence(severity, at, offset), at, POLICY, "int")


def accepted(alert: Alert, at: float = T0) -> Alert:
    assert alert.owed is not None
    return trigger_accepted(alert, alert.owed, "default", at, at)


def told(severity: Severity = HIGH, at: float = T0) -> Alert:
    """An open alert that the provider has."""
    return accepted(occurs(None, severity, at)[0], at)


def resolving(alert: Alert | None = None) -> Alert:
    ended = over(alert or told())
    assert ended is not None
    return ended


# nobody is told


def test_a_silenced_event_opens_an_alert_that_owes_nothing() -> None:
    alert = mutes(offset=4)
    assert (alert.status, alert.owed, due(alert), alert.occurrences) == (Status.OPEN, None, None, 1)
    assert is_silenced(alert)
    assert (alert.integration, alert.begun, alert.highest) == ("int", T0, HIGH)
    assert alert.held is not None
    assert alert.held.silences == (("s", T0 + 3600),)
    assert (alert.held.source.topic, alert.held.source.partition, alert.held.offset) == ("events", 0, 4)
    assert (alert.held.source.guard, alert.held.source.tenant, alert.held.time) == ("forbidden_path", "acme", T0)


def test_it_keeps_the_place_of_the_worst_the_first_on_a_tie() -> None:
    alert = mutes(
        mutes(mutes(mutes(severity=HIGH, offset=1), CRITICAL, T0 + 1, 2), CRITICAL, T0 + 2, 3), MEDIUM, T0 + 3, 4
    )
    assert alert.held is not None
    assert (alert.held.severity, alert.held.offset, alert.held.time) == (CRITICAL, 2, T0 + 1)
    assert (alert.held.first_offset, alert.held.last_offset, alert.held.occurrences) == (1, 4, 4)
    assert (alert.occurrences, alert.last_seen, alert.highest) == (4, T0 + 3, CRITICAL)


def test_it_keeps_all_silences_that_hold_it_and_no_others() -> None:
    alert = mutes(silences={"a": T0 + 10, "b": T0 + 60})
    alert = mutes(alert, at=T0 + 20, silences={"c": T0 + 90})
    assert alert.held is not None
    assert dict(alert.held.silences) == {"b": T0 + 60, "c": T0 + 90}


def test_a_silence_that_was_prolonged_has_its_latest_end() -> None:
    alert = mutes(mutes(), at=T0 + 1, silences={"s": T0 + 7200})
    assert alert.held is not None
    assert ends_at(alert.held, NO_OTHERS.get) == T0 + 7200


def test_it_is_not_acknowledged_as_nobody_has_it() -> None:
    alert = mutes()
    assert acknowledge(alert) is alert


def test_what_is_over_while_it_is_silenced_is_gone() -> None:
    assert over(mutes(), Ending.SESSION_END) is None


def test_an_event_that_is_not_silenced_is_told_at_its_own_severity_and_counts_what_is_silenced() -> None:
    alert, outcome = occurs(mutes(mutes(severity=CRITICAL, offset=3), offset=4), MEDIUM, T0 + 1, 5)
    assert outcome is Outcome.TRIGGERED
    assert alert.owed is not None
    assert (alert.owed.severity, alert.owed.record.offset, alert.owed.pins_offset) == (MEDIUM, 5, 5)
    assert (alert.owed.occurrences, alert.owed.first_offset, alert.owed.last_offset) == (3, 3, 5)
    assert alert.held is None


# it was told before


def test_a_told_alert_stays_live_and_the_severity_is_not_sent() -> None:
    alert = mutes(told(), CRITICAL, T0 + 10_000, 1)
    assert (due(alert), alert.occurrences, alert.last_seen) == (None, 2, T0 + 10_000)
    assert (alert.highest, alert.last_notified) == (HIGH, told().last_notified)
    assert not is_silenced(alert)


def test_nor_is_it_told_again_by_a_silenced_event_but_by_the_next_that_is_not() -> None:
    alert = mutes(told(), at=T0 + 3599)
    assert due(mutes(alert, at=T0 + 3700)) is None
    after, outcome = occurs(alert, at=T0 + 3700)
    assert (outcome, due(after)) == (Outcome.TRIGGERED, Due.TRIGGER)
    assert after.owed is not None
    assert after.owed.occurrences == 1, "the provider has those before"


def test_what_is_owed_is_told_whatever_comes_with_the_silenced_event_counted_in() -> None:
    alert = mutes(occurs(None, MEDIUM, T0, 1)[0], CRITICAL, T0 + 1, 2)
    assert alert.owed is not None
    assert (alert.owed.severity, alert.owed.record.offset) == (MEDIUM, 1)
    assert (alert.owed.occurrences, alert.owed.last_offset, alert.owed.pins_offset) == (2, 2, 1)
    assert alert.held is None
    assert due(accepted(alert)) is None


def test_a_rejected_trigger_takes_the_silenced_event_that_it_counts_into_its_dead_letter() -> None:
    alert = mutes(occurs(None)[0], offset=2)
    assert alert.owed is not None
    after, dead = trigger_refused(alert, alert.owed, T0)
    assert (after, dead.occurrences, dead.last_offset) == (None, 2, 2)


def test_an_alert_that_has_left_its_integration_is_silenced_at_the_next() -> None:
    alert = departed(mutes(told(), offset=3), None)
    assert alert.held is None, "it was counted into what the provider had"
    alert = mutes(alert, offset=4)
    assert is_silenced(alert)
    assert due(alert) is None


@pytest.mark.parametrize("former", [(), (Former("old", "default"),)])
def test_a_rejected_update_of_what_may_be_resolved_leaves_nothing_silenced_of_it(former: tuple[Former, ...]) -> None:
    alert = mutes(told(), offset=3)
    assert alert.held is not None
    worse = replace(alert, owed=occurs(None, CRITICAL)[0].owed, unsettled=True, former=former)
    assert worse.owed is not None
    after, _ = trigger_refused(worse, worse.owed, T0)
    assert after is not None
    assert (after.is_at_provider, after.held) == (False, None)


def test_the_end_of_silences_ends_only_what_is_all_silenced() -> None:
    left = Former("old", "default")
    alert = over_after_silence(mutes(departed(told(), left), offset=4))
    assert alert is not None
    assert (alert.status, alert.held, alert.former) == (Status.OPEN, None, (left,))
    alert = over_after_silence(departed(possibly_told(mutes(), "default"), left))
    assert alert is not None
    assert (alert.status, alert.former) == (Status.RESOLVING, (left,))


def test_what_a_person_has_taken_somewhere_else_is_open() -> None:
    taken = acknowledge_answered(acknowledge(told()), accepted=True)
    alert = mutes(departed(taken, Former("old", "default")))
    assert alert.status is Status.OPEN


# resolving


def test_what_is_resolving_is_resolved_first_and_then_silenced() -> None:
    sent = resolving()
    alert = mutes(sent, CRITICAL, T0 + 9, 8)
    assert (alert.status, due(alert)) == (Status.RESOLVING, Due.RESOLVE)
    assert not is_silenced(alert)

    after = resolve_answered(alert, sent)

    assert after is not None
    assert is_silenced(after)
    assert (after.status, after.route, after.last_notified, due(after)) == (Status.OPEN, None, None, None)
    assert (after.occurrences, after.first_seen, after.highest) == (1, T0 + 9, CRITICAL)
    assert after.begun != sent.begun, "another life of its key"
    assert after.held == alert.held


def test_the_answer_ends_what_was_silenced_when_it_left_and_is_over_now() -> None:
    sent = mutes(resolving())
    assert resolve_answered(replace(sent, held=None), sent) is None


def test_the_answer_to_the_resolve_before_an_event_that_was_told_ends_nothing() -> None:
    sent = resolving()
    again = resolving(accepted(occurs(sent, at=T0 + 1)[0]))
    after = resolve_answered(mutes(again, at=T0 + 2), sent)
    assert after is not None
    assert after.status is Status.RESOLVING


def test_a_trigger_is_told_before_the_resolve_and_what_is_silenced_stays() -> None:
    alert = mutes(resolving(occurs(None)[0]), offset=5)
    assert due(alert) is Due.TRIGGER
    assert alert.owed is not None
    assert alert.owed.occurrences == 1
    alert = accepted(alert)
    assert due(alert) is Due.RESOLVE
    after = resolve_answered(alert, alert)
    assert after is not None
    assert is_silenced(after)


def test_where_that_trigger_is_rejected_or_finds_no_room_it_is_silenced_at_once() -> None:
    alert = mutes(resolving(occurs(None)[0]), offset=5)
    assert alert.owed is not None
    rejected, dead = trigger_refused(alert, alert.owed, T0)
    crowded = overflowed(alert)
    assert dead.occurrences == 1
    for after in (rejected, crowded):
        assert after is not None
        assert is_silenced(after)


def test_an_event_that_is_not_silenced_opens_it_with_all_counted() -> None:
    alert, outcome = occurs(mutes(resolving(), CRITICAL, T0 + 1, 1), HIGH, T0 + 2, 2)
    assert (outcome, alert.status, alert.unsettled, alert.held) == (Outcome.TRIGGERED, Status.OPEN, True, None)
    assert (alert.occurrences, alert.last_seen) == (3, T0 + 2)
    assert alert.owed is not None
    assert (alert.owed.severity, alert.owed.occurrences) == (HIGH, 2)


def test_what_ends_it_once_more_ends_what_is_silenced_too() -> None:
    alert = over(mutes(resolving()))
    assert alert is not None
    assert (alert.status, alert.held) == (Status.RESOLVING, None)


def test_an_end_that_was_known_before_it_ends_what_is_silenced_while_it_is_resolving() -> None:
    alert = mutes(resolving(), at=T0 + 10)
    assert is_over_by(alert, T0 + 20) is False, "a clock can be behind: it may have occurred later"
    alert = silenced(alert, "key", "sess-1", occurrence(HIGH, T0 + 10, 1), HOUR, T0 + 30, "int")
    assert is_over_by(alert, T0 + 20)
    assert not is_over_by(alert, T0 + 10)
    assert not is_over_by(resolving(), T0 + 20), "nothing is left of it that could end"


def test_what_is_silenced_while_it_is_resolving_is_news_to_whoever_has_seen_it_before() -> None:
    before = resolving(told(MEDIUM))
    alert = mutes(before, CRITICAL, T0 + 10)
    assert news(alert, [seen_of(before)]) is News.GOT_WORSE
    assert unmeant(CommandKind.RESOLVE, T0 + 5, [seen_of(before)], mutes(before, MEDIUM, T0 + 10)) is News.OCCURRED
    assert unmeant(CommandKind.RESOLVE, T0 + 5, [], alert) is News.OCCURRED
    assert unmeant(CommandKind.RESOLVE, T0 + 5, [seen_of(alert)], alert) is None


def test_what_is_over_while_the_trigger_before_it_is_owed_counts_into_that_at_its_severity() -> None:
    alert = mutes(resolving(occurs(None)[0]), CRITICAL, T0 + 1, 5)
    for ended in (over(alert), over_after_silence(alert)):
        assert ended is not None
        assert ended.owed is not None
        assert (ended.held, ended.occurrences, ended.last_seen) == (None, 2, T0 + 1)
        assert (ended.owed.severity, ended.owed.occurrences, ended.owed.last_offset) == (HIGH, 2, 5)


# the end of the silences


def held_until(*silences: tuple[str, float]) -> Alert:
    return mutes(silences=dict(silences))


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ({}, 90.0),
        ({"a": 30.0}, 90.0),
        ({"b": 30.0}, 60.0),
        ({"a": 10.0, "b": 20.0}, 20.0),
        ({"b": 120.0}, 120.0),
        ({"other": 500.0}, 90.0),
    ],
)
def test_the_last_end_counts_as_it_is_known_today_and_else_as_it_was(ends: dict[str, float], expected: float) -> None:
    alert = held_until(("a", T0 + 60), ("b", T0 + 90))
    assert alert.held is not None
    assert ends_at(alert.held, {silence: T0 + end for silence, end in ends.items()}.get) == T0 + expected


@pytest.mark.parametrize(
    ("quiet", "age", "expected"),
    [
        (None, 300, True),
        (None, 301, False),
        (1800, 301, True),
        (1800, 1800, True),
        (1800, 1801, False),
        (60, 300, True),
    ],
)
def test_it_is_live_if_its_last_event_is_young_enough_at_the_end(
    quiet: float | None, age: float, expected: bool
) -> None:
    alert = mutes(mutes(at=T0 - 5000), at=T0)
    assert alert.held is not None
    assert is_live(alert.held, T0 + age, replace_quiet(quiet)) is expected


def replace_quiet(quiet: float | None) -> Policy:
    return Policy(POLICY.window_seconds, POLICY.renotify_seconds, quiet, POLICY.forget_seconds)


def test_what_is_live_is_owed_from_then_on_with_its_worst_record_and_holds_no_offset() -> None:
    alert = owes_after_silence(mutes(mutes(severity=CRITICAL, offset=7), offset=8), RECORD, T0 + 3600)
    assert due(alert) is Due.TRIGGER
    assert alert.held is None
    owed = alert.owed
    assert owed is not None
    assert (owed.record, owed.severity, owed.since, owed.pins_offset) == (RECORD, CRITICAL, T0 + 3600, None)
    assert (owed.first_offset, owed.last_offset, owed.occurrences) == (7, 8, 2)
    assert (owed.guard, owed.tenant) == ("forbidden_path", "acme")
    assert alert.occurrences == 2


def test_what_was_silenced_at_a_lower_severity_after_it_had_left_is_told_at_the_highest_that_was_silenced() -> None:
    alert = owes_after_silence(mutes(departed(told(), None), CRITICAL), RECORD, T0)
    assert alert.highest is CRITICAL


def test_what_is_over_is_gone() -> None:
    assert over_after_silence(mutes()) is None


def test_what_may_have_been_told_all_the_same_is_resolved() -> None:
    alert = over_after_silence(possibly_told(mutes(), "default"))
    assert alert is not None
    assert (alert.status, due(alert), alert.ended_by) == (Status.RESOLVING, Due.RESOLVE, Ending.SILENCE)
    assert resolve_answered(alert, alert) is None


def test_only_of_what_is_silenced_a_dead_owner_may_have_told_what_is_not_known() -> None:
    alert = told()
    assert possibly_told(alert, "other") is alert
    left = trigger_attempted(mutes(), "first", True, T0)
    assert possibly_told(left, "other").route == "first"


def test_what_is_resolving_and_live_is_opened_as_by_an_event() -> None:
    alert = owes_after_silence(mutes(resolving(), CRITICAL, T0 + 1, 1), RECORD, T0 + 2)
    assert (alert.status, alert.unsettled, alert.occurrences) == (Status.OPEN, True, 2)
    assert alert.owed is not None
    assert alert.owed.severity is CRITICAL
    assert alert.begun == T0 + 2


def test_what_is_resolving_and_owes_is_told_once_at_the_highest_severity() -> None:
    first = occurs(None, MEDIUM, T0, 1)[0]
    alert = owes_after_silence(mutes(resolving(first), HIGH, T0 + 1, 7), RECORD, T0 + 2)
    assert alert.owed is not None
    assert first.owed is not None
    assert (alert.owed.record, alert.owed.severity, alert.owed.since) == (RECORD, HIGH, first.owed.since)
    assert (alert.owed.occurrences, alert.owed.last_offset, alert.owed.pins_offset) == (2, 7, 1)


def test_what_is_resolving_and_not_live_goes_on_to_be_resolved() -> None:
    alert = over_after_silence(mutes(resolving()))
    assert alert is not None
    assert (alert.status, alert.held, due(alert)) == (Status.RESOLVING, None, Due.RESOLVE)


# what people do at the provider (design section 20)


def resolved(at: float) -> Happened:
    return Happened(What.RESOLVED, at)


def test_a_resolve_says_nothing_about_a_silenced_alert() -> None:
    noted = replace(mutes(), heard=Heard(T0 + 100))
    assert happened(mutes(), resolved(T0 + 100), 5.0) == Ignored(Why.UNTOLD, noted)


def test_an_incident_that_is_resolved_and_has_only_silenced_events_since_is_silenced() -> None:
    it = happened(mutes(told(), at=T0 + 200), resolved(T0 + 100), 5.0)
    assert isinstance(it, Applied)
    assert it.alert is not None
    assert is_silenced(it.alert)
    assert it.alert.begun != told().begun
    assert due(it.alert) is None
    assert due(occurs(it.alert, at=T0 + 201)[0]) is Due.TRIGGER


def test_one_that_has_had_others_since_is_told_again() -> None:
    alert, outcome = occurs(told(), at=T0 + 150, offset=1)
    assert outcome is Outcome.SUPPRESSED
    assert happened(mutes(alert, at=T0 + 200, offset=2), resolved(T0 + 100), 5.0) == TellAgain(is_repeat=False)


def test_those_from_before_the_resolve_are_over_with_it_and_what_is_silenced_since_is_silenced() -> None:
    noisy = occurs(told(), at=T0 + 50, offset=1)[0]
    for times in ((200.0,), (90.0, 200.0), (90.0, 95.0, 200.0)):
        alert = noisy
        for offset, at in enumerate(times, 2):
            alert = mutes(alert, at=T0 + at, offset=offset)
        it = happened(alert, resolved(T0 + 100), 5.0)
        assert isinstance(it, Applied)
        assert it.alert is not None
        assert is_silenced(it.alert)
    assert happened(mutes(noisy, at=T0 + 90), resolved(T0 + 100), 5.0) == Applied(None)


def test_an_owner_whose_clock_is_behind_knows_it_as_well() -> None:
    alert = mutes(occurs(told(), at=T0 + 250, offset=1)[0], at=T0 + 260, offset=2)
    held = restored(alert, T0 + 200).held
    assert held is not None
    assert (held.decided, held.not_silenced) == (T0 + 200, T0 + 200)


def test_of_one_that_an_earlier_release_held_all_counts_since_it_was_told() -> None:
    def as_before(alert: Alert) -> Alert:
        assert alert.held is not None
        return replace(alert, held=replace(alert.held, not_silenced=None))

    silent = mutes(as_before(mutes(told(), at=T0 + 90)), at=T0 + 200)
    assert isinstance(happened(silent, resolved(T0 + 100), 5.0), Applied)
    noisy = as_before(mutes(occurs(told(), at=T0 + 50, offset=1)[0], at=T0 + 200, offset=2))
    assert happened(noisy, resolved(T0 + 100), 5.0) == TellAgain(is_repeat=False)


def told_twice() -> Alert:
    """Told, silenced at 1 s, resolved at 2 s, and told again at 4 s, because the order of these is open."""
    alert = mutes(told(), at=T0 + 1, offset=1)
    assert happened(alert, resolved(T0 + 2), 5.0) == TellAgain(is_repeat=True)
    again = told_again(alert, resolved(T0 + 2), RECORD, is_repeat=True, now=T0 + 3)
    return accepted(mutes(again, at=T0 + 3, offset=2), at=T0 + 4)


def test_silenced_events_do_not_have_what_is_resolved_at_once_repeated_again() -> None:
    it = happened(told_twice(), resolved(T0 + 6), 5.0)
    assert isinstance(it, Applied)
    assert it.alert is not None
    assert (it.alert.status, it.alert.held) == (Status.RESOLVING, None)
    others = occurs(told_twice(), at=T0 + 5, offset=3)[0]
    assert happened(others, resolved(T0 + 6), 5.0) == TellAgain(is_repeat=True)


def test_and_what_is_silenced_after_it_was_resolved_stays_silenced() -> None:
    it = happened(mutes(told_twice(), at=T0 + 7, offset=3), resolved(T0 + 5), 5.0)
    assert isinstance(it, Applied)
    assert it.alert is not None
    assert (it.alert.status, it.alert.occurrences) == (Status.RESOLVING, 3)
    left = resolve_answered(it.alert, it.alert)
    assert left is not None
    assert is_silenced(left)
    assert left.occurrences == 1


def test_what_was_silenced_before_it_was_resolved_is_over_with_it_where_a_resolve_follows() -> None:
    elsewhere = replace(mutes(told(), at=T0 + 50), former=(Former("old", "default"),))
    repeated = replace(mutes(told(), at=T0 + 1), heard=Heard(repeated=1))
    for alert, at in ((elsewhere, T0 + 100), (repeated, T0 + 2)):
        it = happened(alert, resolved(at), 5.0)
        assert isinstance(it, Applied)
        assert it.alert is not None
        assert (it.alert.status, it.alert.held) == (Status.RESOLVING, None)


def test_what_is_told_again_counts_what_was_silenced() -> None:
    alert = mutes(told(), at=T0 + 200)
    assert told_again(alert, resolved(T0 + 100), RECORD, is_repeat=False, now=T0 + 300).held is None
    assert told_again(alert, resolved(T0 + 100), RECORD, is_repeat=True, now=T0 + 300).held is alert.held


def test_one_that_was_resolved_after_its_silenced_events_is_gone() -> None:
    assert happened(mutes(told(), at=T0 + 50), resolved(T0 + 100), 5.0) == Applied(None)


# clocks, and other partitions


def test_a_clock_that_was_ahead_makes_nothing_live_for_longer() -> None:
    alert = restored(mutes(at=T0 + 900), T0)
    assert alert.held is not None
    assert (alert.held.last_seen, alert.held.decided, alert.held.first_seen) == (T0, T0, T0)
    assert alert.held.silences == (("s", T0 + 3600),), "by the times of records"


def test_an_event_of_another_partition_is_read_from_there_and_counts_as_inherited() -> None:
    alert = mutes(offset=9, is_elsewhere=True)
    assert alert.held is not None
    assert (alert.held.offset, alert.held.first_offset) == (9, ELSEWHERE)


# every order

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["event", "silenced", "accepted", "rejected", "over", "resolved", "live", "dead"]),
        st.sampled_from(Severity),
    ),
    max_size=30,
)


@given(STEPS)
def test_no_occurrence_is_lost_and_none_that_is_silenced_is_sent(steps: list[tuple[str, Severity]]) -> None:
    """Each occurrence is at the provider, in a dead letter, owed, held, or over; and the severity that is sent is that
    of an event that was not silenced, or whose silences have ended."""
    alert: Alert | None = None
    may_say: set[Severity] = set()  # of this life, and of what was held when silences ended
    untold, at = 0, T0
    for offset, (step, severity) in enumerate(steps):
        at += 1
        match step:
            case "event":
                alert = occurs(alert, severity, at, offset)[0]
                may_say.add(severity)
                untold = 0 if alert.owed is None and alert.is_at_provider else untold + 1
            case "silenced":
                alert = mutes(alert, severity, at, offset)
                untold += not alert.is_at_provider or alert.status is Status.RESOLVING
            case "accepted" if alert is not None and alert.owed is not None:
                assert alert.owed.severity in may_say
                alert = accepted(alert, at)
                untold = 0 if alert.held is None else alert.held.occurrences
            case "rejected" if alert is not None and alert.owed is not None:
                alert, _ = trigger_refused(alert, alert.owed, at)
                untold = 0 if alert is None or alert.held is None else alert.held.occurrences
            case "over" if alert is not None:
                alert = over(alert)
                untold = 0 if alert is None or alert.owed is None else alert.owed.occurrences
            case "resolved" if alert is not None and due(alert) is Due.RESOLVE:
                alert = resolve_answered(alert, alert)
                assert (alert is None) == (untold == 0)
            case "live" if alert is not None and (held := alert.held) is not None and not alert.is_at_provider:
                may_say.add(held.severity)
                alert = owes_after_silence(alert, RECORD, at)
            case "dead" if alert is not None and alert.held is not None and not alert.is_at_provider:
                alert = over_after_silence(alert)
                untold = 0 if alert is None or alert.owed is None else alert.owed.occurrences
            case _:
                pass
        if alert is None:
            assert untold == 0
            may_say.clear()
            continue
        owed, held = alert.owed, alert.held
        counted = (owed.occurrences if owed is not None else 0) + (held.occurrences if held is not None else 0)
        if not alert.is_at_provider:
            assert counted >= untold, step
        if owed is None and alert.status is not Status.RESOLVING:
            assert alert.is_at_provider or held is not None or alert.route is not None, (
                "somebody has it, or it is silenced"
            )
        if is_silenced(alert):
            assert due(alert) is None
        assert replace(alert, held=None) == alert or held is not None
