"""The service: all pipelines, the health server, the heartbeat, from start to SIGTERM."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from prometheus_client import Counter
from structlog.typing import FilteringBoundLogger

from consumer.config import Config
from consumer.deciding.pipeline import Pipeline
from consumer.group.heartbeat import HeartbeatOwner
from consumer.group.membership import MemberRunner
from consumer.input.progress import QUIESCENT_SECONDS
from consumer.kafka.clients import KafkaClients
from consumer.kafka.foreign import foreign_topics
from consumer.kafka.rights import try_dead_letters
from consumer.kafka.startup import StartupError, unreachable_in, when_kafka_answers
from consumer.kafka.topics import TopicReport, check_topics
from consumer.receivers.ingest.service import ingesting, kafka_producers
from consumer.receivers.posts.receiver import ended_with
from consumer.receivers.webhooks.app import PATH
from consumer.receivers.webhooks.service import PAGERDUTY, feedback_producers, pagerduty_rest, taking_webhooks
from consumer.receivers.webhooks.subscriptions import SubscriptionWatch, goes_to
from consumer.service.build import build_pipelines, build_repartition
from consumer.service.runner import PipelineRunner, RepartitionRunner
from consumer.tasks.repartition.disagreement import Disagreement, disagreement
from consumer.telemetry.clock_steps import watch_clock
from consumer.telemetry.families import PREFIX
from consumer.telemetry.garbage import search_everything_when_short
from consumer.telemetry.health import heartbeat_reason
from consumer.telemetry.lag import LoopLag
from consumer.telemetry.log_metrics import DroppedLines
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.process_metrics import process_metrics
from consumer.telemetry.server import create_app, serving
from consumer.timing.clock import Clock
from consumer.timing.waiting import unless_set
from providers.delivery.places import QUESTIONS
from providers.heartbeat import Heartbeat
from providers.http import HttpSender, create_session
from providers.pagerduty.webhook_rest import WebhookRest

_SETTLED_SECONDS = 5.0
"""How much longer than the session time-out and the rebalance time-out a group may need to drop dead members."""


async def run_service(
    config: Config,
    stopping: asyncio.Event,
    log: FilteringBoundLogger,
    *,
    clock: Clock | None = None,
    quiescent_seconds: float = QUIESCENT_SECONDS,
    dropped_lines: DroppedLines = dict,
) -> None:
    """Run until ``stopping`` is set, then drain and leave. ``dropped_lines`` gives the number of log lines that were
    dropped.

    Raises `UnusableFiles` if certificate files cannot be used, `StartupError` if Kafka or its topics are not as they
    must be, `ServerError` if the port is taken, and `InstanceIdTaken` if another process keeps the group instance id.
    """
    clock = clock or Clock.system()
    pipelines = build_pipelines(config)
    clients = KafkaClients(config.kafka, log=log)
    report = await _await_topics(config, clients, stopping, log)
    if report is None:
        return
    lag = LoopLag(log)
    registry = process_metrics(lag, dropped_lines)
    steps = Counter(f"{PREFIX}_clock_steps", "Steps of the host's clock by more than 30 s", registry=registry)
    metrics = Metrics(registry)
    async with AsyncExitStack() as stack:
        requests = (config.delivery.max_in_flight + QUESTIONS) * len(pipelines)
        session = await stack.enter_async_context(create_session(requests))
        sender = HttpSender(session)
        pipeline_runners = [
            PipelineRunner(
                pipeline,
                config,
                stage=_stage_runner(pipeline, config, clients, report, metrics, clock, log),
                clients=clients,
                sender=sender,
                dead_letter_limit=report.dead_letter_limit,
                metrics=metrics,
                clock=clock,
                log=log,
                quiescent_seconds=quiescent_seconds,
            )
            for pipeline in pipelines
        ]
        stages = [runner.stage for runner in pipeline_runners if runner.stage is not None]
        runners: list[MemberRunner[Any]] = [*pipeline_runners, *stages]
        rest = pagerduty_rest(config, sender) if config.webhooks.enabled else None
        subscriptions = _watched(rest, config, log)
        notes = (lambda: subscriptions.notes) if subscriptions is not None else tuple
        app = create_app(lambda: [runner.health() for runner in runners], registry, notes)
        port = await stack.enter_async_context(serving(app, config.server.host, config.server.port))
        receivers: list[AbstractAsyncContextManager[int]] = []
        if config.ingest.enabled:
            receivers.append(ingesting(config, kafka_producers(config, clients), registry, log))
        if config.webhooks.enabled:
            lookups = {PAGERDUTY: rest} if rest is not None else {}
            receivers.append(taking_webhooks(config, feedback_producers(clients), registry, log, lookups))
        ways_in = [await stack.enter_async_context(AsyncExitStack()) for _ in receivers]
        for way_in, receiver in zip(ways_in, receivers, strict=True):
            await way_in.enter_async_context(receiver)
        log.info("service_started", port=port, pipelines=[pipeline.provider.name for pipeline in pipelines])
        try:
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(runner.run(stopping)) for runner in runners]
                # Each at once: the grace is for all of it.
                running += [group.create_task(ended_with(stopping, way_in)) for way_in in ways_in]
                beside = [lag.run(), search_everything_when_short(), watch_clock(clock, steps.inc, log)]
                beside += _heartbeats(pipeline_runners, sender, metrics, log)
                if subscriptions is not None:
                    beside.append(subscriptions.run())
                lasting = [group.create_task(work) for work in beside]
                await asyncio.wait(running)
                for task in lasting:
                    task.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
    log.info("service_stopped")


def _watched(rest: WebhookRest | None, config: Config, log: FilteringBoundLogger) -> SubscriptionWatch | None:
    """What looks whether PagerDuty sends webhooks at all, where it can be asked."""
    if rest is None:
        return None
    webhooks = config.webhooks
    is_ours = goes_to(f"{PATH}{PAGERDUTY}", webhooks.public_address)
    return SubscriptionWatch(rest, is_ours, log, enable_again=webhooks.pagerduty.enable_again)


def _stage_runner(
    pipeline: Pipeline,
    config: Config,
    clients: KafkaClients,
    report: TopicReport,
    metrics: Metrics,
    clock: Clock,
    log: FilteringBoundLogger,
) -> RepartitionRunner | None:
    """Runs the stage before a pipeline; None if it needs none."""
    stage = build_repartition(config, pipeline)
    if stage is None:
        return None
    return RepartitionRunner(
        stage,
        config,
        partitions=report.found[pipeline.input_topic],
        clients=clients,
        dead_letter_limit=report.dead_letter_limit,
        metrics=metrics,
        clock=clock,
        log=log,
    )


def _heartbeats(
    runners: list[PipelineRunner], sender: HttpSender, metrics: Metrics, log: FilteringBoundLogger
) -> Iterator[Coroutine[Any, Any, None]]:
    """The coroutine of the heartbeat of each pipeline whose provider has one."""
    for runner in runners:
        calls = runner.pipeline.provider.heartbeat
        if calls is None:
            continue
        owner = HeartbeatOwner(runner, runner.stage, log)

        def healthy(runner: PipelineRunner = runner, owner: HeartbeatOwner = owner) -> str | None:
            stages = [runner.stage.health()] if runner.stage is not None else []
            return heartbeat_reason([replace(runner.health(), stuck=owner.stuck), *stages])

        name = runner.pipeline.provider.name
        heartbeat = Heartbeat(
            calls,
            sender=sender,
            healthy=healthy,
            log=log.bind(pipeline=name),
            on_ping=partial(metrics.heartbeat, name),
        )
        yield owner.run(heartbeat)


async def _await_topics(
    config: Config, clients: KafkaClients, stopping: asyncio.Event, log: FilteringBoundLogger
) -> TopicReport | None:
    """The topics as they are, once Kafka answers; None if ``stopping`` is set before that.

    Raises `StartupError` if Kafka does not answer in time, if the topics are not as they must be, if the right to write
    dead letters is missing, or if running members do not agree with this one about the stages.
    """

    async def look(admin: AIOKafkaAdminClient) -> tuple[TopicReport, Disagreement]:
        report = await check_topics(admin, config)
        if not report.problems:
            foreign, unknown = await foreign_topics(clients, config, report.found)
            report = replace(report, problems=tuple(foreign))
            if unknown is not None:
                log.warning("state_group_unknown", error=unknown)
        if not report.problems and (untried := await try_dead_letters(clients)):
            log.warning("dead_letters_untried", topic=config.kafka.topics.dlq, error=untried)
        return report, Disagreement() if report.problems else await disagreement(admin, config)

    async def ask() -> TopicReport:
        report, found = await when_kafka_answers(clients, look, unreachable_in(log, config.kafka))
        return replace(report, problems=(*report.problems, *await _await_agreement(found, config, clients, log)))

    report = await unless_set(stopping, ask())
    if report is None:
        return None
    for unknown in report.unknown:
        log.warning("topic_config_unknown", error=unknown)
    if report.problems:
        raise StartupError("; ".join(report.problems))
    return report


async def _await_agreement(
    found: Disagreement, config: Config, clients: KafkaClients, log: FilteringBoundLogger
) -> Sequence[str]:
    """Wait until running members no longer disagree with this one, as they were ``found`` to. Returns a sentence for
    each disagreement that is left.

    A dead member stays in its group until its session ends, and a group that rebalances gives no members, so both are
    given time.
    """
    loop, told = asyncio.get_running_loop(), False
    until = loop.time() + max(config.kafka.session_timeout, config.kafka.rebalance_timeout) + _SETTLED_SECONDS
    while (found.lines or found.unknown) and loop.time() < until:
        if found.lines and not told:
            log.warning("members_disagree", error=found.lines[0], seconds_left=round(until - loop.time()))
            told = True
        await asyncio.sleep(1.0)
        found = await when_kafka_answers(clients, partial(disagreement, config=config))
    if found.unknown:
        log.warning("members_unknown", groups=list(found.unknown))
    return found.lines
