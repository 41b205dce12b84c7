"""Batches: all records, those of a partition in their order, whatever their sizes."""

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.batches import Batch, Outgoing, batched

BATCH_BYTES = 300

HEADERS = st.lists(st.tuples(st.text("ab", max_size=3), st.none() | st.binary(max_size=9)), max_size=2)
RECORDS = st.lists(
    st.builds(
        Outgoing,
        topic=st.sampled_from(["state", "other"]),
        partition=st.integers(0, 2),
        key=st.none() | st.binary(max_size=20),
        value=st.none() | st.binary(max_size=400),
        headers=st.lists(st.tuples(st.text("ab", max_size=3), st.none() | st.binary(max_size=9)), max_size=2).map(
            tuple
        ),
        timestamp=st.integers(0, 2**40),
    ),
    max_size=30,
)


def builder() -> BatchBuilder:
    return BatchBuilder(BATCH_BYTES, 0)


def read(batch: Batch) -> list[Outgoing]:
    records = MemoryRecords(bytes(batch.records._build())).next_batch()
    return [
        Outgoing(batch.topic, batch.partition, one.key, one.value, tuple(one.headers), one.timestamp) for one in records
    ]


@pytest.mark.slow
@given(RECORDS)
def test_everything_is_in_the_batches_in_order(records: list[Outgoing]) -> None:
    made = list(batched(records, builder))
    assert len(made) >= len(records), "it can be interrupted after each record"
    batches = [batch for batch in made if batch is not None]
    written = [record for batch in batches for record in read(batch)]
    for place in {(record.topic, record.partition) for record in records}:
        assert [record for record in written if (record.topic, record.partition) == place] == [
            record for record in records if (record.topic, record.partition) == place
        ]
    assert len(written) == len(records)
    for batch in batches:
        assert batch.records.record_count() == 1 or batch.records.size() <= BATCH_BYTES


def test_what_has_no_timestamp_gets_that_of_now() -> None:
    (_, batch) = batched([Outgoing("t", 0, b"k", b"v")], builder)
    assert batch is not None
    (record,) = read(batch)
    assert record.timestamp is not None
    assert record.timestamp > 1_700_000_000_000
