"""The high watermark of a partition, and its last stable offset, up to which a ``read_committed`` reader sees (KIP-98).

aiokafka's consumer requests ends with its own isolation level, so ours is given the last stable offset as the end,
which hides everything behind another producer's open transaction. This module sends its own ListOffsets requests for
both.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, LeaderNotAvailableError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.offset import OffsetRequest, OffsetResetStrategy

ANSWER_SECONDS = 2.0
"""Time limit for one leader's answer: a leader that does not answer must not hold back the answers of the others."""

ALL_SECONDS = 5.0
"""Time limit for the answers of all leaders, where the caller needs every one."""

AGAIN_SECONDS = 0.1

STALE_END_TRIES = 6
STALE_END_SECONDS = 0.5
"""How often, and how many seconds apart, an end below a known position is asked for again. Right after a commit or
a change of the leader, the broker can still return an old end. An end that stays below shows another log."""

_CONSUMER = -1
_READ_UNCOMMITTED, _READ_COMMITTED = 0, 1


@dataclass(frozen=True, slots=True)
class Watermarks:
    """The ends of a partition: ``stable``, below which all transactions are committed or aborted, and ``high``."""

    stable: int
    high: int


async def each_watermarks(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], seconds: float = ANSWER_SECONDS
) -> AsyncGenerator[Mapping[TopicPartition, Watermarks], None]:
    """Yields the watermarks that each leader gives, as soon as it answers; nothing for partitions whose leader does not
    answer or is unknown."""
    client: AIOKafkaClient = consumer._client
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await client._maybe_wait_metadata()
    by_leader: dict[int, list[TopicPartition]] = defaultdict(list)
    for partition in partitions:
        leader = client.cluster.leader_for_partition(partition)
        if leader is None:
            client.add_topic(partition.topic)  # requests its metadata, if the client does not know the topic yet
        elif leader == -1:
            client.force_metadata_update()
        else:
            by_leader[leader].append(partition)
    asking = [asyncio.create_task(_ask(client, leader, asked, seconds)) for leader, asked in by_leader.items()]
    try:
        for answer in asyncio.as_completed(asking):
            yield await answer
    finally:
        for task in asking:
            task.cancel()


async def all_watermarks(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], seconds: float = ALL_SECONDS
) -> Mapping[TopicPartition, Watermarks]:
    """The watermarks of all of these partitions; where a leader has just changed, the request is repeated.

    Raises `UnknownTopicOrPartitionError` if a partition does not exist, `LeaderNotAvailableError` if some watermarks
    are still missing after ``seconds``.
    """
    found: dict[TopicPartition, Watermarks] = {}
    deadline = asyncio.get_running_loop().time() + seconds
    while missing := [one for one in partitions if one not in found]:
        async with aclosing(each_watermarks(consumer, missing)) as answers:
            async for answer in answers:
                found.update(answer)
        for one in missing:
            known = consumer.partitions_for_topic(one.topic)
            if known and one.partition not in known:
                raise UnknownTopicOrPartitionError(
                    f"topic {one.topic} has no partition {one.partition}: it has {len(known)} partitions"
                )
        if asyncio.get_running_loop().time() > deadline:
            names = ", ".join(f"{one.topic}-{one.partition}" for one in missing)
            raise LeaderNotAvailableError(f"the ends of {names} are not told")
        if len(found) < len(partitions):
            await asyncio.sleep(AGAIN_SECONDS)
    return found


async def end_at_least(reached: int, ask: Callable[[], Awaitable[int]]) -> int:
    """The end of a partition, for which ``ask`` asks a broker; while the answer is below ``reached``, an offset up to
    which the log has been before, it is asked for again, `STALE_END_TRIES` times in all.

    An end that is below all the same is returned. Raises what ``ask`` raises.
    """
    end = await ask()
    for _ in range(STALE_END_TRIES - 1):
        if end >= reached:
            break
        await asyncio.sleep(STALE_END_SECONDS)
        end = await ask()
    return end


async def _ask(
    client: AIOKafkaClient, leader: int, partitions: Sequence[TopicPartition], seconds: float
) -> Mapping[TopicPartition, Watermarks]:
    topics: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for partition in partitions:
        topics[partition.topic].append((partition.partition, OffsetResetStrategy.LATEST))

    async def ends(isolation_level: int) -> dict[TopicPartition, int]:
        response = await client.send(leader, OffsetRequest(_CONSUMER, isolation_level, list(topics.items())))
        found = {}
        for topic, answers in response.topics:
            for partition, error_code, *_, offset in answers:
                if not error_code:
                    found[TopicPartition(topic, partition)] = offset
                elif for_code(error_code).invalid_metadata:
                    client.force_metadata_update()
        return found

    try:
        async with asyncio.timeout(seconds):
            high, stable = await asyncio.gather(ends(_READ_UNCOMMITTED), ends(_READ_COMMITTED))
    except (KafkaError, OSError, TimeoutError):
        return {}
    return {one: Watermarks(stable[one], end) for one, end in high.items() if one in stable}
