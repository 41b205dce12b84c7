"""What a kept demo tells its user to try, the end of the demo on a narrow terminal, and when a browser is opened."""

import ast
import json
import shlex
import sys
import webbrowser
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from consumer.cli.main import _parser
from consumer.demo import browser
from consumer.demo.afterwards import Kept, own_command, what_to_try, write_event
from consumer.demo.check import Check
from consumer.demo.summary import print_summary
from consumer.events.event import Decoder, SecurityEvent
from consumer.events.filter import Filter
from providers.sandbox.faults import FAULT_JSON
from state.violation import Record, Severity


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    folder = tmp_path / "a folder"
    folder.mkdir()
    return Kept(
        bootstrap_servers="127.0.0.1:9092", topic="clawdstrike.events", sandbox_url="http://127.0.0.1:1",
        metrics_url="http://127.0.0.1:2/metrics", config=folder / "config.yaml", log=folder / "service.log",
        dedup_key="forbidden_path:it's mine",
    )  # fmt: skip


def commands(kept: Kept) -> list[list[str]]:
    lines = what_to_try(kept, write_event(kept), "clawdstrike-alerting")
    return [shlex.split(line) for line in lines if line.startswith("  ")]


def test_its_commands_are_ones_that_there_are(kept: Kept) -> None:
    ours = [command[1:] for command in commands(kept) if command[0] == "clawdstrike-alerting"]
    assert [command[:2] for command in ours] == [
        ["alerts", "list"], ["alerts", "show"], ["explain", "--dedup-key"], ["alerts", "stats"],
    ]  # fmt: skip
    for command in ours:
        assert _parser(command).parse_args(command).config == kept.config
    assert ours[1][2] == kept.dedup_key


def test_its_fault_is_one_that_the_sandbox_takes(kept: Kept) -> None:
    [curl] = [command for command in commands(kept) if "/_sandbox/faults" in " ".join(command)]
    assert curl[:3] == ["curl", "http://127.0.0.1:1/_sandbox/faults", "-d"]
    assert FAULT_JSON.validate_json(curl[3]).provider == "pagerduty"


def test_its_event_alerts_and_its_script_is_python(kept: Kept) -> None:
    script = write_event(kept)
    assert [sys.executable, str(script)] in commands(kept)
    ast.parse(script.read_text())
    assert "'clawdstrike.events'" in script.read_text()
    event = json.loads((script.parent / "event.json").read_text())
    event |= {"event_id": "e", "timestamp": "2026-11-24T03:12:45+00:00"}
    decoder = Decoder(Filter(Severity.HIGH, (), (), (), ()), None, 1_000_000)
    decoded = decoder.decode(Record("t", 0, 0, 0, None, json.dumps(event).encode()))
    assert isinstance(decoded, SecurityEvent)
    assert decoded.alertable


def test_a_command_is_named_as_it_was_started() -> None:
    assert own_command([".venv/bin/clawdstrike-alerting", "demo"]) == ".venv/bin/clawdstrike-alerting"
    assert own_command(["/x/consumer/cli/main.py"]) == f"{shlex.quote(sys.executable)} -m consumer.cli.main"


@pytest.mark.parametrize("width", [60, 80])
def test_the_summary_fits(width: int) -> None:
    tally = "12 acme-corp, 103 data-oncall, 31 default, 41 dlp, 22 network, 19 payments-oncall, 103 security, 60 soc"
    found = {
        "pagerduty": [Check("alertable events", "1850", "1850"), Check("route", tally, tally)],
        "opsgenie": [Check("incidents", "15", "14", ("missing: clawdstrike-x",))],
    }
    console = Console(file=StringIO(), width=width)
    assert not print_summary(console, found, produced=12_345, seconds=60.0)
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert all(len(line.rstrip()) <= width for line in text.splitlines() if not line.startswith("FAILED"))
    assert "PagerDuty ok      alertable events 1850" in text
    assert "OpsGenie  DIFFERS incidents        demanded 15; received 14" in text
    assert "opsgenie: missing: clawdstrike-x" in text


def test_a_browser_is_opened_only_on_a_desktop(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def opens(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", opens)
    assert not browser.can_open("linux", {})
    assert browser.can_open("linux", {"WAYLAND_DISPLAY": "wayland-0"})
    assert browser.can_open("darwin", {})
    monkeypatch.setattr(browser, "can_open", lambda: False)
    assert not browser.open_page("http://127.0.0.1:1/")
    monkeypatch.setattr(browser, "can_open", lambda: True)
    assert browser.open_page("http://127.0.0.1:1/")
    assert opened == ["http://127.0.0.1:1/"]
