"""The account of silences finds what it is there for, from made-up data, without a broker (design section 22)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from consumer.history.step import Step, StepKind
from consumer.silences.records import encode
from consumer.silences.silence import Match, Silence
from providers.sandbox import Incident, Sandbox
from state.alert import Alert, Status
from tests.chaos.happened import Happened
from tests.chaos.history import history_findings
from tests.chaos.lateness import pages
from tests.chaos.problem import Problem
from tests.chaos.reader import Event, Reader
from tests.chaos.silences import KNOWN_SECONDS, SilenceRecord, Silences, silence_record
from tests.chaos.test_account import ALERT, KEY, NOW, _alert, _resolve, _Told
from tests.support.service import World

SET, BEGIN, END = NOW - 10, NOW - 10, NOW + 10
SILENCE = SilenceRecord("s", "all", {"guard": "g", "session_id": "p-*"}, False, BEGIN, END, SET)
ENDED_EARLY = replace(SILENCE, ends=NOW + 5, written=NOW + 5.2)


def events(*moments: float, end: float | None = None, is_critical: bool = False) -> tuple[list[Event], list[Event]]:
    """Alertable events at these moments, and the session's end."""
    found = [Event(f"e{number}", "g", "p-1", 0, number * 10, at, is_critical) for number, at in enumerate(moments)]
    before = sum(at < (end or 0.0) for at in moments)
    return found, [] if end is None else [Event("end", None, "p-1", 0, 10 * before - 5, end)]


def incident(number: int, event_id: str, opened: float, resolved: float | None = None) -> Incident:
    return Incident(
        number=number, id=str(number), provider="pagerduty", key="k", dedup_key=KEY, title="", severity="critical",
        opened_at=opened, opened_monotonic=opened, status="open" if resolved is None else "ended",
        resolved_at=resolved, ended_by=None if resolved is None else "client", event_ids=[event_id],
    )  # fmt: skip


def kinds(
    what: tuple[list[Event], list[Event]],
    history: Sequence[Alert | None],
    told: Sequence[tuple[str, float, float | None]] = (),
    *,
    silences: Sequence[SilenceRecord] = (SILENCE,),
    deaf: Sequence[tuple[float, float]] = (),
    repeats: Sequence[tuple[str, float]] = (),
    held_up: Sequence[tuple[float, float]] = (),
) -> list[str]:
    """What is found; ``told`` are the incidents: opened by which event, when, and resolved when.

    ``repeats`` are triggers that open nothing: of which event, and when.
    """
    happened, ends = what
    entries = [
        replace(_resolve(number, at, None), action="trigger", event_id=event_id)
        for number, (event_id, at) in enumerate([*((event_id, at) for event_id, at, _ in told), *repeats])
    ]
    entries += [_resolve(number, at, None) for number, (_, _, at) in enumerate(told, 100) if at is not None]
    problem = Problem(
        provider="pagerduty", key=KEY, events=happened, ends=ends, history=history,
        incidents=[incident(number, *one) for number, one in enumerate(told)], entries=entries, letters=[],
        acked={}, shared=[], refusal=None, rotations=[], silences=Silences(silences, deaf), held_up=held_up,
    )  # fmt: skip
    return sorted({finding.kind for finding in problem.findings()})


SILENT = structs.replace(ALERT, last_notified=None, is_at_provider=False)
TOLD: list[Alert | None] = [SILENT, ALERT]
QUIET = NOW + 42


def test_what_is_right_is_not_found() -> None:
    assert kinds(events(NOW), TOLD, [("e0", END + 1, None)]) == []
    assert kinds(events(NOW), [*TOLD, None], [("e0", END + 1, QUIET)]) == []
    assert kinds(events(NOW, NOW + 3), [SILENT, _alert(2)], [("e1", END + 1, None)]) == []
    assert kinds(events(NOW, end=NOW + 2), [SILENT, None]) == [], "it was over in silence"
    assert kinds(events(NOW, end=NOW + 2), []) == [], "it has come and gone between two checkpoints"
    early = events(NOW), TOLD, [("e0", NOW + 6, None)]
    assert kinds(*early, silences=[SILENCE, ENDED_EARLY]) == []
    assert kinds(events(NOW, is_critical=True), [ALERT], [("e0", NOW + 1, None)]) == []


def test_what_lives_on_and_is_told_nobody_is_lost() -> None:
    assert kinds(events(NOW), [SILENT, None]) == ["lost"]
    assert kinds(events(NOW), []) == ["lost"]
    assert "lost" in kinds(events(NOW), [SILENT]), "it is silenced for ever"
    assert kinds(events(NOW, end=END + 10), [SILENT, None]) == ["lost"], "its end came after that of the silence"


def test_what_lives_on_in_silence_after_it_was_told_and_over_is_lost_if_nobody_is_told_again() -> None:
    what = events(NOW - 20, NOW, end=NOW - 15)
    earlier = ("e0", NOW - 20, NOW - 14)
    silent = structs.replace(_alert(first_seen=NOW), last_notified=None, is_at_provider=False)
    history = [_alert(first_seen=NOW - 20), None, silent]
    assert kinds(what, [*history, _alert(first_seen=NOW)], [earlier, ("e1", END + 1, None)]) == []
    assert kinds(what, [*history, None], [earlier]) == ["lost"]


@pytest.mark.parametrize("at", [NOW + 1, END - 0.1])
def test_what_is_told_during_the_silence_is_too_much(at: float) -> None:
    assert kinds(events(NOW), TOLD, [("e0", at, None)]) == ["extra"]


def test_what_is_silenced_sends_nothing_about_a_problem_that_was_told_before() -> None:
    """The repetition, or the rise of the severity, tells the silenced event."""
    what = events(NOW - 15, NOW)
    told = [("e0", NOW - 14, None)]
    assert kinds(what, [_alert(2)], told) == []
    assert kinds(what, [_alert(2)], told, repeats=[("e0", NOW + 1)]) == []
    assert kinds(what, [_alert(2)], told, repeats=[("e1", NOW + 1)]) == ["extra"]


def test_an_end_behind_a_hold_up_may_be_decided_before_the_silence_has_ended_and_no_other_may() -> None:
    what, history = events(NOW, end=END + 6), [SILENT, None]
    assert kinds(what, history, held_up=[(END - 1, END + 10)]) == []
    assert kinds(what, history, held_up=[(END - 9, END - 1)]) == ["lost"]
    assert kinds(events(NOW), history, held_up=[(END - 1, END + 10)]) == ["lost"], "no end has come at all"


def test_what_is_told_twice_after_the_silence_is_too_much() -> None:
    what = events(NOW, NOW + 3)
    assert kinds(what, [SILENT, _alert(2)], [("e0", END + 1, END + 2), ("e1", END + 3, None)]) == [
        "extra",
        "wrong_resolve",
    ]


def test_what_was_over_in_silence_is_never_told() -> None:
    assert kinds(events(NOW, end=NOW + 2), [*TOLD, None], [("e0", END + 1, END + 2)]) == ["extra"]
    long = replace(SILENCE, ends=NOW + 40)
    assert kinds(events(NOW), [SILENT, None], silences=[long]) == [], "it was over by quiet"
    assert kinds(events(NOW), TOLD, [("e0", NOW + 41, None)], silences=[long]) == ["extra"]


def test_what_a_silence_does_not_mean_is_lost_if_nobody_is_told() -> None:
    found = events(NOW, is_critical=True)
    assert kinds(found, [SILENT, None]) == ["lost"]
    assert kinds(found, [SILENT, None], silences=[replace(SILENCE, include_critical=True)]) == ["lost"]
    ended = events(NOW, end=NOW + 2, is_critical=True)
    assert kinds(ended, [SILENT, None]) == ["lost"]
    assert kinds(ended, [SILENT, None], silences=[replace(SILENCE, include_critical=True)]) == []
    for other in (replace(SILENCE, scope="opsgenie"), replace(SILENCE, match={"guard": "h"})):
        assert kinds(events(NOW, end=NOW + 2), [SILENT, None], silences=[other]) == ["lost"]


def test_a_live_problem_is_not_resolved_because_it_is_silenced() -> None:
    what = events(NOW - 20, NOW)
    assert kinds(what, [_alert(2), None], [("e0", NOW - 19, NOW + 15)]) == ["wrong_resolve"]
    behind_an_end = events(NOW - 20, NOW, end=NOW - 2)
    silent = structs.replace(_alert(first_seen=NOW), last_notified=None, is_at_provider=False)
    late = [("e0", NOW - 19, NOW + 8), ("e1", END + 1, None)]
    history = [_alert(first_seen=NOW - 20), None, silent, _alert(first_seen=NOW)]
    assert kinds(behind_an_end, history, late) == [], "a resolve that was late, and what is silenced since"
    assert "wrong_resolve" in kinds(behind_an_end, history, late, silences=[replace(SILENCE, match={"guard": "h"})])


def test_what_is_held_while_the_end_is_told_is_counted() -> None:
    resolving = structs.replace(ALERT, status=Status.RESOLVING, is_at_provider=False)
    what = events(NOW - 20, NOW, end=NOW - 2)
    assert kinds(what, [ALERT, resolving, None], [("e0", NOW - 19, NOW + 1)]) == ["lost"]


@pytest.mark.parametrize(("outcome", "found"), [("told", []), ("silent", []), ("never", ["lost"])])
@pytest.mark.parametrize("why", ["late", "deaf", "ended early"])
def test_where_both_may_be_either_is_right_and_nothing_is_lost(why: str, outcome: str, found: list[str]) -> None:
    silences, deaf = {
        "late": ([replace(SILENCE, written=NOW - 1)], []),
        "deaf": ([SILENCE], [(NOW - 9, NOW + 1)]),
        "ended early": ([SILENCE, replace(SILENCE, ends=NOW - 0.5, written=NOW - 0.3)], []),
    }[why]
    outcomes: dict[str, tuple[list[Alert | None], list[tuple[str, float, float | None]]]] = {
        "told": ([ALERT], [("e0", NOW + 1, None)]),
        "silent": (TOLD, [("e0", END + 1, None)]),
        "never": ([SILENT, None], []),
    }
    history, told = outcomes[outcome]
    assert kinds(events(NOW), history, told, silences=silences, deaf=deaf) == found


# what is known of silences


def test_the_records_are_those_that_the_command_writes() -> None:
    match = Match({"guard": "secret*", "session_id": "p1-*"})
    key, value = encode(Silence("a", "pagerduty", match, "why", "ana", NOW, NOW, NOW + 60, include_critical=True))
    one = silence_record(key, value, NOW + 1)
    assert one == SilenceRecord("a", "pagerduty", dict(match.terms), True, NOW, NOW + 60, NOW + 1)
    assert one.fits("secret_leak", "p1-3", is_critical=True, provider="pagerduty")
    assert not one.fits("secret_leak", "p2-3", is_critical=True, provider="pagerduty")
    assert not one.fits("secret_leak", "p1-3", is_critical=True, provider="opsgenie")
    assert not one.fits("mcp_tool", "p1-3", is_critical=False, provider="pagerduty")


def test_what_says_nothing_is_no_silence() -> None:
    key, value = encode(Silence("a", "all", Match({"guard": "g"}), "why", "ana", NOW, NOW, NOW + 60))
    assert silence_record(b"b", value, NOW) is None
    assert silence_record(key, b"{\x00", NOW) is None
    assert silence_record(key, None, NOW) is None


def test_a_silence_is_known_some_seconds_after_it_was_written_or_after_nobody_was_deaf_any_more() -> None:
    assert Silences().known_at(NOW) == NOW + KNOWN_SECONDS
    deaf = [(NOW + 1, NOW + 9), (NOW + 10, NOW + 12), (NOW + 30, NOW + 40)]
    assert Silences(deaf=deaf).known_at(NOW) == NOW + 12 + KNOWN_SECONDS


# pages and history


def reader_of(what: tuple[list[Event], list[Event]]) -> Reader:
    reader = Reader(World("", 1, {}), ["pagerduty"])
    reader.events = [*what[0], *what[1]]
    reader.silences = [SILENCE]
    return reader


def waited(what: tuple[list[Event], list[Event]], event_id: str, at: float) -> float:
    sandbox: Sandbox = _Told([incident(0, event_id, at)], [])
    [page] = pages(reader_of(what), sandbox, {}, "p-", Happened())
    return page.told - page.known


def test_a_page_after_a_silence_waits_from_its_end_on() -> None:
    assert waited(events(NOW), "e0", END + 1) == 1
    assert waited(events(NOW - 20), "e0", NOW) == 20, "no silence holds it"
    critical = events(NOW)[0] + [Event("c", "g", "p-1", 0, 20, NOW + 2, True)]
    assert waited((critical, []), "c", NOW + 5) == 3


def history_kinds(steps: list[Step]) -> list[str]:
    reader = reader_of(events(NOW))
    reader.steps = steps
    return [finding.kind for finding in history_findings(reader, "p-")]


def test_what_begins_in_silence_has_a_step_that_says_so() -> None:
    facts: dict[str, Any] = {"at": NOW, "provider": "pagerduty", "partition": 0, "dedup_key": KEY, "life": NOW}
    silenced = Step(kind=StepKind.SILENCED, severity="high", occurrences=1, **facts)
    assert history_kinds([silenced]) == []
    assert history_kinds([]) == ["history"]
    assert history_kinds([structs.replace(silenced, kind=StepKind.TRIGGERED)]) == ["history"]
