"""What CSV, JSON and plain text share: rows from lines of UTF-8, and written back as such."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import zlib
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, TextIO

import numpy as np

from pe_deploy.data.chunk import Chunk
from pe_deploy.data.lists import Column, Lists, Sparse
from pe_deploy.data.reader import How, Ids, RowReader, reading
from pe_deploy.data.suffix import suffix_of
from pe_deploy.errors import DataError

LONGEST_LINE = 2**25
"""The most bytes of a line."""
LARGEST_RECORD = 2**27
"""The most bytes of a record, which may be of many lines where these are in quotes."""

_CHUNK_BYTES = 2**23
_BAD_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SAVE_AS = "save it as UTF-8, which Excel calls 'CSV UTF-8'"


class LineFile(RowReader):
    """Reads a file of lines; its byte order mark and line ending are kept for a copy of it."""

    def __init__(self, path: Path, how: How, stack: ExitStack) -> None:
        super().__init__(path, how)
        self._raw: IO[bytes] = stack.enter_context(path.open("rb"))
        self._size = os.fstat(self._raw.fileno()).st_size
        self._file = self._raw
        self._bytes_read = 0
        self._bytes_of_records = 0  # of those that were read to their end
        if suffix_of(path).endswith(".gz"):
            unpacked = gzip.GzipFile(fileobj=self._raw)
            self._file = stack.enter_context(io.BufferedReader(unpacked))
        with self._unpacking():
            first = self._file.readline(LONGEST_LINE)
            self._file.seek(0)
            if first.startswith(_UTF16):
                raise DataError(f"{path}: line 1 is UTF-16 text; {_SAVE_AS}")
            marked = first.startswith(codecs.BOM_UTF8)
            self._file.seek(len(codecs.BOM_UTF8) if marked else 0)
        self.newline = "\r\n" if first.endswith(b"\r\n") else "\n"
        self._encoding = "utf-8-sig" if marked else "utf-8"

    def _unpacking(self) -> AbstractContextManager[None]:
        return reading(self.path, "gzip", _BAD_GZIP)

    def lines(self) -> Iterator[str]:
        """Each line with its ending and without the byte order mark."""
        readline = partial(self._file.readline, LONGEST_LINE + 1)
        with self._unpacking():
            for number, line in enumerate(iter(readline, b""), 1):
                if len(line) > LONGEST_LINE:
                    raise DataError(
                        f"{self.path}: line {number} is too long; "
                        f"allowed: {LONGEST_LINE:,} bytes or fewer"
                    )
                try:
                    text = line.decode()
                except UnicodeDecodeError as error:
                    raise self._not_utf8(number, error.start + 1) from error
                self._bytes_read += len(line)
                if self._bytes_read - self._bytes_of_records > LARGEST_RECORD:
                    raise DataError(
                        f"{self.path}: a row that goes on in line {number} is too large; "
                        f"allowed: {LARGEST_RECORD:,} bytes or fewer"
                    )
                yield text

    def peek(self, size: int) -> bytes:
        """The first bytes, which are read again afterwards."""
        with self._unpacking():
            start = self._file.tell()
            head = self._file.read(size)
            self._file.seek(start)
        return head

    def whole(self, largest: int, what: str, otherwise: str) -> str:
        """All of the text at once.

        Raises:
            DataError: it has more than so many bytes, or is not UTF-8.
        """
        with self._unpacking():
            data = self._file.read(largest + 1)
        if len(data) > largest:
            allowed = f"allowed: {largest:,} bytes or fewer, {otherwise}"
            raise DataError(f"{self.path}: {what} that is too large; {allowed}")
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            byte = error.start - data.rfind(b"\n", 0, error.start)
            raise self._not_utf8(line, byte) from error

    def _not_utf8(self, line: int, byte: int) -> DataError:
        return DataError(
            f"{self.path}: line {line} is not UTF-8 text, at its byte {byte}; {_SAVE_AS}"
        )

    def taken(self, records: Iterator[Any]) -> Iterator[Any]:
        """As many of the records that come as a chunk may have, by their number and their size."""
        enough = self._bytes_read + _CHUNK_BYTES
        for _, record in zip(range(self.how.chunk_rows), records, strict=False):
            self._bytes_of_records = self._bytes_read
            yield record
            if self._bytes_read > enough:
                return

    @contextmanager
    def create_like(self, path: Path, suffix: str) -> Iterator[TextIO]:
        """A new file, with a byte order mark if this one has it; line ends are written as given."""
        with create(path, suffix, self._encoding) as file:
            yield file

    @property
    def done(self) -> float:
        """The share of the file that was read, 0 to 1."""
        return self._raw.tell() / self._size


class TextReader(LineFile):
    """Reads records of cells, of which one holds ids or a text."""

    def __iter__(self) -> Iterator[Chunk]:
        first_row = 1
        while records := self._take(first_row):
            errors: dict[int, str] = {}
            if self.of_texts:
                texts = self._texts(records, first_row, errors)
                yield Chunk.of_texts(first_row, texts, records, self.done, errors)
            else:
                ids = self._ids(records, first_row, errors)
                yield Chunk(first_row, *ids, records, self.done, None, errors)
            first_row += len(records)

    @abstractmethod
    def _take(self, first_row: int) -> list[Any]:
        """The records of the next chunk; none at the file's end."""

    @abstractmethod
    def _ids(self, records: list[Any], first_row: int, errors: dict[int, str]) -> Ids:
        """The ids of the records."""

    @abstractmethod
    def _texts(self, records: list[Any], first_row: int, errors: dict[int, str]) -> list[str]:
        """The text of each record."""


@contextmanager
def create(path: Path, suffix: str, encoding: str = "utf-8") -> Iterator[TextIO]:
    """A new text file, compressed where its suffix says so; line ends are written as given."""
    with ExitStack() as stack:
        file: Any = stack.enter_context(path.open("wb"))
        if suffix.endswith(".gz"):
            # Without the name, which may be a temporary one, and without the time.
            file = stack.enter_context(gzip.GzipFile("", "wb", 6, file, mtime=0))
        yield stack.enter_context(io.TextIOWrapper(file, encoding, "backslashreplace", ""))


def cells_of(column: Column) -> list[Any]:
    """A column's values as Python's own int, float and str, or lists of them, or None."""
    if isinstance(column, Sparse):
        return column.spread(cells_of(column.values))
    if isinstance(column, Lists):
        return column.cut(cells_of(column.members))
    # A float32 becomes the double with the shortest decimals that give the same float32 back: 0.9,
    # where a plain conversion would write 0.8999999761581421.
    if column.dtype == np.float32:
        column = column.astype(str).astype(np.float64)
    return list(column.tolist())
