"""What the commands that look into Kafka have in common: the configuration, the wait for Kafka, how they end."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from consumer.config import Config, ConfigError, load_config
from consumer.kafka import KafkaClients, UnusableFiles
from consumer.log import quiet
from consumer.reading import partitions_of
from consumer.startup import StartupError, when_kafka_answers

Partitions = Mapping[str, Sequence[TopicPartition]]
Act = Callable[[Config, KafkaClients, Partitions], Awaitable[int]]


class UsageError(Exception):
    """The arguments do not fit the configuration: one line for the user, exit code 2."""


def run_with_kafka(args: argparse.Namespace, topics: Callable[[Config], Sequence[str]], act: Act) -> int:
    """What ``act`` gives, once Kafka answers and has these topics; 1 if it does not, 2 for the configuration."""
    try:
        config = load_config(args.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if not config.pipelines:
        print("exporters.alerting: no provider is configured and enabled", file=sys.stderr)
        return 2
    try:
        return asyncio.run(_run(config, topics(config), act))
    except (UsageError, UnusableFiles) as error:
        print(error, file=sys.stderr)
        return 2
    except StartupError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise
    except (KafkaError, OSError, TimeoutError) as error:
        print(f"Kafka: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        return 1


async def _run(config: Config, topics: Sequence[str], act: Act) -> int:
    clients = KafkaClients(config.kafka)
    partitions = await when_kafka_answers(clients, lambda admin: partitions_of(admin, topics))
    with quiet("aiokafka"):
        return await act(config, clients, partitions)
