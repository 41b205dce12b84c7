"""One partition of a pipeline's input, as its task sees it: the group's offset, the bounds, seek, pause and resume."""

from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from consumer.clock import Clock

MARK = "clawdstrike-alerting"
"""The metadata of our own commits. A group offset without it was set by an operator, and wins (design section 6.2)."""

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
        """The group's offset with its metadata, None if there is none. (The consumer itself gives no metadata.)"""
        offsets = await self.admin.list_consumer_group_offsets(self.group_id, partitions=[self.partition])
        committed = offsets.get(self.partition)
        # -1 stands for none, and is also what a client may have committed by mistake.
        return committed if committed is not None and committed.offset >= 0 else None

    async def start_offset(self) -> int:
        """The configured start as a number."""
        beginning, end = await self.bounds()
        match self.start_from:
            case "earliest":
                return beginning
            case "latest":
                return end
            case seconds:
                since = int((self.clock.wall() - float(seconds)) * 1000)
                found = (await self.consumer.offsets_for_times({self.partition: since}))[self.partition]
                return end if found is None else max(found.offset, beginning)

    async def bounds(self) -> tuple[int, int]:
        """The first offset that the broker still has, and the end."""
        beginning = (await self.consumer.beginning_offsets([self.partition]))[self.partition]
        return beginning, (await self.consumer.end_offsets([self.partition]))[self.partition]

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
