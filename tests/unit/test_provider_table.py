"""A provider is a folder and a line, or an entry point: all else finds it in the table (`tests/support/shout`)."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from consumer.config import load_config
from providers.provider import Provider
from providers.table import BUILT_IN, PROVIDERS, build
from tests.support.distributions import distribution

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


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where another distribution has brought Shout."""
    return distribution(tmp_path_factory.mktemp("site"), "shout-alerting", {"shout": "tests.support.shout:KIND"})


def command(site: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the service's command where the distributions in ``site`` are installed."""
    return subprocess.run(
        [sys.executable, "-m", "consumer.cli.entry", *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(site)},
        timeout=60,
        check=False,
    )


def configuration(folder: Path, endpoint: str = "https://shout.example", kafka: str = "", beside: str = "") -> str:
    file = folder / "config.yaml"
    section = f"{{token: a-secret-token, api_endpoint: '{endpoint}', routes: {{default: {{route_check: 5m}}}}}}"
    file.write_text(
        f"kafka: {{bootstrap_servers: 'k:9092'{kafka}}}\nexporters: {{alerting: {{shout: {section}{beside}}}}}\n"
    )
    return str(file)


def test_check_config_knows_it(tmp_path: Path, installed: Path) -> None:
    done = command(installed, "check-config", configuration(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    for what in ("clawdstrike-alerting.shout", "clawdstrike.alerting.state.shout", "shout/{guard}/{session_id}"):
        assert what in done.stdout
    assert "a-secret-token" not in done.stdout


def test_its_state_topic_is_one_of_ours(tmp_path: Path, installed: Path) -> None:
    kafka = ", topics: {events: clawdstrike.alerting.state.shout}"
    done = command(installed, "check-config", configuration(tmp_path, kafka=kafka))
    assert done.returncode == 2
    assert "clawdstrike.alerting.state.shout" in done.stderr


def test_a_test_notification_goes_to_it_and_to_nobody_else(
    tmp_path: Path, installed: Path, got: tuple[str, list[dict[str, str]]]
) -> None:
    address, bodies = got
    done = command(installed, "send-test", "--config", configuration(tmp_path, address), "--provider", "shout")
    assert (done.returncode, done.stderr) == (0, "")
    assert bodies == [{"what": "trigger", "key": "clawdstrike-alerting:test"}]


@pytest.mark.parametrize("action", [["alerts", "list"], ["dlq", "list"], ["alerts", "ack", "k"], ["offsets", "rewind"]])
def test_each_command_takes_its_name(installed: Path, action: list[str]) -> None:
    done = command(installed, *action, "--help")
    assert "shout" in done.stdout


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_name_in_the_table_is_that_of_the_provider(name: str) -> None:
    path = ROOT / "deploy" / "examples" / "reference.yaml"  # which has a section of each
    secrets = dict.fromkeys(re.findall(r"\$\{([A-Z_]+)", path.read_text()), "k" * 32)
    reference = load_config(path, secrets)
    settings = getattr(reference.exporters.alerting, name)
    assert isinstance(settings, PROVIDERS[name].settings)
    provider: Provider = build(name, settings)
    assert provider.name == name
    assert list(settings.route_keys()) == list(provider.routes)


# --- what may be wrong with a distribution: a mistake of its own section, and nobody else's

KINDS = "from providers.provider import ProviderKind\nfrom tests.support.shout import Shout, ShoutSettings\n"


def provider_with(settings: str = "", provider: str = "", build: str = "Provider") -> str:
    """A module with Shout, but for some lines of its settings, of its class, and for how it is made."""
    return (
        f"{KINDS}class Settings(ShoutSettings):\n    {settings or 'pass'}\n"
        f"class Provider(Shout):\n    {provider or 'pass'}\nKIND = ProviderKind(Settings, {build})"
    )


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("1 / 0", "the provider of broken-alerting cannot be loaded: ZeroDivisionError"),
        ("import sys; sys.exit(0)", "cannot be loaded: SystemExit"),
        ("", "cannot be loaded: AttributeError"),
        ("import consumer.cli.nothing", "cannot be loaded: ModuleNotFoundError"),
        ("KIND = 7", "must be a ProviderKind, not of the type int"),
        (f"{KINDS}KIND = ProviderKind(dict, Shout)", "must be a model that extends"),
        (provider_with("default_key_template = '{x}'"), "the provider's settings can be no section: ValueError"),
        (provider_with("def described(self): 1 / 0"), "the provider's settings cannot be read: ZeroDivisionError"),
        (provider_with(build="lambda it: {}[it.token.get_secret_value()]"), "the provider cannot be made: KeyError"),
        (provider_with(provider="routes = ()"), "routes: the first must be the default one"),
        (provider_with(provider="name = 'pagerduty'"), "name: it is the provider 'pagerduty'"),
    ],
    ids=range(11),
)
def test_a_provider_that_is_wrong_is_a_mistake_of_its_section(tmp_path: Path, module: str, said: str) -> None:
    site = distribution(tmp_path / "site", "broken-alerting", {"shout": "broken_alerting:KIND"}, module)
    done = command(site, "check-config", configuration(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "exporters.alerting.shout: " in line
    assert said in line
    assert "a-secret-token" not in line


def test_without_its_section_nobody_notices_a_provider_that_is_wrong(tmp_path: Path) -> None:
    site = distribution(tmp_path / "site", "broken-alerting", {"shout": "broken_alerting:KIND"}, "1 / 0")
    file = tmp_path / "others.yaml"
    file.write_text(f"exporters: {{alerting: {{pagerduty: {{routing_key: {'k' * 32}}}}}}}\n")
    done = command(site, "check-config", str(file))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_name_of_ours_cannot_be_taken_and_that_is_said(tmp_path: Path) -> None:
    points = dict.fromkeys(("pagerduty", "a.b", "http"), "tests.support.shout:KIND")
    site = distribution(tmp_path / "site", "taking-alerting", points)
    file = tmp_path / "others.yaml"
    file.write_text(f"exporters: {{alerting: {{pagerduty: {{routing_key: {'k' * 32}}}}}}}\n")
    done = command(site, "check-config", str(file))
    assert done.returncode == 0
    assert "pipeline pagerduty" in done.stdout
    said = done.stderr.splitlines()
    assert [line.partition(" is not taken: its name ")[0] for line in sorted(said)] == [
        f"warning: the provider '{name}' of taking-alerting" for name in ("a.b", "http", "pagerduty")
    ]


def test_two_distributions_with_one_provider_are_both_named(tmp_path: Path) -> None:
    site = distribution(tmp_path / "site", "one-alerting", {"shout": "tests.support.shout:KIND"})
    module = f"{KINDS}KIND = ProviderKind(ShoutSettings, Shout)"
    distribution(site, "two-alerting", {"shout": "two_alerting:KIND"}, module)
    done = command(site, "check-config", configuration(tmp_path))
    assert done.returncode == 2
    assert "more than one distribution brings this provider: one-alerting, two-alerting" in done.stderr
