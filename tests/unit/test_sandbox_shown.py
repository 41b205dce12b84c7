"""What the page is given: every text harmless and bounded, no key readable."""

from typing import Any

import orjson
import pytest

from providers.integration import CHECKED
from providers.sandbox import Incident, JournalEntry
from providers.sandbox.board import Board, Card
from providers.sandbox.incidents import IncidentEntry
from providers.sandbox.outage import SandboxOutage
from providers.sandbox.page import shown
from tests.support import hostile

KEY = "0123456789abcdef0123456789abcdef"


def incident(**given: Any) -> Incident:
    values: dict[str, Any] = {
        "number": 1, "id": "i1", "provider": "pagerduty", "key": KEY, "dedup_key": "d", "title": "t",
        "severity": "error", "opened_at": 1.0, "opened_monotonic": 1.0,
    }  # fmt: skip
    return Incident(**{**values, **given})


@pytest.mark.parametrize("text", hostile.ALL)
def test_a_hostile_text_is_printable_bounded_and_one_line(text: str) -> None:
    seen = shown.visible(text, 300)
    assert seen.isprintable()
    assert len(seen) <= 300


def test_what_does_not_print_is_an_escape() -> None:
    assert shown.visible("a\x1b[31m\u202egnp\nb", 300) == "a\\x1b[31m\\u202egnp\\nb"
    assert shown.lines("a\r\nb\u2028", 300) == "a\\r\nb\\u2028"


def test_markup_stays_the_text_that_it_is() -> None:
    assert shown.visible(hostile.MARKUP, 300) == hostile.MARKUP


@pytest.mark.parametrize("text", hostile.ALL)
def test_no_field_of_an_incident_lets_a_hostile_text_through(text: str) -> None:
    body = {"routing_key": KEY, "payload": {"summary": text, "custom_details": {text: text}}}
    one = incident(title=text, dedup_key=text, severity=text, opened_with=body)
    for seen in (
        shown.incident(Card(one), {KEY: text}),
        shown.detail(Card(one, steps=[IncidentEntry(1.0, "note", detail=text)]), {}),
    ):
        for each in _texts(seen):
            assert all(line.isprintable() for line in each.split("\n"))
            assert len(each) <= shown.PAYLOAD_LIMIT
        assert KEY not in orjson.dumps(seen).decode()


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return []


def test_an_incident_as_its_line_shows_it() -> None:
    one = incident(status="ended", ended_by="person", resolved_at=9.0, triggers=3, occurrences=14)
    assert shown.incident(Card(one), {KEY: "acme-corp"}) == {
        "id": "i1", "number": 1, "provider": "pagerduty", "title": "t", "severity": "error", "level": "high",
        "teams": ["acme-corp"], "status": "resolved", "by": "person", "told": 3, "occurrences": 14, "opened_at": 1.0,
        "ended_at": 9.0, "dedup_key": "d", "extra": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("severity", "level"),
    [
        ("critical", "critical"),
        ("error", "high"),
        ("warning", "medium"),
        ("P1", "critical"),
        ("P4", "low"),
        ("?", "info"),
    ],
)
def test_both_providers_words_are_one_scale(severity: str, level: str) -> None:
    assert shown.incident(Card(incident(severity=severity)), {})["level"] == level


def test_teams_are_the_responders_or_the_integration() -> None:
    responders = [{"type": "team", "name": "soc"}, {"type": "user", "username": "mira"}, {"type": "team", "id": "7"}]
    assert shown.teams(incident(provider="opsgenie", opened_with={"responders": responders}), {}) == [
        "soc",
        "mira",
        "7",
    ]
    assert shown.teams(incident(provider="opsgenie"), {}) == []
    assert shown.teams(incident(), {}) == ["integration …cdef"]
    many = [{"type": "team", "name": f"t{number}"} for number in range(50)]
    assert shown.teams(incident(provider="opsgenie", opened_with={"responders": many}), {})[-1] == "38 more"


def test_a_payload_of_half_a_megabyte_is_cut() -> None:
    text = shown.payload({"payload": {"summary": "x" * 500_000}})
    assert text is not None
    assert len(text) == shown.PAYLOAD_LIMIT
    assert shown.payload(None) is None


def test_a_check_of_a_key_is_called_that() -> None:
    entry = JournalEntry(
        number=1, at=1.0, monotonic=1.0, method="POST", path="/v2/enqueue", provider="pagerduty", key=KEY,
        dedup_key=f"{CHECKED}0123", action="resolve", event_id=None, body=None, status=202,
    )  # fmt: skip
    assert shown.request(entry)["action"] == "key check"
    assert KEY not in orjson.dumps(shown.request(entry)).decode()


def test_a_provider_counts_what_is_open_without_what_is_taken() -> None:
    counts = {"opened": 9, "open": 5, "ended": 4, "extra": 0}
    seen = shown.provider(
        "pagerduty", counts, acknowledged=2, outcomes=(11, 3), outage=SandboxOutage("revoked", 400, 130.0), now=100.0
    )
    assert (seen["open"], seen["acknowledged"], seen["resolved"]) == (3, 2, 4)
    assert (seen["accepted"], seen["refused"]) == (11, 3)
    assert seen["outage"] == {"how": "revoked", "status": 400, "seconds": 30.0}


def test_the_state_of_very_many_is_small() -> None:
    board = Board()
    for number in range(5_000):
        board.watch(
            incident(id=f"i{number}", number=number + 1, title=hostile.LONG_WORD, dedup_key=hostile.LONG_WORD),
            IncidentEntry(1.0, "opened"),
        )
    state = shown.state(board, since=0, whole=True, integrations={}, opened=5_000, providers=[], faults=0, now=1.0)
    assert (len(state["incidents"]), state["older"], state["first"]) == (200, 4_800, 4_801)
    assert state["incidents"][0]["number"] == 5_000
    assert len(orjson.dumps(state)) < 300_000
