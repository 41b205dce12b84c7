"""This process's member of one consumer group, built again when it fails: what a pipeline and its repartition stage
have in common."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from structlog.typing import FilteringBoundLogger

from consumer.config import Config
from consumer.dlq.dead_letter_writer import DeadLetterWriter
from consumer.group.member import GroupMember, PipelineDelivery
from consumer.group.standstill import Standstill
from consumer.group.state_watch import StateWatch
from consumer.group.subscription import Subscription
from consumer.group.topic_watch import TopicWatch
from consumer.input.partition_input import PartitionInput
from consumer.input.progress import GroupPosition
from consumer.kafka.clients import KafkaClients, start_client
from consumer.kafka.instance_id import InstanceId, InstanceIdTaken
from consumer.kafka.record_clock import RecordClock
from consumer.kafka.topic_specs import follower_of
from consumer.kafka.topics import TopicReport, ask_max_bytes, member_topics
from consumer.tasks.partition.ownership import Proofs
from consumer.tasks.partition.task import PartitionTask
from consumer.telemetry.health import PipelineHealth
from consumer.telemetry.metrics import PipelineMetrics
from consumer.timing.clock import Clock
from consumer.timing.turns import Turns
from consumer.timing.waiting import meanwhile, set_within
from providers.retry import Restarts

RESTORES_AT_A_TIME = 4
"""How many partitions are restored at the same time: each has its whole state in memory twice for a moment."""

T = TypeVar("T", bound=PartitionTask[Any])


class MemberRunner(ABC, Generic[T]):
    """Keeps one member running. Whatever goes wrong with its Kafka clients, the member is built anew with new ones."""

    def __init__(
        self,
        name: str,
        config: Config,
        *,
        clients: KafkaClients,
        dead_letter_limit: int,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self.name = name
        self._config = config
        self._clients = clients
        self._clock = clock
        self._log = log.bind(provider=name)
        dlq = config.kafka.topics.dlq
        self._record_clock = RecordClock(clock)
        self._turns = Turns()
        self._dead_letter_writer = DeadLetterWriter(
            dlq,
            dead_letter_limit,
            ask_limit=lambda: ask_max_bytes(clients, dlq),
            record_clock=self._record_clock,
            turns=self._turns,
            clock=clock,
            log=self._log,
        )
        self._member: GroupMember[T] | None = None
        self._proofs: Proofs | None = None
        self._topics: TopicWatch | None = None
        self._standstill = Standstill()
        self._backoff = config.delivery.retry.backoff()

    async def run(self, stopping: asyncio.Event) -> None:
        """Run until ``stopping`` is set.

        Raises `InstanceIdTaken` if another process has this member's ``group_instance_id``, and was there first.
        """
        async with meanwhile(self._watch()):
            await self._run(stopping)

    async def _run(self, stopping: asyncio.Event) -> None:
        restarts = Restarts(self._backoff, self._clock.monotonic)
        while not stopping.is_set():
            restarts.begins()
            try:
                await self._run_with_admin(stopping)
            except InstanceIdTaken:
                raise
            except Exception as error:
                restarts.failed()
                self._log.error("member_failed", error=repr(error), failures=restarts.failures)
                await set_within(stopping, restarts.wait())
            finally:
                self._member = self._proofs = self._topics = None

    async def _run_with_admin(self, stopping: asyncio.Event) -> None:
        admin = self._clients.admin()
        try:
            await start_client(admin.start())
            await self._run_member(admin, stopping)
        finally:
            await admin.close()

    async def _watch(self) -> None:
        """Look whether there is a valid proof of ownership, often enough to see each one; while there is none, ask
        whether Kafka answers."""
        while True:
            member, proofs = self._member, self._proofs
            has_work = member is not None and bool(member.assigned) and not member.is_restoring
            self._standstill.observe(waits=has_work and proofs is not None and not proofs.is_valid)
            if self._standstill.is_time_to_ask(self._clock.monotonic()):
                answered = await self._clients.bootstrap_answers()
                self._standstill.asked(self._clock.monotonic(), answered=answered)
            await asyncio.sleep(self._config.kafka.session_timeout / 3)

    @abstractmethod
    async def _run_member(self, admin: AIOKafkaAdminClient, stopping: asyncio.Event) -> None:
        """Make the member (`_new_member`), run it, and close its clients."""

    def _new_member(
        self,
        *,
        subscription: Subscription,
        consumer: AIOKafkaConsumer,
        admin: AIOKafkaAdminClient,
        proofs: Proofs,
        sender: PipelineDelivery | None,
        metrics: PipelineMetrics,
        make_task: Callable[[PartitionInput], T],
    ) -> GroupMember[T]:
        kafka, checkpoints = self._config.kafka, subscription.checkpoints
        self._proofs = proofs
        spec = follower_of(self._config, checkpoints)

        async def look() -> TopicReport:
            report = await member_topics(admin, self._config, spec)
            self._record_clock.input.brokers_check(is_so=report.times_are_checked)
            return report

        self._topics = TopicWatch(look, checkpoints, self._log)
        instance_id = None
        if kafka.group_instance_id is not None:
            instance_id = InstanceId(
                kafka.group_instance_id,
                self._clients.process,
                admin=admin,
                group_id=subscription.group_id,
                clock=self._clock,
                log=self._log,
            )
        self._member = GroupMember(
            clients=self._clients,
            consumer=consumer,
            admin=admin,
            subscription=subscription,
            instance_id=instance_id,
            drain_seconds=kafka.rebalance_timeout / 2,
            proofs=proofs,
            sender=sender,
            backoff=self._backoff,
            make_task=make_task,
            metrics=metrics,
            clock=self._clock,
            log=self._log,
            topics=self._topics,
            watch_state=lambda running: StateWatch(self._clients, checkpoints, running, self._log),
            turns=self._turns,
        )
        return self._member

    # what is seen from outside

    def owns(self, partition: int) -> bool:
        """Whether this member owns the partition of its input."""
        member = self._member
        assigned = member.assigned if member is not None else None
        return assigned is not None and any(tp.partition == partition for tp in assigned)

    @property
    def tasks(self) -> Mapping[TopicPartition, T]:
        """The tasks of this member's partitions, restored or not."""
        return self._member.tasks if self._member is not None else {}

    async def group_progress(self) -> Mapping[int, GroupPosition]:
        """How far the group has come in each partition; empty while this process is no member.

        Raises `KafkaError` if the group's offsets or the ends are not known.
        """
        return await self._member.progress() if self._member is not None else {}

    def health(self) -> PipelineHealth:
        """The health of the member at this moment."""
        member, proofs = self._member, self._proofs
        tasks = member.tasks if member is not None else {}
        return PipelineHealth(
            name=self.name,
            joined=member is not None and member.assigned is not None,
            proved=proofs is not None and (proofs.is_valid or not tasks),
            partitions=len(member.assigned) if member is not None and member.assigned is not None else 0,
            restored=sum(task.is_running for task in tasks.values()),
            stuck=(),
            routes=(),
            troubles=_sentences(member.troubles) if member is not None else (),
            outgrown=self._topics.outgrown if self._topics is not None else (),
            unfit=self._topics.unfit if self._topics is not None else (),
            notes=self._topics.advice if self._topics is not None else (),
            loop_age=member.loop_age if member is not None else 0.0,
            standstill=self._standstill.seconds(self._clock.monotonic()),
        )


def _sentences(troubles: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(f"partition {partition}: {trouble}" for partition, trouble in troubles.items())
