"""How much of a Parquet file may be in memory at once, whatever a few bytes of it state.

A value that repeats is stored once, so that a file of 600 bytes can hold gigabytes. Text is
therefore read in its stored form, measured, and decoded in pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pe_deploy.errors import DataError

LARGEST_ROW = 2**30
"""The most bytes of text in a row."""
MOST_VALUES = 2**27
"""The most values of a column in a row group, unless these are 1000 or fewer a byte of the file."""

_VALUES_A_BYTE = 1000
_CHUNK_VALUES = 2**24
_CHUNK_BYTES = 2**27
_HARMLESS = 2**18  # bytes of a column that even 4096 repetitions make no more than 1 GiB of


class Limits:
    """What the metadata of a file state, held against what is allowed.

    Attributes:
        rows: how many rows may be read at once, by the longest lists on average.
        coded: the columns of text that have to be read in their stored form.

    Raises:
        DataError: a column holds more values than its bytes could be worth.
    """

    def __init__(self, path: Path, metadata: Any) -> None:
        self.rows = _CHUNK_VALUES
        coded: dict[str, None] = {}
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            for place in range(group.num_columns):
                column = group.column(place)
                name, values = column.path_in_schema, column.num_values
                allowed = max(MOST_VALUES, _VALUES_A_BYTE * column.total_compressed_size)
                if values > allowed:
                    raise DataError(
                        f"{path}: column {name} has {values:,} values in a row group, out of "
                        f"{column.total_compressed_size:,} bytes; allowed: {allowed:,}"
                    )
                if group.num_rows:
                    self.rows = min(
                        self.rows, max(1, _CHUNK_VALUES * group.num_rows // max(1, values))
                    )
                large = column.total_uncompressed_size > _HARMLESS
                if column.physical_type == "BYTE_ARRAY" and large:
                    coded[name] = None
        self.coded = list(coded)


def decoded(path: Path, batch: Any, schema: Any) -> Iterator[Any]:
    """A batch of stored values as one of the schema's types, in pieces of bounded size.

    Raises:
        DataError: a single row is too large.
    """
    size = sum(map(_decoded_bytes, batch.columns))
    if size > _CHUNK_BYTES and len(batch) > 1:
        middle = len(batch) // 2
        yield from decoded(path, batch.slice(0, middle), schema)
        yield from decoded(path, batch.slice(middle), schema)
        return
    if size > LARGEST_ROW:
        raise DataError(
            f"{path}: a row has {size:,} bytes of text; allowed: {LARGEST_ROW:,} or fewer"
        )
    arrays = [
        array if array.type == field.type else array.cast(field.type)
        for array, field in zip(batch.columns, schema, strict=True)
    ]
    yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _is_bytes(kind: Any) -> bool:
    types = pa.types
    return any(
        is_kind(kind)
        for is_kind in (
            types.is_string,
            types.is_large_string,
            types.is_binary,
            types.is_large_binary,
        )
    )


def _decoded_bytes(array: Any) -> int:
    """How many bytes the text of an array takes, of whose values each is stored once."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        if not _is_bytes(kind.value_type):
            return 0
        lengths = pc.binary_length(array.dictionary)
        return int(pc.sum(pc.cast(lengths, pa.int64()).take(array.indices)).as_py() or 0)
    if pa.types.is_map(kind):
        return _decoded_bytes(array.keys) + _decoded_bytes(array.items)
    if pa.types.is_nested(kind):
        parts = array.flatten()
        return sum(map(_decoded_bytes, parts if isinstance(parts, list) else [parts]))
    return 0
