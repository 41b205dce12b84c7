"""What is true in one moment and not in the next: topics, keys and templates change in the midst of a phase.

Traffic flows before and after, and problems are live meanwhile; what the account has to know of a change it is told
(`Scene.happened`). `CHANGES` has all by name.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from aiokafka.errors import KafkaError

from tests.chaos.faults import MISSED_SECONDS, Scene
from tests.chaos.growth import NOTICED_SECONDS
from tests.chaos.happened import Rendering, Rotation, Window
from tests.chaos.keying import BY_AGENT
from tests.support.kafka import admin, create_topic
from tests.support.waiting import wait_until

LIVE_SECONDS = 12.0
"""So long problems are live before a change, and go on after it."""
MARKED_SECONDS = 60.0
"""So long a new home waits for the mark of an old one, at most (design section 17)."""
ANCHOR_SECONDS = 60.0
"""Between two looks whether the log still is the one that was read (design section 17)."""
DECIDED_SECONDS = 60.0
GONE_SECONDS = 30.0
DOWN_SECONDS = 4.0
"""While nobody decides, problems come in."""
GUARD = "secret_leak"

_keys = count(1)


@dataclass(frozen=True, slots=True)
class Change:
    """A kind of change. ``seconds`` is for how long traffic flows before it, and again after it."""

    name: str
    make: Callable[[Scene], Awaitable[None]]
    seconds: float = LIVE_SECONDS


# the topics


async def grows(scene: Scene) -> None:
    """All topics get twice as many partitions, by our own command, while events come for keys that move."""
    begun, partitions = time.time(), 2 * scene.reader.partitions
    await scene.members.command("topics", "grow", "--partitions", str(partitions), "--yes")
    scene.reader.partitions = scene.traffic.partitions = partitions
    over = time.time() + NOTICED_SECONDS + MARKED_SECONDS + MISSED_SECONDS
    scene.happened.windows.append(Window(begun, over))


async def created_anew(scene: Scene) -> None:
    """The events topic is deleted and created anew: its offsets begin again. By chance the members are down meanwhile.

    All that was in it has been decided, else it would be lost by whoever deletes it.
    """
    begun, is_down = time.time(), scene.chance.random() < 0.5
    async with scene.traffic.paused():
        await _decided(scene)
        if is_down:
            await scene.members.end_all()
        await _replace_input(scene)
    if is_down:
        await asyncio.sleep(DOWN_SECONDS)
        await scene.members.start_all(scene.size)
    print(f"    the topic is another, {'the members were down' if is_down else 'members ran'}", flush=True)
    scene.happened.windows.append(Window(begun, time.time() + ANCHOR_SECONDS + MISSED_SECONDS))


async def _replace_input(scene: Scene) -> None:
    world, partitions = scene.setting.world, scene.reader.partitions
    async with admin(world.bootstrap_servers) as client:
        replicas = len((await client.describe_topics([world.events]))[0]["partitions"][0]["replicas"])
        await client.delete_topics([world.events])

        async def is_gone() -> bool:
            return all(topic["topic"] != world.events for topic in await client.describe_topics())

        await wait_until(is_gone, "the events topic is gone", timeout=GONE_SECONDS, poll=0.2)

    async def is_there() -> bool:
        try:
            await create_topic(
                world.bootstrap_servers, world.events, partitions=partitions, replication_factor=replicas
            )
        except KafkaError:  # what is left of the old one is still in the way
            return False
        return True

    await wait_until(is_there, "the events topic is there again", timeout=GONE_SECONDS, poll=0.5)
    scene.reader.input_is_new()


# the configuration


async def key_rotated(scene: Scene) -> None:
    """One team's routing key is replaced, and the old one listed as retired; all members are restarted."""
    section = scene.members.document["exporters"]["alerting"]["pagerduty"]
    old, new = section["routing"]["by_guard"][GUARD], f"{next(_keys):0>32}"
    begun = time.time()
    await scene.members.end_all()
    section["routing"]["by_guard"][GUARD] = new
    section["retired_routing_keys"] = [*section.get("retired_routing_keys", ()), old]
    scene.happened.rotations.append(Rotation("pagerduty", old, new, time.time()))
    await scene.members.start_all(scene.size)
    scene.happened.windows.append(Window(begun, time.time() + MISSED_SECONDS))


async def template_changes(scene: Scene) -> None:
    """PagerDuty's key template changes so that a repartition stage comes; after a while it changes back, and it goes.

    Each time all members are down while problems come in.
    """
    begun = time.time()
    await _render(scene, by_agent=True)
    await asyncio.sleep(LIVE_SECONDS)
    await _render(scene, by_agent=False)
    scene.happened.windows.append(Window(begun, time.time() + MISSED_SECONDS))


async def _render(scene: Scene, *, by_agent: bool) -> None:
    section: dict[str, Any] = scene.members.document["exporters"]["alerting"]["pagerduty"]
    async with scene.traffic.paused():
        await _decided(scene)
        await scene.members.end_all()
        if by_agent:
            section["deduplication"] = {**section["deduplication"], "key_template": BY_AGENT}
            await scene.members.command("topics", "create")
            # Of an earlier time there may be some, with fewer partitions than the state has now.
            await scene.members.command("topics", "grow", "--partitions", str(scene.reader.partitions), "--yes")
            scene.reader.stage_comes("pagerduty")
        else:
            del section["deduplication"]["key_template"]
            scene.reader.stage_goes("pagerduty")
        scene.happened.renderings.append(Rendering("pagerduty", time.time(), by_agent))
    await asyncio.sleep(DOWN_SECONDS)
    await scene.members.start_all(scene.size)


async def _decided(scene: Scene) -> None:
    """Wait until all that was written is decided and told."""
    answer: str | None = None

    async def is_decided() -> bool:
        nonlocal answer
        answer = await scene.reader.is_quiet(scene.may_owe)
        return answer is None

    try:
        await wait_until(is_decided, "all is decided", timeout=DECIDED_SECONDS, poll=0.3)
    except AssertionError:
        scene.members.trouble.append(f"before the change not all could be decided: {answer}")


_KINDS = (
    Change("the topics grow", grows, seconds=20.0),
    Change("the topic is created anew", created_anew),
    Change("a key is rotated", key_rotated),
    Change("the key template changes, and back", template_changes),
)

CHANGES: Mapping[str, Change] = {change.name: change for change in _KINDS}
