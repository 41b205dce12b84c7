"""What keeps the service from starting is said in one line, without a traceback, and by the exit code."""

import socket
from pathlib import Path
from typing import Any

import pytest

from consumer.demo.broker import free_port
from providers.sandbox import Sandbox
from tests.support.broker import Broker
from tests.support.kafka import COMPACTED, create_topic, unique
from tests.support.process import merged, run_to_end, service_process
from tests.support.service import ROUTING_KEY, World, make_world

PAGERDUTY = {"pagerduty": {"routing_key": ROUTING_KEY}}


def _document(**sections: Any) -> dict[str, Any]:
    return merged(
        {"exporters": {"alerting": PAGERDUTY}, "kafka": {"startup_timeout": "2s"}, "server": {"port": 0}}, **sections
    )


async def _refusal(document: dict[str, Any] | str, folder: Path, code: int) -> str:
    ended, lines = await run_to_end(document, folder)
    assert (ended, len(lines)) == (code, 1), lines
    return lines[0]


@pytest.fixture
async def world(broker: Broker, sandbox: Sandbox) -> World:
    return await make_world(broker.bootstrap_servers, sandbox.url, partitions=2)


async def test_a_kafka_that_does_not_answer(tmp_path: Path) -> None:
    servers = f"127.0.0.1:{free_port()}"
    said = await _refusal(_document(kafka={"bootstrap_servers": servers}), tmp_path, 1)
    assert said.startswith(f"kafka.bootstrap_servers: {servers}")
    assert "kafka.startup_timeout" in said


async def test_a_kafka_that_accepts_and_says_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        servers = f"127.0.0.1:{silent.getsockname()[1]}"
        said = await _refusal(_document(kafka={"bootstrap_servers": servers}), tmp_path, 1)
    assert said.startswith(f"kafka.bootstrap_servers: {servers}")


async def test_sigterm_ends_the_wait_for_kafka(tmp_path: Path) -> None:
    document = _document(kafka={"bootstrap_servers": f"127.0.0.1:{free_port()}", "startup_timeout": "60s"})
    async with service_process(document, tmp_path) as service:
        await service.said("kafka_unreachable")
        assert await service.end(within=10) < 5


async def test_sigterm_ends_the_wait_for_a_kafka_that_says_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        servers = f"127.0.0.1:{silent.getsockname()[1]}"
        document = _document(kafka={"bootstrap_servers": servers, "startup_timeout": "60s"}, log={"level": "debug"})
        async with service_process(document, tmp_path) as service:
            silent.settimeout(20)
            connection, _ = silent.accept()
            assert await service.end(within=90) < 10
            connection.close()


async def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    kafka = {"security": {"protocol": "SSL", "ca_file": str(tmp_path / "none.pem")}}
    assert "kafka.security" in await _refusal(_document(kafka=kafka), tmp_path, 2)


async def test_topics_that_are_missing(world: World, tmp_path: Path) -> None:
    document = merged(world.document, kafka={"topics": {"events": unique("none")}})
    said = await _refusal(document, tmp_path, 1)
    assert document["kafka"]["topics"]["events"] in said
    assert "topics create" in said


async def test_a_state_topic_with_another_number_of_partitions(world: World, tmp_path: Path) -> None:
    """One of them is growing: the service starts, and says which."""
    state = unique("state")
    await create_topic(world.bootstrap_servers, f"{state}.pagerduty", partitions=3, configs=COMPACTED)
    document = merged(world.document, kafka={"topics": {"state": state}})
    async with service_process(document, tmp_path) as service:
        line = await service.said("topic_outgrown", level="error")
        assert line["error"].startswith(f"topic {state}.pagerduty has 3 partitions, its input {world.events} has 2: ")
        await service.said("partition_restored", 2)
        assert await service.status("/readyz") == 503


async def test_a_state_topic_that_is_not_compacted(world: World, tmp_path: Path) -> None:
    state = unique("state")
    await create_topic(world.bootstrap_servers, f"{state}.pagerduty", partitions=2)
    said = await _refusal(merged(world.document, kafka={"topics": {"state": state}}), tmp_path, 1)
    assert f"{state}.pagerduty" in said
    assert "cleanup.policy" in said


async def test_a_port_that_is_in_use(world: World, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = await _refusal(merged(world.document, server={"port": port}), tmp_path, 1)
    assert "server.port" in said
    assert str(port) in said


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (_document(kafka={"group": "misspelt"}), "kafka.group"),
        (_document(delivery={"max_in_flight": "many"}), "delivery.max_in_flight"),
        (_document(exporters={"alerting": {"pagerduty": {"routing_key": "${NOT_SET_ANYWHERE}"}}}), "NOT_SET_ANYWHERE"),
        ("kafka: [", "YAML"),
        ("", "mapping"),
    ],
)
async def test_a_mistake_in_the_configuration(document: dict[str, Any] | str, path: str, tmp_path: Path) -> None:
    assert path in await _refusal(document, tmp_path, 2)


async def test_no_provider(tmp_path: Path) -> None:
    document = {"exporters": {"alerting": {"enabled": "true"}}}
    assert (await _refusal(document, tmp_path, 2)).startswith("exporters.alerting: no provider")


async def test_alerting_that_is_disabled(tmp_path: Path) -> None:
    document = _document(exporters={"alerting": {"enabled": "false"}})
    assert (await _refusal(document, tmp_path, 2)).startswith("exporters.alerting: no provider")
