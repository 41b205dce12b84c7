"""The account finds what it is there for: each kind of finding, from made-up data, without a broker."""

import pytest

from providers.sandbox import Entry, Incident, Sandbox
from state.alert import Alert, Status, Told
from state.violation import Severity
from tests.chaos.account import Event, Reader, take_account
from tests.support.service import World

KEY = "g:p-1"
NOW = 1_000.0
ALERT = Alert(KEY, Status.OPEN, "p-1", 1, NOW, NOW, NOW, Severity.HIGH, told=Told(Severity.HIGH, NOW), has=True)


def _events(*moments: float, end: float | None = None) -> list[Event]:
    """Alertable events at these moments, at offsets 0, 10, 20 …, and the end of the session behind those before it."""
    events = [Event(f"e{index}", "g", "p-1", 0, index * 10, at) for index, at in enumerate(moments)]
    if end is not None:
        events.append(Event("end", None, "p-1", 0, 10 * sum(at < end for at in moments) - 5, end))
    return events


def _alert(occurrences: int = 1, first_seen: float = NOW) -> Alert:
    return Alert(KEY, Status.OPEN, "p-1", occurrences, first_seen, NOW, NOW, Severity.HIGH, told=ALERT.told, has=True)


def _kinds(
    events: list[Event],
    history: list[Alert | None],
    incidents: list[tuple[str, float, float | None]],
    *,
    resolves: tuple[float, ...] = (),
    late: float = 0.0,
) -> list[tuple[str, bool]]:
    """The kinds of what is found, and whether it is excused; incidents are (opened by, opened at, resolved at)."""
    reader = Reader(World("", 1, {}), ["pagerduty"])
    reader.events = events
    reader.history["pagerduty"][KEY] = history
    sandbox = _Told(
        [
            Incident(
                **{"number": index, "id": str(index), "provider": "pagerduty", "key": "k", "dedup_key": KEY},
                **{"title": "", "severity": "critical", "opened_at": opened, "opened_monotonic": opened},
                status="open" if resolved is None else "ended",
                resolved_at=resolved,
                ended_by=None if resolved is None else "client",
                event_ids=[event_id],
                extra="event_told_before" if index and event_id in {one[0] for one in incidents[:index]} else None,
            )
            for index, (event_id, opened, resolved) in enumerate(incidents)
        ],
        [_resolve(number, at, "land_late" if late else None) for number, at in enumerate(resolves)],
    )
    acked = {event.event_id: event.sent for event in events}
    findings = take_account(reader, sandbox, acked, "p-").findings
    return [(finding.kind, finding.cause is not None) for finding in findings]


class _Told(Sandbox):
    """A sandbox that has seen this."""

    def __init__(self, incidents: list[Incident], requests: list[Entry]) -> None:
        super().__init__()
        self._seen, self._requests = incidents, requests

    def incidents(self, provider=None, *, dedup_key=None):  # type: ignore[no-untyped-def]
        return self._seen

    def requests(self, provider=None, **criteria):  # type: ignore[no-untyped-def]
        return self._requests


def _resolve(number: int, at: float, fault: str | None) -> Entry:
    return Entry(
        **{"number": number, "at": at, "monotonic": at, "method": "POST", "path": "", "provider": "pagerduty"},
        **{"key": "k", "dedup_key": KEY, "action": "resolve", "event_id": None, "body": None, "applied": True},
        fault=fault,
    )


def test_what_is_right_is_not_found() -> None:
    assert _kinds(_events(NOW), [ALERT], [("e0", NOW, None)]) == []
    ended = _events(NOW, NOW + 20, end=NOW + 10)
    history = [ALERT, None, _alert(first_seen=NOW + 20)]
    incidents = [("e0", NOW, NOW + 11), ("e1", NOW + 20, None)]
    assert _kinds(ended, history, incidents, resolves=(NOW + 11,)) == []


@pytest.mark.parametrize(
    ("history", "incidents", "kinds"),
    [
        ([], [], ["lost"]),
        ([ALERT], [("e0", NOW, None)], ["lost"]),
        ([_alert(3)], [("e0", NOW, None)], ["counted_twice"]),
        ([_alert(2)], [], ["lost", "open_sets"]),
        ([_alert(2), None], [("e0", NOW, None)], ["open_sets"]),
    ],
    ids=["never decided", "one not counted", "one counted twice", "no incident", "incident left open"],
)
def test_two_events_of_one_problem(
    history: list[Alert | None], incidents: list[tuple[str, float, float | None]], kinds: list[str]
) -> None:
    found = [kind for kind, _ in _kinds(_events(NOW, NOW + 1), history, incidents)]
    assert sorted(set(found)) == sorted(kinds)


def test_a_resolve_while_violations_go_on() -> None:
    events = _events(NOW, NOW + 8)
    found = _kinds(events, [_alert(2), None], [("e0", NOW, NOW + 15)], resolves=(NOW + 15,))
    assert found == [("wrong_resolve", False)]
    after_the_end = _events(NOW, NOW + 4, end=NOW + 3)
    found = _kinds(after_the_end, [_alert(2), None], [("e0", NOW, NOW + 15)], resolves=(NOW + 15,))
    assert found == [("wrong_resolve", False)]


def test_a_resolve_after_quiet_and_one_just_before_an_event_is_known() -> None:
    assert _kinds(_events(NOW), [ALERT, None], [("e0", NOW, NOW + 31)], resolves=(NOW + 31,)) == []
    events = _events(NOW, NOW + 5, end=NOW + 3)
    history = [ALERT, _alert(2)]
    assert _kinds(events, history, [("e0", NOW, NOW + 6), ("e1", NOW + 6, None)], resolves=(NOW + 6,)) == []


def test_an_incident_too_many_is_excused_only_by_a_request_that_landed_late() -> None:
    events, history = _events(NOW, end=NOW + 3), [ALERT]
    incidents = [("e0", NOW, NOW + 8), ("e0", NOW + 9, None)]
    assert _kinds(events, history, incidents, resolves=(NOW + 7.9,)) == [("extra", False)]
    assert _kinds(events, history, incidents, resolves=(NOW + 4,), late=4) == [("extra", True)]


def test_a_second_incident_of_the_same_episode() -> None:
    events = _events(NOW, NOW + 2)
    incidents = [("e0", NOW, NOW + 3), ("e1", NOW + 4, None)]
    assert ("extra", False) in _kinds(events, [_alert(2)], incidents, resolves=(NOW + 3,))
