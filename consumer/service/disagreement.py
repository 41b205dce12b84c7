"""Finds running members that do not agree with this one whether there is a repartition stage (design section 17).

Their tasks and ours would decide the same events twice: once through the stage, once without it. So the member that
comes later does not start. A key template that needs a stage, or no longer needs one, is changed while all members are
stopped.
"""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from consumer.config import Config
from consumer.kafka.clients import CLIENT_ID
from consumer.kafka.group_members import DescribedGroup, described_groups
from consumer.kafka.topic_specs import is_repartitioned
from consumer.kafka.topics_there import topics_there

ASK_SECONDS = 5.0
"""The longest time for the answer of one group, in seconds."""

_AT_REST = ("Stable", "Empty", "Dead")
"""The states in which a group says what its members read."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """``lines`` has a sentence for each group whose members read another topic than this configuration says.
    ``unknown`` are the groups that could not be asked: a group in a rebalance does not say what its members read."""

    lines: Sequence[str] = ()
    unknown: Sequence[str] = ()


async def disagreement(admin: AIOKafkaAdminClient, config: Config) -> Disagreement:
    """Ask the groups of the configured pipelines. A group that this user may not describe counts as agreeing.

    Raises `KafkaError` if Kafka does not answer as it should.
    """
    lines: list[str] = []
    unknown: list[str] = []
    there = await topics_there(admin)
    for group, topic in topics_of_groups(config, there).items():
        found = await _describe(admin, group)
        if found is None or not all(map(_is_at_rest, found)):
            unknown.append(group)
        else:
            lines += others(found, group, topic)
    return Disagreement(lines, unknown)


def topics_of_groups(config: Config, there: Collection[str]) -> Mapping[str, str | None]:
    """The topic that the members of each of our groups read by this configuration; None: the group is to have no
    member.

    A pipeline without a stage is left out if its keyed topic is not among the existing topics (``there``): then no
    member can have a stage, and no group has to be asked.
    """
    kafka, wanted = config.kafka, dict[str, str | None]()
    for name in config.pipelines:
        has_stage = is_repartitioned(config, name)
        if not has_stage and kafka.keyed_topic(name) not in there:
            continue
        wanted[kafka.group(name)] = kafka.keyed_topic(name) if has_stage else kafka.topics.events
        wanted[kafka.repartition_group(name)] = kafka.topics.events if has_stage else None
    return wanted


def others(found: Iterable[DescribedGroup], group: str, topic: str | None) -> Iterator[str]:
    """A sentence, if a member of the service reads another topic in this group; else nothing."""
    read = {each for subscription in _subscriptions(found) for each in subscription}
    if not read or read == {topic}:
        return
    others_read = ", ".join(sorted(read - {topic}))
    here = f"this one would read {topic}" if topic is not None else "this one needs no repartition stage"
    yield (
        f"a member of consumer group {group} that runs reads {others_read}, and {here}: stop all members before "
        "deduplication.key_template or kafka.event_key changes whether there is a repartition stage"
    )


def _subscriptions(found: Iterable[DescribedGroup]) -> Iterator[Iterable[str]]:
    for group in found:
        for member in group.members:
            if group.protocol_type == "consumer" and member.metadata and member.client_id.startswith(CLIENT_ID):
                yield ConsumerProtocolMemberMetadata.decode(member.metadata).subscription


def _is_at_rest(group: DescribedGroup) -> bool:
    return group.state in _AT_REST if group.error == 0 else group.error == GroupAuthorizationFailedError.errno


async def _describe(admin: AIOKafkaAdminClient, group: str) -> Sequence[DescribedGroup] | None:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return list(described_groups(await admin.describe_consumer_groups([group])))
    except GroupAuthorizationFailedError:
        return ()
    except (KafkaError, OSError, TimeoutError):
        return None
