"""Rows of a Parquet file: a column of lists of integers, of lists written as text, or of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pe_deploy.data.chunk import Chunk, offsets_of, row_at
from pe_deploy.data.lists import Column, ListOf, Lists, Sparse
from pe_deploy.data.parquet_limits import Limits, decoded
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

# What pyarrow raises for a damaged file; text that is not UTF-8 is a ValueError.
_reading = partial(reading, kind="Parquet", errors=(pa.ArrowException, OSError, ValueError))
# Without these, pyarrow reads whole row groups ahead, and a file may be one row group.
_STREAMED = {"pre_buffer": False, "buffer_size": 1 << 20}
_ROW_GROUP_BYTES = 32 << 20
_NO_LIST = "is not a list; allowed: a list of integers"


class ParquetReader(RowReader):
    """Reads columns of text, and lists of any kind and integer type."""

    def __init__(self, path: Path, how: How, stack: ExitStack) -> None:
        super().__init__(path, how)
        with _reading(path):
            self._file = stack.enter_context(pq.ParquetFile(path, **_STREAMED))
            self._schema = self._file.schema_arrow
            limits = Limits(path, self._file.schema)
            if limits.coded:
                self._file = stack.enter_context(
                    pq.ParquetFile(path, read_dictionary=limits.coded, **_STREAMED)
                )
        self._chunk_rows = min(how.chunk_rows, limits.rows)
        self._is_coded = bool(limits.coded)
        self._found(self._schema.names)
        kind = self._schema.field(self.column).type
        self._is_text = _is_text(kind)
        if not self._is_text and (self.of_texts or not _is_list_of_integers(kind)):
            allowed = "text" if self.of_texts else "a list of integers"
            raise DataError(f"{path}: column {self.column} is of type {kind}; allowed: {allowed}")

    def __iter__(self) -> Iterator[Chunk]:
        batches = self._file.iter_batches(self._chunk_rows)
        if self._is_coded:
            batches = chain.from_iterable(
                decoded(self.path, batch, self._schema) for batch in batches
            )
        rows = 0
        while True:
            with _reading(self.path):
                batch = next(batches, None)
            if batch is None:
                return
            if len(batch):  # else it is an empty row group
                errors: dict[int, str] = {}
                column = batch.column(self.column)
                done = (rows + len(batch)) / self._file.metadata.num_rows
                if self.of_texts:
                    texts = self._texts(column, rows + 1, "is no text; allowed: text", errors)
                    yield Chunk.of_texts(rows + 1, texts, batch, done, errors)
                else:
                    ids = self._ids(column, rows + 1, errors)
                    yield Chunk(rows + 1, *ids, batch, done, None, errors)
                rows += len(batch)

    def _texts(self, column: Any, first_row: int, reason: str, errors: dict[int, str]) -> list[str]:
        for index in _nulls(column):
            self.flaw(errors, first_row, index, f"null {reason}")
        with _reading(self.path):
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
        with _reading(self.path):
            return list(chunk.records.column(self.how.columns.label).to_pylist())

    @contextmanager
    def _writer(self, path: Path, suffix: str, names: list[str], types: Types) -> Iterator[Append]:
        schema = self._schema
        for name, kind in zip(names, types, strict=True):
            schema = schema.append(pa.field(name, _arrow_type(kind)))
        waiting: list[Any] = []  # each write makes a row group: small ones make a slow file

        with pq.ParquetWriter(path, schema) as file:

            def flush() -> None:
                file.write_table(pa.Table.from_batches(waiting, schema))
                waiting.clear()

            def append(chunk: Chunk, columns: Sequence[Column]) -> None:
                arrays = [*chunk.records.columns, *map(_arrow_array, columns)]
                waiting.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
                if sum(batch.nbytes for batch in waiting) >= _ROW_GROUP_BYTES:
                    flush()

            yield append
            if waiting:
                flush()


def _arrow_type(kind: np.dtype[Any] | ListOf) -> Any:
    if isinstance(kind, ListOf):
        return pa.list_(pa.from_numpy_dtype(kind.dtype))
    return pa.from_numpy_dtype(kind)


def _arrow_array(column: Column) -> Any:
    if isinstance(column, Sparse):
        places = np.cumsum(column.present) - 1
        return _arrow_array(column.values).take(pa.array(places, mask=~column.present))
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


def _nulls(array: Any) -> list[int]:
    """Where an array has no value."""
    if not array.null_count:
        return []
    places: list[int] = np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist()
    return places
