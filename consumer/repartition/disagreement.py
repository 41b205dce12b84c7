"""Members that run already and do not agree with this one whether there is a repartition stage (design section 17).

Their tasks would read the same events by two ways: one of the stage, one past it. So whoever comes later does not
start: a key template that needs a stage, or needs one no more, is changed while all members are stopped.
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
"""For a group to say who its members are."""

_AT_REST = ("Stable", "Empty", "Dead")
"""States of a group in which it says what its members read."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What members that run read otherwise than this one would, a sentence for each group; and the groups of which that
    is not known: one in a rebalance does not say what its members read."""

    lines: Sequence[str] = ()
    unknown: Sequence[str] = ()


async def disagreement(admin: AIOKafkaAdminClient, config: Config) -> Disagreement:
    """Ask the groups of the configured pipelines. One that this user may not ask about says nothing.

    Raises KafkaError.
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
    """The topic that the members of each group of ours read by this configuration; None: there is to be no member.

    Where the topics that are ``there`` have none for a stage, nobody can have one, and nobody has to be asked.
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
    """A sentence, if a member of the service reads something else in this group."""
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
