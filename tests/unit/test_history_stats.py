"""What the history says of the policies: counted step by step, in bounded memory (`consumer.history.stats`)."""

import argparse
import random
from pathlib import Path
from typing import Any

import orjson
import pytest

import consumer.history.stats as module
from consumer.cli.alert_history import AlertHistory, is_gone, show_history, steps_about, to_json
from consumer.cli.alerts_stats import dimensions, report, show
from consumer.history.stats import DAY_SECONDS, DIMENSIONS, OTHERS, Figures, Spans, Stats
from consumer.history.step import Reason, Step, StepKind
from consumer.history.steps import EARLY_SECONDS

EPOCH = 1_800_000_000.0


def step(kind: StepKind, at: float, key: str = "k", **facts: Any) -> Step:
    given = {"guard": "egress", "tenant": "acme", "severity": "high", "occurrences": 1, "life": 0.0, **facts}
    return Step(kind=kind, at=EPOCH + at, provider="pagerduty", partition=0, dedup_key=key, **given)


def begun(at: float, key: str = "k", reason: Reason = Reason.NEW, **facts: Any) -> Step:
    return step(StepKind.TRIGGERED, at, key, reason=reason, life=at, **facts)


def figures(*steps: Step, by: tuple[str, ...] = ()) -> Figures:
    stats = Stats(by)
    for one in steps:
        stats.take(one)
    list(stats.groups())
    return stats.total


def test_a_life_is_counted() -> None:
    found = figures(
        begun(0),
        step(StepKind.TOLD, 2, suppressed=3, route="default"),
        step(StepKind.TRIGGERED, 50, reason=Reason.RAISED, suppressed=5, severity="critical"),
        step(StepKind.RAISED, 51, severity="critical"),
        step(StepKind.ACKNOWLEDGED, 62, actor="operator:ann"),
        step(StepKind.RESOLVED, 400, actor="quiet", suppressed=1),
    ).to_json()
    assert (found["alerts"], found["occurrences"], found["suppressed"], found["pages"]) == (1, 11, 9, 2)
    assert found["suppressed_per_page"] == 4.5
    assert found["time_to_told_p50"] == pytest.approx(2, rel=0.05)
    assert found["time_to_acknowledge_p50"] == pytest.approx(60, rel=0.05)
    assert found["time_to_resolve_p50"] == pytest.approx(400, rel=0.05)
    assert (found["ended_by"], found["ended_early"], found["noise"]) == ({"quiet": 1}, 0, 0)


def test_a_life_that_begins_in_silence_is_one_life_and_its_silence_is_no_time_to_told() -> None:
    found = figures(
        step(StepKind.SILENCED, 0, actor="silence:leak"),
        step(StepKind.TRIGGERED, 600, reason=Reason.SILENCE_ENDED, suppressed=4, occurrences=5, seconds=600.0),
        step(StepKind.TOLD, 601, occurrences=5, seconds=1.0),
        step(StepKind.RESOLVED, 900, actor="quiet", occurrences=5, seconds=299.0),
        step(StepKind.SILENCED, 1000, actor="silence:leak", life=1000.0),
        step(StepKind.RESOLVED, 2000, actor="silence:leak", life=1000.0, seconds=1000.0),
    ).to_json()
    assert (found["alerts"], found["occurrences"], found["pages"], found["silenced"]) == (2, 6, 1, 2)
    assert found["time_to_told_p50"] is None
    assert found["ended_by"] == {"quiet": 1, "silence": 1}


@pytest.mark.parametrize(
    ("ended", "noise"),
    [
        ({"at": EARLY_SECONDS, "actor": "operator:ann"}, 1),
        ({"at": EARLY_SECONDS + 1, "actor": "operator:ann"}, 0),
        ({"at": 10, "actor": "provider:bob"}, 1),
        ({"at": 10, "actor": "quiet"}, 0.5),
        ({"at": 10, "actor": "session_end"}, 0.5),
    ],
)
def test_what_is_noise(ended: dict[str, Any], noise: float) -> None:
    assert figures(begun(0), step(StepKind.TOLD, 0), step(StepKind.RESOLVED, **ended)).noise == noise


def test_what_was_acknowledged_and_ended_by_itself_is_none() -> None:
    assert (
        figures(begun(0), step(StepKind.TOLD, 0), step(StepKind.ACKNOWLEDGED, 5), step(StepKind.RESOLVED, 9)).noise == 0
    )


def test_what_was_never_told_is_none() -> None:
    found = figures(begun(0), step(StepKind.DEAD_LETTERED, 3), step(StepKind.RESOLVED, 9, actor="quiet"))
    assert (found.noise, found.buried, found.pages) == (0, 1, 0)


@pytest.mark.parametrize(("later", "back"), [(DAY_SECONDS, 1), (DAY_SECONDS + 1, 0)])
def test_the_same_problem_comes_back_within_a_day(later: float, back: int) -> None:
    once = (
        begun(0),
        step(StepKind.TOLD, 0),
        step(StepKind.ACKNOWLEDGED, 1),
        step(StepKind.RESOLVED, 1000, actor="operator:ann"),
    )
    again = (
        begun(1000 + later),
        step(StepKind.TOLD, 1000 + later),
        step(StepKind.RESOLVED, 9000 + later, actor="operator:b"),
    )
    found = figures(*once, *again)
    assert (found.alerts, found.came_back, found.noise) == (2, back, 0.5 * back)


def test_one_that_comes_back_before_its_end_is_told_has_come_back() -> None:
    found = figures(begun(0), step(StepKind.RESOLVED, 5, actor="quiet"), begun(6, reason=Reason.REOPENED))
    assert (found.alerts, found.came_back, found.ended) == (2, 1, {"quiet": 1})


def test_what_began_before_the_first_step_has_no_times() -> None:
    found = figures(step(StepKind.TOLD_AGAIN, 5, suppressed=2), step(StepKind.RESOLVED, 9, actor="quiet"))
    assert (found.alerts, found.pages, found.occurrences) == (0, 1, 2)
    assert found.to_resolve.quantile(0.5) is None


def test_a_life_that_is_handed_over_goes_on() -> None:
    found = figures(
        begun(0),
        step(StepKind.TOLD, 2),
        step(StepKind.HANDED_OVER, 5, suppressed=3),
        step(StepKind.RESOLVED, 9, actor="operator:ann"),
    )
    assert (found.alerts, found.occurrences, found.ended, found.early) == (1, 4, {"operator": 1}, 1)


def test_whom_a_silence_ends_is_no_noise() -> None:
    assert figures(begun(0), step(StepKind.TOLD, 0), step(StepKind.RESOLVED, 9, actor="silence:s-1")).noise == 0


def test_of_one_event_the_steps_from_it_to_the_end_of_its_alert_are_told() -> None:
    first = [
        begun(0, event_id="e-1", first_offset=3, last_offset=3),
        step(StepKind.TOLD, 2, event_id="e-1", first_offset=3, last_offset=5),
        step(StepKind.RESOLVED, 9, actor="quiet"),
    ]
    second = [begun(20, event_id="e-9", first_offset=9, last_offset=9), step(StepKind.TOLD, 21, event_id="e-9")]
    steps = [*first, *second]
    assert steps_about(steps, "e-1", None) == first
    assert steps_about(steps, "e-4", (0, 4)) == first[1:], "counted into what was told"
    assert steps_about(steps, "e-4", (1, 4)) == [], "of another partition"
    assert steps_about(steps, "e-7", (0, 7)) == [], "suppressed"
    assert steps_about(steps, "e-9", (0, 9)) == second


def test_groups_come_the_noisiest_first() -> None:
    stats = Stats(("guard", "tenant"))
    for number, guard in enumerate(("a", "b", "b")):
        key = f"k{number}"
        for one in (
            begun(number, key, guard=guard, tenant=None),
            step(StepKind.TOLD, number, key),
            step(StepKind.RESOLVED, number + 1, key, actor="quiet"),
        ):
            stats.take(one)
    groups = [(dict(values), found.alerts) for values, found in stats.groups()]
    assert groups == [({"guard": "b", "tenant": ""}, 2), ({"guard": "a", "tenant": ""}, 1)]


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LIVES", 10)
    monkeypatch.setattr(module, "MOST_GROUPS", 5)
    stats = Stats(("guard",))
    for number in range(100):
        for one in (begun(number, f"k{number}", guard=f"g{number}"), step(StepKind.RESOLVED, number, f"k{number}")):
            stats.take(one)
        assert len(stats._lives) <= 10
        assert len(stats._ends) <= 10
    groups = list(stats.groups())
    assert len(groups) == 6
    assert ({"guard": OTHERS}, 95) in [(values, found.alerts) for values, found in groups]
    assert stats.total.alerts == 100


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_a_quantile_is_near(count: int) -> None:
    chance, spans = random.Random(count), Spans()
    values = sorted(chance.lognormvariate(3, 2) for _ in range(count))
    for value in values:
        spans.add(value)
    for share in (0.5, 0.99):
        exact = values[min(count - 1, max(0, -int(-share * count // 1) - 1))]
        assert spans.quantile(share) == pytest.approx(exact, rel=0.06)
    assert Spans().quantile(0.5) is None


def test_a_clock_that_was_put_back_breaks_nothing() -> None:
    found = figures(begun(10), step(StepKind.TOLD, 3), step(StepKind.RESOLVED, 1, actor="operator:ann"))
    assert found.to_told.quantile(0.5) == 0.001


# --- what people are shown

HOSTILE = "<script>|`x`\x1b[2J"


def arguments(**given: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"json": False, "report": None, "limit": 50, **given})


def told_stats(by: tuple[str, ...] = ("guard",)) -> Stats:
    stats = Stats(by)
    for one in (begun(0, guard=HOSTILE), step(StepKind.TOLD, 2), step(StepKind.RESOLVED, 9, actor="quiet")):
        stats.take(one)
    return stats


def test_a_report_says_it_without_obeying_names() -> None:
    stats = told_stats()
    text = report(list(stats.groups()), stats.total, EPOCH)
    assert text.startswith("# Alerts since 2027-01-15T08:00:00.000Z\n\n1 alert of 1 event led to 1 page; ")
    assert "\\<script\\>\\|\\`x\\`" in text
    assert "\x1b" not in text
    assert "- ended by: quiet 1\n" in text
    assert "| 0.5 | 1 | 1 | 1 |" in text, "noise, pages, alerts, events"
    assert "counts for itself" not in text
    assert "\nEach of jsm, pagerduty counts for itself.\n" in report([], stats.total, EPOCH, ["jsm", "pagerduty"])


def test_a_report_links_nothing_and_mentions_nobody() -> None:
    text = report(
        [({"guard": "https://evil.example", "tenant": "@team WWW.evil.example #7 a@b.example"}, Figures())],
        Figures(),
        EPOCH,
    )
    for linked in ("https://", "WWW.", "@team", "#7", "@b"):
        assert linked not in text
    assert "https:<!-- -->//evil.example" in text
    assert "@<!-- -->team" in text
    assert "None" not in text


def test_a_report_is_utf_8_whatever_the_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_text(path: Path, text: str, encoding: str | None = None) -> None:
        path.write_bytes(text.encode(encoding or "ascii"))  # as under LANG=C without UTF-8 mode

    monkeypatch.setattr(Path, "write_text", write_text)
    file = tmp_path / "report.md"
    show(arguments(report=file), [({"guard": "gârd\ud800"}, Figures())], Figures(), EPOCH)
    assert "gârd" in file.read_text(encoding="utf-8")


def test_the_figures_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    stats = told_stats()
    show(arguments(), list(stats.groups()), stats.total, EPOCH)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["GUARD", "NOISE", "PAGES", "ALERTS"]
    assert "\x1b" not in "".join(lines)
    show(arguments(json=True), list(stats.groups()), stats.total, EPOCH)
    found = orjson.loads(capsys.readouterr().out)
    (group,) = found["groups"]
    assert (group["guard"], group["pages"], found["total"]["pages"]) == (HOSTILE, 1, 1)
    show(arguments(), [], Figures(), EPOCH)
    assert capsys.readouterr().out == "no history since 2027-01-15T08:00:00.000Z\n"


def test_what_is_counted_by_is_known() -> None:
    assert dimensions("guard, tenant") == ("guard", "tenant")
    assert dimensions(",".join(DIMENSIONS)) == DIMENSIONS
    for wrong in ("", "mood", "guard,guard", "guard;tenant"):
        with pytest.raises(argparse.ArgumentTypeError):
            dimensions(wrong)


def test_a_history_is_shown_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    history = AlertHistory(
        [begun(0, event_id="e-1"), step(StepKind.TOLD, 2, route="default", attempts=3, seconds=2.0, suppressed=4)],
        ["not read to its end within 10 s"],
    )
    show_history(history)
    _, head, first, second, note = capsys.readouterr().out.splitlines()
    assert head.split() == ["AT", "AFTER", "STEP", "SEVERITY", "EVENTS", "WHAT"]
    assert first.split()[:4] == ["2027-01-15T08:00:00.000Z", "triggered", "high", "1"]
    assert first.endswith("  there was no alert of its key; event e-1")
    assert second.split()[:5] == ["2027-01-15T08:00:02.000Z", "2s", "told", "high", "1"]
    assert second.endswith("  through default with 3 requests; 4 events more since the step before, told to nobody")
    assert note == "history: not read to its end within 10 s"
    assert history.begins
    assert is_gone(history) is None
    assert [one["kind"] for one in to_json(history)] == ["triggered", "told"]
    gone = AlertHistory([step(StepKind.RESOLVED, 9, actor="operator:ann"), step(StepKind.TOLD, 10)])
    assert is_gone(gone) == "resolved by operator:ann at 2027-01-15T08:00:09.000Z"
