"""A provider is a folder and a line: everything else finds it in the table (`tests/support/shout` is one)."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from providers.provider import Provider
from providers.table import PROVIDERS

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture
def got() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """An address that takes everything, and what it got."""
    bodies: list[dict[str, str]] = []

    class Takes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Takes) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", bodies
        server.shutdown()
        thread.join()


def command(*args: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "tests.support.shout", *args]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)


def configuration(folder: Path, endpoint: str = "https://shout.example", kafka: str = "") -> str:
    file = folder / "config.yaml"
    section = f"{{token: a-secret-token, api_endpoint: '{endpoint}', routes: {{default: {{route_check: 5m}}}}}}"
    file.write_text(f"kafka: {{bootstrap_servers: 'k:9092'{kafka}}}\nexporters: {{alerting: {{shout: {section}}}}}\n")
    return str(file)


def test_check_config_knows_it(tmp_path: Path) -> None:
    done = command("check-config", configuration(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    for what in ("clawdstrike-alerting.shout", "clawdstrike.alerting.state.shout", "shout/{guard}/{session_id}"):
        assert what in done.stdout
    assert "a-secret-token" not in done.stdout


def test_its_state_topic_is_one_of_ours(tmp_path: Path) -> None:
    kafka = ", topics: {events: clawdstrike.alerting.state.shout}"
    done = command("check-config", configuration(tmp_path, kafka=kafka))
    assert done.returncode == 2
    assert "clawdstrike.alerting.state.shout" in done.stderr


def test_a_test_notification_goes_to_it_and_to_nobody_else(
    tmp_path: Path, got: tuple[str, list[dict[str, str]]]
) -> None:
    address, bodies = got
    done = command("send-test", "--config", configuration(tmp_path, address), "--provider", "shout")
    assert (done.returncode, done.stderr) == (0, "")
    assert bodies == [{"what": "trigger", "key": "clawdstrike-alerting:test"}]


@pytest.mark.parametrize("action", [["alerts", "list"], ["dlq", "list"], ["alerts", "ack", "k"], ["offsets", "rewind"]])
def test_each_command_takes_its_name(tmp_path: Path, action: list[str]) -> None:
    done = command(*action, "--help")
    assert "shout" in done.stdout


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_name_in_the_table_is_that_of_the_provider(name: str) -> None:
    api_key = {"api_key": "key-key-key"}
    key = {"pagerduty": {"routing_key": "k" * 32}, "opsgenie": api_key, "jsm": api_key}[name]
    kind = PROVIDERS[name]
    provider: Provider = kind.build(kind.settings.model_validate(key))
    assert provider.name == name
    assert list(kind.settings.model_validate(key).route_keys()) == list(provider.routes)
