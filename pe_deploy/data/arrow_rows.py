"""Rows that are Arrow's: a column of lists of integers, of lists written as text, or of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pe_deploy.data.chunk import Chunk, offsets_of, row_at
from pe_deploy.data.lists import Column, ColumnType, ListOf, Lists, Sparse, as_type
from pe_deploy.data.reader import (
    NOT_AN_INTEGER,
    Append,
    How,
    Ids,
    RowReader,
    Types,
    reading,
    without_bad,
)
from pe_deploy.data.written_ids import AS_TEXT, members_of
from pe_deploy.errors import DataError

# What pyarrow raises for damaged data; text that is not UTF-8 is a ValueError.
ARROW_ERRORS = (pa.ArrowException, OSError, ValueError)
_NO_LIST = "is not a list; allowed: a list of integers"


class ArrowRows(RowReader):
    """Reads columns of text, and lists of any kind and integer type, of record batches."""

    _kind = "Arrow"
    _schema: Any

    def _take_schema(self, schema: Any) -> None:
        """Find the column that is read.

        Raises:
            DataError: there is none, or it is of another type.
        """
        self._schema = schema
        self._found(schema.names)
        kind = schema.field(self.column).type
        self._is_text = _is_text(kind)
        is_list = _is_list_of_integers(kind) or _is_untyped(kind)
        is_empty = pa.types.is_null(kind)
        if not (self._is_text or is_empty or (is_list and not self.of_texts)):
            allowed = "text" if self.of_texts else "a list of integers"
            raise DataError(
                f"{self.path}: column {self.column} is of type {kind}; allowed: {allowed}"
            )

    def _chunk(self, batch: Any, first_row: int, done: float) -> Chunk:
        errors: dict[int, str] = {}
        column = _typed(batch.column(self.column), self.of_texts)
        if self.of_texts:
            texts = self._texts(column, first_row, "is no text; allowed: text", errors)
            return Chunk.of_texts(first_row, texts, batch, done, errors)
        return Chunk(first_row, *self._ids(column, first_row, errors), batch, done, None, errors)

    def _texts(self, column: Any, first_row: int, reason: str, errors: dict[int, str]) -> list[str]:
        for index in _nulls(column):
            self.flaw(errors, first_row, index, f"null {reason}")
        with reading(self.path, self._kind, ARROW_ERRORS):
            return [text or "" for text in column.to_pylist()]

    def _ids(self, column: Any, first_row: int, errors: dict[int, str]) -> Ids:
        if self._is_text:
            rows = members_of(self._texts(column, first_row, _NO_LIST, errors))
            return self.listed_ids(rows, AS_TEXT, first_row, errors)
        for index in _nulls(column):
            self.flaw(errors, first_row, index, f"null {_NO_LIST}")
        offsets = offsets_of(pc.fill_null(pc.list_value_length(column), 0).to_numpy())
        ids = column.flatten()
        for position in _nulls(ids):
            self.flaw(errors, first_row, row_at(offsets, position), f"null {NOT_AN_INTEGER}")
        if ids.null_count:
            ids, offsets = without_bad(ids.fill_null(0).to_numpy(), offsets, errors)
        else:
            ids = ids.to_numpy()
        return self.int64(ids, offsets, first_row, errors)

    def _labels(self, chunk: Chunk) -> list[Any]:
        with reading(self.path, self._kind, ARROW_ERRORS):
            return list(chunk.records.column(self.how.columns.label).to_pylist())


class TableRows(ArrowRows):
    """The rows of a table that is in memory, cut as those of a file are.

    Its `added` are what a writer of a file would add.
    """

    def __init__(self, table: Any, how: How) -> None:
        super().__init__(Path("table"), how)
        self._table = table
        self._take_schema(table.schema)

    def __iter__(self) -> Iterator[Chunk]:
        first_row = 1
        for start in range(0, len(self._table), self.how.chunk_rows):
            part = self._table.slice(start, self.how.chunk_rows).combine_chunks()
            for batch in part.to_batches():
                done = (first_row - 1 + len(batch)) / len(self._table)
                yield self._chunk(batch, first_row, done)
                first_row += len(batch)

    def schema_with(self, columns: Mapping[str, ColumnType]) -> Any:
        """The table's schema with columns added, renamed where its names are taken."""
        names = map(self._free_name, columns)
        return with_fields(self._schema, list(names), types_of(columns))

    def batch_with(self, chunk: Chunk, added: Mapping[str, Column], schema: Any) -> Any:
        """A chunk's rows with the values of added columns, whose schema is `schema_with`'s."""
        fields = list(schema)[len(self._schema) :]
        arrays = [
            arrow_array(as_type(column, _numpy_type(field.type)))
            for column, field in zip(added.values(), fields, strict=True)
        ]
        return pa.RecordBatch.from_arrays([*chunk.records.columns, *arrays], schema=schema)

    def _writer(
        self, path: Path, suffix: str, names: list[str], types: Types
    ) -> AbstractContextManager[Append]:
        raise DataError(f"{self.path} is in memory; allowed: a file")  # `schema_with` is for it


def types_of(columns: Mapping[str, ColumnType]) -> list[np.dtype[Any] | ListOf]:
    """The types of added columns."""
    return [kind if isinstance(kind, ListOf) else np.dtype(kind) for kind in columns.values()]


def with_fields(schema: Any, names: Sequence[str], types: Types) -> Any:
    """A schema with fields of these names and types after its own."""
    for name, kind in zip(names, types, strict=True):
        schema = schema.append(pa.field(name, _arrow_type(kind)))
    return schema


def _arrow_type(kind: np.dtype[Any] | ListOf) -> Any:
    if isinstance(kind, ListOf):
        return pa.list_(pa.from_numpy_dtype(kind.dtype))
    return pa.from_numpy_dtype(kind)


def _numpy_type(kind: Any) -> np.dtype[Any] | ListOf:
    if pa.types.is_list(kind):
        return ListOf(_numpy_dtype(kind.value_type))
    return _numpy_dtype(kind)


def _numpy_dtype(kind: Any) -> np.dtype[Any]:
    return np.dtype(str) if pa.types.is_string(kind) else np.dtype(kind.to_pandas_dtype())


def arrow_array(column: Column) -> Any:
    """A column's values as an array of Arrow."""
    if isinstance(column, Sparse):
        places = np.cumsum(column.present) - 1
        return arrow_array(column.values).take(pa.array(places, mask=~column.present))
    if isinstance(column, Lists):
        offsets = pa.array(column.offsets, pa.int32())
        return pa.ListArray.from_arrays(offsets, pa.array(column.members))
    return pa.array(column)


def _is_text(kind: Any) -> bool:
    types = pa.types
    value = kind.value_type if types.is_dictionary(kind) else kind
    return any(
        is_kind(value) for is_kind in (types.is_string, types.is_large_string, types.is_string_view)
    )


def _is_list_of_integers(kind: Any) -> bool:
    types = pa.types
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return is_list and bool(types.is_integer(kind.value_type))


def _is_untyped(kind: Any) -> bool:
    """Whether it holds no value that says its type, as pandas writes a part without rows."""
    types = pa.types
    return bool(types.is_null(kind) or (types.is_list(kind) and types.is_null(kind.value_type)))


def _typed(column: Any, as_texts: bool) -> Any:
    """The column itself; one that is untyped as one of texts or of lists."""
    if not _is_untyped(column.type):
        return column
    return column.cast(pa.string() if as_texts else pa.list_(pa.int64()))


def _nulls(array: Any) -> list[int]:
    """Where an array has no value."""
    if not array.null_count:
        return []
    places: list[int] = np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist()
    return places
