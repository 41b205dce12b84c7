"""The files of `deploy/`: that they fit each other, this code and its defaults. (Running them needs Docker.)"""

import json
import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer.cli.main import COMMANDS
from consumer.config import Config, load_config
from consumer.events.event import Decoder, SecurityEvent
from consumer.events.filter import Filter
from providers.sandbox.serve import add_options
from state.violation import Record
from tests.chaos.soak import ENVIRONMENT

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
OURS = [service for service in SERVICES.values() if service["image"] == "clawdstrike-alerting"]


@pytest.fixture
def config() -> Config:
    return load_config(DEPLOY / "compose-config.yaml", SERVICES["alerting"]["environment"])


def test_the_image_runs_as_a_user_with_a_number_that_is_not_root() -> None:
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", DOCKERFILE, re.MULTILINE)


def test_the_image_starts_the_service_without_a_shell() -> None:
    assert 'ENTRYPOINT ["clawdstrike-alerting"]' in DOCKERFILE
    assert 'CMD ["run", "--config", "/etc/clawdstrike-alerting/config.yaml"]' in DOCKERFILE
    assert "STOPSIGNAL SIGTERM" in DOCKERFILE


def test_the_image_asks_for_health_where_the_service_tells_it(config: Config) -> None:
    (url,) = re.findall(r"HEALTH_URL=(\S+)", DOCKERFILE)
    assert url == f"http://127.0.0.1:{Config().server.port}/healthz"
    assert config.server.port == Config().server.port


def test_the_image_gives_memory_back_as_the_members_of_the_soak_do() -> None:
    assert all(f"{name}={value}" in DOCKERFILE for name, value in ENVIRONMENT.items())


def test_what_the_image_is_built_of_is_let_through() -> None:
    let_through = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert let_through == {"pyproject.toml", "README.md", "LICENSE", "consumer", "providers", "state"}


def test_what_compose_refers_to_exists() -> None:
    assert OURS
    for service in OURS:
        assert service["build"] == {"context": "..", "dockerfile": "deploy/Dockerfile"}
        for volume in service.get("volumes", []):
            source, target, mode = volume.split(":")
            assert (DEPLOY / source).is_file()
            assert target in " ".join(service.get("command", [])) + DOCKERFILE
            assert mode == "ro"
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)


def test_compose_runs_the_kafka_that_the_tests_run_on() -> None:
    from tests.support.broker import IMAGE

    assert SERVICES["kafka"]["image"] == IMAGE


def test_kafka_tells_containers_and_this_machine_addresses_that_they_reach(config: Config) -> None:
    environment = SERVICES["kafka"]["environment"]
    advertised = dict(entry.split("://") for entry in environment["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert advertised["INTERNAL"] == config.kafka.bootstrap_servers == "kafka:9093"
    port = advertised["HOST"].removeprefix("localhost:")
    assert f"127.0.0.1:{port}:{port}" in SERVICES["kafka"]["ports"]


def test_the_sandbox_is_on_the_loopback_of_the_service(config: Config) -> None:
    command, *arguments = SERVICES["sandbox"]["command"]
    parser = ArgumentParser()
    add_options(parser)
    options = parser.parse_args(arguments)
    assert command in [one.name for one in COMMANDS]
    assert SERVICES["alerting"]["network_mode"] == "service:sandbox"
    assert config.pipelines == ["pagerduty", "opsgenie"]
    for section in config.sections.values():
        assert section.endpoint() == f"http://127.0.0.1:{options.port}"
    for port in (options.port, config.server.port):
        assert f"127.0.0.1:{port}:{port}" in SERVICES["sandbox"]["ports"]
    assert config.server.host == "0.0.0.0"


def test_everything_is_published_on_loopback_only() -> None:
    assert all(port.startswith("127.0.0.1:") for service in SERVICES.values() for port in service.get("ports", []))


def test_the_service_is_given_longer_to_stop_than_it_takes(config: Config) -> None:
    grace = float(SERVICES["alerting"]["stop_grace_period"].removesuffix("s"))
    assert grace > config.delivery.shutdown_grace + 10  # the consumer's own leaving, at most


def test_the_example_event_is_alertable(config: Config) -> None:
    (line,) = (DEPLOY / "compose-event.json").read_bytes().splitlines()
    alerting = config.exporters.alerting
    decoder = Decoder(Filter(alerting.min_severity, (), (), (), ()), None, config.delivery.max_event_bytes)
    event = decoder.decode(Record("t", 0, 0, 0, None, line))
    assert isinstance(event, SecurityEvent)
    assert event.alertable


def test_the_example_record_is_keyed_as_the_configuration_says(config: Config) -> None:
    (line,) = (DEPLOY / "compose-event.json").read_bytes().splitlines()
    text = (DEPLOY / "compose.yaml").read_text()
    (key,) = re.findall(r"sed 's/\^/(.*)\|/' deploy/compose-event\.json", text)
    assert "--property parse.key=true --property 'key.separator=|'" in text
    assert config.kafka.event_key == "session_id"
    assert json.loads(line)["session"]["id"] == key


def test_the_pictures_of_the_readme_are_there_and_small() -> None:
    pictures = set(re.findall(r"!\[[^\]]+\]\((\S+?)\)", (ROOT / "README.md").read_text()))
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).stat().st_size < 200_000
