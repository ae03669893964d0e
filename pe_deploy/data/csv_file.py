"""Rows of a CSV file: `input_ids` holds lists of integers, as text.

Python's own csv module reads and writes it: cells stay the text they are, an error knows its row,
and only cells that need quotes get them. pyarrow's CSV writer quotes every string.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import INPUT_IDS
from pe_deploy.data.chunk import Chunk, row_at
from pe_deploy.data.columns import TEXT
from pe_deploy.data.lists import Column, Lists, Sparse
from pe_deploy.data.reader import Append, How, Ids, RowReader, Types, shortened
from pe_deploy.data.suffix import suffix_of
from pe_deploy.data.text_reader import TextReader, cells_of
from pe_deploy.data.written_ids import AS_TEXT, members_of
from pe_deploy.errors import DataError, InvalidInputError

LONGEST_CELL = 2**24
"""The most characters of a cell."""

_DELIMITERS = (",", ";", "\t")
_SEPARATOR = ";"
_QUOTED = re.compile(r'"[^"]*(?:"|$)')


class CsvReader(TextReader):
    """Reads CSV with a header, quotes as in RFC 4180; blank lines are not rows.

    Cells are separated by the delimiter that is stated, by tabs in a `.tsv` file, and else by what
    the header's names are separated by: `,`, `;` or a tab.
    """

    untyped_labels = True

    def __init__(self, path: Path, how: How, stack: ExitStack) -> None:
        super().__init__(path, how, stack)
        _allow_long_cells()
        lines = self.lines()
        header_line = next(filter(str.strip, lines), "")
        self._delimiter = how.delimiter or self._delimiter_of(header_line)
        # Strict: a cell that goes on after its closing quote is an error, not a guess.
        rows = csv.reader(chain([header_line], lines), delimiter=self._delimiter, strict=True)
        self._records = filter(None, rows)
        try:
            header = next(self._records, None)
        except csv.Error as error:
            raise DataError(f"{path}: header: {_line_of(error)}") from error
        if header is None:
            raise DataError(f"{path}: the file is empty; allowed: a header, then rows")
        self._found(header)
        self._place = self.columns.index(self.column)

    def _delimiter_of(self, header: str) -> str:
        if suffix_of(self.path).startswith(".tsv"):
            return "\t"
        stated = self.how.columns
        wanted = {stated.ids or stated.text or INPUT_IDS, stated.ids or stated.text or TEXT}

        def fit(delimiter: str) -> tuple[bool, int]:
            try:
                names = next(csv.reader([header], delimiter=delimiter), [])
            except csv.Error:  # which is said when the header is read
                names = []
            return bool(wanted & {*names}), _QUOTED.sub("", header).count(delimiter)

        return max(_DELIMITERS, key=fit)

    def _take(self, first_row: int) -> list[list[str]]:
        records: list[list[str]] = []
        try:
            for row, record in enumerate(self.taken(self._records), first_row):
                if len(record) != len(self.columns):
                    reason = f"{len(record)} fields; the header has {len(self.columns)}"
                    raise self.bad_row(row, reason)
                records.append(record)
        except csv.Error as error:
            raise self.bad_row(first_row + len(records), _line_of(error)) from error
        return records

    def _ids(self, records: list[list[str]], first_row: int, errors: dict[int, str]) -> Ids:
        rows = members_of(self._texts(records, first_row, errors))
        return self.listed_ids(rows, AS_TEXT, first_row, errors)

    def _texts(self, records: list[list[str]], first_row: int, errors: dict[int, str]) -> list[str]:
        place = self._place
        return [record[place] for record in records]

    def _labels(self, chunk: Chunk) -> list[Any]:
        column = self.columns.index(self.how.columns.label)
        return [record[column] for record in chunk.records]

    @contextmanager
    def _writer(self, path: Path, suffix: str, names: list[str], types: Types) -> Iterator[Append]:
        with self.create_like(path, suffix) as file:
            writer = csv.writer(LineEnds(file, self.newline), delimiter=self._delimiter)
            writer.writerow([*self.columns, *names])

            def append(chunk: Chunk, columns: Sequence[Column]) -> None:
                added = added_cells(self, chunk, names, columns)
                rows = zip(chunk.records, *added, strict=True)
                writer.writerows([*record, *more] for record, *more in rows)

            yield append


def added_cells(
    reader: RowReader, chunk: Chunk, names: Sequence[str], columns: Sequence[Column]
) -> list[list[Any]]:
    """The cells of each added column; a list is the text of one, out of which it can be read again.

    Raises:
        DataError: the members of a list could not be told apart.
    """
    cells: list[list[Any]] = []
    for name, column in zip(names, columns, strict=True):
        values = column.values if isinstance(column, Sparse) else column
        if isinstance(values, Lists):
            rows = column.present.nonzero()[0] if isinstance(column, Sparse) else range(len(chunk))
            made: list[Any] = _joined(reader, chunk.first_row, name, values, rows)
            cells.append(column.spread(made) if isinstance(column, Sparse) else made)
        else:
            cells.append(cells_of(column))
    return cells


def _joined(
    reader: RowReader, first_row: int, name: str, lists: Lists, rows: NDArray[np.intp] | range
) -> list[str]:
    texts = [str(member) for member in cells_of(lists.members)]
    for position, text in enumerate(texts):
        if not text or _SEPARATOR in text:
            reason = f"{shortened(repr(text))} cannot be told apart in a cell"
            allowed = f"allowed: text without {_SEPARATOR!r}; other formats hold any"
            row = first_row + int(rows[row_at(lists.offsets, position)])
            raise reader.bad_cell(row, name, f"{reason}; {allowed}")
    return [_SEPARATOR.join(members) for members in lists.cut(texts)]


def checked_delimiter(delimiter: str | None) -> str | None:
    r"""A delimiter as csv takes it; `\t`, as it is typed in a shell, is a tab.

    Raises:
        InvalidInputError: it is not one character, or one that a cell or a line ends with.
    """
    if delimiter is None:
        return None
    delimiter = "\t" if delimiter == "\\t" else delimiter
    if len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise InvalidInputError(f"delimiter is {delimiter!r}; allowed: one character, as ; or \\t")
    return delimiter


def _allow_long_cells() -> None:
    """Let csv take cells of 16 million characters; at its own limit, 131,072, a long text ends."""
    # Of the whole process, so that it is never lowered: another thread may be reading.
    if csv.field_size_limit() < LONGEST_CELL:
        csv.field_size_limit(LONGEST_CELL)


def _line_of(error: csv.Error) -> str:
    """What csv found, and of a cell that is too long what it is likely to be."""
    text = str(error)
    if text.startswith("field larger than"):
        return f"a cell of more than {csv.field_size_limit():,} characters: is a quote left open?"
    return text


class LineEnds:
    r"""Gives each row of a csv.writer the line ending of the input.

    The writer itself keeps its own ending, \r\n: before Python 3.13 it quotes the characters of
    its line ending only, so with \n alone a cell that holds a \r would come back as two rows.
    """

    def __init__(self, file: TextIO, newline: str) -> None:
        self._file = file
        self._newline = newline

    def write(self, row: str) -> None:
        """A row, with the ending of the writer."""
        self._file.write(row.removesuffix("\r\n") + self._newline)
