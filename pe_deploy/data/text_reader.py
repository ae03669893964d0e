"""What CSV and JSON lines share: rows from the lines of a UTF-8 file, written back as they were."""

from __future__ import annotations

import codecs
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pe_deploy.data.chunk import Chunk, offsets_of
from pe_deploy.data.lists import Column, Lists
from pe_deploy.data.reader import OUTSIDE, RowReader, in_int64
from pe_deploy.errors import DataError


class TextReader(RowReader):
    """Reads a file of lines; its byte order mark and line ending are kept for a copy of it."""

    def __init__(self, path: Path, chunk_rows: int, stack: ExitStack) -> None:
        super().__init__(path, chunk_rows)
        self._file = file = stack.enter_context(path.open("rb"))
        self._size = os.fstat(file.fileno()).st_size
        self.newline = "\r\n" if file.readline().endswith(b"\r\n") else "\n"
        file.seek(0)
        marked = file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
        file.seek(len(codecs.BOM_UTF8) if marked else 0)
        self._encoding = "utf-8-sig" if marked else "utf-8"

    def lines(self) -> Iterator[str]:
        """Each line with its ending and without the byte order mark."""
        for number, line in enumerate(self._file, 1):
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{self.path}: line {number} is not UTF-8 text, at its byte {error.start + 1}"
                ) from error
            yield text

    def create_like(self, path: Path) -> TextIO:
        """A new file, with a byte order mark if this one has it; line ends are written as given."""
        return path.open("w", encoding=self._encoding, newline="")

    def __iter__(self) -> Iterator[Chunk]:
        first_row = 1
        while records := self._take(first_row):
            rows = self._ids(records, first_row)
            offsets = offsets_of(np.fromiter(map(len, rows), np.int64, len(rows)))
            try:
                values = np.fromiter(self._integers(rows), np.int64, int(offsets[-1]))
            except (ValueError, OverflowError):
                raise next(self._bad_ids(rows, first_row)) from None
            yield Chunk(first_row, values, offsets, records, self._file.tell() / self._size)
            first_row += len(records)

    @abstractmethod
    def _take(self, first_row: int) -> list[Any]:
        """The records of the next chunk; none at the file's end."""

    @abstractmethod
    def _ids(self, records: list[Any], first_row: int) -> list[list[Any]]:
        """The ids of each record, not yet known to be integers."""

    @abstractmethod
    def _integers(self, rows: list[list[Any]]) -> Iterable[int]:
        """The ids of all rows, one after the other; a ValueError where one is not an integer."""

    @abstractmethod
    def _is_integer(self, value: Any) -> bool:
        """Whether this one is."""

    def _bad_ids(self, rows: list[list[Any]], first_row: int) -> Iterator[DataError]:
        for row, ids in enumerate(rows, first_row):
            for value in ids:
                if not self._is_integer(value):
                    yield self.bad_id(row, self._shown(value))
                elif not in_int64(value):
                    yield self.bad_id(row, str(value), OUTSIDE)

    def _shown(self, value: Any) -> str:
        """How an error shows what is not an integer."""
        return repr(value)


def cells_of(column: Column) -> list[Any]:
    """A column's values as Python's own int, float and str, or lists of them."""
    if isinstance(column, Lists):
        return column.cut(cells_of(column.members))
    # A float32 becomes the double with the shortest decimals that give the same float32 back: 0.9,
    # where a plain conversion would write 0.8999999761581421.
    if column.dtype == np.float32:
        column = column.astype(str).astype(np.float64)
    return list(column.tolist())
