"""An alert that is handed over to its key's new home, where there may be one already (design section 17, rule 6)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from state.alert import Alert, Former, Heard, Held, Notified, Owed, Status, source
from state.answers import trigger_accepted
from state.due import Due, due
from state.held import is_silenced
from state.joined import OPENED_SECONDS, handed_over, joined
from state.occurrences import ELSEWHERE, Occurrence, occurred
from state.over import over
from state.policy import Policy
from state.violation import Record, Severity

NOW = 1_800_000_000.0
POLICY = Policy(300.0, 3600.0, 1800.0, 604_800.0)


def record(partition: int = 0, offset: int = 7, key: bytes | None = b"s-1") -> Record:
    return Record("clawdstrike.events", partition, offset, int(NOW * 1000), key, b"{}")


def owes(severity: Severity = Severity.HIGH, **changes: Any) -> Owed:
    facts: dict[str, Any] = {"since": NOW, "first_offset": 7, "last_offset": 7, "pins_offset": 7}
    return Owed(record(), severity, **{**facts, **changes})


def alert(status: Status = Status.OPEN, **changes: Any) -> Alert:
    facts: dict[str, Any] = {
        "occurrences": 1, "first_seen": NOW, "last_seen": NOW, "decided": NOW, "highest": Severity.HIGH,
    }  # fmt: skip
    return Alert("forbidden_path:s-1", status, "s-1", **{**facts, **changes})


def told(**changes: Any) -> Alert:
    """That the provider has."""
    return alert(
        **{"route": "default", "last_notified": Notified(Severity.HIGH, NOW), "is_at_provider": True, **changes}
    )


TIMES = st.integers(0, 5).map(lambda seconds: NOW + seconds)
SEVERITIES = st.sampled_from(Severity)


@st.composite
def owed(draw: st.DrawFn) -> Owed:
    first = draw(st.integers(0, 50))
    return Owed(
        record(draw(st.integers(0, 3)), first), draw(SEVERITIES), draw(TIMES), first, first + draw(st.integers(0, 9)),
        draw(st.integers(1, 9)), draw(st.integers(0, 3)), repeat=draw(st.booleans()),
        pins_offset=draw(st.none() | st.just(first)),
    )  # fmt: skip


@st.composite
def helds(draw: st.DrawFn) -> Held:
    first, offset = draw(TIMES), draw(st.integers(0, 50))
    return Held(
        tuple(draw(st.dictionaries(st.sampled_from("ab"), TIMES, min_size=1)).items()), draw(SEVERITIES), first,
        source("forbidden_path", None, "clawdstrike.events", draw(st.integers(0, 3))), offset, offset, offset, first,
        first, first, first, draw(st.integers(1, 9)),
    )  # fmt: skip


@st.composite
def alerts(draw: st.DrawFn) -> Alert:
    """As they can be: what has no route has not been told, and is owed or silenced; what is over has nothing to be
    repeated."""
    status = draw(st.sampled_from(Status))
    first, last = sorted((draw(TIMES), draw(TIMES)))
    route = draw(st.none() | st.sampled_from(["default", "by_severity:critical"]))
    is_owing = draw(st.booleans()) or (route is None and status is Status.RESOLVING)
    owing = draw(owed()) if is_owing else None
    if owing is not None and (status is Status.RESOLVING or route is None):
        owing = replace(owing, repeat=False)
    said = Notified(draw(SEVERITIES), draw(TIMES)) if route is not None and draw(st.booleans()) else None
    held = None
    if owing is None or status is Status.RESOLVING:
        held = draw(helds()) if owing is None and route is None else draw(st.none() | helds())
    return alert(
        held=held, status=status, occurrences=draw(st.integers(1, 99)), first_seen=first, last_seen=last,
        highest=draw(SEVERITIES), route=route, last_notified=said,
        is_at_provider=said is not None and status is not Status.RESOLVING, unsettled=draw(st.booleans()),
        owed=owing, acknowledging=status is Status.OPEN and draw(st.booleans()), key=draw(st.none() | st.binary()),
    )  # fmt: skip


# which event it was


def test_the_event_of_the_one_that_was_told_last_is_the_event_of_both() -> None:
    earlier = told(source=source("a", "acme", "events", 0), last_notified=Notified(Severity.CRITICAL, NOW, None, 3))
    later = told(source=source("b", None, "events", 5), last_notified=Notified(Severity.HIGH, NOW + 1, None, 8))
    for own, handed in ((earlier, later), (later, earlier)):
        found = joined(own, handed)
        assert found is not None
        assert (found.source, found.last_notified) == (later.source, Notified(Severity.CRITICAL, NOW + 1, None, 8))


def test_where_one_was_told_its_event_is_the_event_of_both() -> None:
    said = told(source=source("a", None, "events", 0), last_notified=Notified(Severity.HIGH, NOW, None, 3))
    untold = alert(source=source("b", None, "events", 5), overflow=Severity.HIGH)
    for own, handed in ((said, untold), (untold, said)):
        found = joined(own, handed)
        assert found is not None
        assert (found.source, found.last_notified) == (said.source, said.last_notified)
    assert (joined(alert(), untold) or said).source == untold.source


def test_the_error_of_what_is_owed_by_both_is_that_of_the_last_attempt() -> None:
    first = alert(owed=owes(attempts=3, last_attempt=NOW, last_status=503, last_error="down", guard="a"))
    second = alert(owed=owes(Severity.CRITICAL, attempts=1, last_attempt=NOW + 1, last_error="no answer", guard="b"))
    for own, handed in ((first, second), (second, first)):
        found = joined(own, handed)
        assert found is not None
        assert found.owed is not None
        assert (found.owed.last_status, found.owed.last_error, found.owed.guard) == (None, "no answer", "b")


# which life it is


def test_it_goes_on_with_the_life_of_the_one_whose_incident_it_has() -> None:
    handed, own = told(begun=NOW), alert(begun=NOW + 1, owed=owes())
    assert (joined(own, handed) or own).begun == NOW
    assert (joined(handed, own) or own).begun == NOW


def test_a_life_that_is_over_does_not_go_on_in_one_that_has_come_back() -> None:
    over_there, own = told(begun=NOW, status=Status.RESOLVING, is_at_provider=False), alert(begun=NOW + 1, owed=owes())
    found = joined(own, over_there)
    assert found is not None
    assert (found.status, found.route, found.begun) == (Status.OPEN, "default", NOW + 1)


# what is handed over to a home that has nothing


@given(alerts())
def test_what_is_handed_over_holds_no_offset_of_the_homes_log(handed: Alert) -> None:
    found = joined(None, handed)

    assert found == handed_over(handed)
    assert found is not None
    if found.held is not None:
        assert (found.held.first_offset, found.held.last_offset) == (ELSEWHERE, ELSEWHERE)
    elif handed.owed is None:
        assert found is handed
    else:
        assert found.owed is not None
        assert (found.owed.first_offset, found.owed.last_offset, found.owed.pins_offset) == (ELSEWHERE, ELSEWHERE, None)
        assert (found.owed.record, found.owed.occurrences) == (handed.owed.record, handed.owed.occurrences)


def test_an_end_that_came_before_the_alert_ends_it() -> None:
    found = joined(None, told(decided=NOW + 0.1), over_at=NOW + 1)

    assert found is not None
    assert found.status is Status.RESOLVING


def test_an_end_ends_nothing_that_occurred_after_it() -> None:
    assert joined(None, told(last_seen=NOW + 2), over_at=NOW + 1) == told(last_seen=NOW + 2)


def test_an_end_of_the_same_moment_ends_nothing_for_nobody_knows_which_came_first() -> None:
    assert joined(None, told(last_seen=NOW + 1), over_at=NOW + 1) == told(last_seen=NOW + 1)


def test_nor_what_was_decided_by_a_clock_that_is_behind() -> None:
    last = replace(told(), last_seen=NOW - 3600, decided=NOW - 3600)  # no occurrence is later than that clock
    assert joined(None, last, over_at=NOW + 1) == last


def test_what_is_over_before_it_was_told_is_told_first() -> None:
    found = joined(None, alert(owed=owes(), decided=NOW + 0.1), over_at=NOW + 1)

    assert found is not None
    assert found.status is Status.RESOLVING
    assert due(found) is Due.TRIGGER


# joined with one that is there


@given(alerts(), alerts())
def test_counts_add_up_and_nothing_owed_is_lost(own: Alert, handed: Alert) -> None:
    found = joined(own, handed)

    owed_before = [each.owed for each in (own, handed) if each.owed is not None and not each.owed.repeat]
    if found is None:
        assert not owed_before
        return
    if found.status is not Status.RESOLVING or own.status is handed.status:
        assert found.occurrences == own.occurrences + handed.occurrences
        assert found.first_seen == min(own.first_seen, handed.first_seen)
        assert found.last_seen == max(own.last_seen, handed.last_seen)
        assert found.highest == max(own.highest, handed.highest)
    if owed_before:
        assert found.owed is not None
        assert not found.owed.repeat
        assert found.owed.occurrences == sum(each.occurrences for each in owed_before)
        assert found.owed.severity == max(each.severity for each in owed_before)
        assert found.owed.record in [each.record for each in owed_before if each.severity == found.owed.severity]
        assert found.owed.since == min(each.since for each in owed_before)


@given(alerts(), alerts())
def test_nothing_silenced_is_lost_unless_it_was_over_before_what_ends_it(own: Alert, handed: Alert) -> None:
    found = joined(own, handed)

    assert found is not None
    ends = max((each.last_seen for each in (own, handed) if each.status is Status.RESOLVING), default=0.0)
    kept = [
        each.held
        for each in (own, handed)
        if each.held is not None
        and (each.status is Status.RESOLVING or each.last_seen >= ends)
        and (found.is_at_provider or not each.is_at_provider)  # else it was counted into an incident that is left
    ]
    if not kept:
        return
    assert found.held is not None
    assert found.held.occurrences >= sum(each.occurrences for each in kept)
    assert found.held.severity >= max(each.severity for each in kept)
    assert {silence for silence, _ in found.held.silences} >= {silence for each in kept for silence, _ in each.silences}


def test_what_was_silenced_of_an_incident_that_is_left_is_not_held_any_more() -> None:
    held = Held((("s", NOW),), Severity.HIGH, NOW, source("g", None, "t", 0), 7, 7, 7, NOW, NOW, NOW, NOW)
    own = told(integration="new", last_notified=None, is_at_provider=False)
    handed = told(integration="old", first_seen=NOW + 1, held=held)

    found = joined(own, handed)

    assert found is not None
    assert (found.integration, found.is_at_provider, found.held) == ("new", False, None)


def test_what_was_not_silenced_before_what_is_held_is_the_last_of_both() -> None:
    held = Held((("s", NOW),), Severity.HIGH, NOW, source("g", None, "t", 0), 7, 7, 7, NOW, NOW, NOW, NOW)
    for other, expected in (
        (told(decided=NOW + 9), NOW + 9),
        (told(decided=NOW + 9, held=replace(held, not_silenced=NOW + 3)), NOW + 3),
        (told(decided=NOW + 9, held=held), None),
    ):
        own = told(decided=NOW + 5, held=replace(held, not_silenced=NOW + 1))
        for found in (joined(own, other), joined(other, own)):
            assert found is not None
            assert found.held is not None
            assert found.held.not_silenced == expected


@given(alerts(), alerts())
def test_it_holds_the_homes_own_offsets_only(own: Alert, handed: Alert) -> None:
    found = joined(own, handed)

    if found is not None and found.owed is not None and found.owed.pins_offset is not None:
        assert own.owed is not None
        assert found.owed.pins_offset == own.owed.pins_offset


@given(alerts(), alerts())
def test_what_occurred_after_everything_that_is_over_is_live(own: Alert, handed: Alert) -> None:
    found = joined(own, handed)

    ending = [each.last_seen for each in (own, handed) if each.status is Status.RESOLVING]
    # What is silenced keeps nothing from being resolved, and comes to life after that.
    live = [one for one in (own, handed) if one.status is not Status.RESOLVING and not (ending and is_silenced(one))]
    is_live = any(each.last_seen >= max(ending, default=0.0) for each in live)
    assert found is not None
    assert (found.status is not Status.RESOLVING) == is_live


@given(alerts(), alerts())
def test_a_resolve_that_may_be_under_way_makes_the_live_one_unsettled(own: Alert, handed: Alert) -> None:
    found = joined(own, handed)

    assert found is not None
    is_one_ending = (own.status is Status.RESOLVING) != (handed.status is Status.RESOLVING)
    if is_one_ending and found.status is not Status.RESOLVING:
        assert found.unsettled
    assert found.unsettled >= max(own.unsettled, handed.unsettled)


@given(alerts(), alerts())
def test_nothing_is_over_that_has_something_to_repeat(own: Alert, handed: Alert) -> None:
    found = joined(own, handed)

    assert found is not None
    assert found.status is not Status.RESOLVING or found.owed is None or not found.owed.repeat


def test_a_handed_over_resolve_is_repaired_by_a_repeat() -> None:
    """The old home had decided the end; here it goes on. Its resolve may land at any time."""
    handed = over(told())
    assert handed is not None
    own, _ = occurred(None, handed.dedup_key, "s-1", Occurrence(Severity.HIGH, NOW + 1, record(1)), NOW + 1, POLICY)

    found = joined(own, handed)

    assert found is not None
    assert found.owed is not None
    after = trigger_accepted(found, found.owed, "default", None, NOW + 2)
    assert after.owed is not None
    assert after.owed.repeat


def test_the_older_alert_keeps_its_route() -> None:
    older, younger = told(route="default"), told(route="by_severity:critical", first_seen=NOW + 1, last_seen=NOW + 1)

    for own, handed in ((older, younger), (younger, older)):
        found = joined(own, handed)
        assert found is not None
        assert found.route == "default"
        assert found.former == (Former(None, "by_severity:critical"),)


def test_the_route_of_the_one_that_has_one_counts() -> None:
    older, younger = alert(owed=owes()), told(route="by_severity:critical", first_seen=NOW + 1, last_seen=NOW + 1)

    found = joined(older, younger)

    assert found is not None
    assert found.route == "by_severity:critical"
    assert found.former == ()


@pytest.mark.parametrize(
    ("severity", "status"), [(Severity.HIGH, Status.ACKNOWLEDGED), (Severity.CRITICAL, Status.OPEN)]
)
def test_acknowledged_stays_so_unless_it_has_become_worse(severity: Severity, status: Status) -> None:
    acknowledged = told(status=Status.ACKNOWLEDGED)
    other = told(highest=severity, last_notified=Notified(severity, NOW), last_seen=NOW + 1)

    for own, handed in ((acknowledged, other), (other, acknowledged)):
        found = joined(own, handed)
        assert found is not None
        assert found.status is status


def test_the_key_of_the_later_record_counts() -> None:
    found = joined(told(key=b"a"), told(key=b"b", last_seen=NOW + 1))

    assert found is not None
    assert found.key == b"b"


def test_an_incident_that_is_left_may_be_older_or_younger_than_the_kept_one() -> None:
    for kept_at, left_at in ((0.0, 10.0), (10.0, 0.0)):
        kept = told(route="default", last_notified=Notified(Severity.HIGH, NOW, NOW + kept_at))
        left = told(
            route="by_severity:critical", last_notified=Notified(Severity.HIGH, NOW, NOW + left_at), first_seen=NOW + 1,
        )  # fmt: skip
        for own, handed in ((kept, left), (left, kept)):
            found = joined(own, handed)
            assert found is not None
            assert found.last_notified == Notified(Severity.HIGH, NOW, NOW + kept_at, left=NOW + 10.0 + OPENED_SECONDS)


def test_what_was_left_before_stays_left_where_both_have_one_incident() -> None:
    left = told(last_notified=Notified(Severity.HIGH, NOW, NOW, left=NOW - 7.0))
    for own, handed in ((left, told()), (told(), left)):
        found = joined(own, handed)
        assert found is not None
        assert found.last_notified is not None
        assert found.last_notified.left == NOW - 7.0


@pytest.mark.parametrize("other", [None, Heard(NOW + 1.0, repeated=4)])
def test_nothing_was_repeated_of_two_for_nothing(other: Heard | None) -> None:
    found = joined(told(heard=Heard(NOW, repeated=4)), told(heard=other))
    assert found is not None
    assert found.heard is not None
    assert found.heard.repeated is None
