"""One look at Kafka: who has which partition, how far each is decided, and what is owed. Nothing is written."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError

from consumer.config import Config
from consumer.deciding.pipeline import Pipeline
from consumer.kafka.clients import CLIENT_ID, KafkaClients, start_client, started, to_the_end
from consumer.kafka.group_members import DescribedGroup, DescribedMember, described_groups
from consumer.kafka.group_offsets import coordinated, group_offsets
from consumer.kafka.reading import POLL_MS, bounds, hidden_ends, last_checkpoint_values, read_alerts
from consumer.service.build import build_pipelines, build_repartition
from consumer.status.facts import GroupStatus, Member, Partition, PipelineStatus, ServiceStatus
from consumer.status.servers import address_of, ask_servers, is_loopback
from state.alert import Alert, Status
from state.records import CorruptState, decode_position
from state.violation import Severity

REBALANCE_SECONDS = 5.0
"""How long to wait for the end of a rebalance; while it goes on, no member has a partition."""

FIRST_SECONDS = 3.0
"""Time limit for reading the first undecided record of each partition, which shows since when events have waited."""

_AGAIN_SECONDS = 0.5
_FIRST_BYTES = 64 * 1024
_AT_REST = ("Stable", "Empty", "Dead", "")

Partitions = Mapping[str, Sequence[TopicPartition]]


def topics_to_look_at(config: Config) -> list[str]:
    """The topics that `look` reads: the inputs of the pipelines and their stages, and the topics of their
    checkpoints."""
    topics: dict[str, None] = {}
    for pipeline in build_pipelines(config):
        topics |= dict.fromkeys((pipeline.input_topic, pipeline.state_topic))
        if (stage := build_repartition(config, pipeline)) is not None:
            topics |= dict.fromkeys((stage.input_topic, stage.positions_topic))
    return list(topics)


async def look(config: Config, clients: KafkaClients, partitions: Partitions) -> ServiceStatus:
    """The status of the whole service. ``partitions`` are those of `topics_to_look_at`.

    Raises `KafkaError`, `OSError` or `TimeoutError` if Kafka does not answer as it should.
    """
    admin = clients.admin()
    try:
        await start_client(admin.start())
        pipelines = [await _pipeline(config, clients, admin, built, partitions) for built in build_pipelines(config)]
    finally:
        await to_the_end(admin.close())
    return await _with_servers(config, ServiceStatus(pipelines))


async def _pipeline(
    config: Config, clients: KafkaClients, admin: AIOKafkaAdminClient, built: Pipeline, partitions: Partitions
) -> PipelineStatus:
    found = build_repartition(config, built)
    stage, hidden = None, list[str]()
    if found is not None:
        async with started(clients.reader()) as reader:
            hidden = await hidden_ends(reader, partitions[found.positions_topic])
        stage = await _group(
            clients,
            admin,
            GroupStatus(found.name, found.group_id, found.input_topic, ""),
            partitions[found.input_topic],
            partitions[found.positions_topic],
        )
    states = partitions[built.state_topic]
    name = built.provider.name
    group = await _group(
        clients, admin, GroupStatus(name, built.group_id, built.input_topic, ""), partitions[built.input_topic], states
    )
    alerts, unreadable = await read_alerts(clients, states)
    return summed_up(group, stage, built.provider.routes, [alert for _, alert in alerts], [*hidden, *unreadable])


def summed_up(
    group: GroupStatus,
    stage: GroupStatus | None,
    routes: Sequence[str],
    alerts: Sequence[Alert],
    unreadable: Sequence[str],
) -> PipelineStatus:
    """The facts about a pipeline that has these alerts."""
    owed = [alert.owed for alert in alerts if alert.owed is not None]
    by_status = Counter(alert.status for alert in alerts)
    by_severity = Counter(one.severity for one in owed)
    return PipelineStatus(
        group,
        stage,
        tuple(routes),
        alerts={status.value: by_status[status] for status in Status},
        owed={severity.label: by_severity[severity] for severity in sorted(Severity, reverse=True)},
        owed_since=min((one.since for one in owed), default=None),
        unreadable=tuple(unreadable),
    )


# a group


async def _group(
    clients: KafkaClients,
    admin: AIOKafkaAdminClient,
    group: GroupStatus,
    inputs: Sequence[TopicPartition],
    checkpoints: Sequence[TopicPartition],
) -> GroupStatus:
    described = await _described(admin, group.group_id)
    committed = await coordinated(lambda: group_offsets(admin, group.group_id, inputs))
    decided = await _decided(clients, group.topic, checkpoints)
    async with started(clients.reader()) as reader:
        ends = await clients.watermarks(reader, inputs)
    seen = []
    for one in inputs:
        group_offset, end = committed[one], ends[one]
        offset = None if group_offset is None else group_offset.offset
        seen.append(Partition(one.partition, end.high, end.stable, decided.get(one.partition, offset), offset))
    return replace(
        group,
        state=described.state if described is not None else "",
        members=tuple(members_of(described, group.topic)) if described is not None else (),
        partitions=await _with_first(clients, group.topic, seen),
    )


async def _described(admin: AIOKafkaAdminClient, group_id: str) -> DescribedGroup | None:
    """The group as Kafka describes it, after a rebalance if that ends within `REBALANCE_SECONDS`; None if unknown."""
    deadline = asyncio.get_running_loop().time() + REBALANCE_SECONDS
    while True:
        answers = await coordinated(lambda: admin.describe_consumer_groups([group_id]))
        found = next((one for one in described_groups(answers) if one.name == group_id), None)
        if found is None or found.state in _AT_REST or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(_AGAIN_SECONDS)


def members_of(described: DescribedGroup, topic: str) -> Iterator[Member]:
    """The members of a group, each with its partitions of this topic, in the order of their names."""
    for member in sorted(described.members, key=lambda one: (one.client_id, one.member_id)):
        assigned = _assigned(member, topic)
        yield Member(member.client_id, address_of(member.host), member.instance_id, assigned)


def _assigned(member: DescribedMember, topic: str) -> Sequence[int]:
    if not member.assignment:
        return ()
    try:
        found = ConsumerProtocolMemberAssignment.decode(member.assignment).partitions()
    except Exception:  # somebody else's member may have sent any bytes, for which the client raises any error
        return ()
    return sorted(one.partition for one in found if one.topic == topic)


async def _decided(clients: KafkaClients, topic: str, checkpoints: Sequence[TopicPartition]) -> Mapping[int, int]:
    """The position of each partition of this topic that has a checkpoint which can be read.

    (`read_alerts` reports checkpoints that cannot be read.)
    """
    async with started(clients.reader()) as reader:
        values = await last_checkpoint_values(reader, checkpoints)
    decided = {}
    for value in values.values():
        if value is None:
            continue
        with suppress(CorruptState):
            position = decode_position(value)
            if position.topic == topic:
                decided[position.partition] = position.offset
    return decided


async def _with_first(clients: KafkaClients, topic: str, seen: Sequence[Partition]) -> Sequence[Partition]:
    """The partitions with ``waits_since``. A partition in which only transaction markers are left to read counts as
    decided."""
    behind = {TopicPartition(topic, one.number): one for one in seen if one.undecided}
    times: dict[TopicPartition, float] = {}
    passed: set[TopicPartition] = set()
    if behind:
        # read_uncommitted, since records that an open transaction hides wait as well.
        async with started(clients.reader(isolation_level="read_uncommitted", fetch_bytes=_FIRST_BYTES)) as reader:
            begins, _ = await bounds(reader, list(behind))
            for partition, one in behind.items():
                reader.seek(partition, max(one.decided or 0, begins[partition]))
            reader.resume(*behind)
            left = set(behind)
            # Where the record cannot be read, or not in time, ``waits_since`` stays unknown.
            with suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(FIRST_SECONDS):
                    while left:
                        for partition, records in (await reader.getmany(*left, timeout_ms=POLL_MS)).items():
                            if records:
                                times[partition] = records[0].timestamp / 1000
                        for partition in sorted(left):
                            if partition in times:
                                left.discard(partition)
                            elif await reader.position(partition) >= behind[partition].end:
                                passed.add(partition)
                                left.discard(partition)
                        reader.pause(*(set(behind) - left))
    found = []
    for one in seen:
        partition = TopicPartition(topic, one.number)
        decided = one.end if partition in passed else one.decided
        found.append(replace(one, decided=decided, waits_since=times.get(partition)))
    return tuple(found)


# the servers


async def _with_servers(config: Config, status: ServiceStatus) -> ServiceStatus:
    server = config.server
    if server.port == 0:
        return status  # the system chose the port of each member's server, so none is known
    hosts = {
        member.host
        for group in status.groups
        for member in group.members
        if member.host and member.client_id.startswith(CLIENT_ID)
    }
    # A server that listens on loopback is reached on its own host only, and this may be it.
    here = {server.host} if is_loopback(server.host) else set()
    found = await ask_servers(hosts | here, server.port)
    servers = [one for one in found if one.host in hosts or one.silence is None]
    return replace(status, servers=servers)
