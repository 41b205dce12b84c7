"""One partition of a pipeline's input, as its task sees it: the group's offset, the bounds, seek, pause and resume."""

import asyncio
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupLoadInProgressError
from aiokafka.structs import OffsetAndMetadata

from consumer.clock import Clock
from consumer.kafka import KafkaClients
from consumer.newest import newest_time

MARK = "clawdstrike-alerting"
"""The metadata of our own commits. A group offset without it was set by an operator, and wins (design section 6.2)."""

STALE_END_TRIES = 6
STALE_END_SECONDS = 0.5
"""How often, and how many seconds apart, an end below the position is asked for again."""

StartFrom = float | str
"""Where to begin without a checkpoint: ``earliest``, ``latest``, or how many seconds back."""


@dataclass(frozen=True, slots=True)
class Source:
    """A partition that is assigned to this member."""

    consumer: AIOKafkaConsumer
    admin: AIOKafkaAdminClient
    group_id: str
    partition: TopicPartition
    start_from: StartFrom
    clock: Clock

    async def group_offset(self) -> OffsetAndMetadata | None:
        """The group's offset with its metadata, None if there is none. (The consumer itself gives no metadata.)

        Raises `GroupLoadInProgressError` if the coordinator does not say, and what the admin client raises.
        """
        offsets = await self.admin.list_consumer_group_offsets(self.group_id, partitions=[self.partition])
        committed = offsets.get(self.partition)
        if committed is None:
            # Kafka answers for every partition that it is asked for. Without any, the answer was an error about the
            # group (it is being loaded, or has moved), which the admin client does not look at.
            raise GroupLoadInProgressError(f"group {self.group_id}: its coordinator does not give the offsets")
        # -1 stands for none, and is also what a client may have committed by mistake.
        return committed if committed.offset >= 0 else None

    async def start_offset(self, clients: KafkaClients) -> int:
        """The configured start as a number.

        So many seconds back are counted from this host's time or the newest record's, whichever is earlier: a host
        whose clock is ahead must not skip events; one whose clock is behind reads some more.
        """
        beginning, end = await self.bounds()
        match self.start_from:
            case "earliest":
                return beginning
            case "latest":
                return end
            case seconds:
                now = self.clock.wall()
                newest = await self.newest_time(clients)
                until = now if newest is None else min(now, newest)
                since = max(0, int((until - float(seconds)) * 1000))
                found = (await self.consumer.offsets_for_times({self.partition: since}))[self.partition]
                return end if found is None else max(found.offset, beginning)

    async def newest_time(self, clients: KafkaClients) -> float | None:
        """When its newest record was written, as `consumer.newest.newest_time` tells it."""
        return await newest_time(clients, self.partition, self.clock.wall())

    async def bounds(self) -> tuple[int, int]:
        """The first offset that the broker still has, and the end."""
        beginning = (await self.consumer.beginning_offsets([self.partition]))[self.partition]
        return beginning, (await self.consumer.end_offsets([self.partition]))[self.partition]

    async def bounds_around(self, position: int) -> tuple[int, int]:
        """The bounds, once the end has caught up with a position that was reached.

        Right after a transaction of the input was committed, the broker can still give its old end. One that stays
        below the position is another topic's: this one has been created anew.
        """
        for _ in range(STALE_END_TRIES):
            beginning, end = await self.bounds()
            if position <= end:
                break
            await asyncio.sleep(STALE_END_SECONDS)
        return beginning, end

    def start_at(self, offset: int) -> None:
        """Fetch from this offset on."""
        self.consumer.seek(self.partition, offset)
        self.consumer.resume(self.partition)

    def pause(self) -> None:
        """Fetch nothing for now."""
        self.consumer.pause(self.partition)

    def resume(self) -> None:
        """Go on fetching."""
        self.consumer.resume(self.partition)
