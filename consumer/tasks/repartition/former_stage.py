"""The repartition stage that a pipeline without one may have had before: how far it came, and what it forwarded."""

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from structlog.typing import FilteringBoundLogger

from consumer.input.commit_metadata import proved
from consumer.input.former_input import FormerInput
from consumer.input.inputs import Inputs
from consumer.input.partition_input import PartitionInput
from consumer.kafka.clients import KafkaClients
from consumer.kafka.topics_there import topics_there
from consumer.tasks.repartition.counterpart import Counterpart
from state.records import InputPlace, Position


class FormerStage:
    """A repartition stage that may have been there before. ``stage`` are its tasks; they forwarded to
    ``keyed_topic``."""

    def __init__(
        self,
        clients: KafkaClients,
        admin: AIOKafkaAdminClient,
        stage: Counterpart,
        keyed_topic: str,
        log: FilteringBoundLogger,
    ) -> None:
        self._clients = clients
        self._admin = admin
        self._stage = stage
        self._keyed_topic = keyed_topic
        self._log = log

    async def checkpoint(self, events: TopicPartition) -> Position | None:
        """How far the stage has forwarded this partition; None if there was no stage. Raises what
        `Counterpart.checkpoint` raises."""
        return await self._stage.checkpoint(events.partition, of_input=events.topic)

    async def input(
        self, partition_input: PartitionInput, own: Position | None, of_stage: Position | None, inputs: Inputs
    ) -> FormerInput | None:
        """The partition of the keyed topic that has the number of ``partition_input``; None if nothing of it is still
        to be decided.

        A task may not know how far it has decided that partition: its state is gone, or was written by a release that
        did not keep this. Then it goes on where its group has proved to be. Without a proof it begins at the beginning,
        unless neither the task nor the stage has ever counted a change of hands: then everything was decided when an
        earlier release let the stage go.
        """
        partition = TopicPartition(self._keyed_topic, partition_input.partition.partition)
        place = inputs.others.get(self._keyed_topic)
        if place is None and of_stage is None:
            return None
        if partition.partition >= len((await topics_there(self._admin)).get(self._keyed_topic, ())):
            return None
        if place is None:
            committed = await partition_input.group_offset_of(partition)
            known = proved(committed) if committed is not None else None
            has_counted = own is None or own.hands is not None or (of_stage is not None and of_stage.hands is not None)
            if known is None and not has_counted:
                return None
            place = InputPlace(known or 0)
        return FormerInput(self._clients, partition, place, self._log)
