"""Rows of a CSV file: `input_ids` holds integers separated by spaces.

Python's own csv module reads and writes it: cells stay the text they are, an error knows its row,
and only cells that need quotes get them. pyarrow's CSV writer quotes every string.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from pe_deploy.config import INPUT_IDS
from pe_deploy.data.chunk import Chunk, row_at
from pe_deploy.data.lists import Column, Lists
from pe_deploy.data.reader import LABEL, Append, Types, shortened
from pe_deploy.data.text_reader import TextReader, cells_of
from pe_deploy.errors import DataError

_SEPARATOR = ";"
_INTEGER = re.compile(r"[+-]?[0-9]+")


class CsvReader(TextReader):
    """Reads CSV with a header, quotes as in RFC 4180; blank lines are not rows."""

    untyped_labels = True

    def __init__(self, path: Path, chunk_rows: int, stack: ExitStack) -> None:
        super().__init__(path, chunk_rows, stack)
        # Strict: a cell that goes on after its closing quote is an error, not a guess.
        self._records = filter(None, csv.reader(self.lines(), strict=True))
        try:
            header = next(self._records, None)
        except csv.Error as error:
            raise DataError(f"{path}: header: {error}") from error
        if header is None:
            raise DataError(f"{path}: the file is empty; allowed: a header, then rows")
        self.columns = tuple(header)
        self.require_column(INPUT_IDS)

    def _take(self, first_row: int) -> list[list[str]]:
        records: list[list[str]] = []
        try:
            for row, record in enumerate(islice(self._records, self.chunk_rows), first_row):
                if len(record) != len(self.columns):
                    reason = f"{len(record)} fields; the header has {len(self.columns)}"
                    raise self.bad_row(row, reason)
                records.append(record)
        except csv.Error as error:
            # A quote left open makes one cell of the rest of the file: csv's limit on a cell's
            # size (131072 characters) ends that here.
            raise self.bad_row(first_row + len(records), str(error)) from error
        return records

    def _ids(self, records: list[list[str]], first_row: int) -> list[list[str]]:
        column = self.columns.index(INPUT_IDS)
        return [record[column].split() for record in records]

    def _integers(self, rows: list[list[str]]) -> Iterable[int]:
        # Python's int() would read 1_000 and the digits of other scripts, too.
        text = "".join(chain.from_iterable(rows))
        if "_" in text or not text.isascii():
            raise ValueError
        return map(int, chain.from_iterable(rows))

    def _is_integer(self, value: str) -> bool:
        return _INTEGER.fullmatch(value) is not None

    def _labels(self, chunk: Chunk) -> list[Any]:
        column = self.columns.index(LABEL)
        return [record[column] for record in chunk.records]

    @contextmanager
    def _writer(self, path: Path, names: list[str], types: Types) -> Iterator[Append]:
        with self.create_like(path) as file:
            writer = csv.writer(_LineEnds(file, self.newline))
            writer.writerow([*self.columns, *names])

            def append(chunk: Chunk, columns: Sequence[Column]) -> None:
                added = (
                    self._joined(chunk, name, column)
                    if isinstance(column, Lists)
                    else cells_of(column)
                    for name, column in zip(names, columns, strict=True)
                )
                rows = zip(chunk.records, *added, strict=True)
                writer.writerows([*record, *more] for record, *more in rows)

            yield append

    def _joined(self, chunk: Chunk, name: str, lists: Lists) -> list[str]:
        """Each list as the text of a cell, out of which it can be read again."""
        texts = [str(member) for member in cells_of(lists.members)]
        for position, text in enumerate(texts):
            if not text or _SEPARATOR in text:
                reason = f"{shortened(repr(text))} cannot be told apart in a cell"
                allowed = f"allowed: text without {_SEPARATOR!r}; other formats hold any"
                row = chunk.first_row + row_at(lists.offsets, position)
                raise self.bad_cell(row, name, f"{reason}; {allowed}")
        return [_SEPARATOR.join(members) for members in lists.cut(texts)]


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
