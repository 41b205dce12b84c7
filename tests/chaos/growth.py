"""Topics get more partitions: those of the state first, so that no task of a new one lacks its state."""

import asyncio
import time
from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import KafkaError

from tests.chaos.faults import MISSED_SECONDS, Scene
from tests.chaos.happened import Growth, Window
from tests.support.kafka import admin

NOTICED_SECONDS = 60.0
"""Until partitions that were added are noticed (design section 15)."""
HOME_SECONDS = 60.0
"""For so long after that a home waits for those of before with what is new to it (design section 17, rule 4)."""
LAST_TRY_SECONDS = 240.0
"""For which a topic is told to grow: several restarts of its broker, one after the other."""


async def grow(scene: Scene, after: float) -> None:
    """After so many seconds every state topic gets one partition more, then the events topic."""
    await asyncio.sleep(after)
    world, count = scene.setting.world, scene.reader.partitions + 1
    async with scene.members.none_starts():
        begun, end = time.time(), time.monotonic() + LAST_TRY_SECONDS
        for topic in (*(world.state(provider) for provider in scene.setting.providers), world.events):
            while not await _has_partitions(scene, topic, count):
                if time.monotonic() > end:
                    raise TimeoutError(f"{topic} cannot get {count} partitions")
                await asyncio.sleep(0.2)
        noticed = time.time() + NOTICED_SECONDS + MISSED_SECONDS
        scene.happened.growths.append(Growth(begun, noticed + HOME_SECONDS))
        scene.happened.windows.append(Window(begun, noticed, partition=count - 1))
        scene.reader.partitions = scene.traffic.partitions = count


async def _has_partitions(scene: Scene, topic: str, count: int) -> bool:
    """Whether a topic has so many partitions, each with a leader; if it has fewer, it is told to grow."""
    try:
        async with admin(scene.setting.world.bootstrap_servers) as client:
            there = await _partitions(client, topic)
            if len(there) < count:
                await client.create_partitions({topic: NewPartitions(count)})
                there = await _partitions(client, topic)
            return len(there) == count and all(partition["leader"] >= 0 for partition in there)
    except KafkaError:  # a broker is away
        return False


async def _partitions(client: AIOKafkaAdminClient, topic: str) -> list[Mapping[str, int]]:
    (described,) = await client.describe_topics([topic])
    found: list[Mapping[str, int]] = described["partitions"]
    return found
