"""Members that run already and do not agree with this one whether there is a repartition stage (design section 17).

Their tasks would read the same events by two ways: one of the stage, one past it. So whoever comes later does not
start: a key template that needs a stage, or needs one no more, is changed while all members are stopped.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import KafkaError

from consumer.config import Config
from consumer.kafka import CLIENT_ID
from consumer.topic_specs import is_repartitioned

ASK_SECONDS = 5.0
"""For a group to say who its members are."""


async def disagreements(admin: AIOKafkaAdminClient, config: Config) -> Sequence[str]:
    """What members that run read otherwise than this one would, a sentence for each group.

    A group that does not answer, or that this user may not ask about, says nothing.
    """
    groups = topics_of_groups(config).items()
    return [line for group, topic in groups for line in others(await _describe(admin, group), group, topic)]


def topics_of_groups(config: Config) -> Mapping[str, str | None]:
    """The topic that the members of each group of ours read by this configuration; None: there is to be no member."""
    kafka, wanted = config.kafka, dict[str, str | None]()
    for name in config.pipelines:
        has_stage = is_repartitioned(config, name)
        wanted[kafka.group(name)] = kafka.keyed_topic(name) if has_stage else kafka.topics.events
        wanted[kafka.repartition_group(name)] = kafka.topics.events if has_stage else None
    return wanted


def others(answers: Iterable[Any], group: str, topic: str | None) -> Iterator[str]:
    """A sentence, if a member of the service reads something else in this group."""
    read = {each for subscription in _subscriptions(answers) for each in subscription}
    if not read or read == {topic}:
        return
    others_read = ", ".join(sorted(read - {topic}))
    here = f"this one would read {topic}" if topic is not None else "this one needs no repartition stage"
    yield (
        f"a member of consumer group {group} that runs reads {others_read}, and {here}: stop all members before "
        "deduplication.key_template or kafka.event_key changes whether there is a repartition stage"
    )


def _subscriptions(answers: Iterable[Any]) -> Iterator[Iterable[str]]:
    for answer in answers:
        for _, _, _, protocol_type, _, members, *_ in answer.groups:
            for _, client_id, _, metadata, *_ in members:
                if protocol_type == "consumer" and metadata and client_id.startswith(CLIENT_ID):
                    yield ConsumerProtocolMemberMetadata.decode(metadata).subscription


async def _describe(admin: AIOKafkaAdminClient, group: str) -> Iterable[Any]:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            answers: Iterable[Any] = await admin.describe_consumer_groups([group])
            return answers
    except (KafkaError, OSError, TimeoutError):
        return ()
