"""Runs the commands that read Kafka: waits for Kafka, and turns its errors into messages for the user."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from consumer.cli.with_configuration import with_configuration
from consumer.config import Config
from consumer.kafka.clients import KafkaClients
from consumer.kafka.reading import partitions_of
from consumer.kafka.startup import when_kafka_answers
from consumer.telemetry.log import quiet
from providers.errors import UserError, text_of

Partitions = Mapping[str, Sequence[TopicPartition]]
Act = Callable[[Config, KafkaClients, Partitions], Awaitable[int]]


def run_with_kafka(
    args: argparse.Namespace,
    topics: Callable[[Config], Sequence[str]],
    act: Act,
    optional: Callable[[Config], Sequence[str]] = lambda config: (),
) -> int:
    """The result of ``act``, once Kafka answers and has these topics. Raises `UserError` if it does not.

    ``act`` gets the partitions of these topics, and of those ``optional`` topics that exist.
    """

    def look(config: Config) -> int:
        try:
            return asyncio.run(_run(config, topics(config), optional(config), act))
        except (KafkaError, OSError, TimeoutError) as error:
            raise UserError(f"Kafka: {text_of(error)}") from error

    return with_configuration(args.config, look)


async def _run(config: Config, topics: Sequence[str], optional: Sequence[str], act: Act) -> int:
    clients = KafkaClients(config.kafka)
    partitions = await when_kafka_answers(clients, lambda admin: partitions_of(admin, topics, optional))
    with quiet("aiokafka"):
        return await act(config, clients, partitions)
