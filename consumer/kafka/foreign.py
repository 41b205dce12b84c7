"""State topics that belong to another consumer group: two services on the same topics would end each other's alerts."""

import asyncio
from collections.abc import Mapping

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from consumer.config import Config
from consumer.kafka.clients import KafkaClients, started
from consumer.kafka.reading import last_checkpoints
from consumer.kafka.topic_specs import Purpose, topics_of
from providers.errors import text_of
from state.records import Position

LOOK_SECONDS = 10.0
"""Time limit for reading the checkpoints of all state topics. A topic that does not answer keeps nobody from starting:
each task checks its own partition again."""


def foreign_group(checkpoint: Position, group_id: str, topic: str) -> str | None:
    """The problem, with its fix, if a checkpoint in our topic ``topic`` belongs to another group; else None.

    A checkpoint that names no group (an earlier release wrote it) counts as this group's.
    """
    if checkpoint.group is None or checkpoint.group == group_id:
        return None
    return (
        f"topic {topic} belongs to consumer group {checkpoint.group}, and this service's is {group_id}: give each "
        "service topics of its own (kafka.topics.state, keyed and feedback), or set kafka.group_id back"
    )


def groups_of(config: Config) -> Mapping[str, str]:
    """The topics that hold checkpoints, and the consumer group that each must belong to."""
    kafka = config.kafka
    states = {kafka.state_topic(name): kafka.group(name) for name in config.pipelines}
    positions = {kafka.positions_topic(name): kafka.repartition_group(name) for name in config.pipelines}
    needed = {spec.name for spec in topics_of(config) if spec.purpose in (Purpose.STATE, Purpose.POSITIONS)}
    return {topic: group for topic, group in {**states, **positions}.items() if topic in needed}


async def foreign_topics(
    clients: KafkaClients, config: Config, found: Mapping[str, int]
) -> tuple[list[str], str | None]:
    """A sentence for each topic that holds checkpoints of another group; and, if not all topics could be read, why.

    ``found`` has the number of partitions of every topic that exists.
    """
    wrong: list[str] = []
    try:
        async with asyncio.timeout(LOOK_SECONDS), started(clients.reader()) as reader:
            for topic, group in groups_of(config).items():
                partitions = [TopicPartition(topic, number) for number in range(found.get(topic, 0))]
                problems = (foreign_group(one, group, topic) for one in await last_checkpoints(reader, partitions))
                wrong += [problem for problem in problems if problem is not None][:1]
    except (KafkaError, OSError, TimeoutError) as error:
        return wrong, f"whose the topics of state are is not known: {text_of(error, 'no answer')}"
    return wrong, None
