"""Writes commands about alerts to the feedback topic, and waits until they are done."""

import argparse
import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from consumer.cli.alerts_found import Found
from consumer.cli.terminal import plain
from consumer.config import Config
from consumer.feedback.records import FeedbackKind, OperatorCommand, encode_command
from consumer.kafka.clients import KafkaClients, close_producer, start_producer
from consumer.kafka.reading import Offsets
from consumer.status.commanded import Awaited, Stage, Watch
from consumer.status.following import follow
from state.alert import Alert
from state.seen import Seen, seen_of

SEND_SECONDS = 30.0

_DONE: Final = {FeedbackKind.ACKNOWLEDGE: "acknowledged", FeedbackKind.RESOLVE: "resolved"}


@dataclass(frozen=True, slots=True)
class Order:
    """A command about a dedup key at a provider. ``found`` are its alerts (there may be one in each of several
    partitions); ``needless`` says why there is nothing to do, None if there is something to do."""

    kind: FeedbackKind
    provider: str
    dedup_key: str
    found: Sequence[Found]
    needless: str | None

    @property
    def seen(self) -> Sequence[Seen]:
        """The alerts as the operator has seen them, for the command's record."""
        return [seen_of(one.alert) for one in self.found]


@dataclass(slots=True)
class Sent:
    """The result of writing commands. ``places`` are partition and offset of each record, by provider and dedup key;
    ``failed`` is why the other records were not written."""

    places: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    failed: BaseException | None = None


async def send(clients: KafkaClients, config: Config, by: str, at: float, wanted: Sequence[Order]) -> Sent:
    """Write a command for each order, all at once. Raises what the clients raise if none could be written."""
    sent, topic, writing = Sent(), config.kafka.topics.feedback, []
    producer = clients.producer()
    try:
        await start_producer(producer)
        for order in wanted:
            command = OperatorCommand(order.kind, order.provider, order.dedup_key, at, by, order.seen)
            key, value, headers = encode_command(command)
            try:
                writing.append(await producer.send(topic, value, key, headers=headers))
            except KafkaError as error:
                sent.failed = error
                break
        results = await asyncio.gather(*writing, return_exceptions=True)
        for order, result in zip(wanted, results, strict=False):
            if isinstance(result, BaseException):
                sent.failed = result
            else:
                sent.places[order.provider, order.dedup_key] = result.partition, result.offset
    finally:
        await close_producer(producer, SEND_SECONDS)
    if sent.failed is not None and not sent.places:
        raise sent.failed
    return sent


def awaited_of(planned: Iterable[Order], sent: Sent, at: float, config: Config) -> list[Awaited]:
    """The commands that can be waited for: those that were written, and those that need no record since their alert is
    already on its way to what they want."""
    return [
        Awaited(order.kind, _partition(one, config), order.dedup_key, place, at, seen)
        for order in planned
        for place in (sent.places.get((order.provider, order.dedup_key)),)
        if place is not None or order.needless is not None
        for seen in (order.seen,)
        for one in order.found
    ]


def alerts_of(planned: Iterable[Order], config: Config) -> Mapping[tuple[TopicPartition, str], Alert]:
    """The alerts of these orders, by their state partition and dedup key."""
    return {(_partition(one, config), order.dedup_key): one.alert for order in planned for one in order.found}


def _partition(one: Found, config: Config) -> TopicPartition:
    return TopicPartition(config.kafka.state_topic(one.provider), one.partition)


async def wait(
    args: argparse.Namespace,
    clients: KafkaClients,
    config: Config,
    ends: Offsets,
    awaited: Sequence[Awaited],
    alerts: Mapping[tuple[TopicPartition, str], Alert],
) -> Mapping[tuple[str, str], Stage]:
    """Wait until every command has its final stage, or the time is over, and print each final stage. Returns how far
    each command has come.

    ``ends`` are the ends that the state topics and the feedback topic had before the alerts were read.
    """
    topics = {(name, config.kafka.group(name)): config.kafka.state_topic(name) for name in config.pipelines}
    feedback = [one for one in ends if one.topic == config.kafka.topics.feedback]
    watch = Watch(awaited, alerts, topics)
    try:
        async with asyncio.timeout(args.wait), aclosing(follow(clients, ends, watch, feedback)) as following:
            async for _ in following:
                for (_, dedup_key), at in watch.ended():
                    if not args.json:
                        print(plain(f"{dedup_key}: {_said(awaited[0].kind, at)}"), flush=True)
                if watch.is_over:
                    break
    except TimeoutError:
        pass  # the caller reports how far the commands have come
    return watch.stages()


def _said(kind: FeedbackKind, at: Stage) -> str:
    if at is Stage.DONE:
        return _DONE[kind]
    return f"not {_DONE[kind]}: {at.value}"
