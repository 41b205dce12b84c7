"""One pipeline in this process: its clients, its delivery, its group member, built again when they fail."""

import asyncio
import random
from collections.abc import Mapping

from structlog.typing import FilteringBoundLogger

from consumer.clock import Clock
from consumer.config import Config
from consumer.group import GroupMember, InstanceIdTaken
from consumer.kafka import KafkaClients
from consumer.observer import DeliveryObserver
from consumer.pipeline import Pipeline
from consumer.progress import PEACE_SECONDS
from consumer.proof import Proofs
from consumer.server.health import PipelineHealth
from consumer.server.metrics import Metrics, PartitionState, PipelineState
from consumer.source import Source
from consumer.task import Surroundings, Task
from providers.delivery import Delivery
from providers.http import HttpSender
from providers.retry import Backoff

RESTORES_AT_A_TIME = 4
"""Partitions that are read back at the same time: each holds its whole state twice for a moment."""


class PipelineRunner:
    """Keeps one pipeline running. Everything that can go wrong with Kafka ends in building the member anew."""

    def __init__(
        self,
        pipeline: Pipeline,
        config: Config,
        *,
        clients: KafkaClients,
        sender: HttpSender,
        dead_letter_limit: int,
        metrics: Metrics,
        clock: Clock,
        log: FilteringBoundLogger,
        peace_seconds: float = PEACE_SECONDS,
    ) -> None:
        self.pipeline = pipeline
        self._config = config
        self._clients = clients
        self._sender = sender
        self._dead_letter_limit = dead_letter_limit
        self._clock = clock
        self._peace_seconds = peace_seconds
        self._log = log.bind(provider=pipeline.provider.name)
        self._metrics = metrics.pipeline(pipeline.provider.name, pipeline.provider.routes, self._state)
        self._member: GroupMember | None = None
        self._delivery: Delivery | None = None
        self._proofs: Proofs | None = None
        retry = config.delivery.retry
        self._backoff = Backoff(
            retry.initial_backoff_ms / 1000, retry.max_backoff_ms / 1000, retry.backoff_multiplier, random.random
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Run until ``stopping`` is set. Raises `InstanceIdTaken`."""
        failures = 0
        while not stopping.is_set():
            started = self._clock.monotonic()
            try:
                await self._run_member(stopping)
            except InstanceIdTaken:
                raise
            except Exception as error:
                failures = 1 if self._clock.monotonic() - started > self._backoff.maximum else failures + 1
                self._log.error("member_failed", error=repr(error), failures=failures)
                await _sleep_unless(stopping, self._backoff.wait(failures))
            finally:
                self._member = self._delivery = self._proofs = None

    async def _run_member(self, stopping: asyncio.Event) -> None:
        config, pipeline, clock = self._config, self.pipeline, self._clock
        admin = self._clients.admin()
        consumer = self._clients.member(pipeline.group_id)
        proofs = Proofs(consumer, config.kafka.session_timeout, clock)
        delivery = Delivery(
            provider=pipeline.provider,
            sender=self._sender,
            timeout=pipeline.timeout_seconds,
            may_send=lambda: proofs.is_fresh,
            backoff=self._backoff,
            max_in_flight=config.delivery.max_in_flight,
            observer=DeliveryObserver(self._metrics, self._log),
            clock=clock.monotonic,
        )
        surroundings = Surroundings(
            pipeline=pipeline,
            clients=self._clients,
            delivery=delivery,
            proofs=proofs,
            restores=asyncio.Semaphore(RESTORES_AT_A_TIME),
            metrics=self._metrics,
            clock=clock,
            dead_letter_limit=self._dead_letter_limit,
            peace_seconds=self._peace_seconds,
        )

        def make_task(source: Source, compress: bool) -> Task:
            return Task(source, surroundings, compress, self._log.bind(partition=source.partition.partition))

        member = GroupMember(
            consumer=consumer,
            admin=admin,
            topic=pipeline.input_topic,
            group_id=pipeline.group_id,
            group_instance_id=config.kafka.group_instance_id,
            start_from=config.kafka.start_from,
            drain_seconds=config.kafka.rebalance_timeout / 2,
            proofs=proofs,
            delivery=delivery,
            backoff=self._backoff,
            make_task=make_task,
            metrics=self._metrics,
            clock=clock,
            log=self._log,
        )
        self._member, self._delivery, self._proofs = member, delivery, proofs
        try:
            await admin.start()
            await member.run(stopping, config.delivery.shutdown_grace)
        finally:
            await delivery.close()
            await admin.close()

    # what is seen from outside

    def owns(self, partition: int) -> bool:
        """Whether this member has that partition of the pipeline's input."""
        member = self._member
        assigned = member.assigned if member is not None else None
        return assigned is not None and any(tp.partition == partition for tp in assigned)

    async def group_progress(self) -> Mapping[int, tuple[int, int]]:
        """Of every partition of the group: the committed offset and the end. Raises KafkaError."""
        return await self._member.progress() if self._member is not None else {}

    def health(self) -> PipelineHealth:
        """How the pipeline is at this moment."""
        member, delivery, proofs = self._member, self._delivery, self._proofs
        tasks = member.tasks if member is not None else {}
        refused = [route for route in delivery.routes if route.refused is not None] if delivery is not None else []
        return PipelineHealth(
            name=self.pipeline.provider.name,
            joined=member is not None and member.assigned is not None,
            proved=proofs is not None and (proofs.is_fresh or not tasks),
            partitions=len(member.assigned) if member is not None and member.assigned is not None else 0,
            restored=sum(task.is_running for task in tasks.values()),
            stuck=(),
            refused_routes=tuple(route.name for route in refused),
            failing_checkpoints=member is not None and member.has_failing_checkpoints,
            loop_age=self._clock.monotonic() - member.turned_at if member is not None else 0.0,
        )

    def _state(self) -> PipelineState:
        member, delivery, now = self._member, self._delivery, self._clock.wall()
        if member is None or delivery is None:
            return PipelineState()
        partitions = []
        for partition, task in sorted(member.tasks.items()):
            store, end = task.store, member.ends.get(partition)
            since = store.oldest_owed_since()
            partitions.append(
                PartitionState(
                    partition=partition.partition,
                    alerts={status.value: count for status, count in store.counts().items()},
                    owed=store.owed_count,
                    oldest_owed_age=now - since if since is not None else 0.0,
                    lag=max(0, end - task.position) if end is not None and task.is_running else None,
                    is_running=task.is_running,
                )
            )
        return PipelineState(
            partitions=tuple(partitions),
            refused_routes=tuple(route.name for route in delivery.routes if route.refused is not None),
            queued={route.name: len(route) for route in delivery.routes},
            in_flight=delivery.in_flight,
        )


async def _sleep_unless(stopping: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        pass
