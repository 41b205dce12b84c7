"""The broker of a test run. One for all tests; which one is said once, in the report."""

import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.broker import IMAGE, Broker, KafkaContainer, docker_trouble, embedded, kafka_container
from tests.support.secured import SecuredKafka, secured_container

settings.register_profile("any machine", deadline=None)  # what else runs on it must not fail a property
settings.register_profile("fast", deadline=None, max_examples=4)  # for `make test-fast`
settings.load_profile("any machine")

_SAID = pytest.StashKey[str]()
_TROUBLE = pytest.StashKey[str | None]()


def _trouble(config: pytest.Config) -> str | None:
    """Why the run is not on Apache Kafka, or `None`; looked up once, when the first test needs a broker."""
    if _TROUBLE not in config.stash:
        config.stash[_TROUBLE] = trouble = docker_trouble()
        chosen = f"Apache Kafka ({IMAGE} in Docker)"
        if trouble is not None:
            chosen = f"{'none' if _docker_is_required() else 'the embedded one'}, because {trouble}"
        config.stash[_SAID] = f"broker: {chosen}"
    return config.stash[_TROUBLE]


def _docker_is_required() -> bool:
    return os.environ.get("REQUIRE_DOCKER", "") not in ("", "0")


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """Apache Kafka in a container, else the embedded broker; with REQUIRE_DOCKER=1 no Docker is a failure."""
    trouble = _trouble(request.config)
    if trouble is None:
        with kafka_container() as kafka:
            yield Broker("docker", kafka.bootstrap_servers, kafka)
    elif _docker_is_required():
        pytest.fail(f"REQUIRE_DOCKER is set, but {trouble}", pytrace=False)
    else:
        with embedded() as bootstrap_servers:
            yield Broker("embedded", bootstrap_servers)


@pytest.fixture
def own_kafka(request: pytest.FixtureRequest) -> Iterator[KafkaContainer]:
    """An Apache Kafka that the test may kill, freeze and restart; for tests that are marked `real_kafka`."""
    _skip_without_docker(request.config, "a broker that can be killed")
    # A killed broker is let in again when its old session has ended: 9 s by default.
    with kafka_container(broker_session_timeout_ms="3000", broker_heartbeat_interval_ms="500") as kafka:
        yield kafka


@pytest.fixture(scope="module")
def secured_kafka(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """An Apache Kafka that wants passwords and certificates; for tests that are marked `real_kafka`."""
    _skip_without_docker(request.config, "a broker with passwords and certificates")
    with secured_container(tmp_path_factory.mktemp("secured")) as kafka:
        yield kafka


@pytest.fixture(autouse=True)
def _real_kafka(request: pytest.FixtureRequest) -> None:
    marker = request.node.get_closest_marker("real_kafka")
    if marker is not None:
        _skip_without_docker(request.config, marker.args[0])


def _skip_without_docker(config: pytest.Config, reason: str) -> None:
    if (trouble := _trouble(config)) is None:
        return
    if _docker_is_required():
        pytest.fail(f"REQUIRE_DOCKER is set, but {trouble}", pytrace=False)
    pytest.skip(f"needs Apache Kafka: {reason}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which broker the run was on, if it needed one."""
    if _SAID in config.stash:
        terminalreporter.write_line(config.stash[_SAID])


# aiokafka leaves futures with errors behind when a producer is fenced. asyncio logs each with its traceback when it is
# collected, and in Python 3.11 that breaks an `ast.parse` which happens to be at work (SystemError: AST constructor
# recursion depth mismatch). So they are collected at moments when none is.


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Collect what a test with a broker left behind."""
    if {"broker", "own_kafka"}.intersection(getattr(item, "fixturenames", ())):
        gc.collect()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Collect what the last tests left behind, before the plugins' reports import their modules."""
    gc.collect()
