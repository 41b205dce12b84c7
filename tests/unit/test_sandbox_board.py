"""What people can look at stays bounded, whatever the sandbox is driven with."""

import pytest

from providers.sandbox import CallMoment
from providers.sandbox.board import INCIDENTS, STEPS, Board
from providers.sandbox.incidents import Incident, Incidents

NOW = CallMoment(1_000.0, 5.0)


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def incidents(board: Board) -> Incidents:
    return Incidents(keep_ended=10, watch=board.watch)


def opened(incidents: Incidents, dedup_key: str, occurrences: int | None = None) -> Incident:
    return incidents.trigger(
        "pagerduty", "scope", key="k", dedup_key=dedup_key, title=f"title of {dedup_key}", severity="error",
        event_id=None, body={}, now=NOW, occurrences=occurrences,
    )[0]  # fmt: skip


def test_the_steps_of_an_incident_are_on_its_card(board: Board, incidents: Incidents) -> None:
    one = opened(incidents, "a")
    opened(incidents, "a")
    incidents.set_severity(one, "critical", now=NOW)
    incidents.set_severity(one, "critical", now=NOW)  # which changes nothing
    incidents.acknowledge(one, by="person", now=NOW)
    incidents.note(one, "a note", now=NOW)
    incidents.end("scope", one, by="client", now=NOW, detail="quiet")
    card = board.card(one.id)
    assert card is not None
    assert [(step.what, step.by, step.detail) for step in card.steps] == [
        ("opened", "client", "title of a"),
        ("told again", "client", "title of a"),
        ("severity", "client", "error → critical"),
        ("acknowledged", "person", ""),
        ("note", "client", "a note"),
        ("resolved", "client", "quiet"),
    ]


@pytest.mark.slow
def test_of_100_000_incidents_the_newest_are_on_it(board: Board, incidents: Incidents) -> None:
    for number in range(100_000):
        incidents.end("scope", opened(incidents, f"k{number}"), by="client", now=NOW)
    cards = board.cards()
    assert len(cards) == INCIDENTS
    assert [card.incident.number for card in cards] == list(range(100_001 - INCIDENTS, 100_001))
    assert incidents.counts()["pagerduty"] == {"opened": 100_000, "open": 0, "ended": 100_000, "extra": 0}


def test_of_very_many_steps_the_first_and_the_latest_are_kept(board: Board, incidents: Incidents) -> None:
    one = opened(incidents, "a")
    for number in range(1_000):
        incidents.note(one, f"note {number}", now=NOW)
    card = board.card(one.id)
    assert card is not None
    assert (card.steps[0].what, card.steps[-1].detail) == ("opened", "note 999")
    assert (len(card.steps), card.left_out) == (STEPS, 1_001 - STEPS)


def test_what_happens_to_an_incident_that_is_too_old_changes_nothing(incidents: Incidents) -> None:
    board = Board(incidents=2)
    incidents = Incidents(watch=board.watch)
    first = opened(incidents, "a")
    opened(incidents, "b")
    opened(incidents, "c")
    before = board.revision
    incidents.acknowledge(first, by="client", now=NOW)
    assert (board.revision, board.card(first.id)) == (before, None)


def test_what_has_changed_since_is_what_has_changed(board: Board, incidents: Incidents) -> None:
    first, second = opened(incidents, "a"), opened(incidents, "b")
    seen = board.revision
    assert board.cards(since=seen) == []
    incidents.acknowledge(first, by="client", now=NOW)
    assert [card.incident for card in board.cards(since=seen)] == [first]
    assert [card.incident for card in board.cards()] == [first, second]


def test_it_counts_who_has_been_taken(incidents: Incidents) -> None:
    first, second = opened(incidents, "a"), opened(incidents, "b")
    incidents.acknowledge(first, by="client", now=NOW)
    incidents.acknowledge(first, by="person", now=NOW)
    incidents.acknowledge(second, by="client", now=NOW)
    assert incidents.acknowledged("pagerduty") == 2
    incidents.unacknowledge(second, now=NOW)
    assert incidents.acknowledged("pagerduty") == 1
    incidents.end("scope", first, by="client", now=NOW)
    assert (incidents.acknowledged("pagerduty"), first.acknowledgements, first.acknowledged_by) == (0, 2, "person")


def test_how_often_a_problem_was_seen_is_the_most_that_was_told(incidents: Incidents) -> None:
    assert opened(incidents, "a").occurrences == 1
    assert opened(incidents, "a", 12).occurrences == 12
    assert opened(incidents, "a", 3).occurrences == 12
