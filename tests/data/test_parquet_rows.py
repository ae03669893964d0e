from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pe_deploy.data import open_rows
from pe_deploy.errors import DataError
from tests.data.rows import all_ids, error_of, predict


def _write(path: Path, ids: Any, **others: Any) -> Path:
    pq.write_table(pa.table({"input_ids": ids, **others}), path)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.int8()),
        pa.list_(pa.uint64()),
        pa.large_list(pa.uint16()),
        pa.large_list(pa.int64()),
    ],
)
def test_lists_of_every_integer_type(tmp_path: Path, kind: Any) -> None:
    rows = [[1, 2], [], [3], [4, 5, 6], [127]]
    source = _write(tmp_path / "in.parquet", pa.array(rows, kind))
    for chunk_rows in (1, 2, 3, 5, 9):
        assert all_ids(source, chunk_rows) == rows


def test_lists_of_fixed_size(tmp_path: Path) -> None:
    rows = [[1, -2], [3, 4], [5, 6]]
    source = _write(tmp_path / "in.parquet", pa.array(rows, pa.list_(pa.int32(), 2)))
    assert all_ids(source, 2) == rows


def test_other_columns_types_and_metadata_come_back(tmp_path: Path) -> None:
    schema = pa.schema(
        [
            pa.field("when", pa.timestamp("us", tz="Europe/Prague"), metadata={"unit": "day"}),
            pa.field("price", pa.decimal128(9, 2)),
            pa.field("input_ids", pa.list_(pa.int16()), nullable=False),
            pa.field("kind", pa.dictionary(pa.int32(), pa.string())),
            pa.field("label", pa.string()),
            pa.field("more", pa.struct([("a", pa.list_(pa.float32()))])),
        ],
        metadata={"owner": "me"},
    )
    table = pa.table(
        {
            "when": pa.array([0, None, 2], schema.field("when").type),
            "price": pa.array([Decimal("1.50"), None, Decimal(2)], pa.decimal128(9, 2)),
            "input_ids": pa.array([[1], [2, 3], []], pa.list_(pa.int16())),
            "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
            "label": ["NA", "", None],
            "more": [{"a": [0.5]}, None, {"a": None}],
        },
        schema=schema,
    )
    source = tmp_path / "in.parquet"
    pq.write_table(table, source, row_group_size=2)

    written = pq.read_table(predict(source, tmp_path / "out.parquet"))
    assert written.schema.metadata[b"owner"] == b"me"
    assert written.select(schema.names).equals(pq.read_table(source), check_metadata=False)
    assert written.schema.field("when").metadata[b"unit"] == b"day"
    assert written.column_names[-2:] == ["predicted_label", "probability"]
    assert written["predicted_label"].to_pylist() == ["odd", "even", "even"]
    assert written.schema.field("probability").type == pa.float32()


def test_many_small_chunks_become_one_row_group(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.parquet", [[1, 2]] * 50)
    assert pq.ParquetFile(predict(source, tmp_path / "out.parquet")).num_row_groups == 1


def test_empty_row_groups_and_files_are_no_chunks(tmp_path: Path) -> None:
    table = pa.table({"input_ids": pa.array([[1]], pa.list_(pa.int64()))})
    source = tmp_path / "in.parquet"
    with pq.ParquetWriter(source, table.schema) as file:
        for part in (table[:0], table, table[:0], table):
            file.write_table(part)
    assert all_ids(source) == [[1], [1]]

    empty = tmp_path / "empty.parquet"
    pq.write_table(table[:0], empty)
    written = pq.read_table(predict(empty, tmp_path / "out.parquet"))
    assert written.column_names == ["input_ids", "label", "probability"]
    assert written.num_rows == 0


@pytest.mark.parametrize(
    ("ids", "error"),
    [
        (
            pa.array([[1], [2], None]),
            "row 3, column input_ids: null is not a list; allowed: a list of integers",
        ),
        (
            pa.array([[1], [2], [], [3, None]]),
            "row 4, column input_ids: null is not an integer; allowed: integers only",
        ),
        (
            pa.array([[0], [], [1, 2**63]], pa.list_(pa.uint64())),
            f"row 3, column input_ids: {2**63} is outside int64; "
            f"allowed: {-(2**63)} to {2**63 - 1}",
        ),
        (pa.array([1, 2]), "column input_ids is of type int64; allowed: a list of integers"),
        (
            pa.array([[True]]),
            "column input_ids is of type list<element: bool>; allowed: a list of integers",
        ),
        (
            pa.array([[1.0]]),
            "column input_ids is of type list<element: double>; allowed: a list of integers",
        ),
    ],
)
def test_a_malformed_column_is_one_exact_line(tmp_path: Path, ids: Any, error: str) -> None:
    source = _write(tmp_path / "in.parquet", ids)
    assert error_of(source) == error


def test_a_missing_column_is_named_among_those_there(tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"ids": [[1]], "label": [0]}), source)
    with pytest.raises(DataError, match=r"no column 'input_ids'; its columns: ids, label; state"):
        open_rows(source).__enter__()


def test_damage_anywhere_is_a_data_error(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.parquet", [[1, 2, 3]] * 20, note=["x"] * 20)
    whole = source.read_bytes()
    for position in range(0, len(whole), 7):
        before, after = whole[:position], whole[position + 3 :]
        for damaged in (before, before + b"\xff\x00\xff" + after):
            source.write_bytes(damaged)
            # Not all damage can be seen; what is raised is never of another kind.
            with suppress(DataError), open_rows(source) as reader:
                list(reader)


@pytest.mark.parametrize(
    ("column", "reasons"),
    [
        (pa.nulls(0), []),
        (pa.nulls(1), ["column input_ids: null is not a list; allowed: a list of integers"]),
        (pa.array([[], [None]]), [None, "column input_ids: null is not an integer; "]),
    ],
)
def test_a_column_that_never_got_a_type_is_read(
    tmp_path: Path, column: pa.Array, reasons: list[str | None]
) -> None:
    """As pandas writes the part of a data set in which no row was left."""
    path = tmp_path / "part-0.parquet"
    pq.write_table(pa.table({"input_ids": column}), path)
    with open_rows(path, tolerant=True) as reader:
        chunks = list(reader)
        assert sum(map(len, chunks)) == len(column)
        found = [chunk.errors.get(row) for chunk in chunks for row in range(len(chunk))]
    assert len(found) == len(reasons)
    for reason, expected in zip(found, reasons, strict=True):
        assert (reason or "").startswith(expected or "")
