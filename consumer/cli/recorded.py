"""Recorded events for ``explain`` and ``simulate``: of a file, or of the events topic."""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from consumer.cli.progress import progress
from consumer.cli.times import moment_of
from consumer.cli.with_kafka import Partitions
from consumer.config import Config
from consumer.kafka.clients import KafkaClients
from consumer.kafka.newest import AHEAD_SECONDS
from consumer.tuning.files import STANDARD, records_in
from consumer.tuning.order import Timed, Times
from consumer.tuning.topic import records_since

Take = Callable[[Sequence[Timed]], bool]
"""Takes records. Returns whether more are wanted."""


def since(text: str) -> float:
    """A moment in seconds since the epoch, for an argument: RFC 3339, or how long ago.

    Raises `argparse.ArgumentTypeError` if the text is no such moment, or lies in the future.
    """
    now = time.time()
    moment = moment_of(text, now)
    if moment > now:
        raise argparse.ArgumentTypeError("lies in the future")
    return moment


def read_file(path: Path, take: Take) -> None:
    """Give ``take`` the records of a file. Raises `FileTrouble` if the file cannot be read, or a line of it is no
    record."""
    times = Times(time.time() + AHEAD_SECONDS)
    with progress(f"reading {path}") as tell:
        try:
            size = 0 if path == STANDARD else os.stat(path).st_size
        except OSError:
            size = 0  # reading it says why
        for records in records_in(path, lambda position: tell(position, size)):
            if not take([(times.of(record), record.partition, record) for record in records]):
                return


async def read_topic(config: Config, clients: KafkaClients, partitions: Partitions, moment: float, take: Take) -> None:
    """Give ``take`` the records of the events topic since a moment, in the order of their times. Raises `KafkaError` if
    Kafka does not answer as it should."""
    topic = config.kafka.topics.events
    times = Times(time.time() + AHEAD_SECONDS)
    with progress(f"reading {topic}") as tell:
        found = records_since(clients, partitions[topic], moment, times, tell)
        try:
            async for records in found:
                if not take(records):
                    return
        finally:
            await found.aclose()
