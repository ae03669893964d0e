"""Rows of a JSON lines file: an object a line, whose `input_ids` is a list of integers.

pyarrow's JSON reader is faster and loses data: it turns text that looks like a date into a
timestamp and gives all rows one type. Here a written row is the text of the line it was read from
with members added at its end, so numbers, escapes and the order of keys stay what they were.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import INPUT_IDS
from pe_deploy.data.ragged import offsets_of
from pe_deploy.data.reader import LABEL, Chunk, RowReader, WriteChunk, in_int64, shortened
from pe_deploy.data.text_file import TextFile, open_text, plain
from pe_deploy.errors import DataError

_INTEGERS_ONLY = "allowed: a list of integers"


class _Record(NamedTuple):
    text: str
    fields: dict[str, Any]


class JsonlReader(RowReader):
    """Reads JSON lines; blank lines are not rows, and rows may differ in their columns."""

    def __init__(self, text: TextFile, chunk_rows: int) -> None:
        self._text = text
        super().__init__(text.path, (), chunk_rows)
        lines = filter(None, map(str.strip, text))
        first = list(islice(lines, 1))
        self._lines = chain(first, lines)
        if first:
            self.columns = tuple(self._record(1, first[0]).fields)
            self.require_column(INPUT_IDS)

    def __iter__(self) -> Iterator[Chunk]:
        first_row = 1
        while lines := list(islice(self._lines, self.chunk_rows)):
            records = [self._record(row, line) for row, line in enumerate(lines, first_row)]
            values, offsets = self._ids(records, first_row)
            yield Chunk(first_row, values, offsets, records, self._text.done)
            first_row += len(records)

    def _record(self, row: int, line: str) -> _Record:
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise self.bad_row(row, f"not JSON: {error.msg}, at character {error.colno}") from error
        except (ValueError, RecursionError) as error:  # thousands of digits, or of brackets
            raise self.bad_row(row, f"JSON that cannot be read: {error}") from error
        if not isinstance(fields, dict):
            raise self.bad_row(row, f"a JSON {type(fields).__name__}; allowed: an object")
        return _Record(line, fields)

    def _ids(
        self, records: list[_Record], first_row: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = [self._list(row, record) for row, record in enumerate(records, first_row)]
        offsets = offsets_of(np.fromiter(map(len, rows), np.int64, len(rows)))
        try:
            # By exact type: a bool is an int to Python, and numpy would cut a float to fit.
            if not set(map(type, chain.from_iterable(rows))) <= {int}:
                raise TypeError
            return np.fromiter(chain.from_iterable(rows), np.int64, int(offsets[-1])), offsets
        except (TypeError, OverflowError):
            raise next(self._bad_ids(rows, first_row)) from None

    def _list(self, row: int, record: _Record) -> list[Any]:
        ids = self._member(row, record, INPUT_IDS)
        if not isinstance(ids, list):
            reason = f"{_shown(ids)} is not a list; allowed: a list of integers"
            raise self.bad_cell(row, INPUT_IDS, reason)
        return ids

    def _member(self, row: int, record: _Record, column: str) -> Any:
        if column not in record.fields:
            others = ", ".join(record.fields)
            raise self.bad_row(row, f"no column {column!r}; its columns: {others}")
        return record.fields[column]

    def _bad_ids(self, rows: list[list[Any]], first_row: int) -> Iterator[DataError]:
        for row, ids in enumerate(rows, first_row):
            for value in ids:
                if type(value) is not int:
                    yield self.bad_id(row, _shown(value))
                elif not in_int64(value):
                    yield self.id_too_large(row, str(value))

    def _labels(self, chunk: Chunk) -> list[Any]:
        rows = enumerate(chunk.records, chunk.first_row)
        return [self._member(row, record, LABEL) for row, record in rows]

    @contextmanager
    def _writer(
        self, path: Path, dtypes: dict[str, np.dtype[Any]], names: list[str]
    ) -> Iterator[WriteChunk]:
        encode = json.JSONEncoder(ensure_ascii=False).encode
        with self._text.create_like(path) as file:

            def write(chunk: Chunk, columns: Mapping[str, NDArray[Any]]) -> None:
                added = zip(*(plain(columns[c], dtypes[c]) for c in dtypes), strict=True)
                rows = enumerate(zip(chunk.records, added, strict=True), chunk.first_row)
                for row, (record, more) in rows:
                    for name in names:
                        if name in record.fields:
                            raise self.bad_row(
                                row, f"a column {name!r}, which is to be added; row 1 has none"
                            )
                    members = encode(dict(zip(names, more, strict=True)))
                    opened = record.text.removesuffix("}").rstrip()
                    file.write(f"{opened}, {members.removeprefix('{')}{self._text.newline}")

            yield write


def _shown(value: object) -> str:
    return shortened(json.dumps(value, ensure_ascii=False))


@contextmanager
def open_jsonl(path: Path, chunk_rows: int) -> Iterator[JsonlReader]:
    """Open a JSON lines file.

    Raises:
        DataError: its first row is not a JSON object with `input_ids`.
    """
    with open_text(path) as text:
        yield JsonlReader(text, chunk_rows)
