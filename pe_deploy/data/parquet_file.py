"""Rows of a Parquet file: those of `ArrowRows`, in a file that is read and written in parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pe_deploy.data.arrow_rows import ARROW_ERRORS, ArrowRows, arrow_array, with_fields
from pe_deploy.data.chunk import Chunk
from pe_deploy.data.lists import Column
from pe_deploy.data.parquet_limits import Limits, decoded
from pe_deploy.data.reader import Append, How, Types, reading

_reading = partial(reading, kind="Parquet", errors=ARROW_ERRORS)
# Without these, pyarrow reads whole row groups ahead, and a file may be one row group.
_STREAMED = {"pre_buffer": False, "buffer_size": 1 << 20}
_ROW_GROUP_BYTES = 32 << 20


class ParquetReader(ArrowRows):
    """Reads columns of text, and lists of any kind and integer type."""

    _kind = "Parquet"

    def __init__(self, path: Path, how: How, stack: ExitStack) -> None:
        super().__init__(path, how)
        with _reading(path):
            self._file = stack.enter_context(pq.ParquetFile(path, **_STREAMED))
            schema = self._file.schema_arrow
            limits = Limits(path, self._file.schema)
            if limits.coded:
                self._file = stack.enter_context(
                    pq.ParquetFile(path, read_dictionary=limits.coded, **_STREAMED)
                )
        self._chunk_rows = min(how.chunk_rows, limits.rows)
        self._is_coded = bool(limits.coded)
        self._take_schema(schema)

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
                done = (rows + len(batch)) / self._file.metadata.num_rows
                yield self._chunk(batch, rows + 1, done)
                rows += len(batch)

    @contextmanager
    def _writer(self, path: Path, suffix: str, names: list[str], types: Types) -> Iterator[Append]:
        schema = with_fields(self._schema, names, types)
        waiting: list[Any] = []  # each write makes a row group: small ones make a slow file

        with pq.ParquetWriter(path, schema) as file:

            def flush() -> None:
                file.write_table(pa.Table.from_batches(waiting, schema))
                waiting.clear()

            def append(chunk: Chunk, columns: Sequence[Column]) -> None:
                arrays = [*chunk.records.columns, *map(arrow_array, columns)]
                waiting.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
                if sum(batch.nbytes for batch in waiting) >= _ROW_GROUP_BYTES:
                    flush()

            yield append
            if waiting:
                flush()
