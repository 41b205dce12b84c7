"""Why an event pages, or does not: each step, and the one setting or alert that kept it."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from msgspec.structs import replace

from consumer.cli.main import main
from consumer.config import Config, parse_config
from consumer.service.build import build_pipelines
from consumer.silences.known import KnownSilences
from consumer.silences.silence import Match, Silence
from consumer.timing.clock import Moment
from consumer.tuning.explain import Configured, Explanation, Question, explain
from consumer.tuning.life import KeyLife, Search
from consumer.tuning.lines import line_of
from consumer.tuning.simulated import Simulated
from state.alert import Alert, Status
from state.store import Store
from state.violation import Record
from tests.support.events import encode, event, session_end

KEY = "d" * 32
API_KEY = "5a1b2c3d-opsgenie-key"
NOW = float(int(time.time()))
GUARD = "forbidden_path:sess-1"


def config_of(
    *, delivery: dict[str, Any] | None = None, alerting: dict[str, Any] | None = None, **pagerduty: Any
) -> Config:
    document = {
        "exporters": {"alerting": {"pagerduty": {"routing_key": KEY, **pagerduty}, **(alerting or {})}},
        "delivery": delivery or {},
    }
    return parse_config(yaml.safe_dump(document), {}, lambda path: "")


def configured(config: Config, number: int = 0) -> Configured:
    return Configured.of(config, build_pipelines(config)[number])


def record(fields: dict[str, Any] | bytes | None, at: float = NOW, offset: int = 7) -> Record:
    value = encode(fields) if isinstance(fields, dict) else fields
    return Record("clawdstrike.events", 0, offset, int(at * 1000), b"sess-1", value)


def asked(
    config: Config, fields: dict[str, Any] | bytes | None, alert: Alert | None = None, at: float = NOW
) -> Explanation:
    """What is said of an event that is decided as soon as it is written."""
    question = Question(record(fields, at), at, lambda key: alert if key == GUARD else None, "for the test")
    return explain(configured(config), question)


def alert_of(config: Config, *ago: float, severity: str = "high") -> Alert:
    """An alert that the provider has, with events so many seconds ago."""
    simulated = Simulated(configured(config).pipeline)
    for seconds in ago:
        given = record(event(severity=severity, at=NOW - seconds), NOW - seconds)
        simulated.decide(given, NOW - seconds)
    found = simulated.alert(given, GUARD)
    assert found is not None
    return found


def steps(explanation: Explanation) -> dict[str, str]:
    return {step.name: step.says for step in explanation.steps}


def test_a_new_problem_pages() -> None:
    found = asked(config_of(), event(at=NOW))
    assert found.verdict.outcome == "pages"
    assert (found.verdict.kept_by, found.verdict.otherwise) == (None, None)
    assert list(steps(found)) == ["decoded", "filter", "key", "alert", "route", "outcome", "payload"]
    assert steps(found)["key"] == "forbidden_path:sess-1 by {guard}:{session_id}"
    assert found.steps[-1].facts["requests"][0]["body"]["dedup_key"] == GUARD
    assert orjson.loads(orjson.dumps(found.to_json()))["outcome"] == "pages"


@pytest.mark.parametrize(
    ("alerting", "fields", "kept_by", "otherwise"),
    [
        ({}, {"allowed": True}, "decision.allowed", "a denial"),
        ({}, {"severity": "medium"}, "alerting.min_severity", "min_severity: medium (or lower)"),
        ({}, {"severity": "warning"}, "alerting.min_severity", "min_severity: medium (or lower)"),
        ({}, {"severity": "info"}, "alerting.min_severity", "or treat_denied_info_as"),
        (
            {"treat_denied_info_as": "low"},
            {"severity": "info"},
            "alerting.min_severity",
            "min_severity: low (or lower)",
        ),
        ({"exclude_guards": ["forbidden_path"]}, {}, "alerting.exclude_guards", "without forbidden_path"),
        ({"include_guards": ["secret_leak"]}, {}, "alerting.include_guards", "with forbidden_path"),
        ({"exclude_event_types": ["guard_block"]}, {}, "alerting.exclude_event_types", "without guard_block"),
        ({"include_event_types": ["other"]}, {}, "alerting.include_event_types", "with guard_block"),
    ],
)
def test_what_the_filter_keeps_names_the_one_setting(
    alerting: dict[str, Any], fields: dict[str, Any], kept_by: str, otherwise: str
) -> None:
    found = asked(config_of(alerting=alerting), event(at=NOW, **fields))
    assert (found.verdict.outcome, found.verdict.kept_by) == (
        "filtered",
        kept_by.replace("alerting", "exporters.alerting"),
    )
    assert found.verdict.otherwise is not None
    assert otherwise in found.verdict.otherwise
    assert list(steps(found)) == ["decoded", "filter"]


@pytest.mark.parametrize(
    ("value", "kept_by"),
    [
        (b"{", "the whole value"),
        (encode({**event(), "timestamp": "today"}), "timestamp"),
        (encode({**event(), "decision": {"allowed": False, "guard": "g", "severity": "odd"}}), "decision.severity"),
    ],
)
def test_poison_names_its_path(value: bytes, kept_by: str) -> None:
    found = asked(config_of(), value)
    assert (found.verdict.outcome, found.verdict.kept_by) == ("dead_letter", kept_by)


def test_what_is_too_large_or_too_old_names_its_limit() -> None:
    large = asked(config_of(delivery={"max_event_bytes": 2048}), event(reason="x" * 3000))
    assert large.verdict.kept_by == "delivery.max_event_bytes"
    old = asked(config_of(delivery={"max_event_age": "1h"}), event(at=NOW - 7200))
    assert (old.verdict.outcome, old.verdict.kept_by) == ("dead_letter", "delivery.max_event_age")
    assert steps(old)["age"].startswith("7200 s")
    assert asked(config_of(delivery={"max_event_age": "1h"}), event(at=NOW - 60)).verdict.outcome == "pages"


def test_a_tombstone_and_an_end_page_nobody() -> None:
    assert asked(config_of(), None).verdict.outcome == "tombstone"
    ending = asked(config_of(), session_end("sess-1"))
    assert ending.verdict.outcome == "ends"
    assert ending.verdict.kept_by == "exporters.alerting.pagerduty.auto_resolve.on_session_end"


def test_what_is_suppressed_names_the_alert_and_the_window() -> None:
    config = config_of()
    found = asked(config, event(severity="high", at=NOW), alert_of(config, 100))
    assert found.verdict.outcome == "suppressed"
    window = "exporters.alerting.pagerduty.deduplication.window_seconds"
    assert found.verdict.kept_by == f"the alert {GUARD}, within {window}"
    assert "100 s after the last occurrence, within 300 s" in steps(found)["outcome"]
    assert "payload" not in steps(found)


def test_what_is_said_to_be_otherwise_is() -> None:
    """An event behind the window, one of higher severity, a smaller window: each tells the incident again."""
    config = config_of()
    before = alert_of(config, 100)
    assert asked(config, event(severity="high", at=NOW + 201), before, NOW + 201).verdict.outcome == "updates"
    assert asked(config, event(severity="critical", at=NOW), before).verdict.outcome == "updates"
    smaller = config_of(deduplication={"window_seconds": 99})
    assert asked(smaller, event(severity="high", at=NOW), before).verdict.outcome == "updates"
    sooner = config_of(deduplication={"renotify_seconds": 100})
    found = asked(sooner, event(severity="high", at=NOW), before)
    assert "renotify_seconds" in steps(found)["outcome"]
    assert found.verdict.kept_by == f"the alert {GUARD}, whose incident is open"


def test_what_a_person_has_is_suppressed_until_it_gets_worse() -> None:
    config = config_of()
    taken = replace(alert_of(config, 4000), status=Status.ACKNOWLEDGED)
    found = asked(config, event(severity="high", at=NOW), taken)
    assert (found.verdict.outcome, found.verdict.kept_by) == ("suppressed", f"the alert {GUARD}")
    assert found.verdict.otherwise is not None
    assert "higher severity than high" in found.verdict.otherwise
    assert asked(config, event(severity="critical", at=NOW), taken).verdict.outcome == "updates"


def test_an_alert_that_owes_or_is_being_resolved() -> None:
    config = config_of()
    pipeline = configured(config).pipeline
    store = Store()
    pipeline.decide(record(event(at=NOW - 9), NOW - 9), store, Moment(NOW - 9, NOW - 9))
    owing = store.get(GUARD)
    assert asked(config, event(at=NOW), owing).verdict.outcome == "counted"
    resolving = replace(alert_of(config, 100), status=Status.RESOLVING, is_at_provider=False)
    assert asked(config, event(at=NOW), resolving).verdict.outcome == "pages"


def test_the_route_says_why() -> None:
    config = config_of(routing={"by_guard": {"forbidden_path": "e" * 32}})
    found = asked(config, event(at=NOW))
    assert steps(found)["route"] == "by_guard:forbidden_path: its guard has an integration of its own"
    known = asked(config, event(at=NOW, severity="critical"), alert_of(config, 100))
    assert "stays with the integration" in steps(known)["route"]
    assert steps(asked(config_of(), event(at=NOW)))["route"] == "default: what matches no other"


def test_keys_are_hidden(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = {
        "exporters": {
            "alerting": {"pagerduty": {"routing_key": KEY}, "opsgenie": {"api_key": API_KEY}},
        }
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "event.json").write_bytes(json.dumps(event(), indent=2).encode())
    arguments = ["explain", str(tmp_path / "event.json"), "--config", str(tmp_path / "config.yaml"), "--no-state"]
    for options in ([], ["--json"]):
        assert main([*arguments, *options]) == 0
        said = capsys.readouterr().out
        assert KEY not in said
        assert API_KEY not in said
        assert "[secret]" in said
        assert "pagerduty" in said
        assert "opsgenie" in said
    assert main([*arguments, "--provider", "opsgenie", "--json"]) == 0
    (only,) = json.loads(capsys.readouterr().out)["providers"]
    assert only["provider"] == "opsgenie"
    assert (
        next(step for step in only["steps"] if step["step"] == "key")["dedup_key"]
        == "clawdstrike-forbidden_path-sess-1"
    )


# of recorded events


def recorded(count: int, gap: float) -> list[Record]:
    return [
        record(event(severity="high", at=NOW + gap * number, event_id=f"e{number}"), NOW + gap * number, number)
        for number in range(count)
    ]


def test_a_recorded_event_is_explained_by_those_before_it() -> None:
    given = [record(b'{"note":"e2"}', NOW, 90), *recorded(4, 100.0)]
    search = Search([configured(config_of())], "e2")
    taken = [search.take(one, one.timestamp / 1000) for one in given]
    assert taken[:4] == [False, False, False, True]
    (explanation,) = search.explanations
    assert explanation.verdict.outcome == "suppressed"
    assert "2 events before" in steps(explanation)["alert"]


def test_the_life_of_a_key() -> None:
    life = KeyLife(configured(config_of()), GUARD)
    times = [0.0, 100.0, 200.0, 600.0, 5000.0]
    for number, at in enumerate(times):
        life.take(record(event(severity="high", at=NOW + at), NOW + at, number), NOW + at)
        life.take(record(event(session="other", at=NOW + at), NOW + at, number + 100), NOW + at)
    assert [(one.what, round(one.at - NOW)) for one in life.happened] == [
        ("page", 0), ("again", 600), ("resolve", 2400), ("page", 5000),
    ]  # fmt: skip
    assert life.counts == {"page": 2, "again": 1, "resolve": 1, "within_window": 2}
    assert life.told is not None
    assert life.told[0].offset == 4
    assert life.told[1].verdict.outcome == "pages"


# the command


@pytest.fixture
def config_file(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"exporters": {"alerting": {"pagerduty": {"routing_key": KEY}}}}))
    return str(path)


def test_a_line_that_was_exported_is_explained_with_its_place(
    tmp_path: Path, config_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "event.json").write_bytes(line_of(record(event())))
    assert main(["explain", str(tmp_path / "event.json"), config_file, "--no-state", "--json"]) == 0
    assert "offset 7" in json.loads(capsys.readouterr().out)["event"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "which event? Give one of"),
        (["--event-id", "x", "--dedup-key", "y"], "which event? Give one of"),
        (["--event-id", "x", "--no-state"], "--no-state: only with EVENT.json"),
        (["none.json", "--no-state", "--provider", "opsgenie"], "exporters.alerting.opsgenie: is not configured"),
        (["none.json", "--no-state"], "none.json: No such file or directory"),
        (["--event-id", "x", "--since", "yesterday"], "must be RFC 3339, or how long ago"),
        (["--event-id", "x", "--since", "2999-01-01T00:00:00Z"], "lies in the future"),
    ],
)
def test_what_does_not_fit_is_told(
    arguments: list[str], says: str, config_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", *arguments, "--config", config_file]) in (1, 2)
    assert says in capsys.readouterr().err


def test_a_silence_that_keeps_an_event_is_named_and_what_would_have_to_be_different() -> None:
    config = config_of()
    (pipeline,) = build_pipelines(config)
    silence = Silence("leak", "all", Match({"guard": "forbidden_path"}), "known", "ann", NOW - 60, NOW - 60, NOW + 60)
    asked = Configured.of(config, dataclasses.replace(pipeline, silences=KnownSilences([silence])))

    def asked_at(at: float, severity: str = "high") -> Explanation:
        record = Record("events", 0, 0, int(at * 1000), b"sess-1", encode(event(severity=severity, at=at)))
        return explain(asked, Question(record, at, lambda key: None, "as there is none"))

    kept = asked_at(NOW)
    assert (kept.verdict.outcome, kept.verdict.kept_by) == ("silenced", "the silence leak")
    assert kept.verdict.otherwise is not None
    assert "`silences expire leak`" in kept.verdict.otherwise
    assert "critical" in kept.verdict.otherwise
    assert [step.name for step in kept.steps][-1] == "silence"
    assert "by ann: known" in kept.steps[-1].says
    assert asked_at(NOW, "critical").verdict.outcome == asked_at(NOW + 60).verdict.outcome == "pages"
