"""The account finds what it is there for: each kind of finding, from made-up data, without a broker."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from msgspec import structs

from consumer.dlq.dead_letter import DeadLetter
from providers.sandbox import Incident, JournalEntry, Sandbox
from state.alert import Alert, Notified, Owed, Status
from state.violation import Record, Severity
from tests.chaos.account import take_account
from tests.chaos.happened import Happened, Refusal
from tests.chaos.reader import Event, Reader
from tests.support.events import encode, event
from tests.support.service import World

KEY = "g:p-1"
NOW = 1_000.0
ALERT = Alert(
    KEY,
    Status.OPEN,
    "p-1",
    1,
    NOW,
    NOW,
    NOW,
    Severity.HIGH,
    last_notified=Notified(Severity.HIGH, NOW),
    is_at_provider=True,
)


def _events(*moments: float, end: float | None = None) -> list[Event]:
    """Alertable events at these moments, at offsets 0, 10, 20 …, and the end of the session behind those before it."""
    events = [Event(f"e{index}", "g", "p-1", 0, index * 10, at) for index, at in enumerate(moments)]
    if end is not None:
        events.append(Event("end", None, "p-1", 0, 10 * sum(at < end for at in moments) - 5, end))
    return events


def _alert(occurrences: int = 1, first_seen: float = NOW) -> Alert:
    return Alert(
        KEY,
        Status.OPEN,
        "p-1",
        occurrences,
        first_seen,
        NOW,
        NOW,
        Severity.HIGH,
        last_notified=ALERT.last_notified,
        is_at_provider=True,
    )


def _kinds(
    events: list[Event],
    history: Sequence[Alert | None],
    incidents: Sequence[tuple[str, float, float | None]],
    *,
    resolves: tuple[float, ...] = (),
    late: float = 0.0,
    refusal: Refusal | None = None,
    letters: Sequence[DeadLetter] = (),
    refused_with: Sequence[tuple[int | None, str | None]] = (),
) -> list[tuple[str, bool]]:
    """The kinds of what is found, and whether it is excused; incidents are (opened by, opened at, resolved at).

    ``refused_with`` are triggers that were not taken: the status, and the sandbox's fault (None: its own answer).
    """
    reader = Reader(World("", 1, {}), ["pagerduty"])
    reader.events = events
    reader.history["pagerduty"][KEY] = list(history)
    reader.dead_letters = list(letters)
    sandbox = _Told(
        [
            Incident(
                number=index,
                id=str(index),
                provider="pagerduty",
                key="k",
                dedup_key=KEY,
                title="",
                severity="critical",
                opened_at=opened,
                opened_monotonic=opened,
                status="open" if resolved is None else "ended",
                resolved_at=resolved,
                ended_by=None if resolved is None else "client",
                event_ids=[event_id],
                extra="event_told_before" if index and event_id in {one[0] for one in incidents[:index]} else None,
            )
            for index, (event_id, opened, resolved) in enumerate(incidents)
        ],
        [
            *(_resolve(number, at, "land_late" if late else None) for number, at in enumerate(resolves)),
            *(_refused_trigger(number, status, fault) for number, (status, fault) in enumerate(refused_with, 100)),
        ],
    )
    acked = {event.event_id: event.sent for event in events}
    happened = Happened([] if refusal is None else [refusal])
    findings = take_account(reader, sandbox, acked, "p-", happened).findings
    return [(finding.kind, finding.cause is not None) for finding in findings]


class _Told(Sandbox):
    """A sandbox that has seen this."""

    def __init__(self, incidents: list[Incident], requests: list[JournalEntry]) -> None:
        super().__init__()
        self._seen, self._requests = incidents, requests

    def incidents(self, provider: str | None = None, *, dedup_key: str | None = None) -> list[Incident]:
        return self._seen

    def requests(self, provider: str | None = None, **criteria: Any) -> list[JournalEntry]:
        return self._requests


def _resolve(number: int, at: float, fault: str | None) -> JournalEntry:
    return JournalEntry(
        number=number,
        at=at,
        monotonic=at,
        method="POST",
        path="",
        provider="pagerduty",
        key="k",
        dedup_key=KEY,
        action="resolve",
        event_id=None,
        body=None,
        applied=True,
        fault=fault,
    )


def _refused_trigger(number: int, status: int | None, fault: str | None) -> JournalEntry:
    return replace(_resolve(number, NOW, fault), action="trigger", applied=False, status=status)


def _letter(error_class: str = "rejected", occurrences: int = 1, offset: int = 0) -> DeadLetter:
    record = Record("t", 0, offset, int(NOW * 1000), b"p-1", encode(event(guard="g", session="p-1")))
    return DeadLetter(
        record=record,
        provider="pagerduty",
        stage="deliver",
        event_id="e0",
        error="400",
        error_class=error_class,
        retryable=False,
        attempts=1,
        first_attempt=NOW,
        last_attempt=NOW,
        occurrences=occurrences,
        first_offset=0,
        last_offset=0,
    )


def _refusal(status: int | None, *, only_ends: bool = False, session: str = "p-1") -> Refusal:
    return Refusal({session}, status, only_ends)


OWED = Owed(Record("t", 0, 0, 0, b"", b""), Severity.HIGH, NOW, 0, 10, occurrences=2)
OWING = structs.replace(ALERT, occurrences=2, last_notified=None, is_at_provider=False, owed=OWED)
RESOLVING = structs.replace(ALERT, status=Status.RESOLVING)


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


def test_a_second_incident_of_one_event_while_the_first_is_open() -> None:
    found = _kinds(_events(NOW), [ALERT], [("e0", NOW, None), ("e0", NOW + 5, None)])
    assert ("extra", False) in found


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


@pytest.mark.parametrize("status", [503, 403, None])
def test_what_is_refused_for_ever_may_be_owed_and_nothing_else_may(status: int | None) -> None:
    events, refused = _events(NOW, NOW + 1), [(status, "answer" if status else "hang")]
    assert _kinds(events, [OWING], [], refusal=_refusal(status), refused_with=refused) == []
    found = _kinds(events, [OWING], [], refusal=_refusal(status, session="p-2"), refused_with=refused)
    assert {kind for kind, _ in found} == {"lost", "open_sets"}


@pytest.mark.parametrize("status", [503, 403, None])
def test_what_is_refused_for_ever_is_no_dead_letter_and_not_forgotten(status: int | None) -> None:
    events, refused = _events(NOW, NOW + 1), [(status, "answer" if status else "hang")]
    kinds = partial(_kinds, refusal=_refusal(status), refused_with=refused)
    assert kinds(events, [], [], letters=[_letter("given_up", 2)]) == [("dead_letter", False)]
    assert kinds(events, [OWING, None], []) == [("lost", False)]
    assert kinds(events, [structs.replace(OWING, occurrences=1)], []) == [("lost", False)]


def test_what_is_rejected_for_ever_is_in_dead_letters_each_event_of_it() -> None:
    kinds = partial(_kinds, refusal=_refusal(400), refused_with=[(400, "answer")] * 2)
    events = _events(NOW, NOW + 1)
    assert kinds(events, [], [], letters=[_letter(), _letter(offset=10)]) == []
    assert kinds(events, [], [], letters=[_letter(occurrences=2)]) == []
    found = kinds(events, [], [], letters=[_letter(), _letter()])
    assert found == [("dead_letter_twice", False)]
    assert kinds(events, [], [], letters=[_letter(occurrences=1)]) == [("lost", False)]
    assert kinds(events, [], []) == [("lost", False), ("lost", False)]


def test_a_revoked_key_costs_no_dead_letter() -> None:
    letters, unknown_key = [_letter()], [(400, None)]
    found = _kinds(_events(NOW), [], [], letters=letters, refused_with=unknown_key)
    assert found == [("dead_letter", False)]
    assert _kinds(_events(NOW), [], [], letters=letters, refused_with=[(413, "answer")]) == []
    assert _kinds(_events(NOW), [ALERT], [("e0", NOW + 9, None)], refused_with=unknown_key) == []


def test_an_end_that_is_refused_for_ever_stays_owed_and_one_that_is_rejected_is_believed() -> None:
    events, incidents = _events(NOW, end=NOW + 3), [("e0", NOW, None)]
    assert _kinds(events, [ALERT, RESOLVING], incidents, refusal=_refusal(503, only_ends=True)) == []
    found = _kinds(events, [ALERT, RESOLVING, None], incidents, refusal=_refusal(503, only_ends=True))
    assert found == [("open_sets", False)]
    found = _kinds(events, [ALERT, RESOLVING, None], incidents, refusal=_refusal(400, only_ends=True))
    assert found == [("open_sets", True)]


def test_after_a_rejected_end_the_next_life_is_told_into_the_same_incident() -> None:
    events, incidents = _events(NOW, NOW + 9, end=NOW + 3), [("e0", NOW, None)]
    history = [ALERT, RESOLVING, None, _alert(first_seen=NOW + 9)]
    assert _kinds(events, history, incidents, refusal=_refusal(400, only_ends=True)) == []
    assert _kinds(events, history, incidents, refusal=_refusal(503, only_ends=True)) == [("lost", False)]
    assert ("lost", False) in _kinds(events, history, [], refusal=_refusal(400, only_ends=True))
