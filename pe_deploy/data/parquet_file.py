"""Rows of a Parquet file: `input_ids` is a list column of integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pe_deploy.config import INPUT_IDS
from pe_deploy.data.chunk import Chunk, offsets_of, row_at
from pe_deploy.data.lists import Column, ListOf, Lists
from pe_deploy.data.reader import LABEL, Append, RowReader, Types, reading
from pe_deploy.errors import DataError

# What pyarrow raises for a damaged file; text that is not UTF-8 is a ValueError.
_reading = partial(reading, kind="Parquet", errors=(pa.ArrowException, OSError, ValueError))
# Without these, pyarrow reads whole row groups ahead, and a file may be one row group.
_STREAMED = {"pre_buffer": False, "buffer_size": 1 << 20}
_ROW_GROUP_BYTES = 32 << 20


class ParquetReader(RowReader):
    """Reads list, large_list and fixed_size_list columns of any integer type."""

    def __init__(self, path: Path, chunk_rows: int, stack: ExitStack) -> None:
        with _reading(path):
            self._file = stack.enter_context(pq.ParquetFile(path, **_STREAMED))
            self._schema = self._file.schema_arrow
            columns = tuple(self._schema.names)
        super().__init__(path, chunk_rows, columns)
        self.require_column(INPUT_IDS)
        kind = self._schema.field(INPUT_IDS).type
        if not _is_list_of_integers(kind):
            raise DataError(
                f"{path}: column {INPUT_IDS} is of type {kind}; allowed: a list of integers"
            )

    def __iter__(self) -> Iterator[Chunk]:
        batches = self._file.iter_batches(self.chunk_rows)
        rows = 0
        while True:
            with _reading(self.path):
                batch = next(batches, None)
            if batch is None:
                return
            if len(batch):  # else it is an empty row group
                values, offsets = self._ids(batch.column(INPUT_IDS), rows + 1)
                done = (rows + len(batch)) / self._file.metadata.num_rows
                yield Chunk(rows + 1, values, offsets, batch, done)
                rows += len(batch)

    def _ids(self, column: Any, first_row: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if column.null_count:
            row = first_row + _first_null(column)
            raise self.bad_cell(row, INPUT_IDS, "null is not a list; allowed: a list of integers")
        offsets = offsets_of(pc.list_value_length(column).to_numpy())
        ids = column.flatten()
        if ids.null_count:
            raise self.bad_id(first_row + row_at(offsets, _first_null(ids)), "null")
        return self.int64(ids.to_numpy(), offsets, first_row), offsets

    def _labels(self, chunk: Chunk) -> list[Any]:
        with _reading(self.path):
            return list(chunk.records.column(LABEL).to_pylist())

    @contextmanager
    def _writer(self, path: Path, names: list[str], types: Types) -> Iterator[Append]:
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
    if isinstance(column, Lists):
        offsets = pa.array(column.offsets, pa.int32())
        return pa.ListArray.from_arrays(offsets, pa.array(column.members))
    return pa.array(column)


def _is_list_of_integers(kind: Any) -> bool:
    types = pa.types
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return is_list and bool(types.is_integer(kind.value_type))


def _first_null(array: Any) -> int:
    return int(pc.index(array.is_null(), True).as_py())
