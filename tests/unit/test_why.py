"""The reason that is given for an outcome is the one by which it was decided."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from state.alert import Alert, Notified, Owed, Status
from state.occurrences import Occurrence, Outcome, event_time, occurred
from state.policy import Policy
from state.violation import Record, Severity
from state.why import Why, why

NOW = 1_800_000_000.0
POLICY = Policy(window_seconds=300, renotify_seconds=3600, quiet_seconds=1800, forget_seconds=1e9)
RECORD = Record("events", 0, 7, int(NOW * 1000), b"k", b"{}")

times = st.integers(-8000, 100).map(lambda seconds: NOW + seconds)
severities = st.sampled_from(Severity)
tolds = st.none() | st.builds(Notified, severity=severities, at=times)
oweds = st.none() | st.builds(
    Owed, record=st.just(RECORD), severity=severities, since=times, first_offset=st.just(1), last_offset=st.just(1),
    repeat=st.booleans(),
)  # fmt: skip
alerts = st.builds(
    Alert, dedup_key=st.just("k"), status=st.sampled_from(Status), session_id=st.none(), occurrences=st.just(3),
    first_seen=times, last_seen=times, decided=times, highest=severities, route=st.sampled_from([None, "default"]),
    last_notified=tolds, is_at_provider=st.booleans(), owed=oweds, unsettled=st.booleans(),
)  # fmt: skip

OUTCOME_OF: Mapping[Why, Outcome] = {
    Why.NEW: Outcome.TRIGGERED,
    Why.REOPENED: Outcome.TRIGGERED,
    Why.COUNTED: Outcome.COUNTED,
    Why.NOT_TOLD: Outcome.TRIGGERED,
    Why.RAISED: Outcome.TRIGGERED,
    Why.RENOTIFIED: Outcome.TRIGGERED,
    Why.AFTER_WINDOW: Outcome.TRIGGERED,
    Why.ACKNOWLEDGED: Outcome.SUPPRESSED,
    Why.WITHIN_WINDOW: Outcome.SUPPRESSED,
}
"""What `state.occurrences.occurred` makes of it."""


@given(st.none() | alerts, severities, times)
def test_the_reason_fits_the_outcome(alert: Alert | None, severity: Severity, time: float) -> None:
    _, outcome = occurred(alert, "k", None, Occurrence(severity, time, RECORD), NOW, POLICY)
    reason = why(alert, severity, event_time(time, RECORD.timestamp, NOW), NOW, POLICY)
    assert OUTCOME_OF[reason] is outcome


def test_each_reason_is_given() -> None:
    told = Alert(
        "k", Status.OPEN, None, 3, NOW - 100, NOW - 100, NOW - 100, Severity.HIGH,
        last_notified=Notified(Severity.HIGH, NOW - 100), is_at_provider=True,
    )  # fmt: skip
    owed = Owed(RECORD, Severity.HIGH, NOW, 1, 1)

    def reason(alert: Alert | None, severity: Severity = Severity.HIGH, later: float = 0.0) -> Why:
        return why(alert, severity, NOW + later, NOW + later, POLICY)

    assert reason(None) is Why.NEW
    assert reason(replace(told, status=Status.RESOLVING)) is Why.REOPENED
    assert reason(replace(told, owed=owed)) is Why.COUNTED
    assert reason(replace(told, last_notified=None)) is Why.NOT_TOLD
    assert reason(replace(told, is_at_provider=False)) is Why.NOT_TOLD
    assert reason(told, Severity.CRITICAL) is Why.RAISED
    assert reason(told, later=3500.0) is Why.RENOTIFIED
    assert reason(told, later=201.0) is Why.AFTER_WINDOW
    assert reason(told, later=200.0) is Why.WITHIN_WINDOW
    assert reason(replace(told, status=Status.ACKNOWLEDGED), later=4000.0) is Why.ACKNOWLEDGED
