"""The service as it is measured: a pipeline as `consumer.service.service` makes it, in this process."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, disable_created_metrics

from consumer.config import Config, parse_config, secrets_of
from consumer.kafka.clients import KafkaClients
from consumer.service.build import build_pipelines
from consumer.service.runner import PipelineRunner
from consumer.telemetry.families import PREFIX
from consumer.telemetry.garbage import search_young_only
from consumer.telemetry.log import configure_log
from consumer.telemetry.metrics import Metrics
from consumer.timing.clock import Clock
from providers.http import HttpSender, create_session
from tests.bench.child import Meter
from tests.support.log import StreamLines
from tests.support.waiting import wait_until

POLL_SECONDS = 0.02
"""Between two looks at the counts: 30 µs each, 0.2 % of the CPU."""


def configuration(document: dict[str, Any]) -> Config:
    """The configuration as `run` would read it from a file."""
    return parse_config(yaml.safe_dump(document), os.environ, lambda path: "")


class Service:
    """One pipeline that runs."""

    def __init__(self, runner: PipelineRunner, registry: CollectorRegistry) -> None:
        self.runner = runner
        self.registry = registry

    async def restored(self, partitions: int = 1, timeout: float = 60) -> None:
        """Wait until so many partitions are restored, which is when the first record can be fetched."""

        def is_restored() -> bool:
            health = self.runner.health()
            return health.restored == health.partitions == partitions

        await wait_until(is_restored, f"{partitions} partitions are restored", timeout=timeout, poll=0.001)

    def events(self) -> dict[str, int]:
        """How many events came to what."""
        return self._counts("events", "outcome")

    def notifications(self, action: str = "trigger") -> dict[str, int]:
        """How many triggers (or others) were answered how."""
        return self._counts("notifications", "result", action=action)

    def proofs(self) -> dict[str, int]:
        """How many proofs were answered how."""
        return self._counts("proofs", "result")

    def _counts(self, name: str, by: str, **where: str) -> dict[str, int]:
        # Only the counters of this name are asked, not the state of the whole pipeline.
        sample_name = f"{PREFIX}_{name}_total"
        return {
            sample.labels[by]: int(sample.value)
            for metric in self.registry.restricted_registry([sample_name]).collect()
            for sample in metric.samples
            if sample.name == sample_name and where.items() <= sample.labels.items()
        }

    async def decided(self, count: int) -> dict[str, int]:
        """Wait until that many events are decided."""
        await wait_until(lambda: sum(self.events().values()) >= count, "decided", timeout=240, poll=POLL_SECONDS)
        return self.events()

    async def accepted(self, count: int) -> dict[str, int]:
        """Wait until that many triggers are accepted."""
        await wait_until(
            lambda: self.notifications().get("accepted", 0) >= count, "accepted", timeout=240, poll=POLL_SECONDS
        )
        return self.notifications()


@contextlib.asynccontextmanager
async def running_service(document: dict[str, Any], **options: Any) -> AsyncIterator[Service]:
    """The service for the length of the block, with these options of its runner.

    Its log is written, at level info, to where nobody reads it.
    """
    search_young_only()
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has it without types
    config = configuration(document)
    registry = CollectorRegistry()
    stopping = asyncio.Event()
    (pipeline,) = build_pipelines(config)
    with open(os.devnull, "w") as nowhere:  # noqa: ASYNC230
        log = configure_log("info", "json", secrets_of(config), StreamLines(nowhere))
        async with create_session(config.delivery.max_in_flight) as session:
            runner = PipelineRunner(
                pipeline,
                config,
                clients=KafkaClients(config.kafka),
                sender=HttpSender(session),
                dead_letter_limit=2 << 20,
                metrics=Metrics(registry),
                clock=Clock.system(),
                log=log,
                **options,
            )
            task = asyncio.create_task(runner.run(stopping))
            try:
                yield Service(runner, registry)
            finally:
                stopping.set()
                await task


async def decide_all(meter: Meter, *, document: dict[str, Any], count: int, suppressed: int) -> None:
    """Decide a topic's events, of which so many are suppressed and all others concern nobody."""
    async with running_service(document) as service:
        await service.restored()
        meter.start()
        outcomes = await service.decided(count)
        meter.stop()
    expected = {"ignored": count - suppressed, "suppressed": suppressed}
    came_to = {outcome: number for outcome, number in outcomes.items() if number}
    assert came_to == {outcome: number for outcome, number in expected.items() if number}, came_to


async def deliver_all(meter: Meter, *, document: dict[str, Any], count: int) -> None:
    """Decide a topic's events, each a problem of its own, and deliver all of them; what fails is sent again."""
    async with running_service(document) as service:
        await service.restored()
        meter.start()
        answers = await service.accepted(count)
        meter.stop()
    meter.result.values["unavailable"] = answers.pop("unavailable")
    assert {answer: number for answer, number in answers.items() if number} == {"accepted": count}, answers
