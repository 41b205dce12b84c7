"""Alive, ready, vouched for: the reasons, and how they are told over HTTP."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from consumer.telemetry.health import (
    STALLED_SECONDS,
    STANDSTILL_SECONDS,
    PipelineHealth,
    heartbeat_reason,
    liveness,
    readiness,
    takes_traffic,
)
from consumer.telemetry.server import ServerError, create_app, serving
from providers.delivery.outage import Condition, RouteTrouble

WELL = PipelineHealth(
    name="pagerduty",
    joined=True,
    proved=True,
    partitions=3,
    restored=3,
    stuck=(),
    routes=(),
    troubles=(),
    loop_age=0.1,
)


REFUSED = RouteTrouble("default", Condition.REFUSED, 1_795_659_185.0, "Invalid routing key")


def but(**differences: Any) -> PipelineHealth:
    return replace(WELL, **differences)


# --- the reasons


def test_all_is_well() -> None:
    assert liveness([WELL]) == []
    assert readiness([WELL]) == []
    assert heartbeat_reason([WELL]) is None


def test_before_any_pipeline_has_started_nothing_is_well() -> None:
    assert liveness([]) == readiness([]) == takes_traffic([]) == ["no pipeline has started yet"]
    assert heartbeat_reason([]) == "no pipeline has started yet"


@pytest.mark.parametrize(
    ("pipeline", "alive", "ready", "vouched"),
    [
        # Kafka is away, or a rebalance takes its time: a restart helps nobody.
        (but(joined=False, proved=False, partitions=0, restored=0), True, False, False),
        (but(proved=False, standstill=STANDSTILL_SECONDS - 1), True, False, False),
        (but(proved=False, standstill=STANDSTILL_SECONDS), False, False, False),
        (but(loop_age=STALLED_SECONDS + 1), False, True, False),
        (but(loop_age=STALLED_SECONDS), True, True, True),
        (but(proved=False), True, False, False),
        (but(restored=2), True, False, False),
        (but(routes=(REFUSED,)), True, False, False),
        (but(routes=(replace(REFUSED, condition=Condition.FAILING),)), True, False, False),
        (but(routes=(replace(REFUSED, condition=Condition.THROTTLED),)), True, True, True),
        (but(troubles=("partition 2: its task failed: KafkaError()",)), True, False, False),
        (but(stuck=("partition 2 has had a lag of 7 without progress",)), True, True, False),
        # More members than partitions: the one without has nothing to prove, and is well.
        (but(proved=False, partitions=0, restored=0), True, True, True),
    ],
)
def test_what_each_trouble_means(pipeline: PipelineHealth, alive: bool, ready: bool, vouched: bool) -> None:
    assert (liveness([pipeline]) == []) is alive
    assert (readiness([pipeline]) == []) is ready
    assert (heartbeat_reason([pipeline]) is None) is vouched
    assert takes_traffic([pipeline]) == []  # it would be the same in every other pod


def test_one_pipeline_in_trouble_is_enough_and_is_named() -> None:
    pipelines = [WELL, but(name="opsgenie", restored=1, routes=(REFUSED,))]
    reasons = [
        "opsgenie: 1 of 3 partitions are restored",
        "opsgenie: the provider refuses route default since 2026-11-26T02:13:05.000Z: Invalid routing key",
    ]
    assert readiness(pipelines) == reasons
    assert heartbeat_reason(pipelines) == "; ".join(reasons)
    assert liveness(pipelines) == []


def test_a_patient_caller_waits_longer_for_the_loop() -> None:
    pipeline = but(loop_age=STALLED_SECONDS + 1)
    assert liveness([pipeline], stalled_after=STALLED_SECONDS + 2) == []
    assert heartbeat_reason([pipeline], stalled_after=STALLED_SECONDS + 2) is None


def test_what_has_to_grow_is_told_and_not_vouched_for() -> None:
    pipelines = [but(outgrown=("topic state has 1 partitions", "topic positions too"))]
    reasons = ["pagerduty: topic state has 1 partitions", "pagerduty: topic positions too"]
    assert readiness(pipelines) == reasons
    assert heartbeat_reason(pipelines) == "; ".join(reasons)
    assert liveness(pipelines) == []


def test_topics_that_are_not_as_they_must_be_are_told_and_a_note_is_none() -> None:
    pipelines = [but(unfit=("topic state: cleanup.policy is delete",), notes=("5 records were not keyed",))]
    assert readiness(pipelines) == ["pagerduty: topic state: cleanup.policy is delete"]
    assert readiness([but(notes=("5 records were not keyed",))]) == []
    assert takes_traffic(pipelines) == []


# --- over HTTP


@asynccontextmanager
async def _served(
    pipelines: Sequence[PipelineHealth], registry: CollectorRegistry | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    app = create_app(lambda: pipelines, registry or CollectorRegistry())
    async with (
        serving(app, "127.0.0.1", 0) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        yield session


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/readyz/traffic"])
async def test_well_is_200(path: str) -> None:
    async with _served([WELL]) as session, session.get(path) as response:
        assert response.status == 200
        assert (await response.json())["status"] == "ok"


async def test_trouble_is_503_with_the_reasons_of_each_pipeline() -> None:
    pipelines = [WELL, but(name="opsgenie", troubles=("partition 1: its task failed: KafkaError()",))]
    async with _served(pipelines) as session:
        async with session.get("/readyz") as response:
            assert response.status == 503
            told = await response.json()
        for path in ("/healthz", "/readyz/traffic"):
            async with session.get(path) as response:
                assert response.status == 200
    assert told["status"] == "failing"
    assert told["reasons"] == ["opsgenie: partition 1: its task failed: KafkaError()"]
    assert told["pipelines"]["pagerduty"]["reasons"] == []
    assert told["pipelines"]["opsgenie"]["reasons"] == ["opsgenie: partition 1: its task failed: KafkaError()"]
    assert told["pipelines"]["opsgenie"]["restored"] == 3


async def test_metrics_come_in_the_format_that_is_asked_for() -> None:
    registry = CollectorRegistry()
    Counter("pages", "Pages", registry=registry).inc()
    async with _served([WELL], registry) as session:
        async with session.get("/metrics") as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=")
            assert "pages_total 1.0" in await response.text()
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        async with session.get("/metrics", headers=accept) as response:
            assert response.headers["Content-Type"].startswith("application/openmetrics-text")
            assert (await response.text()).endswith("# EOF\n")


async def test_a_port_in_use_is_one_clear_error() -> None:
    app = create_app(lambda: [WELL], CollectorRegistry())
    async with serving(app, "127.0.0.1", 0) as port:
        with pytest.raises(ServerError) as caught:
            async with serving(create_app(lambda: [WELL], CollectorRegistry()), "127.0.0.1", port):
                pass
    assert str(caught.value) == f"server.host, server.port: cannot listen on 127.0.0.1:{port}: Address already in use"


async def test_a_host_of_somebody_else_is_one_clear_error() -> None:
    with pytest.raises(ServerError, match=r"^server\.host, server\.port: cannot listen on 192\.0\.2\.1:8080: [^\n]+$"):
        async with serving(create_app(lambda: [WELL], CollectorRegistry()), "192.0.2.1", 8080):
            pass


async def test_the_port_is_free_again_afterwards() -> None:
    app = create_app(lambda: [WELL], CollectorRegistry())
    async with serving(app, "127.0.0.1", 0) as port:
        pass
    async with serving(create_app(lambda: [WELL], CollectorRegistry()), "127.0.0.1", port) as again:
        assert again == port
