"""An operator's orders to decide records again, or to skip some: `offsets rewind` and `offsets skip` (design section
17).

An order is a group offset that is committed with `ORDER_METADATA`: the tasks begin there, and their next checkpoints
hold it. Kafka accepts it only while the group has no members.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, UnknownMemberIdError
from aiokafka.structs import OffsetAndMetadata

from consumer.input.beginning import beginning
from consumer.input.commit_metadata import ORDER_METADATA
from consumer.input.look import looking
from consumer.kafka.clients import KafkaClients, started
from consumer.kafka.group_members import described_groups
from consumer.kafka.group_offsets import coordinated, group_offsets
from consumer.kafka.reading import Offsets, bounds, hidden_ends, last_checkpoint_values
from consumer.kafka.startup import StartupError
from state.records import CorruptState, Position, decode_position


class Direction(Enum):
    """What an order is for."""

    REWIND = "rewind"
    """Decide records again."""
    SKIP = "skip"
    """Skip records that were not decided."""


class NamedOffset(Enum):
    """A target that stands for an offset in each partition."""

    EARLIEST = "earliest"
    LATEST = "latest"


Target = NamedOffset | int | float
"""Where to go: a `NamedOffset`, an offset (int), or a time in seconds since the epoch (float)."""


@dataclass(frozen=True, slots=True)
class Move:
    """What an order does with one partition: it moves the group from ``position`` to ``target``."""

    partition: TopicPartition
    position: int
    target: int

    @property
    def records(self) -> int:
        """How many offsets lie between position and target."""
        return abs(self.target - self.position)


def moves(direction: Direction, positions: Offsets, targets: Offsets) -> list[Move]:
    """The moves of an order. A partition whose target is its position, or lies in the other direction, is not moved."""
    found = (Move(partition, position, targets[partition]) for partition, position in sorted(positions.items()))
    if direction is Direction.REWIND:
        return [move for move in found if move.target < move.position]
    return [move for move in found if move.target > move.position]


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group of this service: the partitions that it reads, and those that hold the checkpoints of its
    tasks."""

    name: str
    input: Sequence[TopicPartition]
    checkpoints: Sequence[TopicPartition]


async def require_no_members(admin: AIOKafkaAdminClient, group: Group) -> None:
    """Refuse to go on while the group has members.

    Raises `StartupError` if it has members, and `KafkaError` if Kafka cannot be asked.
    """
    for found in described_groups(await admin.describe_consumer_groups([group.name])):
        if found.name == group.name and found.state not in ("Empty", "Dead", ""):
            raise StartupError(_has_members(group))


async def positions_of(clients: KafkaClients, admin: AIOKafkaAdminClient, group: Group) -> Offsets:
    """The offsets at which the tasks of the group would go on: by their checkpoints and what became of the topic since,
    else by the group's offset, else the beginning.

    Raises `StartupError` if another producer's open transaction hides a checkpoint, and `KafkaError` or `TimeoutError`
    if Kafka cannot be asked.
    """
    checkpointed = await _checkpointed(clients, group)
    committed = await coordinated(lambda: group_offsets(admin, group.name, group.input))
    positions = {}
    async with looking(clients, group.input) as looks:
        for partition, look in zip(group.input, looks, strict=True):
            found, place = committed[partition], checkpointed.get(partition)
            if place is None:
                offset = 0 if found is None else found.offset
                place = Position(partition.topic, partition.partition, offset)
            seen = await look.look(place.offset, place.anchors)
            positions[partition] = beginning(place.offset, place.anchors, seen).offset
    return positions


async def targets_of(clients: KafkaClients, group: Group, target: Target) -> Offsets:
    """The target as an offset of each partition.

    Raises `StartupError` if a partition does not have the offset, and `KafkaError` if Kafka cannot be asked.
    """
    begins, ends = await _bounds(clients, group)
    match target:
        case NamedOffset.EARLIEST:
            return begins
        case NamedOffset.LATEST:
            return ends
        case int(offset):
            for partition in group.input:
                if not begins[partition] <= offset <= ends[partition]:
                    raise StartupError(
                        f"--to {offset}: topic {partition.topic}, partition {partition.partition} has offsets from "
                        f"{begins[partition]} to {ends[partition]}"
                    )
            return dict.fromkeys(group.input, offset)
        case moment:
            # With read_committed, Kafka would find nothing at or behind an open transaction.
            async with started(clients.reader(isolation_level="read_uncommitted")) as reader:
                reader.assign(group.input)
                found = await reader.offsets_for_times(dict.fromkeys(group.input, max(0, int(moment * 1000))))
            return {tp: ends[tp] if (at := found[tp]) is None else max(at.offset, begins[tp]) for tp in group.input}


async def order(clients: KafkaClients, group: Group, ordered: Sequence[Move]) -> None:
    """Commit the group's offsets.

    Raises `StartupError` if the group has members, and `KafkaError` if the commit fails for another reason.
    """
    async with started(clients.member(group.name)) as consumer:
        consumer.assign([move.partition for move in ordered])
        for move in ordered:
            consumer.seek(move.partition, move.target)  # so that the client does not look a position up
        consumer.pause(*(move.partition for move in ordered))
        try:
            await consumer.commit({move.partition: OffsetAndMetadata(move.target, ORDER_METADATA) for move in ordered})
        except (CommitFailedError, UnknownMemberIdError) as error:
            raise StartupError(_has_members(group)) from error


def _has_members(group: Group) -> str:
    return (
        f"group {group.name} has members: stop the service first, everywhere "
        "(one with a kafka.group_instance_id is missed after kafka.session_timeout)"
    )


async def _bounds(clients: KafkaClients, group: Group) -> tuple[Offsets, Offsets]:
    """The first offsets of the partitions, and their high watermarks."""
    async with started(clients.reader()) as reader:
        begins, _ = await bounds(reader, group.input)
        ends = await clients.watermarks(reader, group.input)
    return begins, {partition: max(begins[partition], ends[partition].high) for partition in group.input}


async def _checkpointed(clients: KafkaClients, group: Group) -> Mapping[TopicPartition, Position]:
    """The positions in the checkpoints, by partition of the input, of those that have one."""
    async with started(clients.reader()) as reader:
        if hidden := await hidden_ends(reader, group.checkpoints):
            raise StartupError(f"{hidden[0]}: how far group {group.name} has come is not known, and nothing was moved")
        found = await last_checkpoint_values(reader, group.checkpoints)
    wanted = set(group.input)
    places = (_decoded(value) for value in found.values() if value is not None)
    return {partition: place for place in places if (partition := _partition_of(place)) in wanted}


def _decoded(value: bytes) -> Position:
    try:
        return decode_position(value)
    except CorruptState as error:
        raise StartupError(str(error)) from error


def _partition_of(place: Position) -> TopicPartition:
    return TopicPartition(place.topic, place.partition)
