"""``simulate``: its numbers, its comparison, its bounds, and what it says of what it cannot read."""

import gc
import gzip
import json
import tracemalloc
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer.cli.main import main
from consumer.cli.progress import progress
from consumer.config import parse_config
from consumer.service.build import build_pipelines
from consumer.tuning.files import Export, records_in
from consumer.tuning.rows import Rows
from consumer.tuning.simulated import Simulated
from consumer.tuning.tally import side_of
from state.violation import Record
from tests.support.events import encode, event, session_end

AT = 1_790_000_000.0
KEY = "d" * 32
HOUR = 3600.0


def config(
    tmp_path: Path, name: str = "config.yaml", *, alerting: dict[str, Any] | None = None, **pagerduty: Any
) -> str:
    section = {"pagerduty": {"routing_key": KEY, **pagerduty}}
    path = tmp_path / name
    path.write_text(yaml.safe_dump({"exporters": {"alerting": {**section, **(alerting or {})}}}))
    return str(path)


def day(tmp_path: Path, events: Iterable[tuple[float, dict[str, Any] | bytes]], name: str = "day.jsonl.gz") -> str:
    with Export(tmp_path / name) as export:
        export.write(
            Record("clawdstrike.events", 0, number, int((AT + at) * 1000), b"sess-1", _value(at, fields))
            for number, (at, fields) in enumerate(events)
        )
    return str(tmp_path / name)


def _value(at: float, fields: dict[str, Any] | bytes) -> bytes:
    if isinstance(fields, bytes):
        return fields
    return encode({**fields, "timestamp": event(at=AT + at)["timestamp"]})


A_DAY: list[tuple[float, dict[str, Any] | bytes]] = [
    (0, event(severity="high")),
    (100, event(severity="high")),  # within the window
    (600, event(severity="high")),  # behind it
    (700, event(severity="critical")),  # raised
    (800, event(allowed=True)),
    (900, event(severity="medium")),
    (1000, b"{"),
    (1100, event(session="other", guard="secret_leak", tenant=None)),
    (1200, session_end("other")),
    (9000, event(severity="high")),  # the first one is over, by quiet
]


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main(["simulate", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(capsys, config(tmp_path), "--input", day(tmp_path, A_DAY))
    assert (report["events"], report["from"], report["until"]) == (
        10, "2026-09-21T14:13:20.000Z", "2026-09-21T16:43:20.000Z",
    )  # fmt: skip
    found = report["providers"]["pagerduty"]
    numbers = {name: value for name, value in found.items() if isinstance(value, int)}
    assert numbers == {
        "pages": 3, "updates": 2, "resolves": 2, "notifications": 7, "suppressed": 1, "silenced": 0, "dead_letters": 1,
        "open": 1, "unexpected_keys": 2, "noisiest_may_lack": 0,
    }  # fmt: skip
    assert found["updates_by"] == {"again": 1, "raised": 1}
    assert found["resolved_by"] == {"quiet": 1, "session_end": 1}
    assert found["ignored_by"] == {"allowed": 1, "severity": 1}
    assert found["dead_letters_by"] == {"decode": 1}
    assert found["by"]["guard"] == [
        {"guard": "forbidden_path", "pages": 2, "updates": 2, "resolves": 1},
        {"guard": "secret_leak", "pages": 1, "updates": 0, "resolves": 1},
    ]
    assert [row["tenant"] for row in found["by"]["tenant"]] == ["acme-corp", "none"]
    assert [(row["severity"], row["pages"]) for row in found["by"]["severity"]] == [("high", 2), ("critical", 1)]
    assert [row["route"] for row in found["by"]["route"]] == ["default"]
    assert [(row["hour"], row["pages"]) for row in found["by"]["hour"]] == [
        ("2026-09-21T14:00Z", 2), ("2026-09-21T16:00Z", 1),
    ]  # fmt: skip
    assert found["noisiest"][0] == {"dedup_key": "forbidden_path:sess-1", "pages": 2, "updates": 2, "events": 5}


def test_what_was_silenced_is_silenced_and_told_at_the_end_if_it_is_live(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = {"scope": "all", "reason": "known", "created_by": "ann", "created_at": "2026-09-21T14:00:00Z"}
    silence = {
        **facts, "id": "leak", "match": {"guard": "forbidden_path"},
        "starts_at": "2026-09-21T14:13:00Z", "expires_at": "2026-09-21T14:23:30Z",
    }  # fmt: skip
    silences = tmp_path / "silences.json"
    silences.write_text(json.dumps([silence]))
    arguments = [config(tmp_path), "--input", day(tmp_path, A_DAY), "--silences", str(silences)]
    found = run(capsys, *arguments)["providers"]["pagerduty"]
    assert (found["silenced"], found["suppressed"], found["pages"]) == (3, 0, 3)
    assert main(["simulate", *arguments]) == 0
    assert "silence keeps" in capsys.readouterr().out
    silences.write_text("[{}]")
    assert main(["simulate", *arguments]) != 0
    assert "[0]" in capsys.readouterr().err


def test_what_a_longer_window_would_have_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = config(tmp_path), config(tmp_path, "new.yaml", deduplication={"window_seconds": 900})
    arguments = [new, "--against", old, "--input", day(tmp_path, A_DAY)]
    found = run(capsys, *arguments)["providers"]["pagerduty"]
    assert (found["updates"], found["against"]["updates"]) == (1, 2)
    assert (found["pages"], found["against"]["pages"]) == (3, 3)
    assert found["against"]["gone"]["pages"] == found["against"]["new"]["pages"] == 0
    assert main(["simulate", *arguments]) == 0
    shown = capsys.readouterr().out
    (updates,) = (line.split() for line in shown.splitlines() if line.startswith("updates  "))
    assert updates[:4] == ["updates", "1", "2", "-1"]


def test_which_pages_would_be_gone_and_which_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = config(tmp_path)
    new = config(
        tmp_path, "new.yaml", alerting={"exclude_guards": ["secret_leak"], "min_severity": "medium"},
        auto_resolve={"after_minutes": 600}, deduplication={"key_template": "{guard}:{severity}:{session_id}"},
    )  # fmt: skip
    arguments = [new, "--against", old, "--input", day(tmp_path, A_DAY)]
    against = run(capsys, *arguments)["providers"]["pagerduty"]["against"]
    assert against["gone"]["because"] == {"exporters.alerting.exclude_guards": 1, "told again": 1}
    secret, late = against["gone"]["examples"]
    assert (secret["guard"], secret["tenant"], secret["offset"]) == ("secret_leak", None, 7)
    assert secret["instead"] == "filtered: the guard secret_leak is excluded"
    assert late["instead"] == "the open incident forbidden_path:high:sess-1 is told again"
    assert against["new"]["because"] == {"told again": 1, "exporters.alerting.min_severity": 1}
    assert main(["simulate", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "2 pages would be gone" in shown
    assert "2 pages would be new" in shown
    assert (
        run(capsys, old, "--against", new, "--input", day(tmp_path, A_DAY))["providers"]["pagerduty"]["against"][
            "gone"
        ]["because"]
        == against["new"]["because"]
    )


def test_a_page_that_is_suppressed_by_the_other_says_into_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = config(tmp_path, "wide.yaml", deduplication={"key_template": "{session_id}"})
    events = [(0.0, event(guard="a")), (10.0, event(guard="b"))]
    arguments = [wide, "--against", config(tmp_path), "--input", day(tmp_path, events)]
    gone = run(capsys, *arguments)["providers"]["pagerduty"]["against"]["gone"]
    assert gone["because"] == {"suppressed": 1}
    assert gone["examples"][0]["instead"].startswith(
        "counted into the alert sess-1, which was open since 2026-09-21T14:13:20"
    )


def test_a_provider_that_only_one_of_both_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = config(tmp_path, "both.yaml", alerting={"opsgenie": {"api_key": "5a1b2c3d-opsgenie-key"}})
    file, one = day(tmp_path, A_DAY), config(tmp_path)
    assert run(capsys, both, "--against", one, "--input", file)["providers"]["opsgenie"]["against"]["new"][
        "because"
    ] == {"no such provider": 3}
    found = run(capsys, one, "--against", both, "--input", file)["providers"]
    assert found["opsgenie"]["against"]["gone"]["pages"] == 3
    assert main(["simulate", one, "--against", both, "--input", file, "--fail-on", "gone_pages>2"]) == 1
    assert "opsgenie: gone_pages>2: there would be 3 gone pages" in capsys.readouterr().err
    assert list(run(capsys, both, "--provider", "opsgenie", "--input", file)["providers"]) == ["opsgenie"]


def test_a_provider_that_the_configuration_describes_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = {"body": {"key": "{dedup_key}"}}
    described = {"address": "https://pager.example/", "trigger": call, "resolve": call}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"exporters": {"alerting": {"http": {"pager": described}}}}))
    arguments = ["simulate", "--config", str(path), "--input", day(tmp_path, A_DAY), "--fail-on", "pages>0"]
    for named in ([], ["--provider", "pager"]):
        assert main([*arguments, *named]) == 1
        assert "pager" in capsys.readouterr().out


def test_a_bound_fails_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["simulate", config(tmp_path), "--input", day(tmp_path, A_DAY)]
    assert main([*arguments, "--fail-on", "pages>3", "--fail-on", "updates>2"]) == 0
    capsys.readouterr()
    assert main([*arguments, "--fail-on", "pages>2", "--fail-on", "updates>=2"]) == 1
    said = capsys.readouterr()
    assert "pages " in said.out
    assert said.err == ("pagerduty: pages>2: there would be 3 pages\npagerduty: updates>=2: there would be 2 updates\n")


def test_what_is_exported_gives_the_same_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = day(tmp_path, A_DAY)
    first = run(capsys, config(tmp_path), "--input", file, "--export", str(tmp_path / "again.jsonl"))
    assert run(capsys, config(tmp_path), "--input", str(tmp_path / "again.jsonl")) == first
    assert gzip.decompress(Path(file).read_bytes()) == (tmp_path / "again.jsonl").read_bytes()


def test_events_without_their_records_go_by_their_own_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = run(capsys, config(tmp_path), "--input", day(tmp_path, [one for one in A_DAY if one[1] != b"{"]))
    alone = tmp_path / "alone.jsonl"
    records = [record for batch in records_in(tmp_path / "day.jsonl.gz") for record in batch]
    alone.write_bytes(b"\n".join(record.value or b"" for record in records))
    found = run(capsys, config(tmp_path), "--input", str(alone))
    assert whole["providers"]["pagerduty"].pop("unexpected_keys") == 2
    assert found["providers"]["pagerduty"].pop("unexpected_keys") == 0
    assert found == whole


def test_a_file_is_not_written_while_it_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = day(tmp_path, A_DAY)
    before = Path(file).read_bytes()
    same = str(tmp_path / "." / "day.jsonl.gz")
    assert main(["simulate", config(tmp_path), "--input", file, "--export", same]) == 2
    assert capsys.readouterr().err == "--export: is the file that is read\n"
    assert Path(file).read_bytes() == before


class Terminal(StringIO):
    """Somebody looks at it."""

    def isatty(self) -> bool:
        return True


def test_a_bar_is_shown_where_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for stderr in (Terminal(), StringIO()):
        monkeypatch.setattr("sys.stderr", stderr)
        with progress("reading the day") as tell:
            tell(1, 2)
        assert ("reading the day" in stderr.getvalue()) is stderr.isatty()


def test_nothing_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", config(tmp_path), "--input", day(tmp_path, [])]) == 0
    assert capsys.readouterr().out == "no events\n"


def test_many_alerts_leave_nothing_behind_that_waits_to_be_written() -> None:
    document = {"exporters": {"alerting": {"pagerduty": {"routing_key": KEY}}}}
    (pipeline,) = build_pipelines(parse_config(yaml.safe_dump(document), {}, lambda path: ""))
    simulated = Simulated(pipeline)
    for number in range(9_000):
        at = AT + number
        value = encode(event(session=f"s{number}", at=at))
        simulated.decide(Record("events", 0, number, int(at * 1000), None, value), at)
    simulated.finish(AT + 12_000)
    assert not list(simulated.open_alerts())
    assert simulated._task(0).store.changes < 9_000


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "one of the arguments --since --input is required"),
        (["--since", "1d", "--input", "x"], 2, "not allowed with argument"),
        (["--since", "last week"], 2, "must be RFC 3339, or how long ago"),
        (["--since", "2999-01-01T00:00:00Z"], 2, "lies in the future"),
        (["--input", "none.jsonl"], 1, "none.jsonl: No such file or directory"),
        (["--input", "none.jsonl", "--fail-on", "pages"], 2, "pages: must be a name, one of"),
        (["--input", "none.jsonl", "--fail-on", "new_pages>0"], 2, "new_pages>0: needs --against"),
        (["--input", "none.jsonl", "--against", "none.yaml"], 2, "none.yaml"),
        (["--input", "none.jsonl", "--provider", "opsgenie"], 2, "exporters.alerting.opsgenie: is not configured"),
        (["--input", "none.jsonl", "--export", "no/such/file"], 1, "no/such/file: No such file or directory"),
    ],
)
def test_what_does_not_fit_is_told(
    arguments: list[str], code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *arguments, "--config", config(tmp_path)]) == code
    assert says in capsys.readouterr().err


def test_a_broken_line_is_told_with_its_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(encode(event()) + b"\nnothing\n")
    assert main(["simulate", config(tmp_path), "--input", str(broken)]) == 1
    assert capsys.readouterr().err.startswith(f"{broken}: line 2: not JSON: ")


def test_what_is_over_is_forgotten_however_many_keys_there_are() -> None:
    text = yaml.safe_dump({"exporters": {"alerting": {"pagerduty": {"routing_key": KEY}}}})
    (pipeline,) = build_pipelines(parse_config(text, {}, lambda path: ""))
    side = side_of(pipeline)
    side.tally.by_key = Rows(4, 2, most=500)
    value = encode({**event(severity="high", session="sess-@"), "timestamp": event(at=AT)["timestamp"]})
    sizes = []
    tracemalloc.start()
    try:
        for number in range(6_000):
            session = value.replace(b"sess-@", b"sess-%d" % number)
            at = AT + number * 30.0
            side.simulated.decide(Record("clawdstrike.events", 0, number, int(at * 1000), None, session), at)
            if number % 2_000 == 1_999:
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
                assert sum(1 for _ in side.simulated.open_alerts()) < 200
    finally:
        tracemalloc.stop()
    assert side.tally.pages == 6_000
    assert sizes[2] - sizes[1] < 100_000, sizes
