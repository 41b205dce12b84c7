"""Whether a transaction whose commit was not answered has come about."""

import asyncio

from aiokafka import TopicPartition
from aiokafka.structs import RecordMetadata
from structlog.typing import FilteringBoundLogger

from consumer.kafka.clients import KafkaClients, started
from consumer.kafka.settled import settled_end

LOOK_SECONDS = 15.0
"""For the partition to show the record, or what is behind it."""


async def is_committed(clients: KafkaClients, record: RecordMetadata, log: FilteringBoundLogger) -> bool:
    """Whether this record of a transaction is committed, or has been aborted.

    To be called after the next producer with its transactional id was initialised: the transaction has ended then, and
    its end is written to every partition. Nobody else writes to this one, so no compaction has taken the record.
    Raises TimeoutError if the partition does not answer, and what the consumer raises: it is not known then.
    """
    partition = TopicPartition(record.topic, record.partition)
    async with asyncio.timeout(LOOK_SECONDS), started(clients.reader()) as reader:
        reader.assign([partition])
        end = await settled_end(clients, reader, partition, log)
        reader.seek(partition, record.offset)
        # The position passes over aborted records and transaction markers.
        while await reader.position(partition) < end:
            for found in (await reader.getmany(partition, timeout_ms=500, max_records=1)).get(partition, ()):
                return bool(found.offset == record.offset)
    return False
