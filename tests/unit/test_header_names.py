"""Fetched bytes whose header names are anything, in batches as a broker gives them."""

from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.header_names import TolerantRecords

Headers = Sequence[tuple[bytes, bytes | None]]
Records = Sequence[tuple[bytes | None, Headers]]


class Name(str):
    """A header name that is written as these bytes."""

    raw: bytes

    def __new__(cls, raw: bytes) -> "Name":
        name = super().__new__(cls, raw.decode("utf-8", "replace"))
        name.raw = raw
        return name

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return self.raw


def a_batch(records: Records, *, compression: int = 0) -> bytes:
    builder = _DefaultRecordBatchBuilderPy(2, compression, 0, -1, -1, -1, 1 << 20)
    for offset, (value, headers) in enumerate(records):
        builder.append(offset, 1000 + offset, b"key", value, [(Name(name), inside) for name, inside in headers])
    return bytes(builder.build())


def read(data: bytes) -> list[list[tuple[int, bytes | None, list[Any]]]]:
    records = TolerantRecords(data)
    assert records.size_in_bytes() == len(data)
    batches = []
    while records.has_next():
        batch = records.next_batch()
        assert batch.validate_crc()
        assert batch.next_offset == batch.base_offset + batch.last_offset_delta + 1
        batches.append([(record.offset, record.value, list(record.headers)) for record in batch])
    return batches


@pytest.mark.parametrize("compression", [0, 1, 2, 3, 4])
def test_every_record_of_every_batch_is_read(compression: int) -> None:
    bad: Records = [
        (b"0", []),
        (b"1", [(b"ok", b"\xff"), (b"\xff\x00n", None)]),
        (b"2", [(b"x", b"")]),
    ]
    good: Records = [(b"3", [(b"trace", b"1")]), (None, [])]
    data = b"".join(a_batch(records, compression=compression) for records in (good, bad, good, bad))
    read_good = [(0, b"3", [("trace", b"1")]), (1, None, [])]
    read_bad = [(0, b"0", []), (1, b"1", [("ok", b"\xff"), ("\\xff\x00n", None)]), (2, b"2", [("x", b"")])]
    assert read(data) == [read_good, read_bad, read_good, read_bad]


@given(
    st.lists(
        st.tuples(
            st.none() | st.binary(max_size=20),
            st.lists(st.tuples(st.binary(max_size=8), st.none() | st.binary(max_size=8)), max_size=4),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_names_of_any_bytes(records: list[tuple[bytes | None, Headers]]) -> None:
    expected = [
        (offset, value, [(name.decode("utf-8", "backslashreplace"), inside) for name, inside in headers])
        for offset, (value, headers) in enumerate(records)
    ]
    assert read(a_batch(records)) == [expected]


def test_what_aiokafka_makes_of_it() -> None:
    """The reason for all this; without this failure it can go."""
    records = MemoryRecords(a_batch([(b"1", [(b"\xff", b"")])]))
    with pytest.raises((UnicodeDecodeError, CorruptRecordException)):
        list(records.next_batch())


def test_a_corrupt_record_is_still_one() -> None:
    data = bytearray(a_batch([(b"value", [])]))
    data[61] += 2  # the record's length
    with pytest.raises(CorruptRecordException):
        list(TolerantRecords(bytes(data)).next_batch())
