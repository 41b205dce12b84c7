"""The checkpoint of who may have read a partition of the events before: of a pipeline's repartition stage, or of the
task behind a stage (design section 17, "A stage comes or goes")."""

import asyncio

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from structlog.typing import FilteringBoundLogger

from consumer.kafka import KafkaClients, close_producer, start_producer, started
from consumer.reading import last_checkpoint_values
from consumer.restore import StateRefused
from state.records import CorruptState, Position, decode_position

READ_SECONDS = 30.0
"""For its last checkpoint. A task that reads it holds up others that are to be restored."""

FENCE_SECONDS = 30.0
"""For its producer to be fenced, which waits for a transaction that is open to be ended."""


async def partitions_there(admin: AIOKafkaAdminClient, topic: str) -> int:
    """How many partitions a topic has, 0 if it is not there. Raises KafkaError."""
    # All topics are listed: a question that names a topic can create it.
    described = await admin.describe_topics()
    return next((len(one["partitions"]) for one in described if one["topic"] == topic), 0)


class Counterpart:
    """The tasks of a group that write their checkpoints to ``topic``."""

    def __init__(
        self,
        clients: KafkaClients,
        admin: AIOKafkaAdminClient,
        *,
        topic: str,
        group_id: str,
        log: FilteringBoundLogger,
    ) -> None:
        self._clients = clients
        self._admin = admin
        self._topic = topic
        self._group_id = group_id
        self._log = log

    async def checkpoint(self, partition: int, *, of_input: str) -> Position | None:
        """The last checkpoint of the task with this number; None if there never was one of this group.

        If that task has read ``of_input`` itself until now, it is fenced first: one that was thought to be gone writes
        nothing more, and a transaction that it has left open is ended. Raises `StateRefused` if the checkpoint cannot
        be read, KafkaError and TimeoutError.
        """
        if partition >= await partitions_there(self._admin, self._topic):
            return None
        found = await self._last(partition)
        if found is None or found.topic != of_input:
            return found
        await self._fence(partition)
        return await self._last(partition)

    async def _last(self, partition: int) -> Position | None:
        wanted = TopicPartition(self._topic, partition)
        async with asyncio.timeout(READ_SECONDS), started(self._clients.reader()) as reader:
            value = (await last_checkpoint_values(reader, [wanted]))[wanted]
        if value is None:
            return None
        try:
            found = decode_position(value)
        except CorruptState as error:
            raise StateRefused(
                f"topic {self._topic}, partition {partition}: the checkpoint cannot be read, so a later release has "
                f"written it, or somebody else: run that release ({error})"
            ) from error
        if found.group not in (None, self._group_id):
            self._log.warning("checkpoint_of_another_service", topic=self._topic, group=found.group)
            return None
        return found

    async def _fence(self, partition: int) -> None:
        producer = self._clients.transactional(f"{self._group_id}-{partition}")
        try:
            async with asyncio.timeout(FENCE_SECONDS):
                await start_producer(producer)
        finally:
            await close_producer(producer)
