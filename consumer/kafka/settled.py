"""Where a partition of ours ends, once no open transaction hides a part of it (design section 15)."""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from structlog.typing import FilteringBoundLogger

from consumer.kafka.clients import KafkaClients

POLL_SECONDS = 0.25
"""Time between two looks at whether the transaction has ended."""

WAIT_SECONDS = 5.0
"""How long a task waits for the transaction to end. Then it makes room for another task's restore, and tries again
later."""


class HiddenState(TimeoutError):
    """Another producer's open transaction hides the end of a partition from which a task is to be restored."""


async def settled_end(
    clients: KafkaClients, reader: AIOKafkaConsumer, partition: TopicPartition, log: FilteringBoundLogger
) -> int:
    """The high watermark of a partition that is assigned to ``reader``, once everything below it can be read.

    The end that a ``read_committed`` reader is shown lies before the first open transaction: a state read up to there
    could lack the last checkpoints. (The owner's own producer has no open transaction after its initialisation.)

    Raises `HiddenState` if the transaction does not end, and what `all_watermarks` raises.
    """
    found = (await clients.watermarks(reader, [partition]))[partition]
    end, loop = found.high, asyncio.get_running_loop()
    deadline = loop.time() + WAIT_SECONDS
    if found.stable < end:
        log.warning("restore_waits_for_transaction", topic=partition.topic, offset=found.stable, end=end)
    while (stable := found.stable) < end:
        if loop.time() > deadline:
            raise HiddenState(
                f"{partition.topic}-{partition.partition}: another producer's transaction is open at offset {stable}, "
                f"and the state is not known before it ends; the partition reaches to {end}"
            )
        await asyncio.sleep(POLL_SECONDS)
        found = (await clients.watermarks(reader, [partition]))[partition]
    return end
