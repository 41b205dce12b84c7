"""What the fetcher gives of records that cannot be read, and when a partition is tried again."""

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import RecordTooLargeError
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.header_names import TolerantRecords
from consumer.kafka.unreadable import RETRY_SECONDS, NamedRecords, UnreadablePartitions, UnreadableRecords, unreadable

A, B = TopicPartition("events", 0), TopicPartition("events", 1)


def batch(first: int, count: int) -> bytearray:
    builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, -1, 1 << 20)
    for offset in range(count):
        builder.append(offset, 1000, b"key", b"value %d" % (first + offset), [])
    data = bytearray(builder.build())
    data[:8] = first.to_bytes(8, "big")
    return data


def fetched(data: bytes, offset: int) -> Any:
    return NamedRecords(A, TolerantRecords(data), [], offset, None, None, True, 1)


def offsets(records: Any) -> list[int]:
    return [record.offset for record in records]


def test_what_lies_before_a_corrupt_batch_is_handed_out_and_the_batch_is_the_first_of_the_next_fetch() -> None:
    corrupt = batch(5, 2)
    corrupt[-1] ^= 1
    records = fetched(bytes(batch(0, 3) + batch(3, 2) + corrupt + batch(7, 1)), 1)
    assert offsets(records) == [1, 2, 3, 4]
    assert records.next_fetch_offset == 5
    with pytest.raises(UnreadableRecords, match=r"events-0 at offset 5: .*CRC") as caught:
        next(fetched(bytes(corrupt + batch(7, 1)), 5))
    assert (caught.value.partition, caught.value.offset) == (A, 5)


@given(st.integers(0, 1 << 20), st.integers(1, 5), st.integers(0, 7))
def test_no_flipped_bit_yields_a_wrong_record_or_an_error_without_a_name(byte: int, count: int, bit: int) -> None:
    before, damaged, behind = batch(0, 2), batch(2, count), batch(2 + count, 1)
    # The offset, the length, the leader's epoch and the version of the format are outside of the checksum.
    damaged[17 + byte % (len(damaged) - 17)] ^= 1 << bit
    records = fetched(bytes(before + damaged + behind), 0)
    assert offsets(records) == [0, 1]
    with pytest.raises(UnreadableRecords) as caught:
        next(fetched(bytes(damaged + behind), 2))
    assert caught.value.offset == 2


@given(st.binary(min_size=61, max_size=200))
def test_bytes_that_are_no_batch_at_all_raise_nothing_else(data: bytes) -> None:
    records = TolerantRecords(data)
    if records.has_next():
        with pytest.raises(UnreadableRecords):
            list(NamedRecords(A, records, [], 0, None, None, True, 1))


def test_a_batch_that_is_longer_than_what_was_sent_has_a_name_as_well() -> None:
    error = unreadable(RecordTooLargeError("… %s=%s … %s", B, 7, 1024))
    assert (error.partition, error.offset) == (B, 7)
    assert unreadable(error) is error


def test_a_partition_is_tried_again_now_and_then_until_it_was_passed() -> None:
    partitions = UnreadablePartitions()
    partitions.failed(UnreadableRecords(A, 5, "CRC"), 100.0)
    assert partitions.waiting == {A}
    assert partitions.due(100.0 + RETRY_SECONDS - 1) == []
    assert partitions.due(100.0 + RETRY_SECONDS) == [A]
    assert (partitions.waiting, set(partitions.errors)) == (frozenset(), {A})  # until it is known better
    partitions.failed(UnreadableRecords(A, 5, "CRC"), 131.0)
    assert not partitions.passed(A, 5)
    assert not partitions.passed(B, 9)
    assert partitions.passed(A, 6)
    assert (partitions.waiting, dict(partitions.errors)) == (frozenset(), {})
    assert not partitions.passed(A, 7)


def test_what_is_another_members_now_is_forgotten() -> None:
    partitions = UnreadablePartitions()
    partitions.failed(UnreadableRecords(A, 5, "CRC"), 0.0)
    partitions.failed(UnreadableRecords(B, 5, "CRC"), 0.0)
    partitions.keep([B])
    assert partitions.waiting == set(partitions.errors) == {B}
