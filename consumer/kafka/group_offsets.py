"""The offsets that a consumer group has committed, with their metadata. (aiokafka's consumer returns no metadata.)"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupLoadInProgressError
from aiokafka.structs import OffsetAndMetadata

from consumer.kafka.group_members import COORDINATOR_ERRORS

COORDINATOR_SECONDS = 15.0
"""How long to wait until a group has a coordinator that answers."""

_AGAIN_SECONDS = 0.5

T = TypeVar("T")


async def group_offsets(
    admin: AIOKafkaAdminClient, group_id: str, partitions: Iterable[TopicPartition]
) -> Mapping[TopicPartition, OffsetAndMetadata | None]:
    """The committed offset of each of these partitions; None where there is none.

    Raises `GroupLoadInProgressError` if the coordinator does not give the offsets, and what the admin client raises.
    """
    wanted = list(partitions)
    if not wanted:
        return {}
    offsets = await admin.list_consumer_group_offsets(group_id, partitions=wanted)
    if any(one not in offsets for one in wanted):
        # Kafka answers for every requested partition. Where partitions are missing, the answer was an error about the
        # group (it is being loaded, or has moved), which the admin client ignores.
        raise GroupLoadInProgressError(f"group {group_id}: its coordinator does not give the offsets")
    # -1 means that there is no offset; a client may also have committed it by mistake.
    return {one: offsets[one] if offsets[one].offset >= 0 else None for one in wanted}


async def coordinated(ask: Callable[[], Awaitable[T]]) -> T:
    """The result of ``ask``, once the group has a coordinator: it can move, and in a new cluster there is none at
    first.

    Raises `KafkaError` if there is none within `COORDINATOR_SECONDS`.
    """
    deadline = asyncio.get_running_loop().time() + COORDINATOR_SECONDS
    while True:
        try:
            return await ask()
        except COORDINATOR_ERRORS:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(_AGAIN_SECONDS)
