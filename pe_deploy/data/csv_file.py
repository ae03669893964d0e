"""Rows of a CSV file: `input_ids` holds integers separated by spaces.

Python's own csv module reads and writes it: cells stay the text they are, an error knows its row,
and only cells that need quotes get them. pyarrow's CSV writer quotes every string.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import INPUT_IDS
from pe_deploy.data.ragged import offsets_of
from pe_deploy.data.reader import LABEL, Chunk, RowReader, WriteChunk, in_int64
from pe_deploy.data.text_file import TextFile, open_text, plain
from pe_deploy.errors import DataError

_INTEGER = re.compile(r"[+-]?[0-9]+")


class CsvReader(RowReader):
    """Reads CSV with a header, quotes as in RFC 4180; blank lines are not rows."""

    untyped_labels = True

    def __init__(self, text: TextFile, chunk_rows: int) -> None:
        self._text = text
        # Strict: a cell that goes on after its closing quote is an error, not a guess.
        self._records = (record for record in csv.reader(text, strict=True) if record)
        try:
            header = next(self._records, None)
        except csv.Error as error:
            raise DataError(f"{text.path}: header: {error}") from error
        if header is None:
            raise DataError(f"{text.path}: the file is empty; allowed: a header, then rows")
        super().__init__(text.path, tuple(header), chunk_rows)
        self.require_column(INPUT_IDS)

    def __iter__(self) -> Iterator[Chunk]:
        column = self.columns.index(INPUT_IDS)
        first_row = 1
        while records := self._take(first_row):
            values, offsets = self._parse([record[column] for record in records], first_row)
            yield Chunk(first_row, values, offsets, records, self._text.done)
            first_row += len(records)

    def _take(self, first_row: int) -> list[list[str]]:
        records: list[list[str]] = []
        try:
            for record in islice(self._records, self.chunk_rows):
                records.append(record)
                if len(record) != len(self.columns):
                    raise self.bad_row(
                        first_row + len(records) - 1,
                        f"{len(record)} fields; the header has {len(self.columns)}",
                    )
        except csv.Error as error:
            # A quote left open makes one cell of the rest of the file: csv's limit on a cell's
            # size (131072 characters) ends that here.
            raise self.bad_row(first_row + len(records), str(error)) from error
        return records

    def _parse(
        self, cells: list[str], first_row: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        tokens = [cell.split() for cell in cells]
        offsets = offsets_of(np.fromiter(map(len, tokens), np.int64, len(tokens)))
        try:
            # Python's int() would read 1_000 and the digits of other scripts, too.
            text = "".join(chain.from_iterable(tokens))
            if "_" in text or not text.isascii():
                raise ValueError
            flat = map(int, chain.from_iterable(tokens))
            return np.fromiter(flat, np.int64, int(offsets[-1])), offsets
        except (ValueError, OverflowError):
            raise next(self._bad_ids(tokens, first_row)) from None

    def _bad_ids(self, tokens: list[list[str]], first_row: int) -> Iterator[DataError]:
        for row, row_tokens in enumerate(tokens, first_row):
            for token in row_tokens:
                if not _INTEGER.fullmatch(token):
                    yield self.bad_id(row, repr(token))
                elif not _fits(token):
                    yield self.id_too_large(row, token)

    def _labels(self, chunk: Chunk) -> list[Any]:
        column = self.columns.index(LABEL)
        return [record[column] for record in chunk.records]

    @contextmanager
    def _writer(
        self, path: Path, dtypes: dict[str, np.dtype[Any]], names: list[str]
    ) -> Iterator[WriteChunk]:
        with self._text.create_like(path) as file:
            writer = csv.writer(_LineEnds(file, self._text.newline))
            writer.writerow([*self.columns, *names])

            def write(chunk: Chunk, columns: Mapping[str, NDArray[Any]]) -> None:
                added = zip(*(plain(columns[c], dtypes[c]) for c in dtypes), strict=True)
                writer.writerows(
                    [*record, *more] for record, more in zip(chunk.records, added, strict=True)
                )

            yield write


def _fits(integer: str) -> bool:
    try:
        return in_int64(int(integer))
    except ValueError:  # Python refuses to read thousands of digits
        return False


class _LineEnds:
    r"""Gives each row of a csv.writer the line ending of the input.

    The writer itself keeps its own ending, \r\n: before Python 3.13 it quotes the characters of
    its line ending only, so with \n alone a cell that holds a \r would come back as two rows.
    """

    def __init__(self, file: TextIO, newline: str) -> None:
        self._file = file
        self._newline = newline

    def write(self, row: str) -> None:
        self._file.write(row.removesuffix("\r\n") + self._newline)


@contextmanager
def open_csv(path: Path, chunk_rows: int) -> Iterator[CsvReader]:
    """Open a CSV file.

    Raises:
        DataError: it is empty or has no column `input_ids`.
    """
    with open_text(path) as text:
        yield CsvReader(text, chunk_rows)
