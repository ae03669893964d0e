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

from pe_deploy.data.parquet_footer import row_groups
from pe_deploy.errors import DataError

LARGEST_ROW = 2**30
"""The most bytes of text in a row."""
MOST_VALUES = 2**27
"""The most values of a column in a row group, unless these are 1000 or fewer a byte of the file."""

_VALUES_A_BYTE = 1000
_CHUNK_VALUES = 2**24
_CHUNK_BYTES = 2**27
_FIXED = "FIXED_LEN_BYTE_ARRAY"
_HARMLESS = 2**18  # bytes of a column that even 4096 repetitions make no more than 1 GiB of


class Limits:
    """What a file states of its columns, held against what is allowed.

    Args:
        path: the file.
        schema: its columns, as Parquet has them.

    Attributes:
        rows: how many rows may be read at once, by the longest lists on average.
        coded: the columns of text that have to be read in their stored form.

    Raises:
        DataError: a column holds more values than its bytes could be worth.
    """

    def __init__(self, path: Path, schema: Any) -> None:
        columns = [schema.column(place) for place in range(len(schema.names))]
        widest = max([one.length for one in columns if one.physical_type == _FIXED], default=0)
        if widest > _CHUNK_BYTES:
            raise DataError(
                f"{path}: a column has values of {widest:,} bytes; "
                f"allowed: {_CHUNK_BYTES:,} or fewer"
            )
        self.rows = _CHUNK_BYTES // max(1, widest)
        coded: dict[str, None] = {}
        for group in row_groups(path, len(columns)):
            for column, stated in zip(columns, group, strict=True):
                allowed = max(MOST_VALUES, _VALUES_A_BYTE * stated.packed)
                if stated.values > allowed:
                    raise DataError(
                        f"{path}: column {column.path} has {stated.values:,} values in a row "
                        f"group, out of {stated.packed:,} bytes; allowed: {allowed:,}"
                    )
                rows = _CHUNK_VALUES * stated.rows // max(1, stated.values)
                self.rows = max(1, min(self.rows, rows)) if stated.rows else self.rows
                if column.physical_type == "BYTE_ARRAY" and stated.unpacked > _HARMLESS:
                    coded[column.path] = None
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
