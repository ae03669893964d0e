"""Rows of a Parquet file: `input_ids` is a list column of integers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import INPUT_IDS
from pe_deploy.data.damage import reading
from pe_deploy.data.ragged import offsets_of, row_at
from pe_deploy.data.reader import LABEL, Chunk, RowReader, WriteChunk
from pe_deploy.errors import DataError, requires_extra

# Without these, pyarrow reads whole row groups ahead, and a file may be one row group.
_STREAMED = {"pre_buffer": False, "buffer_size": 1 << 20}
_ROW_GROUP_BYTES = 32 << 20


class ParquetReader(RowReader):
    """Reads list, large_list and fixed_size_list columns of any integer type."""

    def __init__(self, path: Path, file: Any, chunk_rows: int) -> None:
        self._file = file
        with _reading(path):
            self._schema = file.schema_arrow
            columns = tuple(self._schema.names)
        super().__init__(path, columns, chunk_rows)
        self.require_column(INPUT_IDS)
        kind = self._schema.field(INPUT_IDS).type
        if not _is_list_of_integers(kind):
            raise DataError(
                f"{path}: column {INPUT_IDS} is of type {kind}; allowed: a list of integers"
            )

    def __iter__(self) -> Iterator[Chunk]:
        total = self._file.metadata.num_rows
        batches = self._file.iter_batches(self.chunk_rows)
        first_row = 1
        while True:
            with _reading(self.path):
                batch = next(batches, None)
            if batch is None:
                return
            if not len(batch):
                continue  # an empty row group
            values, offsets = self._ids(batch.column(INPUT_IDS), first_row)
            done = (first_row - 1 + len(batch)) / total
            yield Chunk(first_row, values, offsets, batch, done)
            first_row += len(batch)

    def _ids(self, column: Any, first_row: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        import pyarrow as pa
        import pyarrow.compute as pc

        if column.null_count:
            row = first_row + _first_null(column)
            raise self.bad_cell(row, INPUT_IDS, "null is not a list; allowed: a list of integers")
        offsets = offsets_of(pc.list_value_length(column).to_numpy())
        ids = column.flatten()
        if ids.null_count:
            raise self.bad_id(first_row + row_at(offsets, _first_null(ids)), "null")
        if pa.types.is_uint64(ids.type):
            too_large = ids.to_numpy() > np.iinfo(np.int64).max
            if too_large.any():
                position = int(np.argmax(too_large))
                raise self.id_too_large(first_row + row_at(offsets, position), str(ids[position]))
        return ids.cast(pa.int64()).to_numpy(), offsets

    def _labels(self, chunk: Chunk) -> list[Any]:
        with _reading(self.path):
            labels: list[Any] = chunk.records.column(LABEL).to_pylist()
        return labels

    @contextmanager
    def _writer(
        self, path: Path, dtypes: dict[str, np.dtype[Any]], names: list[str]
    ) -> Iterator[WriteChunk]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = self._schema
        for name, dtype in zip(names, dtypes.values(), strict=True):
            schema = schema.append(pa.field(name, pa.from_numpy_dtype(dtype)))
        waiting: list[Any] = []  # each write makes a row group: small ones make a slow file

        with pq.ParquetWriter(path, schema) as file:

            def flush() -> None:
                file.write_table(pa.Table.from_batches(waiting, schema))
                waiting.clear()

            def write(chunk: Chunk, columns: Mapping[str, NDArray[Any]]) -> None:
                added = [pa.array(np.asarray(columns[name], dtypes[name])) for name in dtypes]
                arrays = [*chunk.records.columns, *added]
                waiting.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
                if sum(batch.nbytes for batch in waiting) >= _ROW_GROUP_BYTES:
                    flush()

            yield write
            if waiting:
                flush()


def _is_list_of_integers(kind: Any) -> bool:
    from pyarrow import types

    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return is_list and bool(types.is_integer(kind.value_type))


def _first_null(array: Any) -> int:
    return int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))


def _reading(path: Path) -> AbstractContextManager[None]:
    import pyarrow as pa

    # pyarrow reports damage as either of these; text that is not UTF-8 is a ValueError.
    return reading(path, "Parquet", (pa.ArrowException, OSError, ValueError))


@contextmanager
def open_parquet(path: Path, chunk_rows: int) -> Iterator[ParquetReader]:
    """Open a Parquet file.

    Raises:
        DataError: it is damaged, or `input_ids` is missing or not a list of integers.
        MissingDependencyError: pyarrow is not installed.
    """
    with requires_extra("cli"):
        import pyarrow.parquet as pq
    with _reading(path):
        file = pq.ParquetFile(path, **_STREAMED)
    with file:
        yield ParquetReader(path, file, chunk_rows)
