"""Recorded events in a file: JSON lines, as they are or compressed with gzip (design section 23)."""

import gzip
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from consumer.events.event import FetchedRecord
from consumer.tuning.lines import BrokenLine, line_of, record_of
from providers.errors import UserError, text_of
from state.violation import Record

STANDARD: Final = Path("-")
"""Standard input."""

BLOCK: Final = 1 << 20
"""Bytes that are read, and lines that are given, at a time."""

LONGEST_LINE: Final = 16 << 20
"""Bytes of a line. Kafka takes no record that were longer."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class FileTrouble(UserError):
    """A file cannot be read, or written, as far as it goes."""


def records_in(path: Path, read: Callable[[int], None] = lambda position: None) -> Iterator[list[Record]]:
    """The records of a file, many at a time; ``-`` is standard input.

    ``read`` is told how many bytes of the file have been read.

    Raises `FileTrouble` if there is no such file, if it ends within a compressed stream, or if one of its lines is no
    record (the error tells the number of the line).
    """
    number = 0
    try:
        with _opened(path) as (raw, lines_of):
            for lines in lines_of:
                records = []
                for line in lines:
                    number += 1
                    if line and not line.isspace():
                        records.append(record_of(line, number))
                if raw.seekable():
                    read(raw.tell())
                yield records
    except BrokenLine as error:
        raise FileTrouble(f"{path}: line {number}: {error}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileTrouble(f"{path}: after line {number}: the gzip stream is broken or cut off: {error}") from None
    except OSError as error:
        raise FileTrouble(f"{path}: {error.strerror or text_of(error)}") from None


class _Opened:
    """A file that is read: the bytes that it has, and its lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._raw: IO[bytes] = sys.stdin.buffer if path == STANDARD else path.open("rb")

    def __enter__(self) -> tuple[IO[bytes], Iterator[list[bytes]]]:
        beginning = self._raw.peek(4)[:4]  # type: ignore[attr-defined]  # it is buffered
        if beginning.startswith(_ZSTD):
            raise FileTrouble(f"{self._path}: zstd is not read: zstd -dc {self._path} | … --input -")
        stream = gzip.GzipFile(fileobj=self._raw) if beginning.startswith(_GZIP) else self._raw
        return self._raw, _lines(stream.read if stream is not self._raw else self._raw.read1, self._path)  # type: ignore[attr-defined]

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._path != STANDARD:
            self._raw.close()


def _opened(path: Path) -> _Opened:
    return _Opened(path)


def _lines(read: Callable[[int], bytes], path: Path) -> Iterator[list[bytes]]:
    left, number = b"", 0
    while block := read(BLOCK):
        lines = (left + block).split(b"\n")
        left = lines.pop()
        number += len(lines)
        if len(left) > LONGEST_LINE:
            raise FileTrouble(f"{path}: line {number + 1}: longer than {LONGEST_LINE >> 20} MiB: these are no events")
        yield lines
    if left:
        yield [left]


class Export:
    """Writes records to a file that `records_in` reads; compressed if its name ends in ``.gz``.

    Raises `FileTrouble` if the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.count = 0

    def __enter__(self) -> Self:
        try:
            self._raw = self._path.open("wb")
        except OSError as error:
            raise FileTrouble(f"{self._path}: {error.strerror or text_of(error)}") from None
        is_compressed = self._path.suffix == ".gz"
        # No name and no time: the same events are the same bytes.
        self._file = gzip.GzipFile("", "wb", 6, self._raw, mtime=0) if is_compressed else self._raw
        return self

    def write(self, records: Iterable[FetchedRecord]) -> None:
        """Write these."""
        try:
            for record in records:
                self._file.write(line_of(record) + b"\n")
                self.count += 1
        except OSError as error:
            raise FileTrouble(f"{self._path}: {error.strerror or text_of(error)}") from None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._file is not self._raw:
                self._file.close()
            self._raw.close()
        except OSError as error:
            raise FileTrouble(f"{self._path}: {error.strerror or text_of(error)}") from None
