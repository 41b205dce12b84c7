"""The checkpoint of the other task that may have read a partition of the events before: of the repartition stage for a
pipeline's task, of the pipeline's task for a stage's (design section 17, "A stage comes or goes")."""

import asyncio

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from structlog.typing import FilteringBoundLogger

from consumer.input.commit_metadata import is_ours
from consumer.kafka.clients import KafkaClients, close_producer, start_producer, started, task_id
from consumer.kafka.foreign import foreign_group
from consumer.kafka.group_offsets import group_offsets
from consumer.kafka.reading import last_checkpoint_values
from consumer.kafka.topics_there import topics_there
from consumer.tasks.partition.restore import unreadable
from state.records import CorruptState, Position, decode_position

READ_SECONDS = 30.0
"""The longest time to read a last checkpoint, in seconds. A task that reads it holds up others that wait for their
restore."""

FENCE_SECONDS = 30.0
"""The longest time to fence a producer, in seconds: the broker first ends the transaction that it has left open."""


class Counterpart:
    """The tasks of a group that write their checkpoints to ``topic``.

    ``is_gone``: none of them is to run any more. Then, before a checkpoint is read, its task is fenced in case it still
    runs, which also ends a transaction that it has left open.
    """

    def __init__(
        self,
        clients: KafkaClients,
        admin: AIOKafkaAdminClient,
        *,
        topic: str,
        group_id: str,
        is_gone: bool,
        log: FilteringBoundLogger,
    ) -> None:
        self._clients = clients
        self._admin = admin
        self._topic = topic
        self._group_id = group_id
        self._is_gone = is_gone
        self._log = log

    async def checkpoint(self, partition: int, *, of_input: str) -> Position | None:
        """The last checkpoint of the task with this number. Without one, the position in ``of_input`` where the task
        was to begin. None if there never was such a task of this group.

        Raises `StateRefused` if the checkpoint cannot be read, and `KafkaError` or `TimeoutError` if Kafka does not
        answer as it should.
        """
        if partition >= len((await topics_there(self._admin)).get(self._topic, ())):
            return None
        if self._is_gone:
            await self._fence(partition)
        return await self._last(partition) or await self._beginning(TopicPartition(of_input, partition))

    async def _last(self, partition: int) -> Position | None:
        wanted = TopicPartition(self._topic, partition)
        async with asyncio.timeout(READ_SECONDS), started(self._clients.reader()) as reader:
            value = (await last_checkpoint_values(reader, [wanted]))[wanted]
        if value is None:
            return None
        try:
            found = decode_position(value)
        except CorruptState as error:
            raise unreadable(f"topic {self._topic}, partition {partition}: the checkpoint", error) from error
        if foreign_group(found, self._group_id, self._topic) is not None:
            self._log.warning("checkpoint_of_another_service", topic=self._topic, group=found.group)
            return None
        return found

    async def _beginning(self, partition: TopicPartition) -> Position | None:
        committed = (await group_offsets(self._admin, self._group_id, [partition]))[partition]
        if committed is None or not is_ours(committed):
            return None
        return Position(partition.topic, partition.partition, committed.offset)

    async def _fence(self, partition: int) -> None:
        producer = self._clients.transactional(task_id(self._group_id, partition))
        try:
            async with asyncio.timeout(FENCE_SECONDS):
                await start_producer(producer)
        finally:
            await close_producer(producer)
