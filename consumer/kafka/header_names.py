"""Lets consumers read records whose header names are not UTF-8.

Kafka's protocol defines a header's name as a string, but brokers accept any bytes. For such a record aiokafka 0.14
raises UnicodeDecodeError from ``getmany``: at every call, since the position stays before the record, and the records
before it in the same fetch are lost. So one producer that writes one such name would stop every reader of the topic.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import aiokafka.consumer.fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

_OVERHEAD, _LENGTH = 12, slice(8, 12)
"""In a record batch: the number of bytes up to the end of the length field, and the place of that field."""


def let_header_names_be_any_bytes() -> None:
    """Make aiokafka's consumers in this process read a byte that is not UTF-8 as its escape, such as ``\\xff``."""
    # The fetcher looks the class up in its own module; there is no parameter for it.
    aiokafka.consumer.fetcher.MemoryRecords = TolerantRecords


class TolerantRecords:
    """The batches of a fetched partition, as the fetcher uses them."""

    def __init__(self, data: bytes) -> None:
        self._records: Any = MemoryRecords(data)
        self._data = data
        self._position = 0

    def has_next(self) -> bool:
        """Whether another whole batch follows."""
        return bool(self._records.has_next())

    def size_in_bytes(self) -> int:
        """The size of all batches, including one that was cut off."""
        return int(self._records.size_in_bytes())

    def next_batch(self) -> "TolerantBatch":
        """The next batch. Raises aiokafka's `CorruptRecordException` if the batch is corrupt."""
        batch = self._records.next_batch()
        start = self._position
        length = int.from_bytes(self._data[start + _LENGTH.start : start + _LENGTH.stop], "big")
        self._position = start + _OVERHEAD + length
        return TolerantBatch(batch, self._data, start, self._position)


class TolerantBatch:
    """A batch. What is not defined here comes from the original batch."""

    def __init__(self, batch: Any, data: bytes, start: int, end: int) -> None:
        self._batch = batch
        self._data = data
        self._start, self._end = start, end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        passed = 0
        try:
            for record in self._batch:
                passed += 1
                yield record
        except (UnicodeDecodeError, CorruptRecordException):  # the second is raised without aiokafka's C extensions
            yield from islice(_read_tolerantly(self._data[self._start : self._end]), passed, None)


def _read_tolerantly(data: bytes) -> Iterator[Any]:
    batch = _DefaultRecordBatchPy(data)
    batch._maybe_uncompress()
    batch._buffer = _Text(batch._buffer)
    return iter(batch)


class _Text(bytearray):
    """Bytes of which every slice can be decoded."""

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return _Text(found) if isinstance(index, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)
