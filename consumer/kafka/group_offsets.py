"""The offsets that a consumer group has committed, with their metadata. (The consumer itself gives no metadata.)"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupLoadInProgressError
from aiokafka.structs import OffsetAndMetadata

from consumer.kafka.group_members import COORDINATOR_ERRORS

COORDINATOR_SECONDS = 15.0
"""For a group to have a coordinator that answers."""

_AGAIN_SECONDS = 0.5

T = TypeVar("T")


async def group_offsets(
    admin: AIOKafkaAdminClient, group_id: str, partitions: Iterable[TopicPartition]
) -> Mapping[TopicPartition, OffsetAndMetadata | None]:
    """That of each of these partitions, None if there is none.

    Raises `GroupLoadInProgressError` if the coordinator does not say, and what the admin client raises.
    """
    wanted = list(partitions)
    if not wanted:
        return {}
    offsets = await admin.list_consumer_group_offsets(group_id, partitions=wanted)
    if any(one not in offsets for one in wanted):
        # Kafka answers for every partition that it is asked for. Without any, the answer was an error about the group
        # (it is being loaded, or has moved), which the admin client does not look at.
        raise GroupLoadInProgressError(f"group {group_id}: its coordinator does not give the offsets")
    # -1 stands for none, and is also what a client may have committed by mistake.
    return {one: offsets[one] if offsets[one].offset >= 0 else None for one in wanted}


async def coordinated(ask: Callable[[], Awaitable[T]]) -> T:
    """What a group's coordinator says, once there is one: it moves, and in a new cluster nobody has had a group yet.

    Raises KafkaError if it does not come to that soon.
    """
    deadline = asyncio.get_running_loop().time() + COORDINATOR_SECONDS
    while True:
        try:
            return await ask()
        except COORDINATOR_ERRORS:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(_AGAIN_SECONDS)
