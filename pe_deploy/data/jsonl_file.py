"""Rows of a JSON lines file: an object a line, whose `input_ids` is a list of integers.

pyarrow's JSON reader is faster and loses data: it turns text that looks like a date into a
timestamp and gives all rows one type. Here a written row is the text of the line it was read from
with members added at its end, so numbers, escapes and the order of keys stay what they were.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from pe_deploy.config import INPUT_IDS
from pe_deploy.data.chunk import Chunk
from pe_deploy.data.lists import Column
from pe_deploy.data.reader import LABEL, Append, Types, shortened
from pe_deploy.data.text_reader import TextReader, cells_of


class _Record(NamedTuple):
    text: str
    fields: dict[str, Any]


class JsonlReader(TextReader):
    """Reads JSON lines; blank lines are not rows, and rows may differ in their columns."""

    def __init__(self, path: Path, chunk_rows: int, stack: ExitStack) -> None:
        super().__init__(path, chunk_rows, stack)
        lines = filter(None, map(str.strip, self.lines()))
        first = list(islice(lines, 1))
        self._texts = chain(first, lines)
        if first:
            self.columns = tuple(self._record(1, first[0]).fields)
            self.require_column(INPUT_IDS)

    def _take(self, first_row: int) -> list[_Record]:
        texts = islice(self._texts, self.chunk_rows)
        return [self._record(row, text) for row, text in enumerate(texts, first_row)]

    def _record(self, row: int, text: str) -> _Record:
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as error:
            raise self.bad_row(row, f"not JSON: {error.msg}, at character {error.colno}") from error
        except (ValueError, RecursionError) as error:  # thousands of digits, or of brackets
            raise self.bad_row(row, f"JSON that cannot be read: {error}") from error
        if not isinstance(fields, dict):
            raise self.bad_row(row, f"a JSON {type(fields).__name__}; allowed: an object")
        return _Record(text, fields)

    def _ids(self, records: list[_Record], first_row: int) -> list[list[Any]]:
        rows = []
        for row, ids in enumerate(self._members(records, first_row, INPUT_IDS), first_row):
            if not isinstance(ids, list):
                reason = f"{shortened(self._shown(ids))} is not a list; allowed: a list of integers"
                raise self.bad_cell(row, INPUT_IDS, reason)
            rows.append(ids)
        return rows

    def _integers(self, rows: list[list[Any]]) -> Iterable[int]:
        # By exact type: a bool is an int to Python, and numpy would cut a float to fit.
        if not set(map(type, chain.from_iterable(rows))) <= {int}:
            raise ValueError
        return chain.from_iterable(rows)

    def _is_integer(self, value: Any) -> bool:
        return type(value) is int

    def _shown(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    def _labels(self, chunk: Chunk) -> list[Any]:
        return list(self._members(chunk.records, chunk.first_row, LABEL))

    def _members(self, records: list[_Record], first_row: int, column: str) -> Iterator[Any]:
        for row, record in enumerate(records, first_row):
            if column not in record.fields:
                others = ", ".join(record.fields)
                raise self.bad_row(row, f"no column {column!r}; its columns: {others}")
            yield record.fields[column]

    @contextmanager
    def _writer(self, path: Path, names: list[str], types: Types) -> Iterator[Append]:
        encode = json.JSONEncoder(ensure_ascii=False).encode
        with self.create_like(path) as file:

            def append(chunk: Chunk, columns: Sequence[Column]) -> None:
                rows = enumerate(zip(chunk.records, *map(cells_of, columns), strict=True))
                for row, (record, *cells) in rows:
                    for name in names:
                        if name in record.fields:
                            raise self.bad_row(
                                chunk.first_row + row,
                                f"a column {name!r}, which is to be added; row 1 has none",
                            )
                    members = encode(dict(zip(names, cells, strict=True)))
                    opened = record.text.removesuffix("}").rstrip()
                    file.write(f"{opened}, {members.removeprefix('{')}{self.newline}")

            yield append
