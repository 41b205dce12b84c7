"""Members of the service inside the test's process, against a broker and a sandbox."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from io import StringIO
from typing import Any

import yaml
from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from consumer.config import Config, parse_config, secrets_of
from consumer.deciding.pipeline import Pipeline
from consumer.kafka.clients import KafkaClients
from consumer.service.build import build_pipelines, build_repartition
from consumer.service.runner import PipelineRunner, RepartitionRunner
from consumer.telemetry.log import configure_log
from consumer.telemetry.metrics import Metrics
from consumer.timing.clock import Clock
from providers.http import HttpSender, create_session
from providers.sandbox import Sandbox
from tests.support.kafka import COMPACTED, admin, create_topic, unique
from tests.support.log import StreamLines
from tests.support.waiting import wait_until

ROUTING_KEY = "d" * 32
API_KEY = "5a1b2c3d-opsgenie-key"


@dataclass(frozen=True)
class World:
    """The topics of one test, all with names of their own, and the configuration that goes with them."""

    bootstrap_servers: str
    partitions: int
    document: dict[str, Any]

    @property
    def config(self) -> Config:
        """The configuration, as the service would load it."""
        return parse_config(yaml.safe_dump(self.document), os.environ, lambda path: "")

    def member(self, **kafka: Any) -> Config:
        """The configuration of one member, with some settings of ``kafka`` of its own."""
        document = {**self.document, "kafka": {**self.document["kafka"], **kafka}}
        return parse_config(yaml.safe_dump(document), os.environ, lambda path: "")

    @property
    def events(self) -> str:
        """The input topic."""
        return self.config.kafka.topics.events

    @property
    def dlq(self) -> str:
        """The dead-letter topic."""
        return self.config.kafka.topics.dlq

    @property
    def feedback(self) -> str:
        """The feedback topic."""
        return self.config.kafka.topics.feedback

    @property
    def history(self) -> str:
        """The history topic."""
        return self.config.kafka.topics.history

    @property
    def silences(self) -> str:
        """The silences topic."""
        return self.config.kafka.topics.silences

    def state(self, provider: str = "pagerduty") -> str:
        """The state topic of a provider."""
        return self.config.kafka.state_topic(provider)

    def keyed(self, provider: str = "pagerduty") -> str:
        """The topic between a provider's repartition stage and its tasks."""
        return self.config.kafka.keyed_topic(provider)

    def positions(self, provider: str = "pagerduty") -> str:
        """The topic of the positions of a provider's repartition stage."""
        return self.config.kafka.positions_topic(provider)

    def group(self, provider: str = "pagerduty") -> str:
        """The consumer group of a provider."""
        return self.config.kafka.group(provider)


async def make_world(
    bootstrap_servers: str,
    sandbox_url: str,
    *,
    partitions: int = 1,
    pagerduty: Mapping[str, Any] | None = None,
    opsgenie: Mapping[str, Any] | None = None,
    jsm: Mapping[str, Any] | None = None,
    http: Mapping[str, Mapping[str, Any]] | None = None,
    delivery: Mapping[str, Any] | None = None,
    kafka: Mapping[str, Any] | None = None,
    alerting: Mapping[str, Any] | None = None,
) -> World:
    """Create the topics and write the configuration; PagerDuty alone unless told otherwise. ``http`` are described
    providers by their names.

    OpsGenie is not asked what has become of requests: the tests count these, and their faults strike the n-th one.
    """
    name = unique("w")
    providers: dict[str, Any] = {}
    if pagerduty is not None or (opsgenie is None and jsm is None):
        providers["pagerduty"] = {"routing_key": ROUTING_KEY, "api_endpoint": sandbox_url, **(pagerduty or {})}
    if opsgenie is not None:
        providers["opsgenie"] = {"api_key": API_KEY, "api_endpoint": sandbox_url, "verify": False, **opsgenie}
    if jsm is not None:
        providers["jsm"] = {"api_key": API_KEY, "api_endpoint": f"{sandbox_url}/jsm/ops/integration", **jsm}
    document = {
        "kafka": {
            "bootstrap_servers": bootstrap_servers,
            "group_id": f"{name}.group",
            "start_from": "earliest",
            "session_timeout": "6s",
            "rebalance_timeout": "20s",
            "topics": {
                topic: f"{name}.{topic}"
                for topic in ("events", "state", "dlq", "feedback", "keyed", "history", "silences")
            },
            **(kafka or {}),
        },
        "exporters": {"alerting": {**(alerting or {}), **providers, "http": dict(http or {})}},
        "delivery": {
            "timeout_seconds": 2,
            "retry": {"initial_backoff_ms": 50, "max_backoff_ms": 500},
            "commit_interval_ms": 20,
            "rate_limit": {"requests_per_second": 0},
            "circuit_breaker": {"failure_threshold": 5, "recovery_seconds": 0.5},
            **(delivery or {}),
        },
        "server": {"port": 0},
        "log": {"level": "debug"},
    }
    world = World(bootstrap_servers, partitions, document)
    await create_topic(bootstrap_servers, world.events, partitions=partitions)
    await create_topic(bootstrap_servers, world.dlq, configs={"max.message.bytes": str(2 << 20)})
    lasting = {"max.message.bytes": str(2 << 20), "retention.ms": "-1"}  # whatever give_up_after is
    await create_topic(bootstrap_servers, world.feedback, configs=lasting)
    await create_topic(bootstrap_servers, world.history)
    await create_topic(bootstrap_servers, world.silences, configs={"cleanup.policy": "compact"})
    for provider in (*providers, *(http or ())):
        await create_topic(bootstrap_servers, world.state(provider), partitions=partitions, configs=COMPACTED)
    for pipeline in build_pipelines(world.config):
        if (stage := build_repartition(world.config, pipeline)) is not None:
            kept = {"retention.ms": "-1"}
            await create_topic(bootstrap_servers, pipeline.input_topic, partitions=partitions, configs=kept)
            await create_topic(bootstrap_servers, stage.positions_topic, partitions=partitions, configs=COMPACTED)
    return world


class Member:
    """A member of the service: all pipelines of the configuration, in this process."""

    def __init__(self, config: Config, *, clock: Clock, quiescent_seconds: float, dead_letter_limit: int) -> None:
        self.config = config
        self._dead_letter_limit = dead_letter_limit
        self.output = StringIO()
        self.registry = CollectorRegistry()
        self.stopping = asyncio.Event()
        self._clock = clock
        self._quiescent_seconds = quiescent_seconds
        self.runners: dict[str, PipelineRunner | RepartitionRunner] = {}

    async def run(self) -> None:
        """Run until stopped."""
        log = configure_log("debug", "json", secrets_of(self.config), StreamLines(self.output))
        metrics = Metrics(self.registry)
        async with create_session(64) as session, asyncio.TaskGroup() as group:
            for pipeline in build_pipelines(self.config):
                stage = await self._stage_runner(pipeline, metrics, log)
                if stage is not None:
                    self.runners[stage.name] = stage
                    group.create_task(stage.run(self.stopping))
                runner = PipelineRunner(
                    pipeline,
                    self.config,
                    stage=stage,
                    clients=KafkaClients(self.config.kafka),
                    sender=HttpSender(session),
                    dead_letter_limit=self._dead_letter_limit,
                    metrics=metrics,
                    clock=self._clock,
                    log=log,
                    quiescent_seconds=self._quiescent_seconds,
                )
                self.runners[pipeline.provider.name] = runner
                group.create_task(runner.run(self.stopping))

    async def _stage_runner(
        self, pipeline: Pipeline, metrics: Metrics, log: FilteringBoundLogger
    ) -> RepartitionRunner | None:
        stage = build_repartition(self.config, pipeline)
        if stage is None:
            return None
        async with admin(self.config.kafka.bootstrap_servers) as client:
            (keyed,) = await client.describe_topics([pipeline.input_topic])
        return RepartitionRunner(
            stage,
            self.config,
            partitions=len(keyed["partitions"]),
            clients=KafkaClients(self.config.kafka),
            dead_letter_limit=self._dead_letter_limit,
            metrics=metrics,
            clock=self._clock,
            log=log,
        )

    def metric(self, name: str, **labels: str) -> float:
        """The value of one series; 0 while it is not there."""
        return self.registry.get_sample_value(f"clawdstrike_alerting_{name}", labels) or 0.0

    async def restored(self, partitions: int | None = None, provider: str = "pagerduty") -> None:
        """Wait until every assigned partition (and so many of them) is restored and decides."""

        def is_restored() -> bool:
            if provider not in self.runners:
                return False
            health = self.runners[provider].health()
            wanted = health.partitions if partitions is None else partitions
            return health.joined and health.restored == health.partitions == wanted

        await wait_until(is_restored, "the member's partitions are restored", timeout=30)


@contextlib.asynccontextmanager
async def running_member(
    config: Config, *, clock: Clock | None = None, quiescent_seconds: float = 0.0, dead_letter_limit: int = 2 << 20
) -> AsyncIterator[Member]:
    """A member for the length of the block; it drains and leaves at the end, within its grace."""
    member = Member(
        config, clock=clock or Clock.system(), quiescent_seconds=quiescent_seconds, dead_letter_limit=dead_letter_limit
    )
    task = asyncio.create_task(member.run())
    try:
        yield member
    finally:
        member.stopping.set()
        async with asyncio.timeout(60):
            await task


async def incidents(sandbox: Sandbox, count: int, provider: str = "pagerduty", timeout: float = 20.0) -> None:
    """Wait until the sandbox has seen that many incidents opened."""
    await sandbox.wait_for(lambda: len(sandbox.incidents(provider)) >= count, timeout)
