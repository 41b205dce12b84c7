"""Where a partition of ours ends, once nobody's open transaction hides a part of it (design section 15)."""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from structlog.typing import FilteringBoundLogger

from consumer.kafka.clients import KafkaClients

POLL_SECONDS = 0.25
"""Between two looks at whether the transaction has ended."""

WAIT_SECONDS = 5.0
"""For a transaction to end, before the task gives up its place among those that are restored and tries again later."""


class HiddenState(TimeoutError):
    """Somebody's open transaction hides the end of a partition from which a task is to be restored."""


async def settled_end(
    clients: KafkaClients, reader: AIOKafkaConsumer, partition: TopicPartition, log: FilteringBoundLogger
) -> int:
    """The high watermark of a partition that is assigned to ``reader``, once all below it can be read.

    What a ``read_committed`` reader is shown as the end would be one from before any transaction that is open: a state
    from before the last checkpoints. The owner's own has none open after its initialisation.

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
