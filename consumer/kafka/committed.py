"""Finds out whether a transaction was committed when the request to commit it got no answer."""

import asyncio

from aiokafka import TopicPartition
from aiokafka.structs import RecordMetadata
from structlog.typing import FilteringBoundLogger

from consumer.kafka.clients import KafkaClients, started
from consumer.kafka.settled import settled_end

LOOK_SECONDS = 15.0
"""Time limit for reading the record, or the end of the partition, if the record is not there."""


async def is_committed(clients: KafkaClients, record: RecordMetadata, log: FilteringBoundLogger) -> bool:
    """Whether this record of a transaction is committed; if not, it was aborted.

    Call this after the next producer with the same transactional id was initialised: by then the transaction has ended,
    and the end is written to every partition. Nobody else writes to the record's partition, so no compaction has
    removed the record. Raises `TimeoutError` if the partition does not answer, and what the consumer raises; the
    outcome is unknown then.
    """
    partition = TopicPartition(record.topic, record.partition)
    async with asyncio.timeout(LOOK_SECONDS), started(clients.reader()) as reader:
        reader.assign([partition])
        end = await settled_end(clients, reader, partition, log)
        reader.seek(partition, record.offset)
        # The position passes over aborted records and transaction markers. One record is read at a time, so that a
        # broken batch behind it does not hide the answer (`consumer.kafka.reading.read` takes all that was fetched).
        while await reader.position(partition) < end:
            for found in (await reader.getmany(partition, timeout_ms=500, max_records=1)).get(partition, ()):
                return bool(found.offset == record.offset)
    return False
