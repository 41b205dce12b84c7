"""Runs one pipeline in this process, and the stage that may be before it: their clients and their group members."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, nullcontext
from dataclasses import replace
from functools import partial

from aiokafka.admin import AIOKafkaAdminClient
from structlog.typing import FilteringBoundLogger

from consumer.config import Config
from consumer.config.service import RateLimit, RouteSettings
from consumer.deciding.pipeline import Pipeline
from consumer.feedback.reader import FeedbackReader
from consumer.group.membership import RESTORES_AT_A_TIME, MemberRunner
from consumer.group.subscription import Subscription
from consumer.history.topic import HistoryTopic
from consumer.input.partition_input import PartitionInput
from consumer.input.progress import QUIESCENT_SECONDS
from consumer.kafka.clients import KafkaClients
from consumer.kafka.partitioning import Partitioner
from consumer.kafka.reading import decided_positions, partitions_of
from consumer.kafka.topics_there import topics_there
from consumer.silences.reader import SilenceReader
from consumer.tasks.alerting.observer import DeliveryObserver
from consumer.tasks.homes.whole_input import WholeInput
from consumer.tasks.partition.alerter import Alerter, alerting_task
from consumer.tasks.partition.key_watch import KeyWatch
from consumer.tasks.partition.ownership import Proofs
from consumer.tasks.partition.task import PartitionTask
from consumer.tasks.partition.task_context import TaskContext
from consumer.tasks.repartition.counterpart import Counterpart
from consumer.tasks.repartition.former_stage import FormerStage
from consumer.tasks.repartition.forwarder import Forwarder, StageContext, Stamps, forwarding_task
from consumer.tasks.repartition.stage import Repartition
from consumer.tasks.repartition.stage_progress import StageProgress
from consumer.telemetry.health import PipelineHealth
from consumer.telemetry.metrics import STAGE_OUTCOMES, Metrics
from consumer.telemetry.state_metrics import PartitionState, PipelineState
from consumer.timing.clock import Clock
from consumer.timing.waiting import meanwhile
from providers.changes import Changes, TellsChanges
from providers.contained import uncontained
from providers.delivery.breaker import BreakerSettings
from providers.delivery.delivery import Delivery, RouteLimits
from providers.http import HttpSender
from providers.inspection import RouteInspection, inspector_of
from providers.provider import Provider
from providers.rate import Rate
from state.violation import Violation

PARTITIONERS = {"auto": None, "murmur2": Partitioner.MURMUR2, "crc32": Partitioner.CRC32}
"""The values of ``kafka.partitioner``; ``auto`` means that the partitioner is found out."""


class PipelineRunner(MemberRunner[PartitionTask[Alerter]]):
    """Keeps one pipeline running. ``stage`` runs the stage before it, if its events have to be repartitioned."""

    def __init__(
        self,
        pipeline: Pipeline,
        config: Config,
        *,
        stage: "RepartitionRunner | None" = None,
        clients: KafkaClients,
        sender: HttpSender,
        dead_letter_limit: int,
        metrics: Metrics,
        clock: Clock,
        log: FilteringBoundLogger,
        quiescent_seconds: float = QUIESCENT_SECONDS,
    ) -> None:
        super().__init__(
            pipeline.provider.name, config, clients=clients, dead_letter_limit=dead_letter_limit, clock=clock, log=log
        )
        self.pipeline = pipeline
        self.stage = stage
        self._quiescent_seconds = quiescent_seconds
        self._metrics = metrics.pipeline(self.name, pipeline.provider.routes, self._state)
        self._key_watch = KeyWatch(config.kafka.event_key, self._metrics, self._log)
        breaker = config.delivery.circuit_breaker
        # Delivery outlives the members of this process: requests of earlier members count for the rates, and a refused
        # key stays refused.
        self._inspection = self._inspection_of(pipeline.provider, config, sender)
        observer = DeliveryObserver(self._metrics, self._log)
        if self._inspection is not None:
            observer = DeliveryObserver(self._metrics, self._log, self._inspection.accepted)
        self._changes = self._changes_of(pipeline.provider, config, sender)
        if stage is not None and self._changes is not None:
            stage.tell_change = self._changes.offer
        self._delivery = Delivery(
            provider=pipeline.provider,
            sender=sender,
            timeout=pipeline.timeout_seconds,
            may_send=lambda: self._proofs is not None and self._proofs.is_valid,
            backoff=self._backoff,
            max_in_flight=config.delivery.max_in_flight,
            observer=observer,
            breaker=BreakerSettings(breaker.failure_threshold, breaker.recovery_seconds),
            limits=route_limits(config, pipeline.provider),
            max_owed_bytes=config.delivery.max_owed_bytes,
            clock=clock.monotonic,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Run until ``stopping`` is set. Raises `InstanceIdTaken` if another process keeps the group instance id."""
        self._delivery.start()
        try:
            async with AsyncExitStack() as beside:
                for work in (self._turns, self._changes, self._inspection):
                    if work is not None:
                        await beside.enter_async_context(meanwhile(work.run()))
                await super().run(stopping)
        finally:
            await self._delivery.close()

    async def _run_member(self, admin: AIOKafkaAdminClient, stopping: asyncio.Event) -> None:
        config, clock = self._config, self._clock
        consumer = self._clients.member(self.pipeline.group_id)
        proofs = Proofs(consumer, config.kafka.session_timeout, clock)
        feedback = FeedbackReader(
            clients=self._clients,
            admin=admin,
            topic=config.kafka.topics.feedback,
            backoff=self._backoff,
            metrics=self._metrics,
            saw=self._record_clock.saw_of_a_member,
            log=self._log,
        )
        silences = SilenceReader(
            clients=self._clients,
            admin=admin,
            topic=config.kafka.topics.silences,
            backoff=self._backoff,
            changed=self._silences_changed,
            log=self._log,
        )
        pipeline = replace(self.pipeline, silences=silences)  # what is decided is asked of this member's reader
        stage_progress = self._stage_progress(proofs) if self.stage is not None else None
        whole = WholeInput(
            pipeline.input_topic,
            admin=admin,
            progress=self.group_progress,
            decided=partial(decided_positions, self._clients, pipeline.state_topic, pipeline.input_topic),
            feedback_ends=feedback.high_watermarks,
            is_needed=lambda: any(task.work.wants_to_know_all for task in self.tasks.values()),
            grown=consumer._client.force_metadata_update,  # so that the group assigns the new partitions at once
            clock=clock,
            log=self._log,
        )
        context = TaskContext(
            pipeline=pipeline,
            clients=self._clients,
            delivery=self._delivery,
            proofs=proofs,
            restores=asyncio.Semaphore(RESTORES_AT_A_TIME),
            metrics=self._metrics,
            clock=clock,
            dead_letter_writer=self._dead_letter_writer,
            record_clock=self._record_clock,
            quiescent_seconds=self._quiescent_seconds,
            feedback=feedback,
            stage_progress=stage_progress,
            key_watch=self._key_watch,
            whole=whole,
            partitioner=PARTITIONERS[config.kafka.partitioner],
            former_stage=self._former_stage(admin) if self.stage is None else None,
            feedback_topic=config.kafka.topics.feedback,
            history=self._history(admin),
            silences=silences,
            turns=self._turns,
            tell_change=None if self._changes is None else self._changes.offer,
        )

        def make_task(partition_input: PartitionInput) -> PartitionTask[Alerter]:
            return alerting_task(
                partition_input, context, self._log.bind(partition=partition_input.partition.partition)
            )

        member = self._new_member(
            subscription=Subscription(
                topic=pipeline.input_topic,
                group_id=pipeline.group_id,
                checkpoints=pipeline.state_topic,
                # All that the stage has ever forwarded is for us: where to begin was asked when it began.
                start_from=config.kafka.start_from if self.stage is None else "earliest",
            ),
            consumer=consumer,
            admin=admin,
            proofs=proofs,
            sender=self._delivery,
            metrics=self._metrics,
            make_task=make_task,
        )
        follows = nullcontext() if stage_progress is None else meanwhile(stage_progress.run())
        async with meanwhile(feedback.run()), meanwhile(silences.run()), follows, meanwhile(whole.run()):
            await member.run(stopping, config.delivery.shutdown_grace)

    def _silences_changed(self) -> None:
        for task in self.tasks.values():
            task.work.silences_changed()

    def _history(self, admin: AIOKafkaAdminClient) -> HistoryTopic | None:
        if not self._config.history.enabled:
            return None
        return HistoryTopic(self._config.kafka.topics.history, partial(topics_there, admin), self._log)

    def _changes_of(self, provider: Provider, config: Config, sender: HttpSender) -> Changes | None:
        """What tells its change events, if it is told any."""
        tells = uncontained(provider)
        if not isinstance(tells, TellsChanges) or not tells.changes:
            return None
        return Changes(
            provider,
            tells,
            sender=sender,
            timeout=config.delivery.timeout_seconds,
            has_room=lambda route: self._delivery.take_spare(route),
            counted=self._metrics.change_event,
            log=self._log,
            clock=self._clock.monotonic,
        )

    def _inspection_of(self, provider: Provider, config: Config, sender: HttpSender) -> RouteInspection | None:
        """What looks whether anybody is paged, where that can be asked."""
        inspector = inspector_of(provider)
        if inspector is None:
            return None
        return RouteInspection(
            provider,
            inspector,
            intervals={route: limits.check_interval for route, limits in route_limits(config, provider).items()},
            sender=sender,
            timeout=config.delivery.timeout_seconds,
            counted=self._metrics.inspection,
            log=self._log,
            wall=self._clock.wall,
            clock=self._clock.monotonic,
        )

    def _former_stage(self, admin: AIOKafkaAdminClient) -> FormerStage:
        kafka, name = self._config.kafka, self.name
        stage = Counterpart(
            self._clients,
            admin,
            topic=kafka.positions_topic(name),
            group_id=kafka.repartition_group(name),
            is_gone=True,
            log=self._log,
        )
        return FormerStage(self._clients, admin, stage, kafka.keyed_topic(name), self._log)

    def _stage_progress(self, proofs: Proofs) -> StageProgress:
        assert self.stage is not None
        return StageProgress(
            self.stage.group_progress,
            proof_interval=proofs.interval,
            quiescent_seconds=self._quiescent_seconds,
            quiet_seconds=self.pipeline.policy.quiet_seconds,
            clock=self._clock,
            log=self._log,
        )

    # what is seen from outside

    def health(self) -> PipelineHealth:
        """The health of the pipeline now."""
        health, note = super().health(), self._key_watch.note
        retired = self.pipeline.provider.retired_routes  # nobody is paged through them
        troubles = self._delivery.troubles(self._clock.wall())
        routes = tuple(trouble for trouble in troubles if trouble.route not in retired)
        notes = (*health.notes, *(() if note is None else (note,)))
        if self._inspection is not None:
            notes += self._inspection.notes
        return replace(health, routes=routes, notes=notes)

    def _state(self) -> PipelineState:
        member, delivery, now = self._member, self._delivery, self._clock.wall()
        partitions = []
        tasks, ends = (member.tasks, member.ends) if member is not None else ({}, {})
        for partition, task in sorted(tasks.items()):
            store, end = task.work.store, ends.get(partition)
            since = store.oldest_owed_since()
            partitions.append(
                PartitionState(
                    partition=partition.partition,
                    alerts={status.value: count for status, count in store.counts().items()},
                    owed=store.owed_count,
                    orphaned=store.orphaned_count,
                    oldest_owed_age=now - since if since is not None else 0.0,
                    lag=max(0, end - task.position) if end is not None and task.is_running else None,
                    is_running=task.is_running,
                    is_paused=task.is_paused,
                    unreadable=task.work.left_alone.count,
                    hidden=task.progress.hidden_seconds(self._clock.monotonic()) if task.is_running else None,
                )
            )
        return PipelineState(
            partitions=tuple(partitions),
            routes=tuple(self.pipeline.provider.routes),
            refused_routes=tuple(delivery.refused_routes),
            troubles=tuple(delivery.troubles(now)),
            open_breakers=tuple(delivery.open_breakers()),
            queued=dict(delivery.waiting()),
            in_flight=delivery.in_flight,
            ignored=self.pipeline.decoder.ignored if self.stage is None else {},
        )


class RepartitionRunner(MemberRunner[PartitionTask[Forwarder]]):
    """Keeps the repartition stage before one pipeline running. ``partitions`` is how many the pipeline's input has now;
    for each task that is built the broker is asked again."""

    def __init__(
        self,
        stage: Repartition,
        config: Config,
        *,
        partitions: int,
        clients: KafkaClients,
        dead_letter_limit: int,
        metrics: Metrics,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        super().__init__(stage.name, config, clients=clients, dead_letter_limit=dead_letter_limit, clock=clock, log=log)
        self._stage = stage
        self._partitions = partitions
        self._metrics = metrics.pipeline(self.name, (), self._state, STAGE_OUTCOMES)
        self.tell_change: Callable[[Violation, int], None] = _tells_nothing
        """Takes an allowed event that is told as a change: what the pipeline behind it has for that."""

    async def _run_member(self, admin: AIOKafkaAdminClient, stopping: asyncio.Event) -> None:
        config, stage = self._config, self._stage
        consumer = self._clients.member(stage.group_id)
        proofs = Proofs(consumer, config.kafka.session_timeout, self._clock)
        context = StageContext(
            stage=stage,
            partitions=partial(self._count, admin),
            behind=Counterpart(
                self._clients,
                admin,
                topic=stage.pipeline.state_topic,
                group_id=stage.pipeline.group_id,
                is_gone=False,  # the pipeline goes on, behind the stage
                log=self._log,
            ),
            clients=self._clients,
            proofs=proofs,
            restores=asyncio.Semaphore(RESTORES_AT_A_TIME),
            metrics=self._metrics,
            clock=self._clock,
            dead_letter_writer=self._dead_letter_writer,
            record_clock=self._record_clock,
            stamps=Stamps(self._clock),
            turns=self._turns,
            tell_change=self.tell_change,
        )

        def make_task(partition_input: PartitionInput) -> PartitionTask[Forwarder]:
            return forwarding_task(
                partition_input, context, self._log.bind(partition=partition_input.partition.partition)
            )

        member = self._new_member(
            subscription=Subscription(
                topic=stage.input_topic,
                group_id=stage.group_id,
                checkpoints=stage.positions_topic,
                start_from=config.kafka.start_from,
                before=stage.pipeline.group_id,
            ),
            consumer=consumer,
            admin=admin,
            proofs=proofs,
            sender=None,
            metrics=self._metrics,
            make_task=make_task,
        )
        await member.run(stopping, config.delivery.shutdown_grace)

    async def _count(self, admin: AIOKafkaAdminClient) -> int:
        """How many partitions the pipeline's input has: the highest number that was ever seen, since a broker may not
        know yet of partitions that were added."""
        topic = self._stage.pipeline.input_topic
        self._partitions = max(self._partitions, len((await partitions_of(admin, [topic]))[topic]))
        return self._partitions

    def _state(self) -> PipelineState:
        member = self._member
        if member is None:
            return PipelineState()
        partitions = []
        for partition, task in sorted(member.tasks.items()):
            end = member.ends.get(partition)
            partitions.append(
                PartitionState(
                    partition=partition.partition,
                    lag=max(0, end - task.position) if end is not None and task.is_running else None,
                    is_running=task.is_running,
                    hidden=task.progress.hidden_seconds(self._clock.monotonic()) if task.is_running else None,
                )
            )
        return PipelineState(partitions=tuple(partitions), ignored=self._stage.pipeline.decoder.ignored)


def _tells_nothing(change: Violation, size: int) -> None:
    pass


def route_limits(config: Config, provider: Provider) -> dict[str, RouteLimits]:
    """The limits of each route by the configuration. A setting comes from the route itself or another route with the
    same key, else from ``delivery``, else from the provider."""
    delivery = config.delivery
    own: dict[str, RouteSettings] = {}
    for route, given in config.sections[provider.name].routes.items():
        before = own.get(integration := provider.integration_of(route), RouteSettings())
        own[integration] = RouteSettings(
            rate_limit=before.rate_limit or given.rate_limit,
            route_check=given.route_check if before.route_check is None else before.route_check,
        )
    limits = {}
    can_check = provider.check(provider.routes[0]) is not None
    for route in provider.routes:
        settings = own.get(provider.integration_of(route), RouteSettings())
        rate = _rate(settings.rate_limit or delivery.rate_limit, provider.documented_rate)
        may_owe = None
        if rate is not None and delivery.give_up_after:
            may_owe = min(delivery.max_owed, max(1, int(rate.requests_per_second * delivery.give_up_after)))
        check = delivery.route_check if settings.route_check is None else settings.route_check
        limits[route] = RouteLimits(
            rate, check if can_check else 0.0, may_owe, checks_idle=route not in provider.retired_routes
        )
    return limits


def _rate(limit: RateLimit, documented: Rate) -> Rate | None:
    requests_per_second = limit.requests_per_second
    if requests_per_second is None:
        requests_per_second = documented.requests_per_second
    if requests_per_second == 0:
        return None
    return Rate(requests_per_second, limit.burst_size or documented.burst_size)
